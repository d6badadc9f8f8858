"""Waiting for a server, as long as waiting can help: not for a wrong password."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import postgres_server
import psycopg2
import pytest
from command import HEAD, connect, execute, nothing_changes, prepare, run, succeed
from password_server import running_password_server
from roles import another_role, as_role
from scenes import assert_all_valid, own_server, running, until

COMMANDS = pytest.mark.parametrize(
    "command", [("wait", "--timeout"), ("up", "--wait-db")], ids=lambda command: " ".join(command)
)


@COMMANDS
def test_a_server_that_starts_later_is_waited_for(command):
    with own_server() as server:
        server.crash()
        with running(*command, "60", url=server.url) as waiting:
            waiting.line("refused")
            assert waiting.is_running
            server.come_back()
            waiting.succeed()
        if command[0] == "up":
            assert_all_valid(server.url)
        assert len([line for line in waiting.lines if "refused" in line]) == 1


def test_each_reason_is_one_event_with_json_too():
    with own_server() as server:
        server.crash()
        with running("wait", "--json", "--timeout", "60", url=server.url) as waiting:
            result = waiting.event("ServerAwaited")
            assert "refused" in result["reason"]
            assert str(server.port) in result["reason"]
            waiting.wait(1)
            server.come_back()
            result = waiting.succeed()
    reasons = [each["reason"] for each in waiting.events]
    assert len(reasons) == len(set(reasons))
    assert json.loads(result.lines[-1])["reachable"] is True


@COMMANDS
def test_too_many_connections_heal(command):
    with own_server(max_connections="6", superuser_reserved_connections="0") as server, ExitStack() as others:
        for _ in range(6):
            connection = others.enter_context(closing(psycopg2.connect(server.url)))
        with running(*command, "60", url=server.url) as waiting:
            waiting.line("too many clients")
            others.close()
            waiting.succeed()
    assert connection.closed


def test_an_unknown_host_is_retried_until_the_timeout():
    with running("wait", "--json", "--timeout", "1", url="postgresql://clerk@nowhere.invalid/crm") as waiting:
        assert "nowhere.invalid" in waiting.event("ServerAwaited")["reason"]
        result = waiting.end()
    assert result.exit_code == 7
    assert "nowhere.invalid" in result.stderr
    assert "Check the host" in result.stderr


@COMMANDS
def test_a_wrong_password_fails_at_once_and_is_not_printed(command):
    with running_password_server() as server:
        server.add_role("clerk", "right")
        result = run(*command, "60", url=server.url("clerk", "mistyped-secret"))
        assert result.exit_code == 7
        assert "password" in result.stderr
        assert "Retrying" not in result.stdout
        assert "mistyped-secret" not in result.stdout + result.stderr


@COMMANDS
def test_an_unknown_database_fails_at_once(command, postgres_server):
    url = postgres_server.replace("/postgres", "/nowhere")
    result = run(*command, "60", url=url)
    assert result.exit_code == 7
    assert "Retrying" not in result.stdout


def test_without_wait_db_a_missing_server_fails_at_once():
    url = f"postgresql://clerk@127.0.0.1:{postgres_server.free_port()}/crm"
    result = run("up", url=url)
    assert (result.exit_code, result.stdout) == (7, "")


def test_wait_ends_at_once_if_the_database_accepts_connections(database_url):
    if database_url.startswith("sqlite"):
        succeed("up", url=database_url)
    assert "accepts connections" in succeed("wait", url=database_url).stdout
    assert json.loads(succeed("wait", "--json", url=database_url).stdout)["reachable"] is True


def test_a_signal_ends_the_waiting():
    with running("wait", "--json", url=f"postgresql://clerk@127.0.0.1:{postgres_server.free_port()}/crm") as waiting:
        waiting.event("ServerAwaited")
        waiting.send(signal.SIGTERM)
        assert waiting.end().exit_code == 143


def test_wait_leaves_no_session_and_no_object(postgres_url):
    succeed("wait", url=postgres_url)
    assert execute(postgres_url, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]


def test_wait_reports_a_sqlite_file_that_does_not_exist(tmp_path):
    url = f"sqlite:///{tmp_path}/new.db"
    result = succeed("wait", "--database-url", url, url="sqlite:///other.db")
    assert "does not exist yet" in result.stdout
    assert "accepts connections" not in result.stdout
    assert result.next_command() == ["up", "--database-url", url]
    succeed(*result.next_command(), url="sqlite:///other.db")
    assert "accepts connections" in succeed("wait", url=url).stdout


# For the gate ------------------------------------------------------------------------------------------------------


def test_wait_for_applied_ends_when_up_has_built_all(any_base_url):
    with running("wait", "--for", "applied", "--json", url=any_base_url) as waiting:
        reason = waiting.event("GateAwaited")["reason"]
        assert reason == f"Revision {HEAD} is pending (0 of its 10 indexes are valid)."
        succeed("up", url=any_base_url)
        result = waiting.succeed()
    assert result.json()["gate"] == {"open": True, "reason": None}
    assert (result.json()["revision"], result.json()["pending"]) == (HEAD, [])


def test_wait_for_applied_sees_a_file_that_another_process_creates(sqlite_url):
    with running("wait", "--for", "applied", url=sqlite_url) as waiting:
        assert "has none of the tables" in waiting.line("Waiting.")
        succeed("up", url=sqlite_url)
        assert "its indexes are as declared" in waiting.succeed().stdout


def test_wait_for_applied_ends_as_check_does_once_its_time_is_over(any_head_url):
    execute(any_head_url, "DROP INDEX ix_activity_type")
    with nothing_changes(any_head_url):
        result = run("wait", "--for", "applied", "--timeout", "0", url=any_head_url)
    assert result.exit_code == 4
    assert "is not ready after" in result.stderr
    assert "These indexes are not as declared: ix_activity_type (missing)." in result.stderr
    assert result.next_command() == ["up"]
    assert result.stdout == ""
    succeed(*result.next_command(), url=any_head_url)
    succeed("wait", "--for", "applied", "--timeout", "0", url=any_head_url)


@pytest.mark.parametrize("options", [(), ("--for", "applied")])
def test_wait_that_was_too_short_for_a_locked_file_does_not_advise_to_wait(options, sqlite_head_url):
    with closing(connect(sqlite_head_url)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        result = run("wait", "--timeout", "0.1", *options, url=sqlite_head_url)
    assert result.exit_code == 7
    assert "Another process still has the file locked. End it, or wait longer" in result.stderr
    assert "python cli.py wait" not in result.stderr


def test_wait_for_applied_holds_no_session_between_two_looks(base_url):
    sessions = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{urlsplit(base_url).path[1:]}'"
    with running("wait", "--for", "applied", url=base_url) as waiting:
        waiting.line("Waiting.")
        until(lambda: execute(base_url, sessions) == [(1,)])
        assert waiting.is_running


def test_wait_for_applied_survives_a_crash_of_the_server():
    with own_server() as server:
        prepare(server.url, "base")
        with running("wait", "--for", "applied", "--json", url=server.url) as waiting:
            waiting.event("GateAwaited")
            server.crash()
            waiting.event("ServerAwaited")
            server.come_back()
            succeed("up", "--wait-db", "60", url=server.url)
            waiting.succeed()


def test_wait_for_applied_fails_at_once_where_waiting_cannot_help(head_url, superuser_url):
    with another_role(superuser_url) as role:
        result = run("wait", "--for", "applied", url=as_role(superuser_url, role))
    assert result.exit_code == 1
    assert "GRANT" in result.stderr


def test_wait_for_applied_waits_for_each_schema(postgres_url):
    execute(postgres_url, "CREATE SCHEMA a", "CREATE SCHEMA b")
    succeed("up", "--schema", "a", url=postgres_url)
    with running("wait", "--for", "applied", "--schema", "a", "--schema", "b", url=postgres_url) as waiting:
        assert "b: The database has none of the tables." in waiting.line("Waiting.")
        succeed("up", "--schema", "b", url=postgres_url)
        waiting.succeed()


@pytest.mark.parametrize("option", [("wait", "--timeout"), ("up", "--max-wait"), ("up", "--wait-lock")], ids=str)
@pytest.mark.parametrize("seconds", ["nan", "inf"])
def test_a_time_that_is_never_over_is_refused(option, seconds, sqlite_url):
    result = run(*option, seconds, url=sqlite_url)
    assert result.exit_code == 2
    assert "is not a number of seconds" in result.stderr
