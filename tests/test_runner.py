"""The ten indexes go on and come off, on both databases, through the command line alone."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from command import (
    BASE,
    HEAD,
    OWN_TABLES,
    SEVEN_TABLES,
    TEN_NAMES,
    catalog,
    connect,
    created_indexes,
    erase,
    execute,
    file_of,
    indexes,
    is_postgres,
    nothing_changes,
    prepare,
    records,
    revisions,
    run,
    run_script,
    specified,
    succeed,
    tables,
)

ONE_CONTACT = "INSERT INTO contact (id, first_name, last_name, phone) VALUES (1, 'Ada', 'Lovelace', '+12025550123')"
SOME_OF_THE_TEN = ("ix_activity_type", "ix_contact_phone_hash", "ix_webhook_event_event_type")


def drop_indexes(url: str, *names: str) -> None:
    """Drop indexes by hand."""
    execute(url, *(f"DROP INDEX {name}" for name in names))


def interrupt(url: str, state: str = "applying", missing: tuple[str, ...] = SOME_OF_THE_TEN) -> None:
    """Bring the database to the state after a killed `up`."""
    drop_indexes(url, *missing)
    not_ended = f"state = '{state}', applied_at = NULL, duration_ms = NULL"
    execute(url, f"UPDATE schema_revision SET {not_ended} WHERE revision = '{HEAD}'")


def make_in_other_case(url: str) -> None:
    """Create the tables of a SQLite file with names in capitals, which SQLite accepts."""
    prepare(url, "base")
    (activity,) = execute(url, "SELECT sql FROM sqlite_master WHERE name = 'activity'")[0]
    execute(url, "PRAGMA foreign_keys = off", "DROP TABLE activity", activity.upper())


def make_by_hand(url: str, name: str) -> None:
    """Create one of the ten indexes by hand."""
    execute(url, specified(url)[name])


def short_status(url: str) -> dict:
    """Return what status says, without times and users."""
    status = run("status", "--json", url=url).json()
    return {
        "exit_code": status["exit_code"],
        "revision": status["revision"],
        "pending": status["pending"],
        "revisions": [(each["revision"], each["state"]) for each in status["revisions"]],
        "indexes": {each["name"]: (each["state"], each["existed_before"]) for each in status["indexes"]},
    }


@contextmanager
def ddl_sent_to(url: str) -> Iterator[list[str]]:
    """Collect the index statements that PostgreSQL executes, by an event trigger that writes nothing."""
    sent: list[str] = []
    execute(
        url,
        "CREATE SCHEMA audit",
        """
        CREATE FUNCTION audit.tell() RETURNS event_trigger LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_catalog.pg_notify('ddl', pg_catalog.current_query()); END $$
        """,
        "CREATE EVENT TRIGGER tell ON ddl_command_start EXECUTE FUNCTION audit.tell()",
    )
    with closing(connect(url)) as listener, listener.cursor() as cursor:
        cursor.execute("LISTEN ddl")
        yield sent
        cursor.execute("SELECT 1")
        sent += [notice.payload for notice in listener.notifies if " INDEX " in notice.payload]


# up ------------------------------------------------------------------------------------------------------------------


def test_up_gives_an_empty_database_seven_tables_and_the_ten_indexes_and_records_both_revisions(database_url):
    result = succeed("up", url=database_url)

    assert tables(database_url) == SEVEN_TABLES | OWN_TABLES
    assert created_indexes(database_url) == specified(database_url)
    assert revisions(database_url) == {BASE: "applied", HEAD: "applied"}
    assert result.stderr == ""


def test_up_builds_the_ten_and_no_other_index(any_base_url):
    before = indexes(any_base_url)
    succeed("up", url=any_base_url)

    assert indexes(any_base_url).keys() - before.keys() == TEN_NAMES
    assert before.items() <= indexes(any_base_url).items()


def test_a_second_up_says_in_one_line_that_there_is_nothing_to_do(any_head_url):
    with nothing_changes(any_head_url):
        result = succeed("up", url=any_head_url)

    assert len(result.lines) == 1
    assert result.lines[0].startswith("Nothing to do")
    assert result.stderr == ""


def test_up_announces_each_statement_and_ends_with_what_it_did(database_url):
    result = succeed("up", url=database_url)

    names = [re.search(r"ix_\w+", statement).group() for statement in result.announced()]
    assert sorted(names) == sorted(specified(database_url))
    assert re.match(r"Done in .*: 10 created\. .* is at 10992629d68e\.$", result.lines[-1])


def test_up_as_json_ends_with_what_it_did(database_url):
    result = succeed("up", "--json", url=database_url)

    assert result.json()["indexes"] == dict.fromkeys(specified(database_url), "create")
    assert (result.json()["from"], result.json()["to"]) == (None, HEAD)


# down ----------------------------------------------------------------------------------------------------------------


def test_down_drops_exactly_the_ten_and_goes_back_to_the_base(any_base_url):
    before = catalog(any_base_url)
    succeed("up", url=any_base_url)
    result = succeed("down", "--to", "base", url=any_base_url)

    assert catalog(any_base_url) == before
    assert len(result.announced()) == 10
    assert revisions(any_base_url) == {BASE: "applied"}
    assert short_status(any_base_url)["revision"] == BASE


def test_down_leaves_every_table_and_row(any_head_url):
    execute(any_head_url, ONE_CONTACT)
    succeed("down", url=any_head_url)

    assert tables(any_head_url) >= SEVEN_TABLES
    assert execute(any_head_url, "SELECT id, phone FROM contact") == [(1, "+12025550123")]


def test_a_second_down_says_in_one_line_that_there_is_nothing_to_roll_back(any_head_url):
    succeed("down", url=any_head_url)
    with nothing_changes(any_head_url):
        result = succeed("down", url=any_head_url)

    assert len(result.lines) == 1
    assert result.lines[0].startswith("Nothing to roll back")
    assert BASE in result.lines[0]


def test_down_on_an_empty_database_makes_nothing(database_url):
    with nothing_changes(database_url):
        result, plan = succeed("down", url=database_url), succeed("plan", "down", url=database_url)

    assert result.lines == plan.lines
    assert re.fullmatch(r"Nothing to roll back: \S+( \(schema public\))? has none of the tables.", result.lines[0])
    assert run("down", "--json", url=database_url).json()["to"] is None


def test_up_down_up_leaves_the_same_catalog_as_one_up(database_url):
    succeed("up", url=database_url)
    once, recorded_once = catalog(database_url), records(database_url)
    succeed("down", url=database_url)
    succeed("up", url=database_url)

    assert catalog(database_url) == once
    assert records(database_url) == recorded_once


def test_down_skips_an_index_that_was_dropped_by_hand(any_head_url):
    drop_indexes(any_head_url, "ix_activity_type")
    result = succeed("down", url=any_head_url)

    assert created_indexes(any_head_url) == {}
    assert len(result.announced()) == 9
    assert revisions(any_head_url) == {BASE: "applied"}


# --to ----------------------------------------------------------------------------------------------------------------


def test_up_to_base_makes_the_tables_alone(database_url):
    succeed("up", "--to", "base", url=database_url)

    assert tables(database_url) >= SEVEN_TABLES
    assert created_indexes(database_url) == {}
    assert revisions(database_url) == {BASE: "applied"}


def test_a_revision_may_be_named_by_how_it_starts(database_url):
    succeed("up", "--to", HEAD[:4], url=database_url)

    assert revisions(database_url)[HEAD] == "applied"


def test_up_to_a_revision_behind_goes_nowhere(any_head_url):
    with nothing_changes(any_head_url):
        assert succeed("up", "--to", "base", url=any_head_url).lines[0].startswith("Nothing to do")


def test_down_to_the_head_goes_nowhere(any_head_url):
    with nothing_changes(any_head_url):
        assert succeed("down", "--to", "head", url=any_head_url).lines[0].startswith("Nothing to roll back")


@pytest.mark.parametrize("command", ["up", "down"])
def test_an_unknown_revision_is_wrong_usage(database_url, command):
    with nothing_changes(database_url):
        result = run(command, "--to", "deadbeef", url=database_url)

    assert result.exit_code == 2
    assert "deadbeef" in result.stderr
    assert HEAD in result.stderr


# status and plan -----------------------------------------------------------------------------------------------------


def test_status_exits_with_3_before_up_and_with_0_after_it(database_url):
    assert run("status", url=database_url).exit_code == 3
    succeed("up", url=database_url)
    assert run("status", url=database_url).exit_code == 0
    succeed("down", url=database_url)
    assert run("status", url=database_url).exit_code == 3


def test_a_lost_index_is_shown_by_status_and_rebuilt_by_up(any_head_url):
    drop_indexes(any_head_url, "ix_activity_type")
    status = run("status", url=any_head_url)
    repaired = succeed("up", url=any_head_url)

    assert status.exit_code == 4
    assert re.search(r"^ix_activity_type .* missing", status.stdout, re.MULTILINE)
    assert status.lines[-1] == "Missing or different: ix_activity_type. To repair it, run: python cli.py up"
    assert len(repaired.announced()) == 1
    assert created_indexes(any_head_url) == specified(any_head_url)
    assert short_status(any_head_url)["exit_code"] == 0


def test_status_shows_every_index_with_its_method_and_state(any_head_url):
    shown = run("status", url=any_head_url).stdout
    phone = "hash" if is_postgres(any_head_url) else "btree"

    assert all(re.search(rf"^{name} .* valid ", shown, re.MULTILINE) for name in TEN_NAMES)
    assert re.search(rf"^ix_contact_phone_hash +contact +{phone} +valid", shown, re.MULTILINE)


READING = ("status", "plan --json", "plan --sql", "plan down")


def test_reading_leaves_no_trace_on_an_empty_database(database_url):
    with nothing_changes(database_url):
        for command in READING:
            run(*command.split(), url=database_url)

    assert tables(database_url) == set() if is_postgres(database_url) else not file_of(database_url).exists()


def test_reading_changes_nothing_where_revisions_are_recorded(any_head_url):
    drop_indexes(any_head_url, "ix_activity_type")
    with nothing_changes(any_head_url):
        for command in READING:
            run(*command.split(), url=any_head_url)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_plan_shows_exactly_the_statements_that_the_run_announces(database_url, direction):
    prepare(database_url, "base" if direction == "up" else "head")
    plan = succeed("plan", direction, url=database_url)
    shown = re.findall(r"^    ((?:CREATE|DROP) .*);$", plan.stdout, re.MULTILINE)
    steps = succeed("plan", direction, "--json", url=database_url).json()["steps"]
    announced = succeed(direction, url=database_url).announced()

    assert len(announced) == 10
    assert sorted(shown) == announced
    assert sorted(statement for step in steps for statement in step["statements"]) == announced


def test_plan_on_an_empty_database_shows_the_statements_that_up_announces(database_url):
    steps = succeed("plan", "--json", url=database_url).json()["steps"]
    announced = succeed("up", url=database_url).announced()

    assert sorted(statement for step in steps for statement in step["statements"]) == announced


def test_plan_shows_only_what_is_still_missing(any_head_url):
    interrupt(any_head_url)
    steps = succeed("plan", "--json", url=any_head_url).json()["steps"]

    assert {step["name"] for step in steps if step["action"] == "create"} == set(SOME_OF_THE_TEN)
    assert {step["action"] for step in steps} == {"create", "keep"}


def test_plan_names_rows_and_size_of_the_table(any_base_url):
    execute(any_base_url, ONE_CONTACT, "ANALYZE")
    (step,) = (
        step
        for step in succeed("plan", "--json", url=any_base_url).json()["steps"]
        if step["name"] == "ix_contact_phone_hash"
    )

    assert step["table_rows"] == 1
    assert step["table_bytes"] > 0
    assert "on contact (about 1 row, " in succeed("plan", url=any_base_url).stdout


def test_plan_where_nothing_is_due_says_so_in_one_line(any_head_url):
    assert succeed("plan", url=any_head_url).lines[0].startswith("Nothing to do")
    succeed("down", url=any_head_url)
    assert succeed("plan", "down", url=any_head_url).lines[0].startswith("Nothing to roll back")


# plan --sql ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [["plan"], ["up", "--to", "base"]], ids=["on an empty database", "on base tables"])
def test_the_script_of_plan_does_in_the_databases_own_shell_what_up_does(database_url, before):
    succeed(*before, url=database_url)
    run_script(succeed("plan", "--sql", url=database_url).stdout, database_url)
    by_script = catalog(database_url), records(database_url), short_status(database_url)
    erase(database_url)
    succeed("up", url=database_url)

    assert (catalog(database_url), records(database_url), short_status(database_url)) == by_script


def test_the_script_of_plan_records_in_one_transaction_before_the_builds_and_in_one_after_them(base_url):
    preamble, *transactions = succeed("plan", "--sql", url=base_url).stdout.split("BEGIN;")
    begun, recorded = (transaction.partition("COMMIT;") for transaction in transactions)

    assert "schema_revision" not in preamble
    assert "'applying'" in begun[0]
    assert begun[2].count("CREATE INDEX CONCURRENTLY") == 10
    assert "'applied'" in recorded[0]
    assert recorded[2].strip().startswith('UPDATE "public"."schema_revision" SET "existed_before"')
    assert recorded[2].count(";\n") == 1  # whose failure would leave the record complete


def test_the_script_of_plan_down_does_in_the_databases_own_shell_what_down_does(any_head_url):
    run_script(succeed("plan", "down", "--sql", url=any_head_url).stdout, any_head_url)
    by_script = catalog(any_head_url), records(any_head_url), short_status(any_head_url)
    succeed("up", url=any_head_url)
    succeed("down", url=any_head_url)

    assert (catalog(any_head_url), records(any_head_url), short_status(any_head_url)) == by_script


def test_the_script_of_plan_completes_an_interrupted_run_and_down_undoes_it(any_base_url):
    make_by_hand(any_base_url, "ix_activity_type")
    succeed("up", url=any_base_url)
    interrupt(any_base_url, missing=("ix_contact_phone_hash",))
    run_script(succeed("plan", "--sql", url=any_base_url).stdout, any_base_url)

    assert short_status(any_base_url)["exit_code"] == 0
    succeed("down", url=any_base_url)
    assert set(created_indexes(any_base_url)) == {"ix_activity_type"}


def test_the_script_of_plan_where_nothing_is_due_changes_nothing(any_head_url):
    with nothing_changes(any_head_url):
        run_script(succeed("plan", "--sql", url=any_head_url).stdout, any_head_url)


def test_the_script_of_plan_stops_at_the_first_error(any_base_url):
    script = succeed("plan", "--sql", url=any_base_url).stdout
    make_by_hand(any_base_url, "ix_activity_type")
    with pytest.raises(Exception, match="already exists"):
        run_script(script, any_base_url)

    begun = {HEAD: "applying"} if is_postgres(any_base_url) else {}
    assert revisions(any_base_url) == {BASE: "applied", **begun}


@pytest.mark.parametrize("finished", [True, False], ids=["finished by up", "undone at once"])
def test_a_script_that_stops_halfway_has_recorded_the_indexes_that_existed_before(any_base_url, finished):
    make_by_hand(any_base_url, "ix_webhook_event_event_type")
    script = succeed("plan", "--sql", url=any_base_url).stdout
    make_by_hand(any_base_url, "ix_activity_type")  # the last but one
    with pytest.raises(Exception, match="already exists"):
        run_script(script, any_base_url)
    if finished:
        drop_indexes(any_base_url, "ix_activity_type")
        succeed("up", url=any_base_url)
    succeed("down", url=any_base_url)

    stays = {"ix_activity_type"} if not finished and not is_postgres(any_base_url) else set()
    assert set(created_indexes(any_base_url)) == {"ix_webhook_event_event_type"} | stays


@pytest.mark.parametrize(
    ("obstacle", "exit_code"),
    [("CREATE VIEW ix_activity_type AS SELECT 1 AS one", 4), ("ALTER TABLE activity RENAME TO call", 1)],
    ids=["a view", "a missing table"],
)
def test_a_run_that_would_be_refused_has_no_script_and_its_refusal_is_on_stderr(any_base_url, obstacle, exit_code):
    execute(any_base_url, obstacle)
    result = run("plan", "--sql", url=any_base_url)

    assert (result.exit_code, result.stdout) == (exit_code, "")
    refused = run("up", url=any_base_url).stderr
    assert result.stderr == refused.replace("Nothing was changed", "up would be refused", 1)


# Interrupted runs ----------------------------------------------------------------------------------------------------


def test_status_shows_a_run_that_did_not_end_as_pending(any_head_url):
    interrupt(any_head_url)
    status = run("status", url=any_head_url)

    assert status.exit_code == 3
    assert re.search(rf"{HEAD} .*, applying since .*: interrupted or still running", status.stdout)


@pytest.mark.parametrize("state", ["applying", "reverting"])
def test_up_completes_a_run_that_did_not_end(any_head_url, state):
    complete = catalog(any_head_url), records(any_head_url)
    interrupt(any_head_url, state)
    result = succeed("up", url=any_head_url)

    assert len(result.announced()) == len(SOME_OF_THE_TEN)
    assert (catalog(any_head_url), records(any_head_url)) == complete


@pytest.mark.parametrize("state", ["applying", "reverting"])
def test_down_undoes_a_run_that_did_not_end(any_base_url, state):
    before = catalog(any_base_url)
    succeed("up", url=any_base_url)
    interrupt(any_base_url, state)
    succeed("down", url=any_base_url)

    assert catalog(any_base_url) == before
    assert revisions(any_base_url) == {BASE: "applied"}


def test_up_records_a_run_that_was_killed_after_its_last_index(any_head_url):
    interrupt(any_head_url, missing=())
    result = succeed("up", url=any_head_url)

    assert result.announced() == []
    assert revisions(any_head_url)[HEAD] == "applied"


# Older indexes -------------------------------------------------------------------------------------------------------


def test_an_index_that_stood_there_before_up_is_kept_and_left_by_down(any_base_url):
    make_by_hand(any_base_url, "ix_activity_type")
    up = succeed("up", url=any_base_url)
    down = succeed("down", url=any_base_url)

    assert "  ix_activity_type kept (already exists)" in up.lines
    assert len(up.announced()) == 9
    assert "  ix_activity_type left (existed before up)" in down.lines
    assert set(created_indexes(any_base_url)) == {"ix_activity_type"}


def test_status_marks_an_index_that_stood_there_before_up(any_base_url):
    make_by_hand(any_base_url, "ix_activity_type")
    succeed("up", url=any_base_url)
    marked = {name for name, (_, before) in short_status(any_base_url)["indexes"].items() if before}

    assert marked == {"ix_activity_type"}


@pytest.mark.parametrize("state", ["applying", "reverting"])
def test_an_interrupted_run_keeps_the_record_of_adopted_indexes(any_base_url, state):
    make_by_hand(any_base_url, "ix_activity_type")
    succeed("up", url=any_base_url)
    interrupt(any_base_url, state, missing=("ix_contact_phone_hash", "ix_activity_openphone_id"))
    succeed("up", url=any_base_url)
    succeed("down", url=any_base_url)

    assert set(created_indexes(any_base_url)) == {"ix_activity_type"}


def test_an_interrupted_run_does_not_take_created_indexes_for_adopted_ones(any_base_url):
    before = catalog(any_base_url)
    succeed("up", url=any_base_url)
    interrupt(any_base_url)
    succeed("up", url=any_base_url)
    succeed("down", url=any_base_url)

    assert catalog(any_base_url) == before


def test_rebuilding_a_lost_index_does_not_make_the_others_older_than_up(any_base_url):
    make_by_hand(any_base_url, "ix_activity_type")
    succeed("up", url=any_base_url)
    drop_indexes(any_base_url, "ix_contact_phone_hash")
    succeed("up", url=any_base_url)
    succeed("down", url=any_base_url)

    assert set(created_indexes(any_base_url)) == {"ix_activity_type"}


def test_plan_down_drops_no_index_that_down_keeps(any_base_url):
    make_by_hand(any_base_url, "ix_activity_type")
    succeed("up", url=any_base_url)
    script = succeed("plan", "down", "--sql", url=any_base_url).stdout

    assert set(re.findall(r"^DROP INDEX .*(ix_\w+)", script, re.MULTILINE)) == TEN_NAMES - {"ix_activity_type"}


# Which statements ----------------------------------------------------------------------------------------------------


def test_no_index_is_created_if_not_exists(any_base_url):
    script = succeed("plan", "--sql", url=any_base_url).stdout
    created = [*succeed("up", url=any_base_url).announced(), *re.findall(r"^CREATE .*INDEX .*", script, re.MULTILINE)]

    assert len(created) == 20
    assert not [statement for statement in created if "IF NOT EXISTS" in statement.upper()]


def test_postgresql_executes_the_announced_statements_and_none_that_blocks_writers(superuser_url, base_url):
    """Only a superuser makes an event trigger."""
    with ddl_sent_to(superuser_url) as sent:
        announced = [*succeed("up", url=base_url).announced(), *succeed("down", url=base_url).announced()]

    assert sorted(sent) == sorted(announced)
    assert [statement.partition(' "')[0] for statement in sent] == (
        ["CREATE INDEX CONCURRENTLY"] * 10 + ["DROP INDEX CONCURRENTLY"] * 10
    )


def test_the_scripts_for_psql_lock_no_writer_out(base_url):
    script = succeed("plan", "--sql", url=base_url).stdout
    succeed("up", url=base_url)
    script += succeed("plan", "down", "--sql", url=base_url).stdout
    statements = re.findall(r"^(?:CREATE|DROP) .*", script, re.MULTILINE)

    assert len(statements) == 20
    assert all(re.match(r"(CREATE|DROP) INDEX CONCURRENTLY ", statement) for statement in statements)


def test_a_plan_names_the_command_that_does_what_it_shows(database_url):
    shown = succeed("plan", "--to", "base", "--adopt-renamed", url=database_url).lines[-1]

    assert shown == "Nothing was changed. To do it, run: python cli.py up --to base --adopt-renamed"


@pytest.mark.parametrize("command", ["status", "check", "plan", "history", "verify"])
def test_reading_leaves_the_write_ahead_log_of_another_process_alone(sqlite_head_url, command):
    with closing(connect(sqlite_head_url)) as writer:
        writer.execute("PRAGMA journal_mode = wal")
        writer.execute("INSERT INTO contact (first_name, last_name) VALUES ('Ada', 'Lovelace')")
        for name, content in {path: path.read_bytes() for path in file_of(sqlite_head_url).parent.iterdir()}.items():
            name.with_name(f"left-{name.name}").write_bytes(content)
    left = sqlite_head_url.replace(file_of(sqlite_head_url).name, f"left-{file_of(sqlite_head_url).name}")
    before = {path.name: path.read_bytes() for path in file_of(left).parent.glob("left-*[bl]")}
    run(command, url=left)

    assert {path.name: path.read_bytes() for path in file_of(left).parent.glob("left-*[bl]")} == before
    assert f"{file_of(left).name}-wal" in before


def test_the_rollback_journal_of_a_killed_process_is_applied_before_the_first_read(sqlite_head_url):
    half_written = """
        import os, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA cache_size = 10")
        connection.execute("BEGIN")
        connection.execute("DROP INDEX ix_activity_type")
        connection.executemany("INSERT INTO activity (body) VALUES (?)", [("x" * 4000,)] * 1000)
        os._exit(9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(half_written), file_of(sqlite_head_url)], check=False)
    assert file_of(sqlite_head_url).with_name(file_of(sqlite_head_url).name + "-journal").exists()

    assert run("check", url=sqlite_head_url).exit_code == 0


def test_on_sqlite_names_are_the_same_in_any_case(sqlite_url):
    make_in_other_case(sqlite_url)
    succeed("up", url=sqlite_url)
    assert run("check", url=sqlite_url).exit_code == 0
    assert succeed("up", url=sqlite_url).announced() == []
    succeed("down", url=sqlite_url)

    assert created_indexes(sqlite_url) == {}
