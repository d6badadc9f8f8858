"""Connection limits: two connections are enough for every run; with one it is refused before the first change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import psycopg2
import pytest
from command import execute, nothing_changes, prepare, run, succeed
from roles import another_role, as_role
from scenes import (
    Run,
    Server,
    assert_all_valid,
    assert_none_exist,
    old_snapshot,
    open_writer,
    own_server,
    running,
    until,
)

MEMBER = "GRANT crm_owner TO {role}"
LIMITED = "ALTER ROLE {{role}} CONNECTION LIMIT {}"
SIDE_BY_SIDE = 140000  # from PostgreSQL 14 on two concurrent builds may run at once


@pytest.mark.parametrize("options", [[], ["--offline"]], ids=["online", "offline"])
def test_a_role_with_two_connections_builds_one_index_after_the_other(base_url, superuser_url, options):
    # A superuser makes a member of the owner's role that may open two sessions.
    with another_role(superuser_url, MEMBER, LIMITED.format(2)) as member:
        url = as_role(base_url, member)
        for jobs in ("auto", "1"):
            up = succeed("up", "--jobs", jobs, *options, url=url)
            assert_all_valid(base_url)
            succeed("down", "--jobs", jobs, *options, url=url)
    assert "connection was refused" not in up.stdout
    assert_none_exist(base_url)


@pytest.mark.parametrize("command", ["up", "down"])
@pytest.mark.parametrize("options", [[], ["--offline"]], ids=["online", "offline"])
def test_a_refused_third_connection_is_reported_once_and_the_run_continues(base_url, superuser_url, options, command):
    if _version(base_url) < SIDE_BY_SIDE:
        options = ["--offline"]  # online there are never two builds at once
    if command == "down":
        prepare(base_url)
    # A superuser makes a member of the owner's role that may open two sessions.
    with (
        another_role(superuser_url, MEMBER, LIMITED.format(2)) as member,
        open_writer(base_url) as writer,
        running(command, "--json", "--jobs", "3", *options, url=as_role(base_url, member)) as beside,
    ):
        until(lambda: refusals(beside), "the refusal of a third connection")
        writer.end()
        beside.succeed()
    assert [f'too many connections for role "{member}"' in text for text in refusals(beside)] == [True]
    (assert_all_valid if command == "up" else assert_none_exist)(base_url)


@pytest.mark.parametrize("snapshot_ends", [True, False])
def test_a_refused_third_connection_leaves_nothing_waiting_for_ever_under_a_limited_wait(
    base_url, superuser_url, snapshot_ends
):
    if _version(base_url) < SIDE_BY_SIDE:
        pytest.skip("online there are never two builds at once")
    limits = ["--max-wait", "60"] if snapshot_ends else ["--max-wait", "1", "--retries", "1"]
    # A superuser makes a member of the owner's role that may open two sessions.
    with (
        another_role(superuser_url, MEMBER, LIMITED.format(2)) as member,
        old_snapshot(base_url) as snapshot,  # hidden from the role: a build begins, and waits for it in the end
        running("up", "--json", "--jobs", "3", *limits, url=as_role(base_url, member)) as up,
    ):
        until(lambda: refusals(up), "the refusal of a third connection")
        if snapshot_ends:
            snapshot.end()
        result = up.end()
    assert result.exit_code == (0 if snapshot_ends else 6), result
    if snapshot_ends:
        assert_all_valid(base_url)


def refusals(up: Run) -> list[str]:
    """Return the warnings about refused connections."""
    texts = [event["text"] for event in up.events if event["event"] == "Warned"]
    return [text for text in texts if "connection was refused" in text]


def _version(url: str) -> int:
    return int(execute(url, "SHOW server_version_num")[0][0])


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_role_with_one_connection_is_refused_before_the_first_change_with_the_limit_to_raise(
    base_url, superuser_url, command
):
    if command == "down":
        prepare(base_url)
    # A superuser makes the role, and raises its limit as the hint says.
    with another_role(superuser_url, MEMBER, LIMITED.format(1)) as member:
        url = as_role(base_url, member)
        with nothing_changes(base_url):
            refused = run(command, url=url)
        assert refused.exit_code == 1, refused
        assert f'the second was refused: too many connections for role "{member}".' in refused.stderr
        (statement,) = re.findall(r"ALTER ROLE .*;", refused.stderr)
        execute(superuser_url, statement)
        succeed(command, url=url)


def test_a_database_with_one_connection_is_refused_with_the_limit_to_raise(base_url, superuser_url):
    # A superuser limits the database, in which superusers count, too.
    name = execute(base_url, "SELECT current_database()")[0][0]
    execute(superuser_url, f"ALTER DATABASE {name} CONNECTION LIMIT 1")
    until(lambda: _sessions(superuser_url) == 1)
    refused = run("up", url=base_url)
    assert refused.exit_code == 1, refused
    assert f'too many connections for database "{name}"' in refused.stderr
    (statement,) = re.findall(r"ALTER DATABASE .*;", refused.stderr)
    execute(superuser_url, statement)
    succeed("up", url=base_url)
    assert_all_valid(base_url)


def _sessions(url: str) -> int:
    return execute(url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")[0][0]


@pytest.mark.parametrize("url", ["role", "database"])
def test_the_error_of_a_refused_first_session_names_the_limit(base_url, superuser_url, url):
    # A superuser makes the limits.
    with another_role(superuser_url, MEMBER) as member:
        name = execute(base_url, "SELECT current_database()")[0][0]
        limited, connecting = (member, as_role(base_url, member)) if url == "role" else (name, base_url)
        execute(superuser_url, f"ALTER {url} {limited} CONNECTION LIMIT 0")
        refused = run("status", url=connecting)
        assert refused.exit_code == 7
        (statement,) = re.findall(f"ALTER {url.upper()} ... CONNECTION LIMIT", refused.stderr)
        execute(superuser_url, statement.replace("...", limited) + " 2")
        assert run("status", url=connecting).exit_code == 3


# A separate server, whose connections are counted ------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_server() -> Iterator[Server]:
    """A server with eight connections, of which one is kept for superusers."""
    settings = {"max_connections": "8", "superuser_reserved_connections": "1", "max_wal_senders": "0"}
    with own_server(**settings) as server:
        yield server


@pytest.mark.parametrize("free", [1, 2])
def test_two_free_connections_of_the_server_are_enough(small_server, free):
    with small_server.new_database() as url, ExitStack() as taken:
        sessions = []
        with suppress(psycopg2.OperationalError):
            while True:  # until the owner is refused
                sessions.append(taken.enter_context(closing(psycopg2.connect(url))))
        for session in sessions[:free]:
            session.close()
        until(lambda: _on_server(small_server.url) == len(sessions) - free)
        done = run("up", "--jobs", "2", url=url)
        if free == 2:
            assert done.exit_code == 0, done
            taken.close()
            until(lambda: _on_server(small_server.url) == 0)
            assert_all_valid(url)
        else:
            assert done.exit_code == 1, done
            assert "A run needs two connections" in done.stderr
            assert "End another session, or raise max_connections" in done.stderr


def _on_server(url: str) -> int:
    return execute(url, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'crm_owner'")[0][0]
