"""Test the benchmark: what it measures, and that it leaves nothing behind."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner
from command import (
    SEVEN_TABLES,
    SIX_INDEXED_TABLES,
    TEN_NAMES,
    execute,
    is_postgres,
    nothing_changes,
    refuses,
    run,
    succeed,
)
from roles import APPLICATION, another_role, as_role
from scenes import until

import cli
import models
from indexer.bench import bench as benching
from indexer.bench import inserts, measure, report
from indexer.bench.events import Filled, Filling, Measuring, RoundStarted, Tell, Told
from indexer.bench.measure import PREFIX, scratch
from indexer.bench.result import Result
from indexer.cli.commands import cli as commands
from indexer.connection import connect
from indexer.errors import Command, PreflightFailed, StatementFailed, UsageError
from indexer.events import IndexFinished, silent
from indexer.project import Project
from indexer.signals import Stop
from queries import QUERIES, activity_seen

ROOT = Path(cli.__file__).resolve().parent
PROJECT = Project(str(ROOT), cli.models, cli.queries, cli.sample)

BENCHING = """
import os, sys
from indexer.errors import IndexerError
from indexer.signals import interruptible
from indexer.bench import inserts, measure
from indexer.bench.bench import bench
import cli
from indexer.project import Project

url = sys.argv[1]
measure.MOST, inserts.TURNS = 8, 2

def tell(event):
    print(type(event).__name__, *event, flush=True)

try:
    project = Project(os.getcwd(), cli.models, cli.queries, cli.sample)
    interruptible(lambda stop: bench(url, (4_000, 8_000), project, tell, stop))
except IndexerError as error:
    print(error.message, error.hint, file=sys.stderr)
    sys.exit(error.exit_code)
"""

CLEANING_UP_FOR_LONG = """
import sys, time
from indexer import signals as stop
from indexer.bench.measure import scratch

def work(asked):
    with scratch(sys.argv[1], asked):
        print("made", flush=True)
        time.sleep(60)

stop.GRACE = float(sys.argv[2])
stop.interruptible(work)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: str) -> Path:
    """Return the folder of temporary files; those of the server are elsewhere, because it may not read this one."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure less often: a test checks what is measured, not how exactly."""
    monkeypatch.setattr(measure, "MOST", 6)
    monkeypatch.setattr(inserts, "STATEMENTS", 1)
    monkeypatch.setattr(inserts, "TURNS", 2)


def bench(url: str, rows: Iterable[int], tell: Tell = silent) -> Result:
    """Measure the CRM."""
    return benching.bench(url, rows, PROJECT, tell)


def schemas(url: str) -> set[str]:
    """Return the schemas of a database without those of PostgreSQL."""
    return {name for (name,) in execute(url, "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")}


def started(code: str, *arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Start Python with this code, its temporary files in a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={"TMPDIR": str(folder), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_nothing_is_left(url: str, temporary: Path) -> None:
    """Assert that no schema and no file is left."""
    assert list(temporary.iterdir()) == []
    if is_postgres(url):
        assert schemas(url) == {"public", "information_schema"}


# Measuring -----------------------------------------------------------------------------------------------------------


def test_every_query_is_measured_at_every_size_before_and_after(database_url: str, hasty: None, temporary: Path):
    events: list[Told] = []
    result = bench(database_url, (400, 200, 400), events.append)
    assert [each.activities for each in result.rounds] == [200, 400]
    for each in result.rounds:
        assert [query.query for query in each.queries] == [query.call for query in QUERIES]
        assert all(query.before.median > 0 < query.after.median for query in each.queries)
        assert all(query.before.p95 >= query.before.median for query in each.queries)
        assert all(query.before.asked >= 5 <= query.after.asked for query in each.queries)
        assert [query.before.answer for query in each.queries] == [query.after.answer for query in each.queries]
        assert {build.index_name for build in each.builds} == TEN_NAMES
        assert all(build.bytes for build in each.builds)
        assert {writes.table for writes in each.writes} == SIX_INDEXED_TABLES
        assert each.bytes_after > each.bytes_before > 100_000
        assert set(each.rows) == SEVEN_TABLES
    assert result.product.split()[0] == ("PostgreSQL" if is_postgres(database_url) else "SQLite")
    assert_nothing_is_left(database_url, temporary)


def test_the_tables_grow_by_the_indexes_and_not_by_the_timed_inserts(
    database_url: str, hasty: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inserts, "STATEMENTS", 5)
    (only,) = bench(database_url, (200,)).rounds
    of_indexes = sum(build.bytes or 0 for build in only.builds)

    assert of_indexes <= only.bytes_after - only.bytes_before < of_indexes + 100_000  # in a file also our own tables


def test_queries_are_called_in_a_random_order_that_is_the_same_each_time(sqlite_url):
    """A server that begins each scan where the last one ended would find the rows at once, even without an index."""
    succeed("seed", "--rows", "5000", url=sqlite_url)
    with closing(connect(sqlite_url, read_only=True).database) as database, database.bind_ctx(models.TABLES):
        query = next(each for each in QUERIES if each.function is activity_seen)
        asked = [identifier for (identifier,) in measure.arguments_for(query)]
        again = [identifier for (identifier,) in measure.arguments_for(query)]
        ordered = list(models.Activity.select(models.Activity.openphone_id).order_by(models.Activity.id).tuples())
    places = [ordered.index((identifier,)) for identifier in asked]
    steps = [abs(place - before) for before, place in pairwise(places)]

    assert asked == again
    assert sum(steps) / len(steps) > len(ordered) / 5


def test_events_come_in_order(database_url: str, hasty: None):
    events: list[Told] = []
    bench(database_url, [200], events.append)
    kinds = [type(event) for event in events]
    assert kinds[0] is RoundStarted
    assert kinds.index(Filling) < kinds.index(Filled) < kinds.index(Measuring) < kinds.index(IndexFinished)
    assert [event.phase for event in events if isinstance(event, Measuring) and not event.done] == [
        "queries without indexes",
        "queries with indexes",
        "inserts",
    ]


def test_the_tables_of_the_user_are_not_changed(any_head_url: str, hasty: None):
    execute(any_head_url, "INSERT INTO contact (first_name, last_name, phone) VALUES ('Ada', 'Byron', '+12025550123')")
    with nothing_changes(any_head_url):
        bench(any_head_url, [200])
    assert execute(any_head_url, "SELECT count(*) FROM contact") == [(1,)]


def test_no_sqlite_file_is_created(sqlite_url: str, hasty: None, tmp_path: Path):
    bench(sqlite_url, [200])
    assert not (tmp_path / "crm.db").exists()


def test_an_error_during_the_measurement_leaves_nothing(database_url: str, temporary: Path):
    with suppress(ZeroDivisionError), scratch(database_url, Stop()) as database:
        with database.migrator.migration_context():
            database.migrator.create_tables(models.TABLES)
        assert list(temporary.iterdir()) or PREFIX in str(schemas(database_url))
        _ = 1 / 0
    assert_nothing_is_left(database_url, temporary)


def test_a_session_that_the_server_ends_leaves_nothing(postgres_url: str, temporary: Path):
    with scratch(postgres_url, Stop()) as database:
        connection = database.migrator.database.connection()
        execute(postgres_url, f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        with pytest.raises(psycopg2.Error), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert_nothing_is_left(postgres_url, temporary)


@pytest.mark.usefixtures("hasty")
def test_a_role_that_may_not_create_a_schema_gets_the_grant(superuser_url: str, app_url: str):
    """Only the superuser can give the right."""
    with pytest.raises(StatementFailed, match="permission denied") as refusal:
        bench(app_url, [200])
    execute(superuser_url, re.findall("GRANT CREATE ON DATABASE .*", str(refusal.value.hint))[0])
    assert bench(app_url, [200]).rounds


@pytest.mark.usefixtures("hasty")
def test_a_role_that_is_read_only_by_default_is_refused_before_any_row_is_made(
    superuser_url: str, postgres_url: str, temporary: Path
):
    """Only the superuser can create the role."""
    name = postgres_url.rpartition("/")[2]
    rights = (
        f"GRANT CREATE ON DATABASE {name} TO {{role}}",
        "ALTER ROLE {role} SET default_transaction_read_only = on",
    )
    events: list[Told] = []
    with another_role(superuser_url, *rights) as role:
        with pytest.raises(PreflightFailed, match="default_transaction_read_only is on") as refusal:
            bench(as_role(postgres_url, role), [200], events.append)
        assert events == []
        assert Command("bench") in refusal.value.hint.parts
        assert_nothing_is_left(postgres_url, temporary)
        execute(superuser_url, f"ALTER ROLE {role} RESET ALL")
        assert bench(as_role(postgres_url, role), [200]).rounds


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("Filling activity", signal.SIGINT),
        ("Measuring queries without indexes conversation_history", signal.SIGTERM),
        ("StatementStarted", signal.SIGINT),
        ("Measuring queries with indexes campaigns_of", signal.SIGINT),
        ("Measuring inserts", signal.SIGINT),
        ("RoundStarted 8000", signal.SIGTERM),
    ],
)
def test_an_interrupted_benchmark_leaves_nothing(
    database_url: str, moment: str, number: signal.Signals, temporary: Path
):
    with started(BENCHING, database_url, folder=temporary) as process:
        assert process.stdout
        assert any(line.startswith(moment) for line in process.stdout)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert f"Interrupted by {number.name}: nothing was left behind. Start again" in errors
    assert_nothing_is_left(database_url, temporary)


@pytest.mark.parametrize(
    ("grace", "numbers"), [("60", (signal.SIGTERM, signal.SIGINT)), ("0.1", (signal.SIGTERM,))], ids=["twice", "once"]
)
def test_a_process_that_ends_at_once_says_what_it_leaves_and_how_to_remove_it(
    database_url: str, grace: str, numbers: tuple[signal.Signals, ...], temporary: Path
):
    with started(CLEANING_UP_FOR_LONG, database_url, grace, folder=temporary) as process:
        assert process.stdout
        assert process.stdout.readline() == "made\n"
        for number in numbers:
            process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, 143)
    assert "python cli.py status" not in errors
    (removal,) = re.findall(rf"{PREFIX}\w+ is left: (.+)", errors)
    if is_postgres(database_url):
        execute(database_url, removal)
    else:
        subprocess.run(removal.split(), check=True)
    assert_nothing_is_left(database_url, temporary)


@contextmanager
def at_work(url: str, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another process with a scratch database during the block."""
    with started(CLEANING_UP_FOR_LONG, url, "60", folder=temporary) as process:
        assert process.stdout
        assert process.stdout.readline() == "made\n"
        try:
            yield process
        finally:
            process.kill()


def left(url: str, temporary: Path) -> set[str]:
    """Return the names of the scratch databases that exist."""
    found = schemas(url) if is_postgres(url) else {path.name for path in temporary.iterdir()}
    return {name for name in found if name.startswith(PREFIX)}


def test_the_scratch_database_of_a_killed_process_is_removed_by_the_next_one(database_url: str, temporary: Path):
    with at_work(database_url, temporary) as process:
        process.kill()
        process.wait()
        (killed,) = left(database_url, temporary)
    if is_postgres(database_url):  # the server has noticed
        until(lambda: not execute(database_url, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"))
    with scratch(database_url, Stop()):
        assert left(database_url, temporary).isdisjoint({killed})
    assert_nothing_is_left(database_url, temporary)


def test_the_scratch_database_of_a_running_process_is_not_removed(database_url: str, temporary: Path):
    with at_work(database_url, temporary):
        left_by_other = left(database_url, temporary)
        assert left_by_other
        with scratch(database_url, Stop()):
            assert left(database_url, temporary) > left_by_other
        assert left(database_url, temporary) == left_by_other


def test_a_schema_of_another_name_or_role_is_not_dropped(superuser_url: str, postgres_url: str):
    """The superuser creates the schema of the application, which may not create one."""
    execute(postgres_url, "CREATE SCHEMA indexer_bench_results")
    execute(superuser_url, f"CREATE SCHEMA indexer_bench_0123abcd AUTHORIZATION {APPLICATION}")
    with scratch(postgres_url, Stop()):
        pass
    assert schemas(postgres_url) >= {"indexer_bench_results", "indexer_bench_0123abcd"}


# Usage ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [[], [99], [200, 10]])
def test_too_few_rows_are_refused(sqlite_url: str, rows: list[int]):
    with pytest.raises(UsageError, match="at least 100 activities"):
        bench(sqlite_url, rows)


@pytest.mark.parametrize("rows", ["100000001", "99999999999999999999", "200,99999999999999999999"])
def test_too_many_rows_are_refused_at_once(database_url: str, rows: str):
    result = refuses(database_url, "bench", "--rows", rows, exit_code=2)
    assert result.stderr == "Error: No more than 100,000,000 activities can be made.\nUse fewer: --rows 1000000\n"


@pytest.mark.parametrize("option", [("--schema", "tenant_a"), ("--all-schemas", "tenant_*")])
def test_bench_has_no_options_for_schemas(database_url: str, option: tuple[str, str]):
    result = run("bench", *option, url=database_url)
    assert result.exit_code == 2
    assert f"No such option '{option[0]}'" in result.stderr


def test_an_error_comes_without_a_warning_about_pictures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    events: list[Told] = []
    with pytest.raises(UsageError):
        bench("mysql://somewhere/crm", [200], events.append)
    assert events == []


@pytest.mark.parametrize(("folder", "exit_code"), [("file/results", 1), ("", 2)])
def test_a_folder_that_cannot_be_written_is_refused_before_the_measurement(
    sqlite_url: str, tmp_path: Path, folder: str, exit_code: int
):
    (tmp_path / "file").touch()
    result = run("bench", "--rows", "200", "--out", folder and str(tmp_path / folder), url=sqlite_url)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert "activities on" not in result.stderr
    if "--out FOLDER" in result.stderr:
        report.check(str(tmp_path / "another"))


@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_results_that_cannot_be_written_are_printed(sqlite_url: str, hasty: None, as_json: bool):
    """Every role may write into /proc, but no file can be created there."""
    command = ["bench", "--rows", "100", "--out", "/proc/results", *(["--json"] if as_json else [])]
    result = CliRunner().invoke(commands, command, env={"DATABASE_URL": sqlite_url}, obj=PROJECT)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: /proc/results cannot be written")
    assert json.loads(result.stdout)["rounds"] if as_json else "Before and after" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr  # no colours where that is no terminal


@pytest.mark.parametrize("rows", ["abc", "1e6", "1000,", "0", "-5", "10 000"])
def test_rows_that_are_no_numbers_are_a_usage_error(sqlite_url: str, rows: str):
    result = run("bench", "--rows", rows, url=sqlite_url)
    assert result.exit_code == 2
    assert f"{rows!r} is not a list of whole numbers such as 10000,100000." in result.stderr
