"""``up`` begins nothing outside of its window, ends in good order, and the next call continues."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from command import BASE, CLI, HEAD, TEN_NAMES, created_indexes, execute, is_postgres, nothing_changes, revisions, run
from scenes import assert_all_valid, lock_holder, open_writer, running, until_phase
from windows import closing_in, window_from_now

from indexer.connection import connect
from indexer.events import BuildPredicted, IndexFinished, Postponed, RevisionPaused, WindowClosed
from indexer.options import Options
from indexer.pace.pace import CLOSED
from indexer.plans import Outcome
from indexer.revisions.chain import load
from indexer.runner import Runner

ON_ACTIVITY = {"ix_activity_openphone_id", "ix_activity_conversation_created", "ix_activity_type"}
LONG = {"postgresql": "repeat('x', 1000)", "sqlite": "printf('%.1000c', 'x')"}


def closed() -> str:
    return window_from_now(timedelta(hours=3), timedelta(hours=4))


def up(url: str, report: Callable[[object], None] = lambda event: None, **options) -> Outcome:
    with connect(url) as migrator:
        return Runner(migrator, load(str(CLI.parent)), options=Options(**options), report=report).up()


def fill_activity(url: str, megabytes: int) -> None:
    """Fill a table with long rows."""
    fill(url, "activity (openphone_id, body)", LONG["postgresql" if is_postgres(url) else "sqlite"], megabytes)


def fill(url: str, columns: str, long: str, megabytes: int) -> None:
    """Fill two columns with a number and a long value, a kilobyte a row."""
    numbers = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT {0}) SELECT n, {1} FROM r"
    if is_postgres(url):
        numbers = "SELECT n, {1} FROM generate_series(1, {0}) AS n"
    execute(url, f"INSERT INTO {columns} {numbers.format(megabytes * 1000, long)}")


def test_outside_of_the_window_nothing_changes_and_the_answer_says_when_and_how_to_continue(base_url):
    window = closed()
    with nothing_changes(base_url):
        result = run("up", "--window", window, url=base_url)
    assert result.exit_code == 3, result
    assert "Nothing was changed on" in result.stdout
    assert "10 indexes are left (ix_activity_openphone_id, " in result.stdout
    opens = datetime.now(timezone.utc) + timedelta(hours=3)
    assert f"The window opens next on {opens:%a %d %b %Y}" in result.stdout
    assert result.next_command() == ["up", "--window", window]


def test_outside_of_the_window_even_an_empty_database_stays_empty(sqlite_url, tmp_path):
    result = run("up", "--window", closed(), "--json", url=sqlite_url)
    assert (result.exit_code, list(tmp_path.iterdir())) == (3, [])
    document = result.json()
    assert (document["to"], document["changed"], set(document["left"].values())) == (None, False, {CLOSED})


def test_outside_of_the_window_up_with_nothing_to_do_exits_with_0(sqlite_head_url):
    assert run("up", "--window", closed(), url=sqlite_head_url).exit_code == 0


def test_outside_of_the_window_the_run_lock_is_not_asked_for(base_url):
    with open_writer(base_url), running("up", url=base_url) as holder:
        until_phase(base_url, "waiting for writers")
        assert lock_holder(base_url)
        assert run("up", "--window", closed(), url=base_url).exit_code == 3
        holder.kill()


def test_inside_of_the_window_all_is_done(any_base_url):
    window = window_from_now(timedelta(hours=-1), timedelta(hours=1))
    result = run("up", "--window", window, "--json", url=any_base_url)
    assert (result.exit_code, result.json()["left"], result.json()["opens"]) == (0, {}, None)
    assert_all_valid(any_base_url)


def test_a_wrong_window_is_wrong_usage_and_the_form_is_said(sqlite_url):
    result = run("up", "--window", "someday 01:00-05:00", url=sqlite_url)
    assert result.exit_code == 2
    assert "A window is DAYS HH:MM-HH:MM [; DAYS HH:MM-HH:MM]... [ZONE]: 'daily" in result.stderr


def test_what_would_not_end_in_time_is_left_and_the_next_run_continues(any_base_url):
    fill_activity(any_base_url, 120)
    events: list = []
    outcome = up(any_base_url, events.append, window=closing_in(15))

    assert (outcome.exit_code, outcome.start, outcome.end) == (3, BASE, BASE)
    assert set(outcome.rest.left) == {each.target.name for each in events if isinstance(each, Postponed)} == ON_ACTIVITY
    assert all("expected (a cautious guess), and the window closes in 1" in why for why in outcome.rest.left.values())
    assert [each.left for each in events if isinstance(each, RevisionPaused)] == [tuple(outcome.rest.left)]
    assert set(created_indexes(any_base_url)) == TEN_NAMES - ON_ACTIVITY
    assert revisions(any_base_url)[HEAD] == "applying"
    status = run("status", "--json", url=any_base_url)
    assert (status.exit_code, status.json()["pending"]) == (3, [HEAD])
    assert run("check", url=any_base_url).exit_code == 3

    assert up(any_base_url).exit_code == 0
    assert_all_valid(any_base_url)
    (last, first, *_) = run("history", "--json", url=any_base_url).json()["history"]
    assert set(first["indexes"]) == TEN_NAMES - ON_ACTIVITY
    assert {name for name, action in last["indexes"].items() if action == "create"} == ON_ACTIVITY
    indexes = run("status", "--json", url=any_base_url).json()["indexes"]
    assert {each["origin"] for each in indexes} == {"created"}


def test_what_a_small_build_has_measured_lets_a_large_one_begin_that_a_guess_would_leave(base_url):
    fill(base_url, "webhook_event (event_type, payload)", f"to_json({LONG['postgresql']})", 12)
    fill_activity(base_url, 120)
    events: list = []
    assert up(base_url, events.append, window=closing_in(15)).exit_code == 0
    predicted = {each.target.name: each.source for each in events if isinstance(each, BuildPredicted)}
    (first, *_) = predicted
    assert (first.startswith("ix_webhook_event_"), predicted.pop(first)) == (True, "a cautious guess")
    assert "a cautious guess" not in predicted.values()


def test_the_first_build_measures_what_the_others_are_predicted_by_and_so_does_the_log(base_url):
    fill_activity(base_url, 20)
    events: list = []
    up(base_url, events.append, window=closing_in(3600))
    sources = [each.source for each in events if isinstance(each, BuildPredicted)]
    assert sources[:1] == ["a cautious guess"]

    execute(base_url, *(f"DROP INDEX {name}" for name in ON_ACTIVITY))
    events.clear()
    up(base_url, events.append, window=closing_in(3600), jobs=1)
    assert not any(isinstance(each, BuildPredicted) and each.source == "a cautious guess" for each in events)


def test_a_build_that_is_running_when_the_window_closes_goes_on_and_nothing_begins_after_it(base_url):
    events: list = []
    writer = open_writer(base_url)

    def report(event: object) -> None:
        events.append(event)
        if isinstance(event, WindowClosed):
            writer.__exit__(None, None, None)

    writer.__enter__()
    fill_activity(base_url, 1)  # the largest table is the first
    outcome = up(base_url, report, window=closing_in(5), jobs=1)

    (first,) = created_indexes(base_url)
    assert first in ON_ACTIVITY
    assert [each.indexes for each in events if isinstance(each, WindowClosed)] == [(first,)]
    assert [each.target.name for each in events if isinstance(each, IndexFinished)] == [first]
    assert outcome.rest.left == dict.fromkeys(TEN_NAMES - {first}, CLOSED)
    assert (outcome.exit_code, revisions(base_url)[HEAD]) == (3, "applying")


def test_a_wait_for_a_blocker_before_the_start_ends_with_the_window(base_url):
    with open_writer(base_url):
        outcome = up(base_url, window=closing_in(2), max_wait=30, retries=0, jobs=1)
    assert set(outcome.rest.left) >= ON_ACTIVITY
    assert not ON_ACTIVITY & set(created_indexes(base_url))


def test_an_applied_revision_with_a_missing_index_is_applied_still_if_nothing_was_done(sqlite_head_url):
    execute(sqlite_head_url, "DROP INDEX ix_activity_type")
    outcome = up(sqlite_head_url, window=closing_in(0.5))
    assert (outcome.exit_code, list(outcome.rest.left)) == (3, ["ix_activity_type"])
    assert revisions(sqlite_head_url)[HEAD] == "applied"
    assert run("check", url=sqlite_head_url).exit_code == 4


@pytest.mark.parametrize("option", ["--window", "--max-replica-lag"])
def test_down_has_no_pace(sqlite_url, option):
    assert run("down", option, "1", url=sqlite_url).exit_code == 2
