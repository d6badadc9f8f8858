"""Scans are counted since an honest moment: the last one at which anything that was counted can have been lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from typing import Any

import psycopg2
import pytest
from command import ask, connect, execute, prepare, succeed
from examined import facts_of
from postgres_server import with_database
from scenes import Server, own_server, until

from indexer.care.usage import BUILT, RESET, STARTED, IndexCounts, ServerCounts, unasked, usage_of, without_checks
from indexer.catalog import Place
from indexer.records.baseline import Checked

NAME, TABLE = "ix_activity_type", "activity"
SCAN = "SELECT count(*) FROM activity WHERE activity_type = 'call'"
BY_INDEX = ("SET enable_seqscan = off", "SET enable_bitmapscan = off")
MARCH, BUILT_AT, JUNE = datetime(2026, 3, 1), datetime(2026, 5, 3), datetime(2026, 6, 1)
WITHIN_THE_SECOND = BUILT_AT.replace(microsecond=400_000)
NOON = datetime(2026, 11, 26, 12)
A_SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Yield a server that the tests of this file restart; each of them continues from the one before."""
    with own_server() as one:
        yield one


@pytest.fixture(scope="module")
def url(server: Server) -> Iterator[str]:
    """Yield the owner's URL of a database with the ten indexes."""
    with server.new_database() as made:
        prepare(made)
        execute(made, "INSERT INTO activity (activity_type) VALUES ('call'), ('call'), ('email')")
        yield made


def scan(url: str, times: int = 1) -> None:
    """Scan the index, and wait until the server has counted it."""
    wanted = scans(url) + times
    execute(url, *BY_INDEX, *[SCAN] * times)
    until(lambda: scans(url) >= wanted, "the count of the scans")


def scans(url: str) -> int:
    usage = facts_of(url, NAME).usage
    assert usage
    return usage.scans


def clock(url: str) -> datetime:
    return ask(url, "SELECT timezone('UTC', clock_timestamp())")[0][0]


def built_at(url: str) -> datetime:
    """Return when the indexes were built, in whole seconds, as it is recorded."""
    return ask(url, "SELECT applied_at FROM public.schema_revision WHERE down_revision IS NOT NULL")[0][0]


def since(url: str) -> datetime:
    """Return since when scans are counted; a server that has begun to count may not have said so yet."""

    def known() -> datetime | None:
        usage = facts_of(url, NAME).usage
        return usage.since if usage else None

    return until(known)


def test_scans_of_a_new_index_are_counted_since_its_build(url):
    scan(url, 3)

    usage = facts_of(url, NAME).usage

    assert usage.begun_by == BUILT
    assert usage.since.replace(microsecond=0) == built_at(url)
    assert (usage.scans, usage.tuples_per_scan, usage.asked) == (3, 2.0, 1)


def test_an_index_that_was_made_anew_by_hand_may_be_younger_than_the_count(url):
    other = "ix_activity_openphone_id"
    assert facts_of(url, other).usage.is_known_built
    execute(url, f"DROP INDEX {other}", f"CREATE INDEX {other} ON activity (openphone_id)")

    assert not facts_of(url, other).usage.is_known_built
    assert facts_of(url, NAME).usage.is_known_built


def test_in_a_copy_of_the_database_the_time_of_the_build_says_nothing(server, url):
    execute(server.url, f"CREATE DATABASE copied OWNER crm_owner TEMPLATE {url.rsplit('/', 1)[1]}")
    copied = with_database(url, "copied")
    assert not facts_of(copied, NAME).usage.is_known_built

    succeed("check", "--deep", url=copied)  # which writes the record anew
    assert not facts_of(copied, NAME).usage.is_known_built
    succeed("down", url=copied)
    succeed("up", url=copied)
    assert facts_of(copied, NAME).usage.is_known_built


def test_the_last_scan_is_known_from_postgresql_16_on(url):
    known = int(ask(url, "SHOW server_version_num")[0][0]) >= 160000

    assert (facts_of(url, NAME).usage.last_scan is not None) == known


def test_a_clean_restart_keeps_the_counts_and_their_beginning(server, url):
    scan(url)
    counted, before = scans(url), since(url)
    server.process.send_signal(signal.SIGINT)
    server.process.wait(30)
    server.come_back()

    assert (scans(url), since(url)) == (counted, before)


def test_the_reset_of_one_counter_begins_the_count_of_all(server, url):
    until(lambda: clock(url) >= built_at(url) + A_SECOND, "the second after that of the build")
    before = clock(url)
    execute(
        server_database(server, url), "SELECT pg_stat_reset_single_table_counters('ix_activity_openphone_id'::regclass)"
    )

    until(lambda: since(url) >= before, "the reset")
    assert facts_of(url, NAME).usage.begun_by == RESET


def test_the_reset_of_a_counter_of_the_whole_server_changes_nothing(server, url):
    before = since(url)
    execute(server.url, "SELECT pg_stat_reset_shared('bgwriter')")

    assert since(url) == before


def test_a_crash_of_one_process_begins_the_count_although_the_server_started_long_before(url):
    scan(url)
    before, started = clock(url), "SELECT timezone('UTC', pg_postmaster_start_time())"
    with closing(connect(url)) as session:
        os.kill(session.info.backend_pid, signal.SIGKILL)
        until(lambda: is_ended(session), "the end of all sessions")
    until(lambda: is_answering(url), "the recovery")

    assert since(url) >= before
    assert scans(url) == 0
    assert ask(url, started)[0][0] < before


def test_an_immediate_shutdown_begins_the_count(server, url):
    scan(url)
    before = clock(url)
    server.crash()
    server.come_back()

    assert since(url) >= before
    assert scans(url) == 0


def test_after_a_crash_the_age_of_statistics_is_not_known(server, url):
    execute(url, "SET synchronous_commit = on", "ANALYZE")  # else the crash may lose it
    until(lambda: facts_of(url, NAME).statistics.analyzed_at, "the time of ANALYZE")
    server.crash()
    server.come_back()

    statistics = facts_of(url, NAME).statistics

    assert (statistics.exist, statistics.analyzed_at, statistics.is_uncounted) == (True, None, True)
    assert statistics.flaw == "the server no longer knows what has changed in activity, as after a crash"


def is_ended(session: Any) -> bool:
    try:
        session.cursor().execute("SELECT 1")
    except psycopg2.Error:
        return True
    return False


def is_answering(url: str) -> bool:
    with suppress(psycopg2.OperationalError):
        return bool(ask(url, "SELECT 1"))
    return False


def server_database(server: Server, url: str) -> str:
    """Return the superuser's URL of the database: only a superuser resets counters."""
    return with_database(server.url, url.rsplit("/", 1)[1])


# Several servers ------------------------------------------------------------------------------------------------------


def counted(scans: int, **changed: Any) -> ServerCounts:
    """Return what a server has counted of one index."""
    indexes = {NAME: IndexCounts(scans, 10 * scans, 300, 100, BUILT_AT if scans else None)}
    place = Place("postgresql://crm@one/crm")
    alone = ServerCounts(place, "one", "15.10", NOON, MARCH, None, True, False, 0, indexes, {})
    return alone._replace(**changed)


def test_the_scans_of_several_servers_are_summed_up_since_the_latest_beginning():
    servers = [counted(3), counted(4, started=JUNE), counted(0)]

    usage = usage_of(NAME, servers, BUILT_AT)

    assert (usage.scans, usage.tuples_per_scan, usage.asked) == (7, 10.0, 3)
    assert (usage.since, usage.begun_by, usage.last_scan) == (JUNE, STARTED, BUILT_AT)
    assert usage.hit_ratio == 0.75


@pytest.mark.parametrize(
    ("reset", "built_at", "since", "begun_by"),
    [
        (None, None, MARCH, STARTED),
        (JUNE, BUILT_AT, JUNE, RESET),
        (MARCH, BUILT_AT, BUILT_AT, BUILT),
        (None, BUILT_AT, BUILT_AT, BUILT),
        (WITHIN_THE_SECOND, BUILT_AT, WITHIN_THE_SECOND, BUILT),
    ],
)
def test_scans_are_counted_since_the_latest_of_start_reset_and_build(reset, built_at, since, begun_by):
    usage = usage_of(NAME, [counted(1, reset=reset)], built_at)

    assert (usage.since, usage.begun_by, usage.is_known_built) == (since, begun_by, built_at is not None)


def test_the_beginning_is_not_known_where_a_server_does_not_tell():
    assert usage_of(NAME, [counted(1), counted(1, started=None)], BUILT_AT).since is None


@pytest.mark.parametrize(
    ("begun", "scans", "last_scan", "by_others", "last_by_others"),
    [
        (JUNE, 2000, JUNE, 0, None),
        (JUNE, 2003, NOON, 3, NOON),
        (JUNE, 2003, JUNE, 3, None),  # the check may have hidden a scan right before it
        (MARCH, 2003, JUNE, 2003, JUNE),  # it may have been before the counters were reset
    ],
)
def test_the_scans_of_deep_checks_are_left_out_if_all_of_them_were_counted(
    begun, scans, last_scan, by_others, last_by_others
):
    usage = usage_of(NAME, [counted(1)], BUILT_AT)._replace(scans=scans, last_scan=last_scan)
    left = without_checks(usage, Checked(JUNE, None, 2000, begun))

    assert (left.by_others, left.last_scan) == (by_others, last_by_others)


def test_without_a_server_that_counts_nothing_is_known():
    assert usage_of(NAME, [counted(1, is_counting=False)], BUILT_AT) is None
    assert usage_of("another", [counted(1)], BUILT_AT) is None


def test_a_hit_ratio_of_few_blocks_is_not_told():
    assert usage_of(NAME, [counted(1, indexes={NAME: IndexCounts(1, 1, 3, 0)})], BUILT_AT).hit_ratio is None


@pytest.mark.parametrize(
    ("servers", "missing"),
    [
        ([counted(0)], ""),
        ([counted(0, standbys=2)], "2 standbys were not asked"),
        ([counted(0, standbys=2), counted(0, in_recovery=True)], "1 standby was not asked"),
        ([counted(0, standbys=1), counted(0, in_recovery=True)], ""),
        ([counted(0, in_recovery=True)], "the primary was not asked"),
        ([counted(0, in_recovery=True), counted(0)], ""),
    ],
)
def test_the_servers_of_the_cluster_that_were_not_asked_are_said(servers, missing):
    assert unasked(servers) == missing
