"""A hot standby can be read, and commands that change anything are refused on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import command
import foreign_crm
import pytest
from command import ask, created_indexes, execute, nothing_changes, prepare, run, specified, succeed
from corruption import need_amcheck
from postgres_server import with_database
from roles import as_role
from scenes import assert_all_valid, open_writer, running, until
from standby_server import Pair, let_the_standby_catch_up, running_pair

import models
from indexer.connection import connect
from indexer.revisions.chain import load
from indexer.runner import Runner
from indexer.verify.verify import verify
from migrate_10992629d68e import INDEXES
from queries import QUERIES

SCANNED = "ix_activity_type"
STANDBY = "the server is a standby (in recovery): connect to the primary"


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    """A primary and its standby; each test of this file continues from the one before."""
    with running_pair() as pair:
        yield pair


def refuses_a_standby(url: str, *arguments: str) -> None:
    """Check that the command is refused in one sentence and changes nothing."""
    with nothing_changes(url):
        result = run(*arguments, url=url)
    assert result.exit_code == 1, result
    assert re.findall(r"^  - (.*)", result.stderr, re.MULTILINE) == [STANDBY]
    assert len(result.stderr.splitlines()) == 3, result.stderr


@pytest.fixture(scope="module")
def pending(servers: Pair) -> str:
    """URL of a standby whose primary holds a CRM without the indexes."""
    with closing(command.connect(servers.primary)) as connection:
        foreign_crm.create_schema(connection)
    let_the_standby_catch_up(servers.primary)
    return servers.standby


@pytest.fixture(scope="module")
def applied(servers: Pair, pending: str) -> str:
    """URL of the same standby when its primary has the indexes. Tests without them come first."""
    prepare(servers.primary)
    let_the_standby_catch_up(servers.primary)
    return servers.standby


def test_an_empty_standby_is_refused(servers):
    refuses_a_standby(servers.standby, "up")


def test_seed_on_a_standby_is_refused(servers):
    refuses_a_standby(servers.standby, "seed")
    assert "Fix this, then run: python cli.py seed" in run("seed", url=servers.standby).stderr


def test_bench_on_a_standby_is_refused(servers):
    result = run("bench", "--rows", "200", url=servers.standby)
    assert result.exit_code == 1
    assert "The server is a standby (in recovery): connect to the primary." in result.stderr
    assert "GRANT" not in result.stderr


def test_up_on_a_standby_is_refused(pending):
    refuses_a_standby(pending, "up")


def test_plan_on_a_standby_says_that_up_would_be_refused(pending):
    with nothing_changes(pending):
        result = run("plan", url=pending)

    assert result.exit_code == 1
    assert STANDBY in result.stderr
    assert "CREATE INDEX CONCURRENTLY" in result.stdout


def test_status_on_a_standby_shows_what_is_pending(pending):
    with nothing_changes(pending):
        result = run("status", url=pending)

    assert result.exit_code == 3
    assert "1 revision pending" in result.stdout


def test_status_on_a_standby_shows_the_indexes_that_the_primary_built(applied):
    with nothing_changes(applied):
        result = run("status", "--json", url=applied)

    assert result.exit_code == 0
    assert {each["state"] for each in result.json()["indexes"]} == {"valid"}
    assert created_indexes(applied) == specified(applied)


def _address_of(url: str) -> str:
    return re.search(r"@([^/]*)", url)[1]


@pytest.mark.parametrize("name", ["status", "check", "plan", "verify", "health", "history"])
def test_commands_that_read_say_that_a_standby_answers_and_that_it_has_replayed_all(servers, applied, name):
    level = "This server is a standby (in recovery): it has replayed all WAL that it has received. It receives"
    expected = {
        "bytes": 0,
        "seconds": 0,
        "is_connected": True,
        "is_paused": False,
        "delay": None,
        "sender": _address_of(servers.primary),
    }
    with nothing_changes(applied):  # a server writes WAL at times of its own
        until(lambda: level in run(name, url=applied).stdout)
        until(lambda: run(name, "--json", url=applied).json()["standby"] == expected)


def test_a_standby_of_a_standby_names_the_one_that_it_follows_and_a_primary_none(servers, applied):
    assert run("history", "--json", url=servers.primary).json()["standby"] is None
    assert run("history", "--json", url=servers.cascaded).json()["standby"]["sender"] == _address_of(servers.standby)


def test_advice_on_a_standby_is_to_be_followed_on_the_primary(servers, applied):
    execute(servers.primary, "CREATE INDEX twin ON activity (activity_type)")
    let_the_standby_catch_up(servers.primary)
    try:
        check, health = run("check", url=applied), run("health", url=applied)
    finally:
        execute(servers.primary, "DROP INDEX twin")
        let_the_standby_catch_up(servers.primary)

    assert "\nAdvice, to be followed on the primary (does not change the exit code):\n  twin is a " in check.stdout
    assert "\nAdvice, to be followed on the primary:\n  twin is a duplicate of ix_activity_type: " in health.stdout
    assert ' Drop it (on the primary): DROP INDEX CONCURRENTLY "public"."twin";\n' in health.stdout


def test_verify_on_a_standby_proves_the_indexes_that_the_primary_built(applied):
    migrator = connect(applied, read_only=True)
    with nothing_changes(applied), closing(migrator.database):
        report = verify(migrator, QUERIES, models.TABLES, INDEXES)

    assert report.exit_code == 0
    assert all(result.usable for result in report.results)


def test_a_deep_check_of_a_standby_takes_no_lock_and_records_nothing(servers, applied):
    need_amcheck(servers.primary)
    let_the_standby_catch_up(servers.primary)
    with nothing_changes(applied):
        result = succeed("check", "--deep", url=applied)

    assert "ix_activity_type                        clean (amcheck)" in result.stdout
    assert "ix_contact_phone_hash                   0 of 0 found (lookups)" in result.stdout
    assert "Note: The result is not recorded, because the server is a standby." in result.stdout


def test_up_on_a_standby_with_everything_in_place_has_nothing_to_do(applied):
    with nothing_changes(applied):
        assert "\nNothing to do: " in succeed("up", url=applied).stdout


def test_down_on_a_standby_is_refused(applied):
    refuses_a_standby(applied, "down")


def test_a_rebuild_on_a_standby_is_refused_and_a_dry_run_is_not(applied):
    refuses_a_standby(applied, "reindex", "ix_activity_type")
    with nothing_changes(applied):
        assert "would rebuild no index" in succeed("reindex", "--dry-run", url=applied).stdout


def test_further_sessions_of_a_run_go_to_the_server_of_the_first_of_several_hosts(servers):
    with closing(command.connect(servers.primary)) as primary, primary.cursor() as cursor:
        cursor.execute("CREATE DATABASE balanced")
    prepare(with_database(servers.primary, "balanced"), to="base")
    let_the_standby_catch_up(servers.primary)
    first, second = (re.search(r"@([^/]*)", url)[1] for url in servers[:2])
    url = f"postgresql://postgres@{first},{second}/balanced?load_balance_hosts=random"
    while _is_standby(migrator := connect(url)):  # by chance
        migrator.database.close()
    try:
        for _ in range(10):
            other = migrator.database.open_builder()
            assert other.execute("SELECT pg_catalog.pg_is_in_recovery()") == (False,)
            other.close()
        Runner(migrator, load(str(command.CLI.parent))).up()
    finally:
        migrator.database.close()
    assert_all_valid(with_database(servers.primary, "balanced"))


def _is_standby(migrator) -> bool:
    return migrator.database.execute_sql("SELECT pg_catalog.pg_is_in_recovery()").fetchone()[0]


# A standby that does not follow ---------------------------------------------------------------------------------------


@pytest.fixture
def lagging(servers: Pair) -> Iterator[str]:
    """Yield the URL of a CRM on a primary whose standby replays nothing until the test is over."""
    url = with_database(servers.primary, "lagging")
    execute(servers.primary, "CREATE DATABASE lagging")
    prepare(url, to="base")
    let_the_standby_catch_up(servers.primary)
    execute(servers.standby, "SELECT pg_wal_replay_pause()")
    try:
        execute(url, "SET synchronous_commit = local", "CREATE TABLE not_replayed ()")
        yield url
    finally:
        execute(servers.standby, "SELECT pg_wal_replay_resume()")
        let_the_standby_catch_up(servers.primary)
        execute(servers.primary, "DROP DATABASE lagging")


def test_a_run_that_a_standby_has_not_replayed_whole_looks_interrupted_there_and_that_is_said(servers, lagging):
    standby = with_database(servers.standby, "lagging")
    execute(servers.standby, "SELECT pg_wal_replay_resume()")
    with open_writer(lagging, role="postgres") as writer, running("up", "--json", url=lagging) as run_of_primary:
        until(lambda: "applying since" in run("status", url=standby).stdout)
        execute(servers.standby, "SELECT pg_wal_replay_pause()")
        writer.end()
        run_of_primary.succeed()
    until(lambda: ask(standby, "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()")[0][0])
    said, document = run("check", url=standby).stdout, run("status", "--json", url=standby).json()

    assert document["standby"]["bytes"] > 0
    assert document["standby"]["seconds"] > 0
    assert document["standby"]["is_paused"]
    assert re.search(r"\d+ (bytes|kB|MB) of WAL are not replayed yet; it shows the primary as it was .* ago\. ", said)
    assert "Its replay is paused. A superuser can resume it here: SELECT pg_wal_replay_resume(); " in said
    assert "A run on the primary that is not replayed whole looks like an interrupted one here. " in said
    assert "1 revision pending. To build it, run (on the primary): python cli.py up" in said


@contextmanager
def setting(url: str, name: str, value: str) -> Iterator[None]:
    """Let a server have another setting."""
    before = execute(url, f"SHOW {name}")[0][0]
    execute(url, f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()")
    try:
        until(lambda: execute(url, f"SHOW {name}") == [(value,)])
        yield
    finally:
        execute(url, f"ALTER SYSTEM SET {name} = '{before}'", "SELECT pg_reload_conf()")


def test_a_standby_that_is_delayed_on_purpose_says_so(servers, applied):
    with setting(servers.cascaded, "recovery_min_apply_delay", "1h"):
        said = run("status", url=servers.cascaded).stdout
        delay = run("status", "--json", url=servers.cascaded).json()["standby"]["delay"]

    assert "It replays each commit 1h late (recovery_min_apply_delay)." in said
    assert delay == "1h"


def test_a_standby_that_receives_nothing_says_that_its_lag_cannot_be_told(servers, applied):
    url, receiving = servers.cascaded, "SELECT 1 FROM pg_stat_wal_receiver"
    if execute(url, "SHOW server_version_num") < [("130000",)]:
        pytest.skip("before PostgreSQL 13 primary_conninfo cannot be changed while the server runs")
    with setting(url, "primary_conninfo", ""):
        until(lambda: not execute(url, receiving))
        said, document = run("status", url=url).stdout, run("status", "--json", url=url).json()
    until(lambda: execute(url, receiving))

    assert "it receives no WAL now, so how far it is behind cannot be told; it shows the primary as it was " in said
    assert not document["standby"]["is_connected"]
    assert document["standby"]["seconds"] > 0


def test_plan_shows_the_standbys_with_their_lag_and_the_slots_that_keep_wal_for_nothing(servers, lagging):
    execute(lagging, "SELECT pg_create_physical_replication_slot('abandoned', true)")
    try:
        said, document = succeed("plan", url=lagging).stdout, succeed("plan", "--json", url=lagging).json()
    finally:
        execute(lagging, "SELECT pg_drop_replication_slot('abandoned')")
    (standby,), (slot,) = document["replication"]["standbys"], document["replication"]["slots"]

    assert (standby["name"], standby["state"], standby["sync"]) == ("standby, 127.0.0.1", "streaming", "sync")
    assert standby["bytes"] > 0
    assert (slot["name"], slot["kind"], slot["is_active"]) == ("abandoned", "physical slot", False)
    assert slot["bytes"] > 0
    assert "\n    standby standby, 127.0.0.1 (streaming, sync): " in said
    assert "\n    physical slot abandoned, which is not in use: keeps " in said
    assert "drop it: SELECT pg_catalog.pg_drop_replication_slot('abandoned');" in said
    assert "\n    standbys of these standbys are not visible here\n" in said
    assert "Note: Not in use, and keeping all WAL from now on, that of a run too: abandoned.\n" in said


def test_a_synchronous_standby_that_lags_is_named_by_plan_and_while_a_run_waits_for_it(servers, lagging):
    execute(lagging, "ALTER DATABASE lagging SET synchronous_commit = remote_apply")
    fill = "CREATE TABLE much AS SELECT md5(n::text) FROM generate_series(1, 300000) AS n"
    execute(lagging, "SET synchronous_commit = local", fill)
    assert "Every commit waits for standby standby, 127.0.0.1, which is " in succeed("plan", url=lagging).stdout
    with running("up", "--json", url=lagging) as waiting:
        until(lambda: execute(servers.primary, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))
        assert "StatementStarted" not in {each["event"] for each in waiting.events}
        execute(servers.standby, "SELECT pg_wal_replay_resume()")
        waiting.succeed()
    assert_all_valid(lagging)


def test_up_waits_for_a_standby_that_replays_nothing_and_names_it(servers, lagging):
    with running("up", "--max-replica-lag", "1", "--json", url=lagging) as waiting:
        (replica,) = waiting.event("ReplicaAwaited")["replicas"]
        assert (replica["kind"], replica["name"], replica["ending"]) == ("standby", "standby, 127.0.0.1", "")
        assert "StatementStarted" not in {each["event"] for each in waiting.events}
        execute(servers.standby, "SELECT pg_wal_replay_resume()")
        waiting.succeed()
    assert_all_valid(lagging)


def test_a_standby_of_a_standby_is_waited_for_if_it_is_named(servers, lagging):
    execute(servers.standby, "SELECT pg_wal_replay_resume()")
    execute(servers.cascaded, "SELECT pg_wal_replay_pause()")
    execute(lagging, "SET synchronous_commit = local", "CREATE TABLE not_replayed_there ()")
    try:
        with running(
            *("up", "--max-replica-lag", "1", "--replica", servers.cascaded, "--json"), url=lagging
        ) as waiting:
            (replica,) = waiting.event("ReplicaAwaited")["replicas"]
            assert (replica["kind"], replica["name"]) == ("standby", servers.cascaded)
            assert "StatementStarted" not in {each["event"] for each in waiting.events}
            execute(servers.cascaded, "SELECT pg_wal_replay_resume()")
            waiting.succeed()
    finally:
        execute(servers.cascaded, "SELECT pg_wal_replay_resume()")
    assert_all_valid(lagging)


def test_a_replica_that_is_no_standby_of_the_server_is_refused_before_the_first_change(servers, lagging, base_url):
    lag = ("up", "--max-replica-lag", "1", "--replica")
    with nothing_changes(lagging):
        assert run("up", "--replica", servers.standby, url=lagging).exit_code == 2
        several = ("--database-url", lagging, "--database-url", f"{lagging}?connect_timeout=5")
        assert run(*lag, servers.standby, *several, url=lagging).exit_code == 2
        refused = run(*lag, servers.primary, url=lagging)
        unreachable = run(*lag, "postgresql://postgres:S3cret@127.0.0.1:1/postgres", url=lagging)
    assert refused.exit_code == 2
    assert "--replica number 1 (" in refused.stderr
    assert " is no standby." in refused.stderr
    assert unreachable.exit_code == 7
    assert "S3cret" not in unreachable.stderr
    with nothing_changes(base_url):
        foreign = run(*lag, servers.standby, url=base_url)
    assert foreign.exit_code == 2
    assert " belongs to another cluster." in foreign.stderr


def test_a_role_that_does_not_see_the_standby_says_so_and_does_not_wait(servers, lagging):
    execute(lagging, "CREATE ROLE plain LOGIN", "GRANT ALL ON SCHEMA public TO plain")
    tables = [
        f"ALTER TABLE {name} OWNER TO plain" for name in sorted(command.tables(lagging)) if name != "not_replayed"
    ]
    execute(lagging, *tables)
    try:
        planned = succeed("plan", url=as_role(lagging, "plain")).stdout
        result = succeed("up", "--max-replica-lag", "1", url=as_role(lagging, "plain"))
    finally:
        execute(lagging, "REASSIGN OWNED BY plain TO postgres", "DROP OWNED BY plain", "DROP ROLE plain")
    assert "\n    standby standby: how far it is behind is not visible to this role\n" in planned
    grant = "To show it: GRANT pg_read_all_stats TO plain;\n"
    assert f"Note: How far the standbys are behind is not visible to role plain. {grant}" in planned
    unseen = "Note: What standby standby has replayed is not visible to role plain, so the run does not wait for it. "
    assert result.stdout.count(f"{unseen}To show it: GRANT pg_read_all_stats TO plain;") == 1


def scan(url: str) -> None:
    """Scan an index once, and end the session, which lets the server count it."""
    scanning = ("SET enable_seqscan = off", "SET enable_bitmapscan = off", "SELECT count(*) FROM activity")
    command.execute(url, *scanning[:2], f"{scanning[2]} WHERE activity_type = 'call'")


def scans(url: str, *arguments: str) -> tuple[int, dict]:
    """Return the scans of that index as health says, and the whole document."""
    document = succeed("health", SCANNED, "--json", *arguments, url=url).json()
    return document["indexes"][0]["scans"], document


def test_health_on_a_standby_counts_its_own_scans_and_says_that_the_primary_was_not_asked(servers, applied):
    before, _ = scans(applied)
    scan(applied)
    with nothing_changes(applied):
        result = succeed("health", url=applied)

    assert "on this server alone; the primary was not asked." in result.lines[0]
    until(lambda: scans(applied)[0] == before + 1)
    assert {each["modified"] for each in scans(applied)[1]["indexes"]} == {None}


def test_health_says_that_a_standby_was_not_asked_and_adds_its_scans_if_it_is(servers, applied):
    scan(servers.primary)
    until(lambda: scans(servers.primary)[0] > 0)
    alone, _ = scans(servers.primary)
    of_standby, _ = scans(applied)
    both, document = scans(servers.primary, "--also", applied)

    assert "on this server alone; 1 standby was not asked." in succeed("health", url=servers.primary).lines[0]
    assert "on 2 servers." in succeed("health", "--also", applied, url=servers.primary).lines[0]
    assert both == alone + of_standby > of_standby > 0
    assert [each["standby"] for each in document["counted_on"]] == [False, True]


def test_health_goes_on_without_a_server_that_cannot_be_reached_and_shows_no_password(servers, applied):
    nowhere = "postgresql://postgres:S3cret@127.0.0.1:1/postgres"
    with_failure = succeed("health", "--also", nowhere, "--also", applied, url=servers.primary)

    assert "Note: Cannot connect to postgresql://postgres@127.0.0.1:1/postgres: " in with_failure.stdout
    assert "S3cret" not in with_failure.stdout + with_failure.stderr
    assert scans(servers.primary, "--also", nowhere)[0] == scans(servers.primary)[0]


def test_health_counts_no_server_twice(servers, applied):
    document = scans(servers.primary, "--also", applied, "--also", servers.primary, "--also", applied)[1]

    assert len(document["counted_on"]) == 2
    assert [said.endswith("asked already.") for said in document["not_counted"]] == [True, True]


def test_health_refuses_a_further_server_that_counts_no_scans(servers, applied, sqlite_head_url):
    assert run("health", "--also", "postgresql://u:%zz@h/db", url=servers.primary).exit_code == 2
    for url, also in ((servers.primary, sqlite_head_url), (sqlite_head_url, servers.primary)):
        assert run("health", "--also", also, url=url).exit_code == 2
        succeed("health", url=url)


def test_a_promotion_keeps_the_counts_and_their_beginning(servers, applied):
    """The next test continues with the standby of the standby that is promoted here."""
    before, document = scans(applied)
    command.execute(applied, "SELECT pg_promote()")
    until(lambda: not scans(applied)[1]["counted_on"][0]["standby"])

    after, promoted = scans(applied)
    assert after == before > 0
    assert promoted["indexes"][0]["since"] == document["indexes"][0]["since"]


def test_the_standby_that_is_promoted_in_the_middle_of_a_run_is_repaired_by_the_next_one(servers, applied):
    primary, standby = (with_database(url, "failover") for url in (servers.standby, servers.cascaded))
    execute(servers.standby, "CREATE DATABASE failover")
    prepare(primary, to="base")
    until(lambda: command.execute(servers.cascaded, "SELECT 1 FROM pg_database WHERE datname = 'failover'"))
    with open_writer(primary, role="postgres"), running("up", url=primary):
        until(lambda: command.tables(standby) and command.broken(standby))
        assert succeed("history", "--json", url=standby).json()["standby"]
        command.execute(servers.cascaded, "SELECT pg_promote()")
        until(lambda: not succeed("history", "--json", url=standby).json()["standby"])

    succeed("up", url=standby)
    assert_all_valid(standby)
    assert succeed("check", url=standby).lines[-1] == "Everything is as declared."
