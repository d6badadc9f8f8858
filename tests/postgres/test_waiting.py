"""Sessions that block a run are named, waited for as long as the user allows, and never disturbed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from command import TEN_NAMES, broken, created_indexes, execute, run, succeed
from roles import OWNER
from scenes import (
    READ,
    WRITE,
    ByHand,
    Run,
    Server,
    application,
    assert_all_valid,
    assert_none_exist,
    build_all,
    fill_activity,
    frozen,
    long_copy,
    old_snapshot,
    open_reader,
    open_writer,
    own_server,
    prepared_transaction,
    running,
    transaction,
    until,
    until_dropping,
    until_phase,
)

TOO_LONG = "statement_timeout = '3s'"  # a statement of the application that waits so long is one that fails
FIRST = "ix_activity_openphone_id"


@pytest.fixture(scope="module")
def preparing_server() -> Iterator[Server]:
    """A server with prepared transactions, which are off by default."""
    with own_server(max_prepared_transactions="5") as server:
        yield server


@pytest.fixture
def url(preparing_server: Server) -> Iterator[str]:
    """A database at the base revision."""
    with preparing_server.new_database() as url:
        yield url


# Blockers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blocking:
    """A blocker of the role that runs: how it is named, and what ends it."""

    pid: int | None
    reason: str
    query: str
    ending: str


def session(pid: int, reason: str, query: str) -> Blocking:
    """Return a blocker with a server process."""
    return Blocking(pid, reason, query, f"SELECT pg_catalog.pg_terminate_backend({pid});")


@contextmanager
def a_writer(url: str) -> Iterator[Blocking]:
    with open_writer(url, role=OWNER) as writer:
        yield session(writer.pid, "idle in transaction", "INSERT INTO activity")


@contextmanager
def a_snapshot(url: str) -> Iterator[Blocking]:
    with old_snapshot(url, role=OWNER) as reader:
        yield session(reader.pid, "idle in transaction", "SELECT 1")


@contextmanager
def a_prepared_transaction(url: str) -> Iterator[Blocking]:
    with prepared_transaction(url, "half 'a' payment", role=OWNER) as name:
        quoted = name.replace("'", "''")
        yield Blocking(None, f"prepared transaction {name}", "", f"ROLLBACK PREPARED '{quoted}';")


@contextmanager
def a_copy(url: str) -> Iterator[Blocking]:
    with long_copy(url, role=OWNER) as pid:
        yield session(pid, "active", "COPY activity")


@contextmanager
def a_build_by_hand(url: str) -> Iterator[Blocking]:
    with old_snapshot(url):
        by_hand = ByHand(url, "CREATE INDEX CONCURRENTLY other_index ON activity (direction)")
        until_phase(url, "waiting for old snapshots")
        yield session(by_hand.pid, "builds on this table", "CREATE INDEX CONCURRENTLY other_index")
    by_hand.end()


OF_A_BUILD = (a_writer, a_snapshot, a_prepared_transaction, a_copy, a_build_by_hand)
EVERYBODY = pytest.mark.parametrize("scene", OF_A_BUILD, ids=lambda scene: scene.__name__)


def named(run: Run, blocking: Blocking) -> dict:
    """Wait until a run has named a blocker in an event; return the event's entry."""
    (reported, *_) = run.event("Waiting")["blockers"]
    assert (reported["pid"], reported["ending"]) == (blocking.pid, blocking.ending)
    assert blocking.reason in reported["reason"]
    assert reported["query"].startswith(blocking.query)
    return reported


# Named, and waited for ----------------------------------------------------------------------------------------------


@EVERYBODY
def test_a_session_that_blocks_a_build_is_named_and_waited_for(url, scene):
    with scene(url) as blocking:
        up = Run("up", "--json", url=url)
        reported = named(up, blocking)
        assert reported["role"]
        assert blocking.pid is None or reported["client"] == "127.0.0.1"
        assert up.is_running
    up.succeed()
    assert_nothing_was_given_up(up)
    assert_all_valid(url)


def assert_nothing_was_given_up(run: Run) -> None:
    """Check that no statement was executed twice."""
    assert run.find("Retrying") is None


@EVERYBODY
def test_a_log_names_the_blockers_too(url, scene):
    with scene(url) as blocking, running("up", url=url) as up:
        up.line(blocking.reason)
        reported = " ".join(up.lines)
        assert f"pid {blocking.pid} (" in reported or blocking.pid is None
        assert blocking.query in reported
        assert "another client" in reported or scene not in (a_writer, a_snapshot)


@EVERYBODY
def test_plan_shows_the_sessions_that_a_run_would_wait_for(url, scene):
    with scene(url) as blocking:
        reported = until(lambda: blockers_in_plan("up", url))  # a session that has just begun may be about to end
        assert (blocking.pid, blocking.ending) in [(each["pid"], each["ending"]) for each in reported]
        shown = succeed("plan", url=url).stdout
        assert f"pid {blocking.pid} (" in shown or blocking.reason in shown
        assert blocking.query in shown
    assert blockers_in_plan("up", url) == []


def blockers_in_plan(direction: str, url: str) -> list[dict]:
    """Return the blockers in the plan of a run."""
    return run("plan", direction, "--json", url=url).json()["blockers"]


def test_plan_down_shows_the_readers(url):
    build_all(url)
    with open_reader(url) as reader:
        (reported,) = until(lambda: blockers_in_plan("down", url))
        assert reported["pid"] == reader.pid


def test_a_drop_names_and_waits_for_a_reader(url):
    build_all(url)
    with open_reader(url, role=OWNER) as reader:
        blocking = session(reader.pid, "idle in transaction", "SELECT count(*) FROM activity")
        down = Run("down", "--json", url=url)
        named(down, blocking)
    down.succeed()
    assert_none_exist(url)


def test_a_long_query_is_cut_to_a_line(url):
    spread = "SELECT 1,\n       " + "2,\n" * 200 + " 3"
    with transaction(url, spread, isolation="REPEATABLE READ"), running("up", "--json", url=url) as up:
        query = up.event("Waiting")["blockers"][0]["query"]
    assert query.startswith("SELECT 1, 2, 2,")
    assert len(query) <= 80
    assert "\n" not in query


def test_a_session_that_blocks_nothing_is_not_waited_for(url):
    with open_reader(url), open_writer(url, "INSERT INTO campaign (name) VALUES ('spring')"):
        assert '"Waiting"' not in succeed("up", "--json", "--max-wait", "0", "--retries", "0", url=url).stdout
    assert_all_valid(url)


# Limits of the wait -------------------------------------------------------------------------------------------------


@EVERYBODY
def test_a_limited_wait_ends_in_6_without_a_leftover_and_with_the_statement_that_ends_the_blocker(url, scene):
    with scene(url) as blocking:
        result = run("up", "--max-wait", "0.2", "--retries", "0", url=url)
        assert result.exit_code == 6
        assert blocking.ending in result.stderr
        assert blocking.reason in result.stderr
        assert f"Gave up on {FIRST}" in result.stderr
        assert broken(url) & TEN_NAMES == set()
        assert FIRST not in created_indexes(url)
        if scene is not a_build_by_hand:  # terminating that would leave an invalid index of another client
            execute(url, blocking.ending)
            succeed("up", url=url)
            assert_all_valid(url)


def test_each_attempt_is_reported_and_the_next_one_succeeds(url):
    with open_writer(url) as writer, running("up", "--json", "--max-wait", "0.2", "--retries", "5", url=url) as up:
        tried = up.event("Retrying", index=FIRST, attempt=1)
        assert tried["retries"] == 5
        writer.end()
        up.succeed()
    assert_all_valid(url)


def test_a_drop_that_waits_too_long_ends_in_6_and_can_be_repeated(url):
    build_all(url)
    with open_reader(url, role=OWNER) as reader:
        result = run("down", "--max-wait", "0.2", "--retries", "0", url=url)
        assert result.exit_code == 6
        assert f"SELECT pg_catalog.pg_terminate_backend({reader.pid});" in result.stderr
    succeed("down", url=url)
    assert_none_exist(url)


def test_a_blocker_that_comes_during_a_build_ends_it_without_a_leftover(url):
    fill_activity(url, 100_000)
    with (
        transaction(url, isolation="REPEATABLE READ") as reader,
        running("up", "--json", "--jobs", "1", "--max-wait", "0.2", "--retries", "0", url=url) as up,
    ):
        until_phase(url, "building index")
        reader.execute("SELECT 1")
        result = up.end()
        assert result.exit_code == 6
        assert "waiting for old snapshots" in result.stderr
        assert f"SELECT pg_catalog.pg_terminate_backend({reader.pid});" in result.stderr
        assert broken(url) == set()
    succeed("up", url=url)
    assert_all_valid(url)


def test_without_a_limit_a_blocker_that_comes_during_a_build_is_waited_for(url):
    fill_activity(url, 100_000)
    with transaction(url, isolation="REPEATABLE READ") as reader, running("up", "--json", url=url) as up:
        until_phase(url, "building index")
        reader.execute("SELECT 1")
        assert up.event("Waiting", phase="waiting for old snapshots")["blockers"][0]["pid"] == reader.pid
        reader.end()
        up.succeed()
    assert_all_valid(url)


def test_a_build_that_makes_progress_is_never_cancelled(url):
    fill_activity(url)
    with running("up", "--json", "--max-wait", "0.01", "--retries", "0", url=url) as up:
        with frozen(until_phase(url, "building index")):
            until(lambda: len([each for each in up.events if each["event"] == "Progress"]) >= 2)
        up.succeed()
    assert_all_valid(url)


# Timeouts of the role -----------------------------------------------------------------------------------------------

TIMEOUTS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",  # since 14
    "transaction_timeout",  # since 17
)

IMMORTAL = f"SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN {TIMEOUTS}"


@pytest.mark.parametrize("command", ["up", "down"])
def test_timeouts_of_the_role_do_not_hurt(url, command):
    if command == "down":
        build_all(url)
    set_timeouts(url)
    with held_for_longer(url, command) as held:
        held.wait(2.5)
    held.succeed()
    assert_nothing_was_given_up(held)
    assert_all_valid(url) if command == "up" else assert_none_exist(url)


def test_timeouts_of_the_role_do_not_hurt_between_two_attempts_either(url):
    """The main session is idle for longer than the role allows."""
    set_timeouts(url)
    with (
        transaction(url, IMMORTAL, WRITE) as writer,
        running("up", "--json", "--max-wait", "0.1", "--retries", "5", url=url) as up,
    ):
        up.event("Retrying", attempt=2)  # after a second; the next pause takes two
        writer.end()
        up.succeed()
    assert_all_valid(url)


def set_timeouts(url: str) -> None:
    """Give the role timeouts of a second, as far as the server has them."""
    known = {name for (name,) in execute(url, "SELECT name FROM pg_settings")}
    (database,) = execute(url, "SELECT current_database()")[0]
    for name in known.intersection(TIMEOUTS):
        execute(url, f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET {name} = '1s'")
    assert execute(url, "SHOW statement_timeout") == [("1s",)]


@contextmanager
def held_for_longer(url: str, command: str) -> Iterator[Run]:
    """Run a command that waits for a transaction which no timeout ends."""
    with transaction(url, IMMORTAL, WRITE if command == "up" else READ):
        held = Run(command, "--json", url=url)
        until_phase(url, "waiting for writers") if command == "up" else until_dropping(url)
        yield held


def test_a_build_has_its_own_settings_and_application_name(url):
    with old_snapshot(url), running("up", url=url):
        pid = until_phase(url, "waiting for old snapshots")
        reported = execute(url, f"SELECT application_name FROM pg_stat_activity WHERE pid = {pid}")
        assert re.match(r"indexer up \w{12}$", reported[0][0])


def test_no_session_of_a_run_has_a_transaction_open_while_it_waits(url):
    with old_snapshot(url), running("up", "--jobs", "1", url=url):
        pid = until_phase(url, "waiting for old snapshots")
        for _ in range(20):
            query = f"""
                SELECT query FROM pg_stat_activity
                 WHERE application_name LIKE 'indexer%' AND pid <> {pid} AND state LIKE 'idle in transaction%'
            """
            assert execute(url, query) == []


# The application ----------------------------------------------------------------------------------------------------


def test_every_statement_of_the_application_succeeds_during_up_and_down(url):
    with application(url, TOO_LONG) as at_work:
        with open_writer(url), running("up", url=url) as up:
            until_phase(url, "waiting for writers before build")
            at_work.wait_for_rounds(rounds=100)
        with open_writer(url):
            at_work.wait_for_rounds()
        succeed("up", url=url)
        assert_all_valid(url)
        with open_reader(url) as reader, running("down", url=url) as down:
            until_dropping(url)
            at_work.wait_for_rounds(rounds=100)
            reader.end()
            down.succeed()
        assert_none_exist(url)
        at_work.wait_for_rounds()
        assert not up.is_running
