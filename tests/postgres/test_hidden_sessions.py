"""A plain owner beside roles whose sessions it may not observe: what is hidden is unknown, and not taken for absent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from threading import Event, Thread

import psycopg2
import pytest
from command import CLI, broken, execute, run, succeed
from roles import another_role, as_application, as_role
from scenes import (
    WRITE,
    Server,
    assert_all_valid,
    assert_none_exist,
    build_all,
    fill_activity,
    frozen,
    lock_holder,
    old_snapshot,
    open_reader,
    open_writer,
    own_server,
    prepared_transaction,
    running,
    transaction,
    until,
    until_phase,
)

from indexer.connection import connect
from indexer.postgres.run.lock import FAMILY
from indexer.revisions.chain import load
from indexer.runner import Runner

GRANT = "GRANT pg_read_all_stats TO crm_owner;"
IMPATIENT = ["--max-wait", "0.3", "--retries", "0"]
MEMBER, SEEING = "GRANT crm_owner TO {role}", "GRANT pg_read_all_stats TO {role}"


def test_a_plan_names_a_hidden_writer_and_once_the_grant_that_shows_more(base_url):
    with open_writer(base_url) as writer, open_writer(base_url, "DELETE FROM contact_flag") as other:
        plan = run("plan", "--json", url=base_url).json()
        text = run("plan", url=base_url).stdout
        succeed("plan", "--sql", url=base_url)
    assert {(each["pid"], each["role"], each["seconds"]) for each in plan["blockers"]} == {
        (writer.pid, "crm_app", None),
        (other.pid, "crm_app", None),
    }
    assert f"pid {writer.pid} (crm_app, another client): holds a write lock on activity" in text
    assert "state not visible to crm_owner" in text
    assert text.count(GRANT) == 1
    assert [GRANT in warning for warning in plan["warnings"]] == [True]


def test_a_plan_names_a_transaction_whose_snapshot_may_be_old(base_url):
    with old_snapshot(base_url) as reader:
        (blocker,) = run("plan", "--json", url=base_url).json()["blockers"]
    assert blocker["pid"] == reader.pid
    assert "may hold an old snapshot" in blocker["reason"]


def test_with_the_granted_right_all_is_shown_and_no_grant_is_advised(base_url, superuser_url):
    # A superuser gives the right that is printed to a member of the owner's role: the owner belongs to all tests.
    with another_role(superuser_url, MEMBER) as member, open_writer(base_url) as writer:
        (grant,) = re.findall("GRANT pg_read_all_stats TO .*?;", run("plan", url=as_role(base_url, member)).stdout)
        execute(superuser_url, grant)
        plan = until(lambda: _with_blockers(run("plan", "--json", url=as_role(base_url, member)).json()))
    (blocker,) = plan["blockers"]
    assert (blocker["pid"], blocker["query"]) == (writer.pid, WRITE)
    assert blocker["seconds"] >= 1
    assert not any("pg_read_all_stats" in warning for warning in plan["warnings"])


def _with_blockers(plan):
    return plan if plan["blockers"] else None


def test_the_statement_that_ends_a_session_names_who_may_execute_it(base_url, superuser_url):
    with open_writer(base_url):
        (blocker,) = run("plan", "--json", url=base_url).json()["blockers"]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            execute(base_url, blocker["ending"])
        assert blocker["ending"].endswith("-- as that role, or as a member of pg_signal_backend")
        # A superuser makes such a member.
        with another_role(superuser_url, "GRANT pg_signal_backend TO {role}") as member:
            assert execute(as_role(base_url, member), blocker["ending"]) == [(True,)]
    with open_writer(base_url, role="crm_owner"):
        (blocker,) = until(lambda: run("plan", "--json", url=base_url).json()["blockers"])
        assert execute(base_url, blocker["ending"]) == [(True,)]


def test_up_waits_for_a_hidden_writer_and_names_once_the_grant_that_shows_more(base_url):
    with open_writer(base_url) as writer, running("up", "--json", url=base_url) as up:
        waiting = up.event("Waiting")
        assert [blocker["pid"] for blocker in waiting["blockers"]] == [writer.pid]
        writer.end()
        up.succeed()
    assert [GRANT in event["text"] for event in up.events if event["event"] == "Warned"] == [True]
    assert_all_valid(base_url)


@pytest.mark.parametrize("options", [[], ["--offline"]])
def test_up_gives_up_on_a_hidden_writer(base_url, options):
    with open_writer(base_url) as writer:
        gave_up = run("up", *options, *IMPATIENT, url=base_url)
    assert gave_up.exit_code == 6, gave_up
    assert f"pid {writer.pid} (crm_app, another client)" in gave_up.stderr
    assert broken(base_url) == set()


def test_up_gives_up_on_a_hidden_old_snapshot_by_the_phase_of_its_own_build(base_url):
    with old_snapshot(base_url) as reader:
        gave_up = run("up", *IMPATIENT, url=base_url)
    assert gave_up.exit_code == 6, gave_up
    assert "waiting for old snapshots" in gave_up.stderr
    assert f"pid {reader.pid} (crm_app, another client)" in gave_up.stderr
    assert broken(base_url) == set()
    succeed("up", *IMPATIENT, url=base_url)
    assert_all_valid(base_url)


def test_up_and_down_with_a_limited_wait_succeed_beside_hidden_short_transactions(base_url):
    done = Event()

    def write() -> None:
        while not done.is_set():
            with transaction(as_application(base_url), WRITE, "SELECT pg_sleep(0.02)"):
                pass

    writers = [Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        succeed("up", "--max-wait", "5", url=base_url)
        assert_all_valid(base_url)
        succeed("down", "--max-wait", "5", url=base_url)
    finally:
        done.set()
        for writer in writers:
            writer.join()
    assert_none_exist(base_url)


def test_down_waits_for_a_hidden_reader(base_url):
    build_all(base_url)
    with open_reader(base_url) as reader, running("down", "--json", url=base_url) as down:
        waiting = down.event("Waiting")
        assert [blocker["pid"] for blocker in waiting["blockers"]] == [reader.pid]
        reader.end()
        down.succeed()
    assert_none_exist(base_url)


def test_a_member_of_the_owners_role_waits_for_the_run_of_another_member(base_url, superuser_url):
    # A superuser makes two members of the owner's role: neither may observe the sessions of the other.
    with another_role(superuser_url, MEMBER) as first, another_role(superuser_url, MEMBER) as second:
        with open_writer(base_url), running("up", url=as_role(base_url, first)):
            until(lambda: lock_holder(base_url))
            refused = run("up", "--no-wait", url=as_role(base_url, second))
            assert refused.exit_code == 5, refused
            assert f"({first}, indexer up 10992629d68e" in refused.stderr
            with running("up", "--json", url=as_role(base_url, second)) as follower:
                assert first in follower.event("LockWaited")["holder"]
                assert f"GRANT pg_read_all_stats TO {second};" in follower.event("Warned")["text"]
        until(lambda: not lock_holder(base_url))
        succeed("up", url=as_role(base_url, second))
        assert_all_valid(base_url)
        succeed("down", url=as_role(base_url, first))


# On a server without other clients ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server without other clients."""
    with own_server(max_prepared_transactions="2") as server:
        yield server


@pytest.fixture
def quiet_url(server: Server) -> Iterator[str]:
    """URL of the CRM's tables on that server."""
    with server.new_database() as url:
        yield url


def test_an_idle_session_counts_as_active_where_its_state_is_hidden(server, quiet_url):
    # A superuser makes the member of the owner's role that sees that no other client is active.
    with another_role(server.url, SEEING) as member, closing(psycopg2.connect(as_application(quiet_url))):
        for url, count in ((quiet_url, 1), (as_role(quiet_url, member), 0)):
            migrator = connect(url)
            try:
                until(lambda load=migrator.sessions.load, expected=count: load().clients == expected)
            finally:
                migrator.database.close()


@pytest.mark.parametrize("name", ["citus_internal gpid=10000018582", "Citus Maintenance Daemon"])
def test_a_hidden_session_that_citus_keeps_on_each_node_does_not_count_as_active(server, quiet_url, name):
    with closing(psycopg2.connect(as_application(quiet_url), application_name=name)):
        migrator = connect(quiet_url)
        try:
            until(lambda: migrator.sessions.load().clients == 0)
        finally:
            migrator.database.close()


def test_a_prepared_transaction_of_another_role_is_named(quiet_url):
    with prepared_transaction(quiet_url) as name:
        gave_up = run("up", *IMPATIENT, url=quiet_url)
    assert gave_up.exit_code == 6, gave_up
    assert f"ROLLBACK PREPARED '{name}';  -- as that role, or as a superuser" in gave_up.stderr


def test_a_hidden_build_counts_as_progress_only_while_it_waits_for_no_session(server):
    # A superuser makes two members of the owner's role: neither may observe the sessions of the other.
    with (
        another_role(server.url, MEMBER) as first,
        another_role(server.url, MEMBER) as second,
        server.new_database() as url,
    ):
        fill_activity(url)
        migrator = connect(as_role(url, second))
        try:
            migrator.settle(["activity"])
            with open_writer(url) as writer, running("up", "--jobs", "1", url=as_role(url, first)):
                building = until_phase(as_role(url, "postgres"), "waiting for writers before build")
                assert migrator.lock._progress() == migrator.lock._progress()
                assert f"progress not visible to {second}" in migrator.lock.holder()
                writer.end()
                until_phase(as_role(url, "postgres"), "building index")
                with frozen(building):
                    assert migrator.lock._progress() != migrator.lock._progress()
        finally:
            migrator.database.close()


# Queries and reports that fail --------------------------------------------------------------------------------------


VIEWS = ("pg_stat_activity", "pg_stat_progress_create_index")


def test_a_role_that_may_not_read_the_statistics_builds_waits_and_gives_up_all_the_same(base_url, superuser_url):
    # A superuser takes a right away that every role has by default.
    execute(superuser_url, *(f"REVOKE SELECT ON {view} FROM PUBLIC" for view in VIEWS))
    with open_writer(base_url) as writer, running("up", "--json", "--jobs", "1", url=base_url) as up:
        waiting = up.event("Waiting")
        assert [blocker["pid"] for blocker in waiting["blockers"]] == [writer.pid]
        writer.end()
        up.succeed()
    assert_all_valid(base_url)
    with open_reader(base_url) as reader:
        gave_up = run("down", *IMPATIENT, url=base_url)
    assert gave_up.exit_code == 6, gave_up
    assert f"pid {reader.pid}" in gave_up.stderr


def test_a_run_reports_its_wait_for_another_that_it_may_not_see(base_url, superuser_url):
    # A superuser takes a right away that every role has by default.
    execute(superuser_url, *(f"REVOKE SELECT ON {view} FROM PUBLIC" for view in VIEWS))
    lock = f"SELECT pg_advisory_lock(({FAMILY}::bigint << 32) | 'public'::regnamespace::oid::bigint)"
    with transaction(base_url, lock) as other, running("up", "--json", url=base_url) as up:
        assert up.event("LockWaited")["holder"] == "its session is not visible"
        other.end()
        up.succeed()
    assert_all_valid(base_url)


def test_a_report_that_fails_does_not_end_the_run(base_url):
    def fail(event: object) -> None:
        raise UnicodeEncodeError("latin-1", "…", 0, 1, "not in this encoding")

    migrator = connect(base_url)
    try:
        outcome = Runner(migrator, load(str(CLI.parent)), report=fail).up()
    finally:
        migrator.database.close()
    assert_all_valid(base_url)
    assert ["could not be reported" in warning for warning in outcome.warnings] == [True]
