"""``up --max-replica-lag`` waits before each index for replication slots that are too far behind, and names them.

The standby of tests/postgres/test_standby.py is waited for there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from signal import SIGTERM

import pytest
from command import CLI, created_indexes, execute, run, succeed
from command import connect as connect_to
from scenes import Server, assert_all_valid, own_server, running
from windows import closing_in

from indexer.connection import connect
from indexer.errors import Blocked
from indexer.events import ReplicaAwaited
from indexer.options import Options
from indexer.revisions.chain import load
from indexer.runner import Runner

UNDER_CONDITIONS = "  -- if nothing needs it any more; as a superuser or a role with REPLICATION"
MAKING_SLOTS = 7_305_117  # the advisory lock of a test process whose slots, or lack of slots, others must not disturb
WAITING = ("up", "--max-replica-lag", "1", "--json")


@pytest.fixture
def alone(postgres_server: str) -> Iterator[None]:
    """Keep other test processes from slots: they belong to the whole server, which several processes may share."""
    with closing(connect_to(postgres_server)) as session:
        session.cursor().execute("SELECT pg_advisory_lock(%s)", (MAKING_SLOTS,))
        yield


@pytest.fixture
def slot(superuser_url: str, alone: None) -> Iterator[str]:
    """Yield a physical slot that nothing uses and that keeps WAL. Only a superuser can make one."""
    name = "test_" + uuid.uuid4().hex[:12]
    execute(superuser_url, f"SELECT pg_create_physical_replication_slot('{name}', true)")
    write_wal(superuser_url)
    try:
        yield name
    finally:
        drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        execute(superuser_url, f"{drop} WHERE slot_name = '{name}'")


def write_wal(superuser_url: str) -> None:
    """Write WAL that a slot has not seen; flushed, because the tests' server commits before it writes."""
    execute(superuser_url, "SET synchronous_commit = on", "CREATE TABLE written ()", "DROP TABLE written")


def run_up(url: str, when_it_waits=lambda: None, **options):
    """Run ``up`` in this process, and call a function whenever it waits for replicas."""

    def report(event: object) -> None:
        if isinstance(event, ReplicaAwaited):
            when_it_waits()

    with connect(url) as migrator:
        return Runner(migrator, load(str(CLI.parent)), options=Options(**options), report=report).up()


def test_a_slot_that_is_not_in_use_is_waited_for_and_named_with_the_way_out(base_url, superuser_url, slot):
    with running(*WAITING, url=base_url) as waiting:
        event = waiting.event("ReplicaAwaited")
        (replica,) = event["replicas"]
        assert (replica["kind"], replica["name"]) == ("physical slot", slot)
        assert replica["bytes"] > 0
        drop = f"SELECT pg_catalog.pg_drop_replication_slot('{slot}');"
        assert (
            replica["ending"] == f"{drop}  -- if nothing needs it any more; as a superuser or a role with REPLICATION"
        )
        assert "StatementStarted" not in {each["event"] for each in waiting.events}
        execute(superuser_url, drop)
        waiting.succeed()
    assert_all_valid(base_url)


def test_the_wait_is_said_to_people_too_and_a_signal_ends_it(base_url, slot):
    with running("up", "--max-replica-lag", "1", url=base_url) as waiting:
        assert waiting.line("waits for replication").endswith(" so far:\n")
        assert waiting.line("slot").startswith(f"    physical slot {slot}, which is not in use: ")
        assert waiting.line("end it").startswith("      end it: SELECT pg_catalog.pg_drop_replication_slot(")
        waiting.send(SIGTERM)
        assert waiting.end().exit_code == 143


def test_a_slot_that_has_followed_is_waited_for_no_longer(base_url, superuser_url, slot):
    def follow() -> None:
        execute(superuser_url, f"SELECT pg_replication_slot_advance('{slot}', pg_current_wal_flush_lsn())")

    # It follows once, and then it is behind by what the run writes: that is less than the limit.
    assert run_up(base_url, when_it_waits=follow, max_replica_lag=600).exit_code == 0


def test_a_wait_for_a_slot_ends_with_its_limit_or_with_the_window(base_url, slot):
    with pytest.raises(Blocked) as refused:
        run_up(base_url, max_replica_lag=1, max_wait=0.2, retries=0, jobs=1)
    assert f"waiting before the start for:\n  - physical slot {slot}, which is not in use: " in refused.value.message
    assert f"end it: SELECT pg_catalog.pg_drop_replication_slot('{slot}');" in refused.value.message
    assert created_indexes(base_url) == {}
    outcome = run_up(base_url, max_replica_lag=1, window=closing_in(2), jobs=1)
    assert (outcome.exit_code, len(outcome.rest.left)) == (3, 10)


@pytest.fixture(scope="module")
def decoding() -> Iterator[Server]:
    """Yield a server with logical decoding: wal_level can only be set when it starts."""
    with own_server(wal_level="logical", max_replication_slots="4", max_wal_senders="4") as server:
        yield server


def decode(name: str) -> str:
    """Return the statement that makes a logical slot."""
    return f"SELECT pg_create_logical_replication_slot('{name}', 'test_decoding')"


def test_a_logical_slot_is_waited_for(decoding):
    with decoding.new_database() as url:
        execute(decoding.url, decode("behind"))
        write_wal(decoding.url)
        with running(*WAITING, url=url) as waiting:
            (replica,) = waiting.event("ReplicaAwaited")["replicas"]
            assert (replica["kind"], replica["name"]) == ("logical slot", "behind")
            execute(decoding.url, "SELECT pg_drop_replication_slot('behind')")
            waiting.succeed()


def test_a_slot_that_has_lost_its_wal_is_named_and_not_waited_for(decoding):
    if not execute(decoding.url, "SELECT 1 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'"):
        pytest.skip("before PostgreSQL 13 a slot keeps all WAL")
    with decoding.new_database() as url:
        execute(decoding.url, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")
        execute(decoding.url, decode("lost"), *["SELECT pg_switch_wal()", "CREATE TABLE t ()", "DROP TABLE t"] * 2)
        execute(decoding.url, "CHECKPOINT")
        result = succeed("up", "--max-replica-lag", "1", url=url)
    drop = "SELECT pg_catalog.pg_drop_replication_slot('lost');"
    lost = f"Note: Replication slot lost has lost its WAL, and is not waited for. Drop it: {drop}"
    assert result.stdout.count(lost) == 1


@pytest.mark.usefixtures("alone")
def test_without_replication_nothing_is_said(base_url):
    result = run(*WAITING, url=base_url)
    assert result.exit_code == 0
    assert not {"ReplicaAwaited", "Warned"} & {each.get("event") for each in result.story()}


def test_without_the_option_a_slot_is_not_waited_for(base_url, slot):
    assert run("up", url=base_url).exit_code == 0


def test_a_lag_of_less_than_a_second_is_wrong_usage(sqlite_url):
    assert run("up", "--max-replica-lag", "0", url=sqlite_url).exit_code == 2
