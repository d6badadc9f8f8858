"""Made-up rows are written to an empty database only, all of them or none."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import (
    BASE,
    catalog,
    created_indexes,
    erase,
    execute,
    is_postgres,
    nothing_changes,
    prepare,
    refuses,
    revisions,
    run,
    specified,
)
from playhouse.db_url import connect as connect_models
from roles import another_role, as_role
from scenes import ByHand, open_writer, running, transaction, until

import cli
import models
from indexer.bench.events import Filled, Filling, Told
from indexer.connection import connect
from indexer.console.text import of_seed
from indexer.errors import PreflightFailed, StatementFailed
from indexer.revisions.chain import load
from indexer.runner import Runner
from queries import QUERIES
from sample import counts, seed

ROOT = Path(cli.__file__).resolve().parent
TABLES = [model._meta.table_name for model in models.TABLES]
ROWS = {
    "contact": "INSERT INTO contact (first_name, last_name) VALUES ('Ada', 'Byron')",
    "activity": "INSERT INTO activity (body) VALUES ('Hello')",
    "campaign": "INSERT INTO campaign (name) VALUES ('Spring')",
    "campaign_membership": "INSERT INTO campaign_membership (status) VALUES ('sent')",
    "webhook_event": "INSERT INTO webhook_event (event_type) VALUES ('call.completed')",
}

SEEDING = """
import sys
import models
from indexer.connection import connect
from indexer.errors import IndexerError
from indexer.revisions.chain import load
from indexer.runner import Runner
from indexer.signals import interruptible
from sample import seed

url, root = sys.argv[1:]

def work(stop):
    runner = Runner(connect(url, stop=stop), load(root), lambda: models.TABLES, stop=stop)
    seed(runner, 200_000, tell=lambda event: print(event, flush=True))

try:
    interruptible(work)
except IndexerError as error:
    print(error.message, error.hint, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@contextmanager
def runner_on(url: str, schema: str | None = None) -> Iterator[Runner]:
    """Yield a runner as the command line makes it."""
    migrator = connect(url, schema)
    try:
        yield Runner(migrator, load(ROOT), lambda: models.TABLES)
    finally:
        migrator.database.close()


def seeded(url: str, activities: int = 400, schema: str | None = None) -> list[Told]:
    """Seed a database, and return the events."""
    events: list[Told] = []
    with runner_on(url, schema) as runner:
        seed(runner, activities, tell=events.append)
    return events


@contextmanager
def begun(url: str) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that is inserting activities."""
    with subprocess.Popen(
        [sys.executable, "-c", SEEDING, url, ROOT],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert any("table='activity', done=64000" in line for line in process.stdout)
        yield process


def counted(url: str) -> dict[str, int]:
    """Return how many rows each table has."""
    return {table: execute(url, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


def test_an_empty_database_is_given_tables_and_rows(database_url: str):
    with runner_on(database_url) as runner:
        done = seed(runner, 400)
        said = of_seed(runner.migrator.place, done).line
    assert counted(database_url) == done == counts(400)
    assert revisions(database_url) == {BASE: "applied"}
    assert "730 rows" in said
    assert "400 in activity" in said


def test_the_tables_are_those_that_up_makes_with_all_their_references(any_base_url: str):
    as_up_makes_them = catalog(any_base_url)
    erase(any_base_url)
    seeded(any_base_url)
    statistics = ("sqlite_stat1", "sqlite_stat4")
    assert [row for row in catalog(any_base_url) if row[1] not in statistics] == as_up_makes_them


@pytest.mark.parametrize("to", ["base", "head"])
def test_existing_empty_tables_are_filled(database_url: str, to: str):
    prepare(database_url, to=to)
    before = catalog(database_url)
    seeded(database_url)
    assert counted(database_url) == counts(400)
    assert [row for row in catalog(database_url) if not row[1].startswith("sqlite_stat")] == before
    assert created_indexes(database_url) == (specified(database_url) if to == "head" else {})


def test_the_schema_of_the_option_is_filled(postgres_url: str):
    execute(postgres_url, "CREATE SCHEMA demo")
    seeded(postgres_url, schema="demo")
    assert execute(postgres_url, "SELECT count(*) FROM demo.activity") == [(400,)]


def test_a_schema_with_a_percent_sign_is_filled_and_its_ids_go_on(postgres_url: str):
    execute(postgres_url, 'CREATE SCHEMA "rate 5%s"')
    seeded(postgres_url, schema="rate 5%s")
    added = """
        INSERT INTO "rate 5%s".campaign (name) VALUES ('next') RETURNING id - (SELECT max(id) FROM "rate 5%s".campaign)
    """
    assert execute(postgres_url, added) == [(1,)]


def test_the_hint_names_seed_and_not_up(base_url: str):
    execute(base_url, "ALTER SCHEMA public RENAME TO elsewhere", "CREATE SCHEMA public")
    refused = run("seed", url=base_url)
    assert refused.exit_code == 1
    assert refused.stderr.endswith("Fix this, then run: python cli.py seed\n")


@pytest.mark.parametrize("table", ROWS)
def test_a_table_that_holds_a_row_is_refused(any_base_url: str, table: str):
    execute(any_base_url, ROWS[table])
    with (
        nothing_changes(any_base_url),
        runner_on(any_base_url) as runner,
        pytest.raises(PreflightFailed, match=f"table {table} holds rows") as refusal,
    ):
        seed(runner, 400)
    assert refusal.value.exit_code == 1
    assert " seed" in str(refusal.value.hint)
    assert sum(counted(any_base_url).values()) == 1


def test_json_output_is_a_single_document(database_url: str):
    (document,) = run("seed", "--rows", "20", "--json", url=database_url).story()
    assert document["rows"] == counts(20)


def test_a_role_without_rights_on_the_schema_gets_the_grants_to_type(superuser_url: str, postgres_url: str):
    """A superuser makes the role."""
    execute(postgres_url, "CREATE SCHEMA tenant_b")
    seeded(postgres_url, 20, schema="tenant_b")
    with another_role(superuser_url) as role:
        url = as_role(postgres_url, role)
        result = run("seed", "--rows", "20", "--schema", "tenant_b", url=url)
        assert result.exit_code == 1
        assert f"role {role} may not create anything in schema tenant_b" in result.stderr
        assert result.next_command()[0] == "seed"
        execute(postgres_url, re.findall(f"GRANT USAGE, CREATE ON SCHEMA tenant_b TO {role}", result.stderr)[0])
        assert "in schema tenant_b\n" not in run("seed", "--rows", "20", "--schema", "tenant_b", url=url).stderr


def test_too_many_rows_are_refused(database_url: str):
    result = refuses(database_url, "seed", "--rows", "99999999999999999999", exit_code=2)
    assert result.stderr == "Error: No more than 100,000,000 activities can be made.\nUse fewer: --rows 1000000\n"


def test_seeding_twice_is_refused(database_url: str):
    seeded(database_url)
    with nothing_changes(database_url), pytest.raises(PreflightFailed, match=r"table conversation holds rows"):
        seeded(database_url)


def test_a_database_without_one_of_the_tables_is_refused(any_base_url: str):
    execute(any_base_url, "DROP TABLE webhook_event")
    with nothing_changes(any_base_url), pytest.raises(PreflightFailed, match=r"table .*webhook_event is missing"):
        seeded(any_base_url)


def test_a_table_without_one_of_the_columns_is_refused(any_base_url: str):
    execute(any_base_url, "ALTER TABLE contact DROP COLUMN lead_source")
    with nothing_changes(any_base_url), pytest.raises(PreflightFailed, match="contact has no column lead_source"):
        seeded(any_base_url)


def test_a_refused_statement_leaves_no_row(any_base_url: str):
    execute(any_base_url, "CREATE UNIQUE INDEX in_the_way ON webhook_event (event_type)")
    with pytest.raises(StatementFailed, match=r"(?i)unique"):
        seeded(any_base_url)
    assert sum(counted(any_base_url).values()) == 0


def test_progress_is_reported_from_the_first_table_to_the_last(database_url: str):
    events = seeded(database_url)
    filling = [event for event in events if isinstance(event, Filling)]
    assert [event.table for event in filling] == TABLES
    assert [event.done for event in filling] == sorted(event.done for event in filling)
    assert {event.total for event in filling} == {sum(counts(400).values())}
    assert isinstance(events[-1], Filled)


def test_every_query_finds_rows_in_it(database_url: str):
    seeded(database_url, 20_000)
    database = connect_models(database_url)
    with database, database.bind_ctx(models.TABLES):
        for query in QUERIES:
            assert any(query.ask(*arguments) for arguments in query.sample(400)), query.call


def test_the_planner_has_statistics_afterwards(database_url: str):
    seeded(database_url)
    if is_postgres(database_url):
        known = execute(database_url, "SELECT DISTINCT tablename FROM pg_stats WHERE schemaname = 'public'")
    else:
        known = execute(database_url, "SELECT DISTINCT tbl FROM sqlite_stat1")
    assert {table for (table,) in known} >= {"contact", "conversation", "webhook_event"}


def test_the_same_command_works_after_a_killed_seeding(sqlite_url: str):
    with begun(sqlite_url) as process:
        process.kill()
        process.communicate(timeout=60)
    seeded(sqlite_url)


@pytest.mark.parametrize(
    ("send", "number"),
    [(os.kill, signal.SIGTERM), (os.killpg, signal.SIGINT)],
    ids=["as an orchestrator does", "as a terminal does"],
)
def test_an_interrupted_seeding_writes_no_row(
    database_url: str, send: Callable[[int, int], None], number: signal.Signals
):
    with begun(database_url) as process:
        send(process.pid, number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"Interrupted by {number.name}: no row was written. Run the same command again." in errors
    assert sum(counted(database_url).values()) == 0
    seeded(database_url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_seeding_interrupted_before_its_rows_says_that_none_was_written(postgres_url: str, number: signal.Signals):
    waiting = "SELECT 1 FROM pg_stat_activity WHERE query ~ '^BEGIN; CREATE TABLE' AND wait_event_type = 'Lock'"
    with transaction(postgres_url, "CREATE TABLE contact ()"), running("seed", url=postgres_url) as seeding:
        until(lambda: execute(postgres_url, waiting))
        seeding.send(number)
        result = seeding.end()
    assert result.exit_code == 128 + number
    assert f"Interrupted by {number.name}: no row was written. " in result.stderr.replace("\n", " ")


def test_a_seeding_interrupted_after_its_rows_says_how_to_bring_statistics_up_to_date(base_url: str):
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '^{}'"
    with open_writer(base_url) as writer, running("seed", "--rows", "200", url=base_url) as seeding:
        until(lambda: execute(base_url, waiting.format("BEGIN; LOCK TABLE .* IN SHARE ROW")))
        # Next in the queue: held once the rows are committed, and before they are counted.
        other = ByHand(base_url, "BEGIN; LOCK TABLE activity IN SHARE UPDATE EXCLUSIVE MODE")
        until(lambda: execute(base_url, waiting.format("BEGIN; LOCK TABLE .* IN SHARE UPDATE")))
        writer.end()
        until(lambda: execute(base_url, waiting.format("VACUUM")))
        seeding.send(signal.SIGINT)
        result = seeding.end()
        other.end()
    assert result.exit_code == 130
    assert "all rows are written" in result.stderr
    execute(base_url, re.findall("Bring statistics up to date: (ANALYZE)", result.stderr)[0])
    assert sum(counted(base_url).values()) > 200


def test_an_interrupted_seeding_uses_up_no_ids(postgres_url: str):
    with begun(postgres_url) as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert execute(postgres_url, "SELECT nextval('contact_id_seq')") == [(1,)]
