"""Which builds run side by side, with which of the server's parallel workers, and what the output says about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from command import CLI, execute
from roles import another_role, as_application, as_role
from scenes import ByHand, Server, assert_all_valid, fill_activity, own_server, until

from indexer.connection import connect
from indexer.events import IndexFinished, StatementStarted, Warned
from indexer.options import Options
from indexer.postgres.run import lanes, schedule
from indexer.postgres.run.lanes import Lanes
from indexer.postgres.run.schedule import BUSY
from indexer.postgres.session.builders import Builder
from indexer.revisions.chain import load
from indexer.runner import Runner

SEEING = "GRANT crm_owner, pg_read_all_stats TO {role}"
WORKERS = "SHOW max_parallel_maintenance_workers"
SIZES = {"large": 100 * lanes.MATTERS, "small": 10 * lanes.MATTERS, "tiny": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server without other clients, whose default for parallel workers is not PostgreSQL's."""
    with own_server(max_parallel_maintenance_workers="3") as server:
        yield server


@pytest.fixture
def seeing_url(server: Server) -> Iterator[str]:
    """URL of the CRM's tables for a role that sees what the clients do, which a superuser allows it."""
    with another_role(server.url, SEEING) as member, server.new_database() as url:
        yield as_role(url, member)


@pytest.fixture(autouse=True)
def _all_builds_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MATTERS", 1)


def up(url: str, jobs: int | None = None) -> list[object]:
    """Build the ten indexes, and return the events."""
    events: list[object] = []
    migrator = connect(url)
    try:
        Runner(migrator, load(str(CLI.parent)), options=Options(jobs=jobs), report=events.append).up()
    finally:
        migrator.database.close()
    assert_all_valid(url)
    return events


def most_at_once(events: list[object]) -> int:
    """Return how many builds ran at once."""
    at_once = most = 0
    for event in events:
        at_once += isinstance(event, StatementStarted) - isinstance(event, IndexFinished)
        most = max(most, at_once)
    return most


def warnings(events: list[object]) -> list[str]:
    """Return the texts of the warnings."""
    return [str(event.text) for event in events if isinstance(event, Warned)]


# Parallel workers ---------------------------------------------------------------------------------------------------


def test_only_the_longest_lane_uses_parallel_workers_while_others_build_beside_it():
    lanes = Lanes(SIZES, ["large", "large", "small"])
    assert lanes.may_use_workers("small")  # alone
    lanes.begin("large")
    assert not lanes.may_use_workers("small")
    lanes.begin("small")
    assert lanes.may_use_workers("large")
    assert lanes.may_use_workers("tiny")  # the server uses none for it
    lanes.end("large")
    lanes.end("large")
    assert lanes.may_use_workers("small")


def test_the_longest_lane_is_that_with_the_most_bytes_to_read_in_all_its_builds():
    lanes = Lanes({"once": 3 * 2**30, "often": 2**30}, ["once", *["often"] * 4])
    lanes.begin("once")
    lanes.begin("often")
    assert [lanes.may_use_workers(table) for table in ("once", "often")] == [False, True]
    lanes.end("often", is_done=False)  # the server has refused its session: the build begins again
    lanes.begin("often")
    assert [lanes.may_use_workers(table) for table in ("once", "often")] == [False, True]


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_servers_default_holds_for_each_build_that_may_use_workers(server, monkeypatch, jobs):
    found: set[tuple[bool, str]] = set()
    send = Builder.send

    def look_and_send(builder: Builder, statement: str) -> None:
        found.add(('."activity"' in statement, *builder.execute(WORKERS)))
        send(builder, statement)

    monkeypatch.setattr(Builder, "send", look_and_send)
    with server.new_database() as url:
        fill_activity(url, 1000)
        up(url, jobs)
    assert {workers for is_longest, workers in found if is_longest} == {"3"}
    if jobs == 1:  # two builds need not overlap: the first one may have ended when the second begins
        assert {workers for _, workers in found} == {"3"}


# The load of the server ---------------------------------------------------------------------------------------------


@contextmanager
def clients(server: Server, statement: str) -> Iterator[None]:
    """Let some clients of another database execute a statement; one more than a server has room for beside builds."""
    found = [ByHand(as_application(server.url), statement) for _ in range(BUSY)]
    try:
        yield
    finally:
        execute(server.url, *(f"SELECT pg_terminate_backend({client.pid})" for client in found))
        for client in found:
            client.end()


def test_clients_that_were_active_a_moment_ago_and_are_idle_do_not_prevent_two_builds_at_once(server, seeing_url):
    with clients(server, "SELECT 1"):
        migrator = connect(seeing_url)
        try:
            until(lambda: migrator.sessions.load().clients == 0)
        finally:
            migrator.database.close()
        events = up(seeing_url)
    assert most_at_once(events) == 2
    assert warnings(events) == []


def test_beside_active_clients_one_index_at_a_time_is_built_and_the_output_says_so_once(server, seeing_url):
    with clients(server, "SELECT pg_sleep(600)"):
        events = up(seeing_url)
        assert most_at_once(events) == 1
        reason = f"Builds one index at a time on tables of 8 MB or more: {BUSY} clients are active."
        assert warnings(events) == [f"{reason} To build two at once: indexer up --jobs 2"]


def test_with_the_option_of_the_warning_two_indexes_are_built_at_once(server, seeing_url):
    with clients(server, "SELECT pg_sleep(600)"):
        events = up(seeing_url, jobs=2)
    assert most_at_once(events) == 2
    assert warnings(events) == []


def test_on_a_server_where_builds_wait_for_each_other_the_output_says_why_the_option_has_no_effect(
    seeing_url, monkeypatch
):
    monkeypatch.setattr(schedule, "IGNORES_OTHERS", 10**6)
    events = up(seeing_url, jobs=2)
    assert most_at_once(events) == 1
    assert warnings(events) == [schedule.ONE_AT_A_TIME]


def test_clients_that_are_not_visible_count_as_active_and_the_output_says_which_grant_shows_more(server):
    with server.new_database() as url, clients(server, "SELECT 1"):
        events = up(url)
    assert most_at_once(events) == 1
    hidden, one_at_a_time = warnings(events)
    assert "GRANT pg_read_all_stats TO crm_owner;" in hidden
    assert "clients are active, or not visible to role crm_owner. To build two at once" in one_at_a_time
