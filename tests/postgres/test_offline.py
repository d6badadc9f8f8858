"""Offline, in a maintenance window: plain statements with the same result, and no queue behind a lock."""

from __future__ import annotations

import json
import signal

import pytest
from command import broken, catalog, created_indexes, erase, execute, records, run, specified, succeed
from scenes import (
    READ,
    WRITE,
    assert_all_valid,
    assert_none_exist,
    build_all,
    fill_activity,
    open_reader,
    open_writer,
    running,
    until,
    until_phase,
)


@pytest.mark.parametrize("command", ["up", "down"])
def test_offline_uses_plain_statements_only(base_url, command):
    if command == "down":
        build_all(base_url)
    sent = succeed(command, "--offline", url=base_url).announced()
    assert len(sent) == 10
    assert not any("CONCURRENTLY" in statement for statement in sent)


def test_offline_ends_where_online_ends(database_url):
    ends = []
    for offline in ([], ["--offline"]):
        succeed("up", *offline, url=database_url)
        assert created_indexes(database_url) == specified(database_url)
        after_up = catalog(database_url), records(database_url)
        succeed("down", *offline, url=database_url)
        ends.append((after_up, catalog(database_url), records(database_url)))
        erase(database_url)
    assert ends[0] == ends[1]


def test_online_and_offline_undo_each_other(base_url):
    succeed("up", "--offline", url=base_url)
    succeed("down", url=base_url)
    assert_none_exist(base_url)
    succeed("up", url=base_url)
    succeed("down", "--offline", url=base_url)
    assert_none_exist(base_url)


def test_offline_repairs_what_an_interrupted_online_run_left(base_url):
    with open_writer(base_url), running("up", url=base_url) as online:
        until_phase(base_url, "waiting for writers before build")
        online.send(signal.SIGTERM)
        online.end()
    assert broken(base_url) == {"ix_activity_openphone_id"}
    succeed("up", "--offline", url=base_url)
    assert_all_valid(base_url)


@pytest.mark.parametrize("jobs", ["1", "2", "4"])
def test_offline_builds_several_indexes_of_one_table_at_once(base_url, jobs):
    fill_activity(base_url)
    events = [json.loads(line) for line in succeed("up", "--offline", "--json", "--jobs", jobs, url=base_url).lines]
    at_once, most = 0, 0
    for each in events:
        at_once += {"StatementStarted": 1, "IndexFinished": -1}.get(each.get("event", ""), 0)
        most = max(most, at_once)
    assert most == int(jobs)
    assert_all_valid(base_url)


@pytest.mark.parametrize("command", ["up", "down"])
def test_no_session_queues_for_long_behind_a_statement_that_cannot_get_its_lock(base_url, command):
    """The statement waits for its lock with a limit, again and again; the sessions behind it continue in between."""
    if command == "down":
        build_all(base_url)
    scene = open_writer if command == "up" else open_reader
    with scene(base_url) as holder, running(command, "--offline", "--json", url=base_url) as offline:
        until(lambda: waiting_for_a_lock(base_url))
        execute(base_url, "SET statement_timeout = '20s'", WRITE, READ)
        assert "lock" in offline.event("Retrying")["reason"]
        holder.end()
        offline.succeed()
    assert_all_valid(base_url) if command == "up" else assert_none_exist(base_url)


def waiting_for_a_lock(url: str) -> bool:
    """Return whether a statement of a run waits for its lock."""
    query = """
        SELECT 1 FROM pg_stat_activity
         WHERE datname = current_database() AND query ~ '^(CREATE|DROP) INDEX' AND wait_event_type = 'Lock'
    """
    return bool(execute(url, query))


def test_giving_up_on_a_lock_names_its_holder(base_url):
    with open_writer(base_url) as writer:
        result = run("up", "--offline", "--retries", "0", url=base_url)
        assert result.exit_code == 6
        assert f"SELECT pg_catalog.pg_terminate_backend({writer.pid});" in result.stderr
    succeed("up", "--offline", url=base_url)
    assert_all_valid(base_url)
