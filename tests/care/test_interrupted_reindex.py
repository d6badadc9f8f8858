"""Interrupted rebuilds: the next reindex ends with one valid index and no leftover, and down still drops it."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import product

import pytest
from command import CLI, HEAD, ask, broken, execute, file_of, records, revisions, run, succeed
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
    until_phase,
)

from indexer.care.choice import Criteria
from indexer.care.reindex import Reindexer
from indexer.connection import connect
from indexer.errors import IndexerError, Interrupted
from indexer.events import RevisionFinished, RevisionStarted, StatementStarted
from indexer.options import Options
from indexer.revisions.chain import load
from indexer.runner import Runner
from indexer.signals import Stop

NAME, LAST = "ix_activity_openphone_id", "ix_webhook_event_event_type"
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
SHORT = ("--max-wait", "0.3", "--retries", "0")


# Rebuilds held open at each of their phases ---------------------------------------------------------------------------


@contextmanager
def rebuilding(url: str, *options: str) -> Iterator[Run]:
    """Yield a rebuild that has begun."""
    with running("reindex", NAME, "--json", *options, url=url) as reindex:
        yield reindex


@contextmanager
def writers_before_the_build(url: str) -> Iterator[Run]:
    with open_writer(url), rebuilding(url) as reindex:
        until_phase(url, "waiting for writers before build")
        yield reindex


@contextmanager
def writers_before_validation(url: str) -> Iterator[Run]:
    with open_writer(url) as first, rebuilding(url) as reindex:
        until_phase(url, "waiting for writers before build")
        with open_writer(url):  # too late for the first wait, in time for the second
            first.end()
            until_phase(url, "waiting for writers before validation")
            yield reindex


@contextmanager
def old_snapshots(url: str) -> Iterator[Run]:
    with old_snapshot(url), rebuilding(url) as reindex:
        until_phase(url, "waiting for old snapshots")
        yield reindex


@contextmanager
def readers_before_marking_dead(url: str) -> Iterator[Run]:
    with open_reader(url), rebuilding(url) as reindex:
        until_phase(url, "waiting for readers before marking dead")
        yield reindex


@contextmanager
def readers_before_dropping(url: str) -> Iterator[Run]:
    with open_reader(url) as first, rebuilding(url) as reindex:
        until_phase(url, "waiting for readers before marking dead")
        with open_reader(url):
            first.end()
            until_phase(url, "waiting for readers before dropping")
            yield reindex


@contextmanager
def dropping_a_leftover(url: str) -> Iterator[Run]:
    with open_reader(url):
        run("reindex", NAME, *SHORT, url=url)
        with rebuilding(url) as reindex:
            until_dropping(url)
            yield reindex


@contextmanager
def building(url: str) -> Iterator[Run]:
    fill_activity(url)
    with rebuilding(url) as reindex:
        until_phase(url, "building index")
        yield reindex


@contextmanager
def validating(url: str) -> Iterator[Run]:
    fill_activity(url)
    with rebuilding(url) as reindex:
        until_phase(url, "index validation")
        yield reindex


BEFORE_THE_SWAP = (writers_before_the_build, writers_before_validation, old_snapshots)
AFTER_THE_SWAP = (readers_before_marking_dead, readers_before_dropping, dropping_a_leftover)
PASSING = (building, validating)
SCENES = (*BEFORE_THE_SWAP, *AFTER_THE_SWAP, *PASSING)


# Attacks on them -----------------------------------------------------------------------------------------------------

WORKERS = """
    SELECT {function}(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND query ~ '^(REINDEX|DROP) ' AND application_name LIKE 'indexer%'
"""


def interrupt(run: Run, url: str) -> None:
    run.send(signal.SIGINT)


def kill_the_client(run: Run, url: str) -> None:
    run.kill()


def kill_the_client_and_its_statement(run: Run, url: str) -> None:
    run.kill()
    terminate_the_builder(run, url)


def cancel_the_statement(run: Run, url: str) -> None:
    execute(url, WORKERS.format(function="pg_cancel_backend"))


def terminate_the_builder(run: Run, url: str) -> None:
    execute(url, WORKERS.format(function="pg_terminate_backend"))


def terminate_the_lock_holder(run: Run, url: str) -> None:
    execute(url, f"SELECT pg_terminate_backend({lock_holder(url)})")


KILLS = (kill_the_client, kill_the_client_and_its_statement)
ATTACKS = (*KILLS, cancel_the_statement, terminate_the_builder, terminate_the_lock_holder)

# All of them take minutes: each scene with each attack, TEST_EVERY_ATTACK=1. Otherwise each attack once: the builder is
# terminated in the test of what was swapped.
EVERY = bool(os.environ.get("TEST_EVERY_ATTACK"))
CHOSEN = (
    (writers_before_validation, kill_the_client_and_its_statement),
    (old_snapshots, cancel_the_statement),
    (readers_before_dropping, terminate_the_lock_holder),
)
PAIRS = list(product(SCENES, ATTACKS) if EVERY else CHOSEN)
CRASHED = SCENES if EVERY else (readers_before_dropping, building)
STOPPED = SCENES if EVERY else (writers_before_the_build,)


def name_of(each: Callable) -> str:
    """Return the name of a scene or an attack."""
    return each.__name__


def until_idle(url: str) -> None:
    """Wait until no session rebuilds or drops an index, not even one whose client is gone."""
    query = WORKERS.format(function="").replace("(pid)", "pid") + " AND state = 'active'"
    until(lambda: not ask(url, query), "the end of all work on indexes")


def leftovers(url: str) -> set[str]:
    """Return the indexes that REINDEX CONCURRENTLY has named."""
    return {name for (name,) in ask(url, r"SELECT relname FROM pg_class WHERE relname ~ '_cc(new|old)\d*$'")}


def file_of_index(url: str) -> list[tuple]:
    """Return the number of the file of the index."""
    return ask(url, f"SELECT relfilenode::int8 FROM pg_class WHERE relname = '{NAME}'")


def assert_repairable(url: str) -> None:
    """Check that the next reindex leaves nothing, although nothing is bloated, and that down drops what up built."""
    until_idle(url)
    succeed("reindex", url=url)
    assert_all_valid(url)
    assert leftovers(url) == set()
    succeed("down", url=url)
    assert_none_exist(url)
    assert HEAD not in revisions(url)


@pytest.mark.parametrize(("scene", "attack"), PAIRS, ids=name_of)
def test_the_next_reindex_ends_what_an_attack_left(base_url, scene, attack):
    build_all(base_url)
    with scene(base_url) as attacked:
        attack(attacked, base_url)
        result = attacked.end()
    if attack not in KILLS and scene not in PASSING:
        assert result.exit_code == 1, result
        assert re.search(r"run the same command again", result.stderr, re.IGNORECASE), result.stderr
    assert_repairable(base_url)


@pytest.mark.parametrize("scene", CRASHED, ids=name_of)
def test_the_next_reindex_ends_what_a_crash_of_the_server_left(fragile_server, fragile_url, scene):
    build_all(fragile_url)
    with scene(fragile_url) as crashed:
        fragile_server.crash()
        crashed.end()
        fragile_server.come_back()
    assert_repairable(fragile_url)


@pytest.mark.parametrize("scene", STOPPED, ids=name_of)
def test_a_signal_ends_a_rebuild_in_good_order(base_url, scene):
    build_all(base_url)
    with scene(base_url) as stopped:
        stopped.send(signal.SIGTERM)
        result = stopped.end()
        assert "took too long" not in result.stderr  # which is said after five seconds, and ends it
        until_idle(base_url)  # the statement has ended on the server too, although its blocker has not
        assert lock_holder(base_url) is None
        assert result.exit_code == 143 or scene in PASSING, result
        assert broken(base_url) == set() or scene not in (old_snapshots, *PASSING)
        assert all(f"{name} is left, because pid " in result.stderr for name in broken(base_url))
    assert_repairable(base_url)


def test_an_index_that_was_swapped_before_the_end_is_rebuilt_and_recorded_and_the_next_run_drops_the_old_one(base_url):
    build_all(base_url)
    old = f"{NAME}_ccold"
    for end in (interrupt, terminate_the_builder):
        before = file_of_index(base_url)
        execute(base_url, "UPDATE schema_revision SET existed_before = replace(existed_before, '\"20', '\"19')")
        with open_reader(base_url) as reader, rebuilding(base_url) as ending:
            until_phase(base_url, "waiting for readers before marking dead")
            end(ending, base_url)
            result = ending.end()
        rebuilt = file_of_index(base_url)
        assert rebuilt != before
        said = f"{NAME} is rebuilt; {old} is left, because pid {reader.pid} may still use it; the next run drops"
        assert said in " ".join(result.stderr.split()), (end, result.stderr)
        assert "copy" not in result.stderr
        assert "no index is rebuilt" not in result.stderr
        entry = succeed("history", "--json", url=base_url).json()["history"][0]
        assert (entry["direction"], entry["indexes"][NAME], entry["sizes"].keys()) == ("reindex", "reindex", {NAME})
        assert "was built 0 hours ago" in succeed("reindex", NAME, "--min-age", "1", url=base_url).stdout
        assert leftovers(base_url) == set()
        assert file_of_index(base_url) == rebuilt


def test_a_signal_or_a_reader_rolls_back_all_rebuilds_on_sqlite(sqlite_head_url):
    before, stop = records(sqlite_head_url), Stop()

    def report(event: object) -> None:
        if isinstance(event, StatementStarted) and LAST in event.statement:
            stop.ask(signal.SIGTERM)

    events: list[object] = []
    with closing(sqlite3.connect(file_of(sqlite_head_url), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM activity").fetchall()
        with connect(sqlite_head_url) as migrator:
            options = Options(max_wait=0.2, retries=0)
            runner = Runner(migrator, load(str(CLI.parent)), options=options, report=events.append)
            with pytest.raises(IndexerError):
                Reindexer(runner).run(Criteria((NAME, LAST)))
    assert RevisionStarted in {type(event) for event in events}
    assert RevisionFinished not in {type(event) for event in events}
    assert records(sqlite_head_url) == before
    with connect(sqlite_head_url) as migrator:
        runner = Runner(migrator, load(str(CLI.parent)), report=report, stop=stop)
        with pytest.raises(Interrupted) as interrupted:
            Reindexer(runner).run(Criteria((NAME, LAST)))
    assert (interrupted.value.exit_code, "no index is rebuilt" in interrupted.value.message) == (143, True)
    assert records(sqlite_head_url) == before
    assert execute(sqlite_head_url, "SELECT * FROM schema_revision_log WHERE direction = 'reindex'") == []
    assert_all_valid(sqlite_head_url)
