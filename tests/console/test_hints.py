"""Every hint is typed as it is printed, and either works or explains why not."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from signal import SIGINT, SIGTERM
from typing import NamedTuple

import pytest
from command import BASE, CLI, HEAD, connect, execute, prepare, run, succeed
from hints import HINTS, collected, commands, entry_of, program
from scenes import assert_all_valid, open_writer, running, until, until_phase

from indexer import errors
from indexer.cli.commands import cli
from indexer.connection import connect as connect_to
from indexer.errors import StatementFailed
from indexer.events import IndexFinished
from indexer.options import Options
from indexer.revisions.chain import load
from indexer.runner import Runner
from indexer.spec import Index
from sample import counts

ROOT = CLI.parent
NAME, TABLE = "ix_activity_type", "activity"
FIRST, LAST = "ix_activity_openphone_id", "ix_webhook_event_event_type"  # of the ten, as a run comes to them
OTHER = f"CREATE INDEX {NAME} ON {TABLE} (openphone_id)"
DUPLICATE = "CREATE INDEX by_type ON activity (activity_type)"


class Scene(NamedTuple):
    """A command that prints a hint, and the exit code of the command in the hint.

    ``there`` is the revision of the database before it, and ``made`` are statements executed after that.
    """

    there: str
    made: tuple[str, ...]
    command: str
    exit_code: int
    typed: str
    then: int = 0


SCENES = {
    "wrong usage": Scene("head", (), "up --frobnicate", 2, "up --help"),
    "status of a pending revision": Scene("base", (), "status", 3, "up"),
    "status of a missing index": Scene("head", (f"DROP INDEX {NAME}",), "status", 4, "up"),
    "check of a pending revision": Scene("base", (), "check", 3, "up"),
    "check of a missing index": Scene("head", (f"DROP INDEX {NAME}",), "check", 4, "up"),
    "plan": Scene("base", (), "plan", 0, "up"),
    "plan to a revision": Scene("base", (), f"plan --to {HEAD}", 0, f"up --to {HEAD}"),
    "plan of a renaming": Scene("base", (DUPLICATE,), "plan --adopt-renamed", 0, "up --adopt-renamed"),
    "plan of the way back": Scene("head", (), "plan down", 0, "down"),
    "plan down with older indexes": Scene("head", (), "plan down --include-adopted", 0, "down --include-adopted"),
    "another index under the name": Scene("base", (OTHER,), "up", 4, "up --replace"),
    "another index under the name, in plan": Scene("base", (OTHER,), "plan", 4, "up --replace"),
    "a duplicate": Scene("base", (DUPLICATE,), "check", 3, "up"),
    "a stamp of what is missing": Scene("base", (), f"stamp {HEAD}", 4, f"up --to {HEAD}"),
    "a stamp of what is beyond": Scene("head", (), "stamp base", 4, f"down --to {BASE}"),
    "a column is missing": Scene("base", ("ALTER TABLE activity DROP COLUMN activity_type",), "up", 1, "up", 1),
    "verify without the indexes": Scene("base", (), "verify", 4, "up"),
    "verify of another index": Scene("base", (OTHER,), "verify", 4, "up --replace"),
    "verify of what is not served": Scene("base", (), "verify", 4, "check", 3),
    "the queries of what is not served": Scene("base", (), "verify --sql", 4, "verify", 4),
    "a duplicate to be renamed": Scene("base", (DUPLICATE,), "check", 3, "up --adopt-renamed"),
    "another index in the way back": Scene("head", (f"DROP INDEX {NAME}", OTHER), "down", 4, "up --replace"),
    "wrong usage, as a document": Scene("head", (), "up --frobnicate --json", 2, "up --help"),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_the_command_of_a_hint_works_as_it_is_printed(database_url, scene):
    prepare(database_url, to=scene.there)
    execute(database_url, *scene.made)
    result = run(*scene.command.split(), url=database_url)
    assert result.exit_code == scene.exit_code, result
    assert re.search(rf"python cli\.py {re.escape(scene.typed)}(?=[\s.,:;)']|$)", result.stdout + result.stderr), result
    assert run(*scene.typed.split(), url=database_url).exit_code == scene.then


@pytest.mark.parametrize(
    ("command", "left_out"),
    [
        ("plan down --adopt-renamed", "plan down"),
        ("plan --include-adopted", "plan"),
        ("plan --sql --json", "plan --sql"),
        ("verify --sql --json", "verify --json"),
        ("verify --analyze", "verify"),
        ("status --schema public", "status"),
        ("status --all-schemas public", "status"),
    ],
)
def test_without_the_option_that_is_to_be_left_out_the_command_works(sqlite_head_url, tmp_path, command, left_out):
    refused = run(*command.split(), url=sqlite_head_url)
    assert (refused.exit_code, refused.stderr.startswith("Error: ")) == (2, True), refused
    assert run(*left_out.format(folder=tmp_path / "out").split(), url=sqlite_head_url).exit_code == 0


@pytest.mark.parametrize("command", ["bench --rows 10", "seed --rows 200000000"])
def test_as_many_rows_as_a_hint_names_can_be_made(sqlite_url, command):
    refused = run(*command.split(), url=sqlite_url)
    assert refused.exit_code == 2
    (activities,) = re.findall(r"Use \w+: --rows (\d+)", refused.stderr)
    assert all(counts(int(activities)).values())


def test_an_unknown_revision_lists_the_known_ones(sqlite_url):
    refused = run("up", "--to", "nowhere", url=sqlite_url)
    named = re.search(r"Name one of: (.*)\.", refused.stderr)[1].split(", ")
    assert named == [BASE, HEAD]
    assert [run("plan", "--to", each, url=sqlite_url).exit_code for each in named] == [0, 0]


def test_the_schemas_that_hold_the_tables_are_named_and_work(head_url):
    refused = run("status", "--all-schemas", "nowhere_*", url=head_url)
    assert refused.exit_code == 2
    assert "These schemas do: public." in refused.stderr
    assert run("status", "--all-schemas", "public", url=head_url).exit_code == 0


def test_a_folder_that_is_missing_can_be_made_as_the_hint_says(tmp_path):
    url = f"sqlite:///{tmp_path}/missing/crm.db"
    refused = run("up", url=url)
    subprocess.run(re.search(r"mkdir -p .*", refused.stderr)[0].split(), check=True)
    assert run("up", url=url).exit_code == 0


def test_a_schema_is_named_or_sought_and_without_the_pattern_the_command_works(head_url):
    refused = run("status", "--schema", "public", "--all-schemas", "public", url=head_url)
    assert (refused.exit_code, "Leave out --all-schemas." in refused.stderr) == (2, True)
    succeed("status", "--schema", "public", url=head_url)


def test_the_command_of_the_hint_waits_for_a_locked_file(sqlite_head_url):
    with closing(connect(sqlite_head_url)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        refused = run("status", url=sqlite_head_url)
        assert refused.exit_code == 7
        with running(*refused.next_command(), "--json", url=sqlite_head_url) as wait:
            assert "locked" in wait.event("ServerAwaited")["reason"]
            writer.execute("ROLLBACK")
            wait.succeed()
    succeed("status", url=sqlite_head_url)


def test_status_shows_the_progress_of_the_run_that_holds_the_lock(base_url):
    with open_writer(base_url), running("up", url=base_url):
        until_phase(base_url, "waiting for writers before build")
        refused = run("up", "--no-wait", url=base_url)
        assert refused.exit_code == 5
        seen = run(*refused.next_command(), url=base_url)
        assert seen.exit_code == 3
        assert re.search(rf"{FIRST} .* in progress", seen.stdout)


def test_status_shows_the_build_of_an_index_that_verify_misses(base_url):
    with open_writer(base_url), running("up", url=base_url):
        until_phase(base_url, "waiting for writers before build")
        note = "is being built or dropped by another session. See: python cli.py status"
        assert note in run("verify", url=base_url).stdout
        assert re.search(rf"{FIRST} .* in progress", run("status", url=base_url).stdout)


def test_unrecorded_indexes_are_dropped_and_then_the_base_is_stamped(any_head_url):
    execute(any_head_url, "DELETE FROM schema_revision")
    refused = run("stamp", "base", url=any_head_url)
    assert refused.exit_code == 4
    (names,) = re.findall(r"Drop the later indexes if nothing needs them \((.*)\), then run: ", refused.stderr)
    execute(any_head_url, *(f"DROP INDEX {name}" for name in names.split(", ")))
    succeed(*refused.next_command(), url=any_head_url)


def test_after_the_drop_that_verify_asks_for_the_index_is_built(any_base_url):
    execute(any_base_url, f"CREATE VIEW {NAME} AS SELECT 1 AS one")
    said = run("verify", url=any_base_url)
    assert "Drop it or rename it, then build the index: python cli.py up" in " ".join(said.stdout.split())
    execute(any_base_url, f"DROP VIEW {NAME}")
    succeed("up", url=any_base_url)


def test_the_columns_of_the_tables_to_be_made_are_in_the_script(database_url):
    assert "(all columns: --sql)" in succeed("plan", url=database_url).stdout
    assert "openphone_id" in succeed("plan", "--sql", url=database_url).stdout


@pytest.mark.parametrize(
    ("command", "to", "hint"),
    [
        ("plan", "base", "on webhook_event (rows unknown until ANALYZE"),
        ("verify", "head", "webhook_event has no statistics yet. Gather them: ANALYZE"),
    ],
)
def test_with_statistics_no_hint_asks_to_gather_them(postgres_url, command, to, hint):
    if command == "verify" and int(execute(postgres_url, "SHOW server_version_num")[0][0]) < 140000:
        pytest.skip(
            "before PostgreSQL 14 a table without statistics looks like an empty one; only plan asks for its size"
        )
    prepare(postgres_url, to=to)
    execute(postgres_url, "INSERT INTO webhook_event (event_type) VALUES ('message')")
    assert hint in run(command, url=postgres_url).stdout
    execute(postgres_url, "ANALYZE")
    assert hint not in run(command, url=postgres_url).stdout


def test_an_empty_database_elsewhere_is_filled_where_this_one_holds_rows(sqlite_url, tmp_path):
    succeed("seed", "--rows", "200", url=sqlite_url)
    refused = run("seed", url=sqlite_url)
    assert refused.exit_code == 1
    typed = [sys.executable, CLI, *refused.next_command(), "--rows", "200"]
    subprocess.run(typed, cwd=tmp_path, check=True, capture_output=True)
    assert run("status", url=f"sqlite:///{tmp_path}/demo.db").exit_code == 3


@pytest.mark.real_start
def test_an_interrupted_benchmark_begins_again_by_the_command_of_the_hint(sqlite_url, tmp_path):
    command = ["bench"]
    for _ in range(2):
        with running(*command, "--out", str(tmp_path / "out"), url=sqlite_url, TMPDIR=str(tmp_path)) as bench:
            until(lambda: [*tmp_path.glob("indexer_bench_*/crm.db")], "the file of the benchmark")
            bench.send(SIGINT)
            ended = bench.end()
        assert ended.exit_code == 130
        command = ended.next_command()
    assert command == ["bench"]


CLEANING_UP_FOR_LONG = """
import time
from indexer import signals as stop

def work(asked):
    print("begun", flush=True)
    time.sleep(60)

stop.GRACE = 0.1
stop.interruptible(work, look="Next: python cli.py status")
"""


def test_after_an_end_without_cleaning_up_status_shows_the_state(sqlite_base_url):
    typed = [sys.executable, "-c", CLEANING_UP_FOR_LONG]
    with subprocess.Popen(typed, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert errors == "Error: Interrupted; cleaning up took too long. Next: python cli.py status\n"
    assert run("status", url=sqlite_base_url).exit_code == 3


def failing(url: str, meanwhile: Callable[[Index], str]) -> str:
    """Return the hint of a run during which a statement is executed, once the first index is built."""
    statements: list[str] = []

    def report(event: object) -> None:
        if isinstance(event, IndexFinished) and not statements:
            statements.append(meanwhile(event.target))
            execute(url, *statements)

    migrator = connect_to(url)
    try:
        with pytest.raises(StatementFailed) as failed:
            Runner(migrator, load(str(ROOT)), report=report, options=Options(jobs=1)).up()
    finally:
        migrator.database.close()
    return str(failed.value.hint)


def test_the_command_of_the_hint_builds_an_index_that_was_dropped_during_a_run(base_url):
    hint = failing(base_url, lambda index: f"DROP INDEX {index.name}")
    assert hint.endswith("up")
    succeed("up", url=base_url)
    assert_all_valid(base_url)


def test_the_command_of_the_hint_shows_a_conflict_that_was_created_during_a_run(base_url):
    hint = failing(base_url, lambda _: f"CREATE INDEX {LAST} ON contact (first_name)")
    assert hint.endswith("check")
    said = run("check", url=base_url)
    assert said.exit_code in (3, 4)
    assert "first_name" in said.stdout


# Every hint has a test -----------------------------------------------------------------------------------------------

ERRORS = {
    name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.IndexerError)
}
WITH_A_HINT_OF_THEIR_OWN = {"Interrupted", "Held"}


def hints() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every hint that an error is given in the code; a name means a constant."""
    for path in program():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS:
                given = [*node.args[1:2], *(each.value for each in node.keywords if each.arg == "hint")]
                yield from ((f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(each)) for each in given)


def test_every_error_has_a_hint():
    without = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in program()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS - WITH_A_HINT_OF_THEIR_OWN
        if len(node.args) + len(node.keywords) < 2
    ]
    assert without == []


def test_no_hint_asks_to_run_again_without_a_change():
    assert [place for place, text in hints() if re.search(r"\b[Mm]end\b|the same command again, it", text)] == []


@pytest.mark.parametrize(
    "typed", sorted({each for path in program() for each in commands(ast.parse(path.read_text()))})
)
def test_every_command_that_a_hint_names_is_a_command_with_these_options(typed):
    name, *options = typed.split()
    known = cli.options_of(name) if name in cli.commands else {"--help"}
    assert [each for each in options if each.startswith("--") and each not in known] == []


def test_every_hint_that_holds_something_to_type_has_a_test_or_a_reason():
    entries = {text: entry_of(text) for text in collected()}
    assert [text for text, entry in entries.items() if entry is None] == []
    assert HINTS.keys() - entries.values() == set()


def test_every_test_of_a_hint_exists():
    each = [entry for value in HINTS.values() for entry in (value if isinstance(value, tuple) else (value,))]
    named = {tuple(entry.split("::")) for entry in each if "::" in entry}
    there = {
        (path.stem, node.name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert named - there == set()
