"""Runs that start together: one works, the others wait for it, and none deadlocks."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from command import (
    CLI,
    HEAD,
    SEVEN_TABLES,
    TEN,
    TEN_NAMES,
    ask,
    connect,
    created_indexes,
    execute,
    revisions,
    run,
    specified,
    succeed,
)
from scenes import (
    ByHand,
    Server,
    assert_all_valid,
    assert_none_exist,
    build_all,
    fill_activity,
    lock_holder,
    old_snapshot,
    open_reader,
    open_writer,
    own_server,
    running,
    until,
    until_dropping,
    until_idle,
    until_phase,
)

import indexer
from models import TABLES

FIRST = "ix_activity_openphone_id"
CREATE_FIRST = f"CREATE INDEX CONCURRENTLY {FIRST} ON activity (openphone_id)"
CREATE_ANOTHER = "CREATE INDEX CONCURRENTLY other_index ON activity (direction)"
TEN_NAMES_IN_ORDER = [name for name, *_ in TEN]


@pytest.fixture(scope="module")
def logging_server() -> Iterator[Server]:
    """A server whose log can be read."""
    with own_server(max_connections="100") as server:
        yield server


@pytest.fixture
def logged_url(logging_server: Server) -> Iterator[str]:
    """A database on it, at the base revision."""
    with logging_server.new_database() as url:
        yield url


def valid(url: str, name: str) -> bool:
    """Return whether this index is built."""
    return ask(url, f"SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.{name}'::regclass") == [(True,)]


def identity(url: str, name: str) -> int:
    """Return the OID of this index."""
    return int(ask(url, f"SELECT 'public.{name}'::regclass::oid::bigint")[0][0])


# Runs against runs --------------------------------------------------------------------------------------------------


def test_of_twenty_runs_started_together_one_builds_and_all_succeed(logging_server, logged_url):
    fill_activity(logged_url)
    runs = [running("up", "--json", url=logged_url) for _ in range(20)]
    started = [each.__enter__() for each in runs]
    try:
        results = [each.end() for each in started]
    finally:
        for each in runs:
            each.__exit__(None, None, None)
    assert [result.exit_code for result in results] == [0] * 20, [result.stderr for result in results]
    built = [each for each in started if each.find("StatementStarted")]
    assert len(built) == 1
    assert_all_valid(logged_url)
    assert not logging_server.has_logged("deadlock detected")


def test_up_and_down_started_against_each_other_leave_all_or_nothing(logging_server, logged_url):
    for first, second in [("up", "down"), ("down", "up")] * 2:
        with running(first, url=logged_url) as one, running(second, url=logged_url) as other:
            one.succeed()
            other.succeed()
        assert created_indexes(logged_url) in ({}, specified(logged_url))
        assert (HEAD in revisions(logged_url)) == bool(created_indexes(logged_url))
    assert not logging_server.has_logged("deadlock detected")


def test_a_run_survives_that_another_creates_the_tables_while_it_reads(database_url, monkeypatch):
    with indexer.connect(database_url) as migrator:
        is_empty = type(migrator.catalog).is_empty

        def overtaken(catalog):
            succeed("up", url=database_url)
            return is_empty(catalog)

        monkeypatch.setattr(type(migrator.catalog), "is_empty", overtaken)
        outcome = indexer.Runner(migrator, indexer.load(CLI.parent), TABLES).up()
    assert (outcome.end, outcome.steps, outcome.base_tables) == (HEAD, (), ())


def test_a_second_run_waits_for_the_first_and_has_nothing_left_to_do(base_url):
    with old_snapshot(base_url) as reader, running("up", "--json", url=base_url) as first:
        until_phase(base_url, "waiting for old snapshots")
        with running("up", "--json", url=base_url) as second:
            holder = second.event("LockWaited")["holder"]
            assert re.search(r", since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", holder)
            assert f"pid {lock_holder(base_url)} " in holder
            assert f"indexer up {HEAD}" in holder
            assert "127.0.0.1" in holder
            assert f"{FIRST}: waiting for old snapshots" in holder
            reader.end()
            first.succeed()
            second.succeed()
            assert second.find("StatementStarted") is None
    assert_all_valid(base_url)


def test_no_wait_gives_up_at_once_and_names_the_holder(base_url):
    with old_snapshot(base_url), running("up", url=base_url):
        until_phase(base_url, "waiting for old snapshots")
        for command in ("up", "down"):
            result = run(command, "--no-wait", url=base_url)
            assert result.exit_code == 5
            assert f"pid {lock_holder(base_url)} (" in result.stderr
            assert FIRST in result.stderr


def test_the_wait_for_a_run_without_progress_is_bounded(base_url):
    with old_snapshot(base_url), running("up", url=base_url):
        until_phase(base_url, "waiting for old snapshots")
        result = run("up", "--wait-lock", "0.5", url=base_url)
        assert result.exit_code == 5
        assert f"pid {lock_holder(base_url)} (" in result.stderr


def test_the_limit_for_another_run_starts_anew_with_its_progress(base_url):
    """The run that holds the lock is blocked three times, each time for less than the limit and together for longer."""
    with ExitStack() as readers, running("up", "--json", "--jobs", "1", url=base_url) as first:
        reader = readers.enter_context(old_snapshot(base_url))
        until_phase(base_url, "waiting for old snapshots")
        with running("up", "--json", "--wait-lock", "4", url=base_url) as second:
            second.event("LockWaited")
            for held_up in TEN_NAMES_IN_ORDER[:3]:
                second.wait(1.5)
                following = readers.enter_context(old_snapshot(base_url))
                reader.end()
                first.event("IndexFinished", index=held_up)
                reader = following
            reader.end()
            second.succeed()
        first.succeed()
    assert_all_valid(base_url)


def test_a_run_takes_over_from_a_killed_one(base_url):
    with old_snapshot(base_url) as reader, running("up", url=base_url) as first:
        worker = until_phase(base_url, "waiting for old snapshots")
        with running("up", "--json", url=base_url) as second:
            second.event("LockWaited")
            first.kill()
            assert second.event("Joined", index=FIRST)["worker"] == worker
            reader.end()
            second.succeed()
    assert_all_valid(base_url)


def test_two_schemas_do_not_wait_for_each_other(base_url):
    copies = (f"CREATE TABLE tenant.{table} (LIKE public.{table} INCLUDING ALL)" for table in SEVEN_TABLES)
    execute(base_url, "CREATE SCHEMA tenant", *copies)
    with old_snapshot(base_url), running("up", "--schema", "public", url=base_url):
        until_phase(base_url, "waiting for old snapshots")
        with running("up", "--json", "--no-wait", "--schema", "tenant", url=base_url) as other:
            other.event("StatementStarted", index=FIRST)


# A run against work by hand -----------------------------------------------------------------------------------------


def test_the_same_index_built_by_hand_is_waited_for_and_kept(base_url):
    with old_snapshot(base_url) as reader:
        by_hand = ByHand(base_url, CREATE_FIRST)
        until_phase(base_url, "waiting for old snapshots")
        before = identity(base_url, FIRST)
        with running("up", "--json", url=base_url) as up:
            assert up.event("Joined", index=FIRST)["worker"] == by_hand.pid
            assert up.event("Waiting", index=FIRST)["blockers"][0]["pid"] == reader.pid
            reader.end()
            up.succeed()
        by_hand.end()
    assert by_hand.error is None
    assert identity(base_url, FIRST) == before
    assert_all_valid(base_url)


def test_another_index_built_by_hand_on_the_same_table_does_not_deadlock_with_a_run(logging_server, logged_url):
    with open_writer(logged_url) as writer:
        by_hand = ByHand(logged_url, CREATE_ANOTHER)
        until_phase(logged_url, "waiting for writers")
        with running("up", "--json", url=logged_url) as up:
            up.event("Waiting", index=FIRST)
            writer.end()
            up.succeed()
        by_hand.end()
    assert by_hand.error is None
    assert_all_valid(logged_url)
    assert not logging_server.has_logged("deadlock detected")


def test_a_run_survives_a_build_by_hand_that_begins_during_its_own(base_url):
    with old_snapshot(base_url) as reader, running("up", "--json", url=base_url) as up:
        until_phase(base_url, "waiting for old snapshots")
        by_hand = ByHand(base_url, CREATE_ANOTHER)
        until(lambda: ask(base_url, f"SELECT 1 FROM pg_locks WHERE pid = {by_hand.pid} AND NOT granted"))
        reader.end()
        up.succeed()
        by_hand.end()
    assert_all_valid(base_url)


# What killed runs leave to the next ---------------------------------------------------------------------------------


def test_the_build_of_a_killed_run_continues_is_waited_for_and_is_dropped_by_down(base_url):
    with old_snapshot(base_url) as reader, running("up", url=base_url) as killed:
        worker = until_phase(base_url, "waiting for old snapshots")
        killed.kill()
        built = identity(base_url, FIRST)
        with running("up", "--json", url=base_url) as up:
            assert up.event("Joined", index=FIRST)["worker"] == worker
            reader.end()
            up.succeed()
            assert up.event("IndexFinished", index=FIRST)["action"] in ("join", "keep")
    assert identity(base_url, FIRST) == built
    assert_all_valid(base_url)
    succeed("down", url=base_url)
    assert_none_exist(base_url)


def test_a_build_that_finished_after_its_run_was_killed_is_kept_and_is_dropped_by_down(base_url):
    with old_snapshot(base_url) as reader, running("up", url=base_url) as killed:
        until_phase(base_url, "waiting for old snapshots")
        killed.kill()
        reader.end()
    until_idle(base_url)
    assert valid(base_url, FIRST)
    built = identity(base_url, FIRST)
    succeed("up", url=base_url)
    assert identity(base_url, FIRST) == built
    succeed("down", url=base_url)
    assert_none_exist(base_url)


def test_down_keeps_an_index_made_by_hand_before_a_killed_run(base_url):
    execute(base_url, CREATE_FIRST)
    with open_writer(base_url), running("up", url=base_url) as killed:
        until_phase(base_url, "waiting for writers")
        killed.kill()
    until_idle(base_url)
    succeed("up", url=base_url)
    succeed("down", url=base_url)
    assert created_indexes(base_url).keys() == {FIRST}


@pytest.mark.parametrize("command", ["down", "up"])
def test_an_interrupted_drop_is_finished_or_undone(base_url, command):
    build_all(base_url)
    with open_reader(base_url), running("down", url=base_url) as interrupted:
        until_dropping(base_url)
        interrupted.send(signal.SIGTERM)
        assert interrupted.end().exit_code == 143
    assert not all(valid(base_url, name) for name in created_indexes(base_url))
    succeed(command, url=base_url)
    assert_none_exist(base_url) if command == "down" else assert_all_valid(base_url)


def test_the_drop_of_a_killed_run_continues_and_is_waited_for(base_url):
    build_all(base_url)
    with open_reader(base_url) as reader, running("down", url=base_url) as killed:
        worker = until_dropping(base_url)
        killed.kill()
        with running("down", "--json", url=base_url) as down:
            assert down.event("Joined")["worker"] == worker
            reader.end()
            down.succeed()
    assert_none_exist(base_url)


# SQLite -------------------------------------------------------------------------------------------------------------


def test_two_runs_at_once_on_one_file_build_once(sqlite_base_url):
    with running("up", "--json", url=sqlite_base_url) as one, running("up", "--json", url=sqlite_base_url) as other:
        one.succeed()
        other.succeed()
    assert len([each for each in (one, other) if each.find("StatementStarted")]) == 1
    assert created_indexes(sqlite_base_url) == specified(sqlite_base_url)


def test_a_run_waits_for_another_writer_of_the_file(sqlite_base_url):
    with closing(connect(sqlite_base_url)) as writer, running("up", "--json", url=sqlite_base_url) as up:
        writer.execute("BEGIN IMMEDIATE")
        up.event("LockWaited")
        writer.execute("ROLLBACK")
        up.succeed()
    assert created_indexes(sqlite_base_url).keys() == TEN_NAMES


@pytest.mark.parametrize(
    ("option", "exit_code"), [("--no-wait", 5), ("--wait-lock=0.3", 5), ("--max-wait=0.3", 6)], ids=str
)
@pytest.mark.parametrize(
    ("lock", "reason"),
    [("IMMEDIATE", "another process is writing to the file"), ("EXCLUSIVE", "another process has locked {url}")],
    ids=["written", "locked whole"],
)
def test_the_wait_for_another_writer_of_the_file_can_be_refused_or_bounded(
    sqlite_base_url, lock, reason, option, exit_code
):
    with closing(connect(sqlite_base_url)) as writer:
        writer.execute(f"BEGIN {lock}")
        result = run("up", option, url=sqlite_base_url)
    assert result.exit_code == exit_code
    assert reason.format(url=sqlite_base_url) in result.stderr
    assert_none_exist(sqlite_base_url)


def test_max_wait_bounds_the_wait_for_a_reader_of_the_file(sqlite_base_url):
    with closing(connect(sqlite_base_url)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM activity").fetchone()
        result = run("up", "--max-wait", "0.3", url=sqlite_base_url)
    assert result.exit_code == 6
    assert "another process reads the file" in result.stderr
    assert_none_exist(sqlite_base_url)


def test_a_file_that_is_locked_whole_is_waited_for(sqlite_base_url):
    with closing(connect(sqlite_base_url)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with running("up", "--json", url=sqlite_base_url) as up:
            assert "locked" in up.event("ServerAwaited")["reason"]
            writer.execute("ROLLBACK")
            up.succeed()
    assert created_indexes(sqlite_base_url).keys() == TEN_NAMES


def test_a_reading_command_says_that_a_file_is_locked_whole(sqlite_head_url):
    with closing(connect(sqlite_head_url)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        result = run("status", url=sqlite_head_url)
    assert result.exit_code == 7
    assert "database is locked" in result.stderr
