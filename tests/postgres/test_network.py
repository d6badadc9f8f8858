"""A silent network or server: signals are obeyed, a wait is reported with its reason, and the next run succeeds."""

from __future__ import annotations

import gc
import signal
import socket
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from command import Result, execute, run, succeed
from proxy import ANSWERS, Proxy, proxied
from scenes import (
    Run,
    Server,
    assert_all_valid,
    assert_none_exist,
    lock_holder,
    old_snapshot,
    open_writer,
    own_server,
    running,
    transaction,
    until,
    until_idle,
    until_phase,
)

from indexer.connection import connect
from indexer.postgres.session import watchdog

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
DIFFERENT = "CREATE INDEX ix_activity_type ON activity (activity_type, id)"


@pytest.fixture
def proxy(base_url: str) -> Iterator[Proxy]:
    """Yield a proxy in front of the server."""
    with proxied(base_url) as proxy:
        yield proxy


def assert_ends_in_order(stopped: Run, number: int) -> Result:
    """Check that a signal ends the run with its exit code, in good order and not by the clock; return its output."""
    stopped.send(number)
    result = stopped.end()
    assert result.exit_code == EXIT_CODES[number], result
    assert f"Interrupted by {signal.Signals(number).name}" in result.stderr
    assert "took too long" not in result.stderr
    return result


def assert_repairable(proxy: Proxy, url: str) -> None:
    """Check that the next up ends with ten indexes, and the next down with none."""
    proxy.cut()  # the server learns that the client is gone
    until(lambda: lock_holder(url) is None)
    until_idle(url)
    succeed("up", url=url)
    assert_all_valid(url)
    succeed("down", url=url)
    assert_none_exist(url)


# Signals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "number"),
    [("status", signal.SIGINT), ("wait", signal.SIGTERM), ("plan", signal.SIGTERM), ("up", signal.SIGINT)],
    ids=lambda value: str(value),
)
def test_a_signal_is_obeyed_while_connecting_gets_no_answer(proxy, base_url, command, number):
    proxy.silent = True
    with running(command, url=proxy.through(base_url)) as stopped:
        until(lambda: proxy.links)
        assert "nothing was changed" in assert_ends_in_order(stopped, number).stderr


@pytest.mark.parametrize(
    ("request_", "is_passed_on", "number"),
    [
        ("pg_try_advisory_lock", True, signal.SIGTERM),
        ("INSERT INTO", False, signal.SIGINT),
        ("COMMIT", True, signal.SIGTERM),
        ("CREATE INDEX", True, signal.SIGINT),
        ("RENAME TO", True, signal.SIGTERM),
        ("DROP INDEX", False, signal.SIGINT),
    ],
    ids=lambda value: str(value),
)
def test_a_signal_is_obeyed_after_a_request_that_gets_no_answer(proxy, base_url, request_, is_passed_on, number):
    execute(base_url, DIFFERENT)
    proxy.fall_silent_at(request_, is_passed_on)
    with running("up", "--replace", url=proxy.through(base_url)) as stopped:
        until(lambda: proxy.is_triggered)
        assert_ends_in_order(stopped, number)
    assert_repairable_after_replace(proxy, base_url)


def assert_repairable_after_replace(proxy: Proxy, url: str) -> None:
    """Check that the same command ends with ten indexes."""
    proxy.cut()
    until(lambda: lock_holder(url) is None)
    until_idle(url)
    succeed("up", "--replace", url=url)
    assert_all_valid(url)


def test_a_signal_cancels_a_query_on_the_server(base_url):
    asking = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with transaction(base_url, "LOCK TABLE activity"), running("verify", url=base_url) as stopped:
        until(lambda: execute(base_url, asking))
        assert_ends_in_order(stopped, signal.SIGTERM)
        assert execute(base_url, asking) == []


def test_a_signal_is_obeyed_during_a_build_when_all_sessions_fall_silent(proxy, base_url):
    with open_writer(base_url), running("up", url=proxy.through(base_url)) as stopped:
        until_phase(base_url, "waiting for writers before build")
        proxy.fall_silent()
        assert_ends_in_order(stopped, signal.SIGTERM)
    assert_repairable(proxy, base_url)


def test_a_signal_is_obeyed_when_only_the_session_that_builds_gets_no_answer(proxy, base_url):
    with open_writer(base_url), running("up", "--jobs", "1", url=proxy.through(base_url)) as stopped:
        until_phase(base_url, "waiting for writers before build")
        proxy.links[1].swallow(ANSWERS)
        assert_ends_in_order(stopped, signal.SIGTERM)
    assert_repairable(proxy, base_url)


def test_a_second_signal_ends_a_run_at_once_when_all_is_silent(proxy, base_url):
    with open_writer(base_url), running("up", url=proxy.through(base_url)) as stopped:
        until_phase(base_url, "waiting for writers before build")
        proxy.fall_silent()
        stopped.send(signal.SIGTERM)
        stopped.send(signal.SIGINT)
        result = stopped.end()
    assert result.exit_code in (130, 143)
    assert "Interrupted by" not in result.stderr
    assert_repairable(proxy, base_url)


def test_a_build_is_cancelled_and_cleaned_away_when_only_new_connections_get_no_answer(proxy, base_url):
    with old_snapshot(base_url), running("up", url=proxy.through(base_url)) as stopped:
        until_phase(base_url, "waiting for old snapshots")
        proxy.silent = True
        stopped.send(signal.SIGTERM)
        result = stopped.end()
    assert result.exit_code == 143
    assert "0 of 10 indexes are built; none is incomplete" in result.stderr
    assert_repairable(proxy, base_url)


# Without a signal ---------------------------------------------------------------------------------------------------


MAIN, BUILDING = 0, 1  # the sessions of a run in the order in which it opens them


@pytest.mark.parametrize(
    ("session", "failure", "next_step"),
    [
        (
            MAIN,
            "Error: The run failed: ",
            "Run the same command again: it continues where this run stopped.\n",
        ),
        (BUILDING, "Error: Building ix_activity_openphone_id failed: ", "Run the same command again"),
    ],
    ids=["the main one", "the one that builds"],
)
def test_a_cut_connection_ends_the_run_with_the_next_step(proxy, base_url, session, failure, next_step):
    with open_writer(base_url), running("up", "--jobs", "1", url=proxy.through(base_url)) as up:
        until_phase(base_url, "waiting for writers before build")
        proxy.cut(proxy.links[session])
        result = up.end()
    assert result.exit_code == 1
    assert failure in result.stderr
    assert next_step in result.stderr
    assert_repairable(proxy, base_url)


def test_the_next_run_is_right_after_all_connections_were_cut(proxy, base_url):
    with open_writer(base_url), running("up", url=proxy.through(base_url)) as up:
        until_phase(base_url, "waiting for writers before build")
        proxy.cut()
        result = up.end()
    assert result.exit_code == 1
    assert "un the same command again" in result.stderr
    assert_repairable(proxy, base_url)


def test_a_run_does_not_wait_for_the_answer_to_a_build_that_the_server_has_ended(proxy, base_url):
    with open_writer(base_url) as writer, running("up", "--jobs", "1", url=proxy.through(base_url)) as up:
        until_phase(base_url, "waiting for writers before build")
        proxy.links[1].swallow(ANSWERS)
        writer.end()
        result = up.end()
    assert result.exit_code == 1
    assert (
        "ix_activity_openphone_id failed: the server has finished the statement, but its answer was lost"
        in result.stderr
    )
    assert_repairable(proxy, base_url)


@pytest.mark.parametrize("command", ["status", "up"])
def test_a_server_that_lets_in_and_does_not_answer_is_unreachable(proxy, base_url, command):
    proxy.fall_silent_at("pg_backend_pid")  # as a pooler with every session taken does
    result = run(command, url=proxy.through(base_url) + "?connect_timeout=2")
    assert result.exit_code == 7
    assert "the server did not answer in 2 seconds" in result.stderr
    assert "the size of the pool" in result.stderr


def test_waiting_for_a_server_that_does_not_answer_ends_in_time(proxy, base_url):
    proxy.fall_silent_at("pg_backend_pid")
    result = run("wait", "--timeout", "2", url=proxy.through(base_url))
    assert result.exit_code == 7
    assert "the server did not answer in 2 seconds" in result.stderr  # and not in ten, which the URL allows


def test_a_builder_that_gets_no_answer_is_not_waited_for_without_end(proxy, base_url):
    migrator = connect(proxy.through(base_url) + "?connect_timeout=2")
    with closing(migrator.database):
        proxy.silent = True
        with pytest.raises(watchdog.psycopg2.OperationalError, match="did not answer in 2 seconds"):
            migrator.database.open_builder()


@pytest.fixture
def reasons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of reasons that a watchdog with short intervals reports."""
    for name, seconds in {"NOTICEABLE": 0.2, "REPEATED": 0.1, "GIVEN_UP": 0.5, "PATIENCE": 0.5, "TICK": 0.05}.items():
        monkeypatch.setattr(watchdog, name, seconds)
    return []


def test_a_session_whose_answer_was_lost_ends(proxy, base_url, reasons):
    migrator = connect(proxy.through(base_url), report=lambda event: reasons.append(event.reason))
    with closing(migrator.database) as database:
        proxy.links[0].swallow(ANSWERS)
        with pytest.raises(Exception, match="its answer was lost"):
            database.execute_sql("SELECT 1")
    assert set(reasons) <= {watchdog.LOST, watchdog.WORKING}


def test_a_session_ends_when_the_server_has_been_silent_for_long(proxy, base_url, reasons):
    migrator = connect(proxy.through(base_url), report=lambda event: reasons.append(event.reason))
    with closing(migrator.database) as database:
        proxy.fall_silent()
        with pytest.raises(Exception, match="the server has not answered for"):
            database.execute_sql("SELECT 1")
    assert "did not answer" in reasons[0]


def test_what_a_statement_waits_for_is_reported(base_url, reasons):
    migrator = connect(base_url, report=lambda event: reasons.append(event.reason))
    with closing(migrator.database) as database, open_writer(base_url), pytest.raises(Exception, match="lock timeout"):
        database.execute_sql("SET lock_timeout = '1s'; ALTER TABLE public.activity ADD COLUMN note text")
    assert "the statement waits for Lock: relation" in reasons


def test_a_watchdog_does_not_keep_its_connection_alive(base_url):
    database = weakref.ref(connect(base_url).database)
    until(lambda: gc.collect() >= 0 and database() is None)


# Keepalives ---------------------------------------------------------------------------------------------------------

OF_THE_SERVER = {
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


def test_both_ends_of_every_session_send_keepalives(base_url):
    migrator = connect(base_url)
    with closing(migrator.database) as database:
        assert {name: database.execute_sql(f"SHOW {name}").fetchone()[0] for name in OF_THE_SERVER} == OF_THE_SERVER
        builder = database.builders.take({})
        assert {name: builder.execute(f"SHOW {name}")[0] for name in OF_THE_SERVER} == OF_THE_SERVER
        for session in (database.connection(), builder):
            with socket.socket(fileno=socket.dup(session.fileno())) as connection:
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        builder.close()


# A standby that is lost ---------------------------------------------------------------------------------------------

COMMITS_THAT_WAIT = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"


@pytest.fixture(scope="module")
def lonely_server() -> Iterator[Server]:
    """Yield a server whose commits can wait for a standby that does not exist."""
    with own_server(synchronous_commit="on") as server:
        yield server


@contextmanager
def lonely(server: Server) -> Iterator[None]:
    """Let every commit of the block wait for a standby."""
    execute(server.url, "ALTER SYSTEM SET synchronous_standby_names = 'missing'", "SELECT pg_reload_conf()")
    try:
        until(lambda: execute(server.url, "SHOW synchronous_standby_names") == [("missing",)])
        yield
    finally:
        execute(server.url, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")


def test_a_commit_that_waits_for_a_standby_is_named_and_obeys_a_signal(lonely_server):
    with lonely_server.new_database() as url:
        with lonely(lonely_server):
            assert "No synchronous standby is connected" in run("plan", url=url).stdout
            with running("up", url=url) as up:
                up.line("the commit waits for a synchronous standby")
                assert_ends_in_order(up, signal.SIGTERM)
            with running("up", "--json", url=url) as up:
                until(lambda: execute(url, COMMITS_THAT_WAIT))
                assert_ends_in_order(up, signal.SIGINT)
        until(lambda: lock_holder(url) is None)
        succeed("up", url=url)
        assert_all_valid(url)


def test_a_build_that_waits_for_a_standby_is_named_and_bounded(lonely_server):
    with lonely_server.new_database() as url:
        with old_snapshot(url) as snapshot, running("up", "--json", "--jobs", "1", url=url) as up:
            until_phase(url, "waiting for old snapshots")
            with lonely(lonely_server):
                snapshot.end()
                assert up.event("Waiting", phase="waiting for a synchronous standby")["blockers"] == []
                assert_ends_in_order(up, signal.SIGTERM)
        succeed("up", url=url)
        assert_all_valid(url)
