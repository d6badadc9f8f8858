"""`check --deep` finds indexes that are really corrupt, by amcheck and by lookups, and raises no false alarm."""

from __future__ import annotations

import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg2
import pytest
from command import HEAD, TEN_NAMES, execute, refuses, run, succeed
from corruption import KINDS, ROWS, UNSORTED, damage, lack_amcheck, lose_writes, need_amcheck, sort_by
from leftovers import not_valid
from roles import OWNER, another_role, as_application, as_role
from scenes import ByHand, Server, old_snapshot, own_server, running, until, until_phase

from indexer.care.checking import DeepCheck
from indexer.care.deep import AMCHECK, CANNOT_TELL, CLEAN, CORRUPT, LOOKUPS, Finding, deep_check
from indexer.errors import Locked
from indexer.plans import Check
from indexer.postgres.care.checker import PostgresChecker
from indexer.records.baseline import Checked
from indexer.revisions.chain import load
from indexer.runner import Runner

from indexer.connection import connect  # isort: skip


def found(url: str, *names: str, heap: bool = False, longest: float = 60.0) -> dict[str, Finding]:
    """Return what the deep checks of these indexes find."""
    with connect(url) as opened:
        migrator = opened.within(opened.context, [])
        return {finding.name: finding for finding in deep_check(migrator, names, heap, longest)}


def states(url: str, *names: str, heap: bool = False) -> dict[str, str]:
    """Return the states that the deep checks of these indexes find."""
    return {name: finding.state for name, finding in found(url, *names, heap=heap).items()}


@pytest.fixture
def filled_url(head_url: str) -> str:
    """Return the URL of a database with the ten indexes and rows of the four kinds of text."""
    execute(head_url, *ROWS, "ANALYZE")
    return head_url


# Text that is sorted in another order --------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [AMCHECK, LOOKUPS])
def test_an_index_whose_collation_changed_is_corrupt_if_its_text_sorts_otherwise(filled_url, superuser_url, by):
    if by == AMCHECK:
        need_amcheck(superuser_url, OWNER)
    assert set(states(filled_url, *KINDS).values()) == {CLEAN}

    sort_by(superuser_url, "en-x-icu", *KINDS)  # the catalog is the superuser's
    after = found(filled_url, *KINDS)
    assert {each.by for each in after.values()} == {by}
    assert {name for name, each in after.items() if each.state == CORRUPT} == UNSORTED
    assert {each.state for name, each in after.items() if name not in UNSORTED} == {CLEAN}
    assert all(each.text for each in after.values() if each.state == CORRUPT)

    execute(filled_url, *(f"REINDEX INDEX {name}" for name in KINDS))
    assert set(states(filled_url, *KINDS).values()) == {CLEAN}


def test_check_exits_with_4_and_names_the_command_that_rebuilds_it(filled_url, superuser_url):
    sort_by(superuser_url, "en-x-icu", "ix_activity_openphone_id")
    printed = run("check", "--deep", url=filled_url)
    assert printed.exit_code == 4
    assert "Corrupt: ix_activity_openphone_id. To rebuild it, run: python cli.py reindex ix_activity_openphone_id" in (
        printed.stdout
    )

    result = run("check", "--deep", "--json", "ix_activity_openphone_id", "ix_activity_type", url=filled_url)
    document = result.json()
    assert result.exit_code == document["exit_code"] == 4
    assert {each["name"]: each["finding"] for each in document["indexes"]}["ix_activity_openphone_id"] == "corrupt"
    corrupt, clean = document["deep"]
    assert (corrupt["index"], corrupt["result"], corrupt["by"]) == ("ix_activity_openphone_id", "corrupt", "lookups")
    assert 0 < corrupt["found"] < corrupt["looked_up"] == 2000
    assert (clean["index"], clean["result"], clean["found"]) == ("ix_activity_type", "clean", 2000)


# Other damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [AMCHECK, LOOKUPS])
def test_a_row_that_the_index_lacks_is_found_missing(filled_url, superuser_url, by):
    if by == AMCHECK:
        need_amcheck(superuser_url, OWNER)
    rows = "INSERT INTO activity (openphone_id) SELECT 'lost ' || n FROM generate_series(1, 2000) AS n"
    lose_writes(superuser_url, "ix_activity_openphone_id", rows)  # the catalog is the superuser's

    for heap in (True, False):
        assert states(filled_url, "ix_activity_openphone_id", heap=heap) == {"ix_activity_openphone_id": CORRUPT}
    assert run("check", "--deep", url=filled_url).exit_code == 4


@pytest.fixture(scope="module")
def server():
    """Yield a server that tests stop, to write into its files."""
    with own_server() as server:
        yield server


def _file(url: str, index: str, data: Path) -> Path:
    return data / execute(url, f"SELECT pg_relation_filepath('{index}')")[0][0]


def test_a_check_that_did_not_end_is_no_success(filled_url):
    result = run("check", "--deep", "ix_activity_openphone_id", "--timeout", "0.001", url=filled_url)

    assert result.exit_code == 1
    assert "Everything is as declared" not in result.stdout
    assert "Not checked: ix_activity_openphone_id." in result.stdout
    assert "Allow more: python cli.py check --deep ix_activity_openphone_id --timeout 1" in result.stdout


def test_damaged_files_are_corrupt_indexes_and_stop_no_other_check(server: Server):
    data = server.log.parent / "data"
    with server.new_database() as url:
        superuser = as_role(url, "postgres")
        succeed("up", url=url)
        execute(
            url,
            *ROWS,
            "INSERT INTO contact (first_name, last_name, phone) SELECT 'a', 'b', n FROM generate_series(1, 5000) AS n",
            "INSERT INTO conversation (contact_id) SELECT id FROM contact",
            "CREATE TABLE tagged AS SELECT ARRAY [n % 400] AS tags FROM generate_series(1, 5000) AS n",
            "CREATE INDEX by_tags ON tagged USING gin (tags)",
        )
        execute(superuser, "VACUUM ANALYZE", "CHECKPOINT")
        files = {name: _file(url, name, data) for name in (*TEN_NAMES, "conversation", "by_tags")}
        server.crash()
        for block in range(2, files["by_tags"].stat().st_size // 8192):
            damage(files["by_tags"], block, 8192 - 10, b"\x01")  # in the list of rows of a key
        damage(files["ix_contact_phone_hash"], 1, 0, bytes(8192))  # a bucket
        damage(files["ix_activity_openphone_id"], 1, 18, b"\xff\xff")  # the size of a page
        damage(files["conversation"], 1, 12, b"\xff" * 8)  # the header of a page of the table
        with files["ix_activity_type"].open("r+b") as file:
            file.truncate(8192)
        server.come_back()
        try:
            document = run("check", "--deep", "--json", url=url).json()
        finally:
            for name in ("ix_contact_phone_hash", "ix_activity_openphone_id", "ix_activity_type"):
                execute(url, f"REINDEX INDEX {name}")
        assert document["exit_code"] == 4
        results = {each["index"]: each["result"] for each in document["deep"]}
        texts = {each["index"]: each["text"] for each in document["deep"]}
        corrupt = {"ix_contact_phone_hash", "ix_activity_openphone_id", "ix_activity_type"}
        assert results.keys() == TEN_NAMES
        assert {name for name, result in results.items() if result == "corrupt"} == corrupt, texts
        assert results["ix_conversation_contact_id"] == "cannot tell"
        assert texts["ix_conversation_contact_id"].startswith("Its table conversation is damaged: ")
        assert found(url, "by_tags")["by_tags"].state == CORRUPT, found(url, "by_tags")
        again = run("check", "--deep", url=url)
        assert again.exit_code == 1
        assert again.lines[-1] == "Not checked: ix_conversation_contact_id. The reasons are above."


SLOW = """
    CREATE FUNCTION public.slow(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
    $$ BEGIN IF current_setting('application_name') = 'crashes' THEN PERFORM pg_sleep(60); END IF; RETURN $1; END $$;
    INSERT INTO activity (activity_type) VALUES ('call');
    CREATE INDEX crashing ON activity (public.slow(activity_type));
"""
READERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'crashes' AND wait_event = 'PgSleep'"


def test_an_index_that_crashes_its_reader_is_corrupt_and_the_last_one_checked(server: Server):
    """A killed process is to the server what a crashed one is."""
    with server.new_database() as url:
        execute(url, SLOW)
        with ThreadPoolExecutor() as threads, connect(f"{url}?application_name=crashes") as opened:
            migrator = opened.within(opened.context, [])
            checker = migrator.care.checker(False, 60.0)
            check = threads.submit(checker.check, "crashing")
            [(pid,)] = until(lambda: execute(url, READERS), "the process to read the index")
            os.kill(pid, signal.SIGKILL)
            finding = check.result(60)
        assert (finding.state, finding.text) == (CORRUPT, CRASHED)
        assert checker.stopped is not None
        assert str(checker.stopped.hint).endswith("check --deep INDEX")


CRASHED = "The server process that read it crashed: see the server's log."


# What amcheck needs --------------------------------------------------------------------------------------------------


def test_an_administrator_gets_the_statements_that_let_a_plain_owner_call_amcheck(filled_url, superuser_url):
    if lack_amcheck(superuser_url):
        pytest.skip("the server has no amcheck (postgresql-contrib)")
    execute(superuser_url, "DROP EXTENSION amcheck", "CREATE EXTENSION amcheck VERSION '1.0'")
    (note,) = _notes(filled_url)
    assert note.endswith("run as a superuser: ALTER EXTENSION amcheck UPDATE;")
    execute(superuser_url, "ALTER EXTENSION amcheck UPDATE", "DROP EXTENSION amcheck")
    (note,) = _notes(filled_url)
    assert "because amcheck is not installed" in note
    execute(superuser_url, *re.findall(r"(?:CREATE|GRANT)[^;]*", note))  # only a superuser can create it
    assert _notes(filled_url) == []
    assert found(filled_url, "ix_activity_type")["ix_activity_type"].by == AMCHECK

    execute(superuser_url, f"REVOKE EXECUTE ON FUNCTION public.bt_index_check(regclass, boolean) FROM {OWNER}")
    (note,) = _notes(filled_url)
    assert f"because role {OWNER} may not call amcheck" in note
    execute(superuser_url, *re.findall(r"GRANT[^;]*", note))
    assert _notes(filled_url) == []


def _notes(url: str) -> list[str]:
    result = run("check", "--deep", "ix_activity_type", url=url)
    assert result.exit_code == 0, result
    return [line for line in result.lines if line.startswith("Note: ")]


def test_a_function_that_is_not_the_extensions_is_not_called(filled_url, superuser_url):
    execute(
        filled_url,
        "CREATE FUNCTION public.bt_index_check(regclass, boolean) RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'called'; END $$",
    )
    assert found(filled_url, "ix_activity_type")["ix_activity_type"].by == LOOKUPS


# Lookups -------------------------------------------------------------------------------------------------------------

MANY = """
    CREATE TYPE mood AS ENUM ('good', 'Bad');
    CREATE TABLE many (id integer, word text, other varchar(20), flag boolean, mood mood, list integer[],
        pair integer[], span int4range, moment timestamp, code text, "Quoted %s" text, data jsonb);
    INSERT INTO many
    SELECT n, CASE WHEN n % 7 > 0 THEN chr(65 + n % 60) || n % 500 END, CASE WHEN n % 3 > 0 THEN 'o' || n % 40 END,
           CASE WHEN n % 10 > 0 THEN n % 2 = 0 END, (ARRAY ['good', 'Bad'])[n % 2 + 1]::mood, ARRAY [n % 20, n],
           ARRAY [n, n], int4range(n, n + 5), timestamp '2026-01-01' + n * interval '1 min', 'c' || n, n || '%',
           jsonb_build_object('n', n)
      FROM generate_series(1, 3000) AS n;
    CREATE INDEX plain ON many (word);
    CREATE INDEX descending ON many (other DESC NULLS LAST, moment);
    CREATE INDEX expression ON many (lower(word), (id % 100));
    CREATE INDEX partial ON many (flag, id) WHERE word LIKE 'A%' AND other IS NOT NULL;
    CREATE INDEX in_c ON many (other COLLATE "C");
    CREATE INDEX patterns ON many ("Quoted %s" text_pattern_ops) INCLUDE (id);
    CREATE INDEX of_mood ON many (mood, flag DESC NULLS FIRST);
    CREATE INDEX of_list ON many (pair);
    CREATE INDEX hashed ON many USING hash (code);
    CREATE INDEX hashed_nulls ON many USING hash (flag);
    CREATE INDEX inverted ON many USING gin (list);
    CREATE INDEX ranges ON many USING gist (span);
    CREATE INDEX blocks ON many USING brin (id);
    CREATE INDEX documents ON many USING gin (data);
"""
ALL_FOUND = ("plain", "descending", "expression", "in_c", "patterns", "of_mood", "of_list", "hashed", "hashed_nulls")
ALSO_FOUND = ("inverted", "ranges", "blocks")


def test_rows_are_looked_up_by_indexes_of_every_kind(base_url):
    execute(base_url, MANY, "ANALYZE many")
    findings = found(base_url, *ALL_FOUND, *ALSO_FOUND, "partial", "documents")

    for name in (*ALL_FOUND, *ALSO_FOUND):
        assert (findings[name].state, findings[name].looked_up) == (CLEAN, 2000), findings[name]
    partial = findings["partial"]
    [(rows,)] = execute(base_url, "SELECT count(*) FROM many WHERE word LIKE 'A%' AND other IS NOT NULL")
    assert (partial.state, partial.looked_up, partial.found) == (CLEAN, rows, rows)
    assert findings["documents"].state == CANNOT_TELL
    assert "no operator for equality" in str(findings["documents"].text)


@pytest.mark.parametrize("name", ["plain", "descending", "expression", "partial", "hashed", "of_mood"])
def test_a_row_that_an_index_of_any_kind_lacks_is_not_found(base_url, superuser_url, name):
    execute(base_url, MANY, "DELETE FROM many WHERE id > 1000")
    rows = f"INSERT INTO many SELECT {COLUMNS} FROM many WHERE id > 990 AND id <= 1000"
    lose_writes(superuser_url, name, *[rows] * 20, "ANALYZE many")  # the catalog is the superuser's
    (finding,) = found(base_url, name).values()

    assert finding.state == CORRUPT, finding
    assert finding.found is not None
    assert finding.looked_up is not None
    assert 0 < finding.looked_up - finding.found <= 200


COLUMNS = """
    id + 5000, 'A lost ' || id, 'other ' || id, id % 2 = 0, CASE id % 2 WHEN 0 THEN 'Bad'::mood ELSE 'good' END,
    list, pair, span, timestamp '2027-01-01' + id * interval '1 min' + random() * interval '1 day', 'lost ' || random(),
    word, data
"""


def test_where_the_planner_uses_another_index_nothing_is_claimed(filled_url):
    execute(filled_url, "CREATE INDEX twin ON conversation (contact_id)", ROWS_OF_CONTACTS)
    both = found(filled_url, "ix_conversation_contact_id", "twin")

    assert [each.state for each in both.values()].count(CANNOT_TELL) == 1
    (unknown,) = (each for each in both.values() if each.state == CANNOT_TELL)
    assert "because the planner uses" in str(unknown.text)


ROWS_OF_CONTACTS = """
    WITH one AS (INSERT INTO contact (first_name, last_name) VALUES ('a', 'b') RETURNING id)
    INSERT INTO conversation (contact_id) SELECT id FROM one, generate_series(1, 100)
"""


def test_an_empty_table_has_nothing_to_find(head_url):
    assert found(head_url, "ix_activity_type")["ix_activity_type"].result == "0 of 0 found"


CHANGES = (
    "UPDATE activity SET openphone_id = openphone_id || 'x', activity_type = 'new' WHERE id % 7 = 0",
    "DELETE FROM activity WHERE id IN (SELECT id FROM activity ORDER BY random() LIMIT 50)",
    "UPDATE webhook_event SET processed = NOT processed WHERE id % 5 = 0",
)


def test_rows_that_change_meanwhile_raise_no_alarm(filled_url):
    names = ["ix_activity_openphone_id", "ix_activity_type", "ix_webhook_event_processed"]
    ended = threading.Event()
    with closing(psycopg2.connect(as_application(filled_url))) as writer:
        writer.autocommit = True

        def change() -> None:
            cursor = writer.cursor()
            while not ended.is_set():
                for statement in CHANGES:
                    cursor.execute(statement)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            results = [states(filled_url, *names) for _ in range(4)]
        finally:
            ended.set()
            thread.join()
    assert {state for each in results for state in each.values()} == {CLEAN}


def test_row_level_security_is_no_corruption(filled_url):
    execute(
        filled_url,
        "ALTER TABLE activity ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE activity FORCE ROW LEVEL SECURITY",
        "CREATE POLICY none_of_them ON activity USING (id % 2 = 0)",
    )
    finding = found(filled_url, "ix_activity_openphone_id")["ix_activity_openphone_id"]
    assert finding.state == CANNOT_TELL
    assert "row-level security" in str(finding.text)


def test_a_function_of_another_role_is_not_called(filled_url, superuser_url):
    with another_role(superuser_url, "GRANT USAGE, CREATE ON SCHEMA public TO {role}") as role:
        execute(
            as_role(filled_url, role),
            "CREATE FUNCTION public.secret(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
        )
        execute(filled_url, "CREATE INDEX by_secret ON activity (public.secret(activity_type))")
        finding = found(filled_url, "by_secret")["by_secret"]
        assert (finding.state, finding.by) == (CANNOT_TELL, None)
        assert "public.secret(text), which another role owns" in str(finding.text)
        execute(filled_url, "DROP INDEX by_secret")


def test_reading_rows_is_all_that_lookups_need(filled_url):
    assert set(states(as_application(filled_url), *KINDS).values()) == {CLEAN}
    result = run("check", "--deep", "ix_activity_type", url=as_application(filled_url))
    assert result.exit_code == 0 or "GRANT SELECT" in result.stderr


def test_a_check_that_takes_too_long_is_cancelled_and_says_how_to_allow_more(filled_url):
    (finding,) = found(filled_url, "ix_activity_openphone_id", longest=0.001).values()
    assert finding.state == CANNOT_TELL
    assert str(finding.text).startswith("It took longer than 0.001 s. Allow more: ")
    assert str(finding.text).endswith("check --deep ix_activity_openphone_id --timeout 1")


# Runs, builds, records -----------------------------------------------------------------------------------------------


def test_while_a_run_holds_the_lock_no_index_is_checked(filled_url):
    execute(filled_url, "DROP INDEX ix_activity_type")
    with old_snapshot(filled_url), running("up", url=filled_url):
        until_phase(filled_url, "waiting for old snapshots")
        result = run("check", "ix_activity_openphone_id", "--deep", "--json", url=filled_url)
    assert result.exit_code == 5
    assert result.json()["deep"] == []
    assert result.json()["deep_stopped"].startswith("Another run holds the lock: pid ")


def test_a_run_that_waits_gets_the_lock_after_one_index(filled_url, monkeypatch):
    """The check holds the lock; as soon as it is asked for the second index, a run has it."""
    given = []

    class Slow(PostgresChecker):
        def check(self, name: str) -> Finding:
            if not given:
                given.append(stack.enter_context(running("up", url=filled_url)))
                until(lambda: execute(filled_url, AWAITS), "the run to wait")
            return super().check(name)

    execute(filled_url, "DROP INDEX ix_activity_type")
    monkeypatch.setattr("indexer.postgres.care.checker.PostgresChecker", Slow)
    with ExitStack() as stack, old_snapshot(filled_url):
        check = deep(filled_url)
        assert check.deep is not None
        assert 1 <= len(check.deep.findings) < 9
        assert isinstance(check.deep.stopped, Locked)
        assert f"checked before: {len(check.deep.findings)} of 9." in check.deep.stopped.message


AWAITS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = 1396920919"


def deep(url: str, *names: str) -> Check:
    """Return the deep check of a database."""
    with connect(url) as migrator:
        return DeepCheck(Runner(migrator, load(".")).inspector, names, False, 60.0).run()


def test_a_build_that_waits_for_the_checks_is_named_before_them(filled_url):
    with old_snapshot(filled_url):
        build = ByHand(filled_url, "CREATE INDEX CONCURRENTLY elsewhere ON contact (last_name)")
        until_phase(filled_url, "waiting for old snapshots")
        result = run("check", "--deep", "ix_activity_type", url=filled_url)
    build.end()
    assert result.exit_code == 0
    assert f"elsewhere (pid {build.pid}) is being built by another session, which may wait for each" in result.stderr


def test_no_index_is_checked_while_a_run_builds_in_another_schema(filled_url):
    with old_snapshot(filled_url):
        another = f"{filled_url}?application_name=indexer%20up%2010992629d68e"
        build = ByHand(another, "CREATE INDEX CONCURRENTLY elsewhere ON contact (last_name)")
        until_phase(filled_url, "waiting for old snapshots")
        check = deep(filled_url)
    build.end()
    assert check.exit_code == 5
    assert check.deep is not None
    assert check.deep.findings == ()
    assert str(check.deep.stopped).startswith("Another run builds elsewhere in another schema")


def test_a_clean_index_is_recorded_and_a_corrupt_one_is_not(filled_url, superuser_url):
    deep(filled_url)
    assert set(recorded(filled_url)) == TEN_NAMES
    sort_by(superuser_url, "en-x-icu", "ix_activity_openphone_id", "ix_activity_type")
    deep(filled_url)
    checks = recorded(filled_url)
    assert set(checks) == TEN_NAMES - {"ix_activity_openphone_id"}
    assert checks["ix_activity_type"].collation_version.startswith('"en-x-icu" ')


def test_the_scans_of_lookups_are_recorded_so_that_they_do_not_count_as_use(filled_url):
    deep(filled_url, "ix_activity_openphone_id")
    deep(filled_url, "ix_activity_openphone_id")
    (check,) = recorded(filled_url).values()
    assert check.scans == 4000
    assert check.scans_from is not None
    assert check.scans_from <= check.at
    scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'ix_activity_openphone_id'"
    until(lambda: execute(filled_url, scans) == [(4000,)], "the server to count the scans")


def recorded(url: str) -> dict[str, Checked]:
    """Return the deep checks on record."""
    with connect(url, read_only=True) as migrator:
        return dict(Runner(migrator, load(".")).inspector.records()[HEAD].checks)


def test_what_cannot_be_recorded_is_said(filled_url, superuser_url):
    execute(filled_url, f"REVOKE UPDATE ON schema_revision FROM {OWNER}")
    check = deep(filled_url, "ix_activity_type")
    assert check.exit_code == 0
    assert check.deep is not None
    assert any("The result is not recorded, because" in str(each) for each in check.deep.warnings)


def test_an_index_that_is_missing_or_invalid_is_as_check_says_and_is_not_read(filled_url):
    execute(filled_url, "DROP INDEX ix_activity_type")
    not_valid(filled_url, "ix_activity_openphone_id", "activity")
    result = run("check", "--deep", "--json", url=filled_url)
    assert result.exit_code == 4
    checked = {each["index"] for each in result.json()["deep"]}
    assert checked == TEN_NAMES - {"ix_activity_type", "ix_activity_openphone_id"}


def test_options_of_deep_checks_need_deep(sqlite_head_url):
    for arguments in (["--heap"], ["ix_activity_type"]):
        refuses(sqlite_head_url, "check", *arguments, exit_code=2)
    refuses(sqlite_head_url, "check", "--deep", "ix_unknown", exit_code=2)
