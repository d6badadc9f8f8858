"""``analyze`` gathers the statistics that the planner needs, of the tables that need it, and says why."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from signal import SIGTERM

import pytest
from command import CLI, HEAD, execute, file_of, is_postgres, nothing_changes, run, succeed
from peewee import SqliteDatabase
from roles import as_role
from scenes import open_writer, running, transaction, until, until_phase

from indexer.care.analyze import Analyzer
from indexer.connection import connect
from indexer.revisions.chain import load
from indexer.runner import Runner
from indexer.sqlite.care.statistics import _modified

ROWS = 2_000
# An autovacuum worker would gather the statistics at any moment.
BY_HAND_ALONE = "ALTER TABLE activity SET (autovacuum_enabled = off)"
NAMED = ("analyze", "activity")
MAINTENANCE = "LOCK TABLE activity IN SHARE UPDATE EXCLUSIVE MODE"


def fill(url: str, rows: int = ROWS) -> None:
    """Write rows to one table."""
    numbers = f"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {rows}) SELECT n FROM r"
    alone = [BY_HAND_ALONE] if is_postgres(url) else []
    execute(url, *alone, f"INSERT INTO activity (openphone_id) {numbers}")


def until_counted(url: str, condition: str) -> None:
    """Wait until PostgreSQL has counted what was done, which takes a moment."""
    if is_postgres(url):
        query = f"SELECT 1 FROM pg_stat_all_tables WHERE relname = 'activity' AND {condition}"
        until(lambda: execute(url, query), condition)


def analyzed(url: str, *arguments: str) -> dict[str, str]:
    """Return which tables a run has analyzed, and why."""
    document = succeed("analyze", *arguments, "--json", url=url).json()
    until_counted(url, "n_mod_since_analyze = 0 AND last_analyze IS NOT NULL" if document["analyzed"] else "true")
    return {each["table"]: each["why"] for each in document["analyzed"]}


@pytest.fixture
def fresh(any_head_url: str) -> str:
    """Return the URL of a database with a table of which the statistics have just been gathered."""
    return made_fresh(any_head_url)


@pytest.fixture
def fresh_url(head_url: str) -> str:
    """Return the URL of such a database on PostgreSQL."""
    return made_fresh(head_url)


def made_fresh(url: str) -> str:
    """Fill a table and gather its statistics."""
    fill(url)
    until_counted(url, f"n_mod_since_analyze = {ROWS}")  # a session counts its rows when it ends
    execute(url, "ANALYZE activity")
    until_counted(url, "n_mod_since_analyze = 0 AND last_analyze IS NOT NULL")
    return url


# Which tables -------------------------------------------------------------------------------------------------------


def test_a_table_without_statistics_is_analyzed_and_empty_ones_are_left_out(any_head_url):
    fill(any_head_url)
    result = succeed("analyze", url=any_head_url)
    assert "  activity analyzed in " in result.stdout
    assert ": activity has 2,000 rows and no statistics\n" in result.stdout
    assert "  contact left out: it holds no rows\n" in result.stdout
    assert re.search(r"^Done in .*: 1 table analyzed, 5 left out\. ", result.lines[-1])
    table = "pg_stats WHERE tablename" if is_postgres(any_head_url) else "sqlite_stat1 WHERE tbl"
    assert execute(any_head_url, f"SELECT 1 FROM {table} = 'activity'")


def test_statistics_are_left_alone_until_enough_rows_have_changed(fresh):
    with nothing_changes(fresh):
        result = succeed("analyze", url=fresh)
    why = "0 of 2,000 rows changed since its statistics were gathered"
    if not is_postgres(fresh):  # it counts no changes
        why = "it has 2,000 rows, and its statistics were gathered at 2,000"
    assert f"  activity left out: {why}\n" in result.stdout
    assert result.lines[-1].startswith("Nothing to analyze, 6 left out: ")

    fill(fresh, 240)  # fifty rows and a tenth of them may change
    until_counted(fresh, "n_mod_since_analyze = 240")
    assert analyzed(fresh) == {}
    fill(fresh, 160)
    until_counted(fresh, "n_mod_since_analyze = 400")
    why = analyzed(fresh)
    assert why.keys() == {"activity"}
    assert f"{ROWS + 400:,}" in why["activity"]


def test_what_is_asked_for_is_analyzed_in_any_case_by_its_name_or_that_of_an_index(fresh):
    for arguments in (["activity"], ["ix_activity_type"], ["ix_activity_type", "activity"]):
        assert analyzed(fresh, *arguments) == {"activity": "asked for"}
    assert len(analyzed(fresh, "--all")) == 6
    result = run("analyze", "activity", "ix_unknown", url=fresh)
    assert result.exit_code == 2
    assert "No revision declares ix_unknown, or an index on it." in result.stderr


def test_a_table_that_is_missing_is_left_out_and_when_it_is_named_refused(crm):
    execute(crm, "DROP TABLE contact_flag")
    assert "  contact_flag left out: there is no such table\n" in succeed("analyze", url=crm).stdout
    refused = run("analyze", "contact_flag", url=crm)
    assert (refused.exit_code, "table public.contact_flag is missing" in refused.stderr) == (1, True)


def test_a_database_without_the_tables_has_nothing_to_analyze_and_plan_says_what_would_be_built(database_url):
    result = succeed("analyze", url=database_url)
    assert "has none of the tables, so there is nothing to analyze. See what would be built: " in result.stdout
    assert len(result.lines) == 1
    assert run(*result.next_command(), url=database_url).exit_code == 0


def test_a_table_that_lacks_statistics_or_counters_is_analyzed_once(fresh_url, superuser_url):
    execute(fresh_url, "CREATE INDEX by_lower ON activity (lower(openphone_id))")
    assert analyzed(fresh_url) == {"activity": "by_lower is on an expression without statistics"}
    assert analyzed(fresh_url) == {}

    # As pg_upgrade leaves a table before PostgreSQL 18. Only a superuser may write the catalog.
    execute(
        superuser_url,
        "DELETE FROM pg_statistic WHERE starelid = 'activity'::regclass",
        "SELECT pg_stat_reset_single_table_counters('activity'::regclass)",
        "UPDATE pg_class SET reltuples = -1 WHERE oid = 'activity'::regclass",
    )
    until_counted(fresh_url, "last_analyze IS NULL")
    assert analyzed(fresh_url)["activity"].endswith("no statistics")
    assert analyzed(fresh_url) == {}

    execute(superuser_url, "SELECT pg_stat_reset()")  # what a crash does; only a superuser may
    until_counted(fresh_url, "last_analyze IS NULL")
    assert analyzed(fresh_url) == {
        "activity": "the server no longer knows what has changed in activity, as after a crash"
    }
    assert analyzed(fresh_url) == {}


# Beside others ------------------------------------------------------------------------------------------------------


def test_a_session_that_is_in_the_way_is_named_and_writers_are_not_waited_for(fresh_url):
    with (
        transaction(fresh_url, MAINTENANCE) as other,
        running(*NAMED, "--json", url=fresh_url) as waiting,
    ):
        event = waiting.event("Waiting", table="activity")
        assert [blocker["pid"] for blocker in event["blockers"]] == [other.pid]
        other.end()
        waiting.succeed()
    with open_writer(fresh_url):
        assert run(*NAMED, "--max-wait", "0.5", "--retries", "0", url=fresh_url).exit_code == 0


def test_a_limit_and_a_signal_end_the_wait(fresh_url):
    with transaction(fresh_url, MAINTENANCE) as other:
        result = run(*NAMED, "--max-wait", "0.5", "--retries", "0", url=fresh_url)
    assert result.exit_code == 6
    assert "Gave up on activity, " in result.stderr
    assert f"pid {other.pid}" in result.stderr
    with transaction(fresh_url, MAINTENANCE), running(*NAMED, "--json", url=fresh_url) as waiting:
        waiting.event("Waiting", table="activity")
        waiting.send(SIGTERM)
        result = waiting.end()
    assert (result.exit_code, "Interrupted by SIGTERM: no table is analyzed." in result.stderr) == (143, True)


def test_progress_is_reported_from_version_13_on(fresh_url, superuser_url):
    (version,) = execute(superuser_url, "SELECT current_setting('server_version_num')::int")[0]
    if version < 130000:
        pytest.skip("the server shows no progress")
    name = superuser_url.rpartition("/")[2]
    for setting in ("vacuum_cost_delay TO '50ms'", "vacuum_cost_limit TO 1"):
        execute(superuser_url, f"ALTER DATABASE {name} SET {setting}")
    with running(*NAMED, "--json", url=fresh_url) as slow:
        event = slow.event("Progress", table="activity")
        assert (event["phase"], event["fraction"] is not None) == ("acquiring sample rows", True)
        slow.send(SIGTERM)
        assert slow.end().exit_code == 143


def test_another_run_is_not_joined_without_a_wait_and_does_not_matter_if_nothing_is_to_do(base_url):
    made_fresh(base_url)
    with open_writer(base_url), running("up", url=base_url) as holder:
        until_phase(base_url, "waiting for writers")
        assert run("analyze", "--no-wait", url=base_url).exit_code == 0
        assert run("analyze", "activity", "--no-wait", url=base_url).exit_code == 5
        holder.kill()


# Rights -------------------------------------------------------------------------------------------------------------


def test_a_role_that_may_not_analyze_a_table_gets_the_grant_that_lets_it(fresh_url, superuser_url, role):
    url = as_role(fresh_url, role)
    refused = run("analyze", "activity", url=url)
    assert refused.exit_code == 1
    assert f"table public.activity belongs to role crm_owner, and role {role} may not analyze it" in refused.stderr
    execute(superuser_url, *re.findall(r"^  (GRANT .*);$", refused.stderr, re.MULTILINE))
    assert refused.next_command() == ["analyze", "activity"]
    assert analyzed(url, "activity") == {"activity": "asked for"}


# SQLite -------------------------------------------------------------------------------------------------------------


def test_on_sqlite_a_sample_is_read_and_a_lock_on_the_file_is_waited_for(sqlite_head_url):
    fill(sqlite_head_url)
    with closing(sqlite3.connect(file_of(sqlite_head_url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = run("analyze", "--wait-lock", "0.3", url=sqlite_head_url)
        assert (result.exit_code, "another process is writing" in result.stderr) == (5, True)
    with running("analyze", "--json", url=sqlite_head_url) as analyzing:
        assert analyzing.event("StatementStarted")["statement"] == 'ANALYZE "activity"'
        analyzing.succeed()
    ((rows,),) = execute(sqlite_head_url, "SELECT max(CAST(stat AS integer)) FROM sqlite_stat1 WHERE tbl = 'activity'")
    assert rows == ROWS


@pytest.mark.parametrize(
    ("rows", "rows_then", "modified"),
    [
        pytest.param(1_100, 1_000, 100, id="all rows were counted"),
        pytest.param(900, 1_000, 100, id="rows were deleted"),
        pytest.param(1_800_000, 1_000_000, None, id="the number was estimated"),
        pytest.param(100_000, 1_000_001, 900_001, id="an estimate differs tenfold"),
        pytest.param(None, 1_000, None, id="the rows cannot be counted"),
        pytest.param(1_000, None, None, id="there are no statistics"),
    ],
)
def test_what_sqlite_only_estimates_is_not_taken_for_changed(rows, rows_then, modified):
    assert _modified(rows, rows_then) == modified


def test_a_limit_of_the_application_is_given_back(sqlite_head_url):
    fill(sqlite_head_url)
    application = SqliteDatabase(file_of(sqlite_head_url), pragmas={"analysis_limit": 7})
    with connect(application) as migrator:
        Analyzer(Runner(migrator, load(str(CLI.parent)))).run()
        assert application.pragma("analysis_limit") == 7


# What is learned ----------------------------------------------------------------------------------------------------


def test_new_statistics_let_the_size_of_an_index_be_recorded_that_no_build_has_left_a_baseline_of(head_url):
    wide = "SELECT 'AC' || md5(n::text) FROM generate_series(1, 40000) AS n"
    execute(head_url, BY_HAND_ALONE, f"INSERT INTO activity (openphone_id) {wide}")
    result = succeed("analyze", url=head_url)
    assert "  recorded as the least size known so far: ix_activity_openphone_id" in result.stdout
    baseline = recorded_baselines(head_url)["ix_activity_openphone_id"]
    assert (baseline["by"], baseline["tuples"]) == ("learned", 40_000)
    assert succeed("analyze", "--all", "--json", url=head_url).json()["learned"] == []


def test_a_role_that_may_not_record_what_it_learns_analyzes_all_the_same(fresh_url, superuser_url, role):
    execute(superuser_url, f"GRANT crm_owner TO {role}", "REVOKE ALL ON schema_revision FROM crm_owner")
    execute(superuser_url, "ALTER TABLE schema_revision OWNER TO postgres")
    assert analyzed(as_role(fresh_url, role), "activity") == {"activity": "asked for"}


def recorded_baselines(url: str) -> dict[str, dict]:
    """Return the baselines that are stored, by the name of the index."""
    ((stored,),) = execute(url, f"SELECT existed_before FROM schema_revision WHERE revision = '{HEAD}'")
    return next(json.loads(value) for value in json.loads(stored).values() if '"tuples"' in value)
