"""Interrupted runs: the next up ends with ten valid indexes, and the next down with none."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from command import (
    CLI,
    HEAD,
    TEN_NAMES,
    broken,
    created_indexes,
    execute,
    file_of,
    prepare,
    revisions,
    specified,
    succeed,
)
from scenes import (
    Run,
    assert_all_valid,
    assert_none_exist,
    build_all,
    fill_activity,
    lock_holder,
    old_snapshot,
    open_reader,
    open_writer,
    running,
    until,
    until_dropping,
    until_idle,
    until_phase,
)

ROUNDS = int(os.environ.get("TEST_ROUNDS", "30"))
SEED = int(os.environ.get("TEST_SEED", str(random.randrange(10**6))))
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


# Runs held open at each of their phases -----------------------------------------------------------------------------


@contextmanager
def waiting_for_writers_before_the_build(url: str) -> Iterator[Run]:
    with open_writer(url), running("up", "--json", url=url) as up:
        until_phase(url, "waiting for writers before build")
        yield up


@contextmanager
def waiting_for_writers_before_validation(url: str) -> Iterator[Run]:
    with open_writer(url) as first, running("up", "--json", url=url) as up:
        until_phase(url, "waiting for writers before build")
        with open_writer(url):  # too late for the first wait, in time for the second
            first.end()
            until_phase(url, "waiting for writers before validation")
            yield up


@contextmanager
def waiting_for_old_snapshots(url: str) -> Iterator[Run]:
    with old_snapshot(url), running("up", "--json", "--jobs", "1", url=url) as up:
        until_phase(url, "waiting for old snapshots")
        yield up


@contextmanager
def building(url: str) -> Iterator[Run]:
    fill_activity(url)
    with running("up", "--json", url=url) as up:
        until_phase(url, "building index")
        yield up


@contextmanager
def between_two_builds(url: str) -> Iterator[Run]:
    with running("up", "--json", "--jobs", "1", url=url) as up:
        up.event("IndexFinished", index="ix_contact_phone_hash")
        yield up


@contextmanager
def dropping_what_a_reader_holds(url: str) -> Iterator[Run]:
    build_all(url)
    with open_reader(url), running("down", "--json", url=url) as down:
        until_dropping(url)
        yield down


@contextmanager
def between_two_drops(url: str) -> Iterator[Run]:
    build_all(url)
    with running("down", "--json", "--jobs", "1", url=url) as down:
        down.event("IndexFinished", index="ix_webhook_event_event_type")  # the first, so that it is still at work
        yield down


HELD = (
    waiting_for_writers_before_the_build,
    waiting_for_writers_before_validation,
    waiting_for_old_snapshots,
    dropping_what_a_reader_holds,
)
PASSING = (building, between_two_builds, between_two_drops)
NOT_IN_THE_WAY = (waiting_for_old_snapshots, *PASSING)  # nothing blocks the drop of a leftover
EVERY_PHASE = pytest.mark.parametrize("scene", [*HELD, *PASSING], ids=lambda scene: scene.__name__)


# Attacks on them -----------------------------------------------------------------------------------------------------

WORKERS = """
    SELECT {function}(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND query ~ '^(CREATE|DROP) INDEX' AND application_name LIKE 'indexer%'
"""


def kill_the_client(run: Run, url: str) -> None:
    run.kill()


def cancel_the_statement(run: Run, url: str) -> None:
    execute(url, WORKERS.format(function="pg_cancel_backend"))


def terminate_the_builder(run: Run, url: str) -> None:
    execute(url, WORKERS.format(function="pg_terminate_backend"))


def terminate_the_lock_holder(run: Run, url: str) -> None:
    if pid := lock_holder(url):  # a passing scene may have ended meanwhile
        execute(url, f"SELECT pg_terminate_backend({pid})")


ATTACKS = (kill_the_client, cancel_the_statement, terminate_the_builder, terminate_the_lock_holder)


def assert_repairable(url: str) -> None:
    """Check that the next up ends with ten indexes, and the next down with none."""
    succeed("up", url=url)
    assert_all_valid(url)
    assert revisions(url)[HEAD] == "applied"
    succeed("down", url=url)
    assert_none_exist(url)
    assert HEAD not in revisions(url)


@EVERY_PHASE
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_next_up_and_down_repair_what_an_attack_left(base_url, scene, attack):
    with scene(base_url) as attacked:
        attack(attacked, base_url)
        result = attacked.end()
    if attack is not kill_the_client and scene in HELD:
        assert result.exit_code == 1
        assert re.search(r"run the same command again", result.stderr, re.IGNORECASE), result.stderr
    assert_repairable(base_url)


@EVERY_PHASE
def test_the_next_up_and_down_repair_what_a_crash_of_the_server_left(fragile_server, fragile_url, scene):
    with scene(fragile_url) as crashed:
        fragile_server.crash()
        result = crashed.end()
        fragile_server.come_back()
    if scene in HELD:
        assert result.exit_code in (1, 7), result
        assert re.search(r"run the same command again", result.stderr, re.IGNORECASE), result.stderr
    assert_repairable(fragile_url)


# Signals ------------------------------------------------------------------------------------------------------------


@pytest.mark.real_start
@pytest.mark.parametrize(
    ("scene", "number"),
    [
        *((scene, signal.SIGTERM) for scene in (*HELD, *PASSING)),
        *(
            (scene, signal.SIGINT) for scene in (waiting_for_writers_before_the_build, building)
        ),  # obeyed by the same code
    ],
    ids=lambda each: getattr(each, "__name__", None) or each.name,
)
def test_a_signal_ends_a_run_in_good_order(base_url, scene, number):
    with scene(base_url) as stopped:
        stopped.send(number)
        result = stopped.end()
        assert "took too long" not in result.stderr  # which is said after five seconds, and ends it
        until_idle(base_url)  # the statement has ended on the server too, although its blocker has not
        assert lock_holder(base_url) is None
        assert result.exit_code == EXIT_CODES[number], result
        valid = TEN_NAMES & created_indexes(base_url).keys() - broken(base_url)
        assert f"Interrupted by {number.name}: {len(valid)} of 10 indexes are built" in result.stderr
        assert broken(base_url) == set() or scene not in NOT_IN_THE_WAY
    assert_repairable(base_url)


@pytest.mark.real_start
def test_a_leftover_that_cannot_be_dropped_yet_is_named(base_url):
    with waiting_for_writers_before_the_build(base_url) as stopped:
        stopped.send(signal.SIGTERM)
        result = stopped.end()
    assert broken(base_url) == {"ix_activity_openphone_id"}
    assert "ix_activity_openphone_id is incomplete" in result.stderr


@pytest.mark.real_start
def test_a_second_signal_ends_a_run_at_once(base_url):
    with waiting_for_writers_before_the_build(base_url) as stopped:
        stopped.send(signal.SIGTERM)
        stopped.send(signal.SIGINT)
        result = stopped.end()
        assert result.exit_code in (130, 143)
        assert "indexes are built" not in result.stderr  # which is said after cleaning up
    until_idle(base_url)
    assert_repairable(base_url)


def test_a_signal_that_is_sent_twice_at_once_counts_once(base_url):
    with waiting_for_writers_before_the_build(base_url) as stopped:
        stopped.send(signal.SIGTERM)
        stopped.send(signal.SIGTERM)  # as timeout(1) does: to the process, and to its group
        result = stopped.end()
    assert result.exit_code == 143
    assert "indexes are built" in result.stderr


@pytest.mark.real_start
@pytest.mark.parametrize("number", EXIT_CODES, ids=lambda number: number.name)
def test_a_signal_is_obeyed_while_waiting_for_another_run(base_url, number):
    with waiting_for_old_snapshots(base_url), running("up", "--json", url=base_url) as follower:
        follower.event("LockWaited")
        follower.send(number)
        result = follower.end()
    assert result.exit_code == EXIT_CODES[number]
    assert "took too long" not in result.stderr


@pytest.mark.real_start
@pytest.mark.parametrize("number", EXIT_CODES, ids=lambda number: number.name)
def test_a_signal_while_modules_are_imported_ends_a_command_without_a_traceback(tmp_path, number):
    (tmp_path / "click.py").write_text("print('importing', flush=True)\nimport time\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, CLI, "status"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as starting:
        starting.stdout.readline()
        starting.send_signal(number)
        _, errors = starting.communicate()
    assert (starting.returncode, errors) == (EXIT_CODES[number], "")


# SQLite -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def large_sqlite(filled_once: Path, sqlite_url: str) -> str:
    """Return the URL of a SQLite file in which a build takes a moment."""
    shutil.copyfile(filled_once, file_of(sqlite_url))
    return sqlite_url


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of which each test gets a copy."""
    file = tmp_path_factory.mktemp("large") / "crm.db"
    prepare(f"sqlite:///{file}", to="base")
    execute(
        f"sqlite:///{file}",
        """
        WITH RECURSIVE counter (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < 300000)
        INSERT INTO activity (openphone_id, activity_type, created_at)
        SELECT hex(randomblob(16)), 'call', '2025-01-01' FROM counter
        """,
    )
    return file


@contextmanager
def building_on_sqlite(url: str) -> Iterator[Run]:
    """Yield a run during a build."""
    with running("up", "--json", url=url) as up:
        up.event("Progress", index="ix_activity_conversation_created")
        yield up


@contextmanager
def reading_sqlite(url: str) -> Iterator[None]:
    """Hold a read transaction on the file, so that no run can commit."""
    with closing(sqlite3.connect(file_of(url), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM contact").fetchall()
        yield


@pytest.mark.real_start
@pytest.mark.parametrize("number", EXIT_CODES, ids=lambda number: number.name)
def test_a_signal_rolls_back_all_of_a_run_on_sqlite(large_sqlite, number):
    with reading_sqlite(large_sqlite), building_on_sqlite(large_sqlite) as stopped:
        stopped.send(number)
        result = stopped.end()
    assert result.exit_code == EXIT_CODES[number], result
    assert "0 of 10 indexes are built" in result.stderr
    assert_none_exist(large_sqlite)
    assert HEAD not in revisions(large_sqlite)
    assert_repairable(large_sqlite)


@pytest.mark.real_start
def test_a_killed_run_is_committed_whole_or_not_at_all_on_sqlite(large_sqlite):
    with building_on_sqlite(large_sqlite) as killed:
        killed.kill()
    assert created_indexes(large_sqlite) in ({}, specified(large_sqlite))
    assert execute(large_sqlite, "PRAGMA integrity_check") == [("ok",)]
    assert_repairable(large_sqlite)
    assert not list(file_of(large_sqlite).parent.glob("*-journal"))


def test_a_second_signal_ends_a_run_at_once_on_sqlite(large_sqlite):
    with reading_sqlite(large_sqlite), building_on_sqlite(large_sqlite) as stopped:
        stopped.send(signal.SIGTERM)
        stopped.send(signal.SIGINT)
        assert stopped.end().exit_code in (130, 143)
    assert_repairable(large_sqlite)


# Anything at any moment ---------------------------------------------------------------------------------------------


@pytest.mark.long
def test_every_interruption_at_every_phase_can_be_repaired(base_url, capsys):
    with capsys.disabled():
        print(f"\nTEST_SEED={SEED} TEST_ROUNDS={ROUNDS} repeats this")
    chance = random.Random(SEED)
    for _ in range(ROUNDS):
        command = chance.choice(["up", "up", "down"])
        with running(command, "--json", url=base_url) as attacked:
            until(lambda: attacked.lines or not attacked.is_running)
            attacked.wait(chance.uniform(0, 0.3))
            attacked.send(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
            assert attacked.end().exit_code in (0, 130, 143, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM)
        assert created_indexes(base_url).items() <= specified(base_url).items()
    succeed("up", url=base_url)
    assert_all_valid(base_url)
    succeed("down", url=base_url)
    assert_none_exist(base_url)
