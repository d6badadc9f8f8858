"""Observes one running statement: its phase and counters, or the sessions that it waits for."""

from __future__ import annotations

import time
from collections.abc import Sequence

from indexer.decide import Action
from indexer.events import Blocker, Progress, Waiting
from indexer.postgres.run.sessions import Sessions
from indexer.spec import Index
from indexer.steps import Step
from indexer.tuples import NamedTuple

# Where each phase of pg_stat_progress_create_index begins (manual, 28.4.4), and its share of the whole of a concurrent
# build, in per cent, as measured on a warm million rows. Waits have none: how long they take is up to others.
LOADING = "building index: loading tuples in tree"
PHASES = {
    "building index": (0, 55),  # the one phase of a hash index
    "building index: scanning table": (0, 30),
    "building index: sorting live tuples": (30, 15),
    "building index: sorting dead tuples": (45, 0),
    LOADING: (45, 15),
    "index validation: scanning index": (60, 10),
    "index validation: sorting tuples": (70, 5),
    "index validation: scanning table": (75, 20),
    # Of pg_stat_progress_analyze: only the sampling of the table is counted, and takes almost all of the time.
    "acquiring sample rows": (0, 100),
    "acquiring inherited sample rows": (0, 100),
}

FOR_READERS = "waiting for readers"  # a REINDEX CONCURRENTLY, before it takes the old index away
WAITING_FOR_A_LOCK = "waiting for a lock"
NOT_VISIBLE = "progress not visible"  # to a role, whose name follows
WAITING_FOR_A_STANDBY = "waiting for a synchronous standby"
ANSWER_COMES_IN = 5.0  # seconds; an answer that has been on its way for longer does not come
INTERVAL, BRIEF_INTERVAL = 0.5, 0.1  # seconds between two observations

STATEMENT = """
    SELECT CASE WHEN a.wait_event = 'SyncRep' THEN 'waiting for a synchronous standby'
                WHEN p.relid IS NOT NULL OR p.pid IS NULL THEN COALESCE(p.phase, '')
                ELSE 'progress not visible to ' || pg_catalog.quote_ident(CURRENT_USER) END AS phase,
           COALESCE(p.blocks_total, 0) AS blocks_total,
           COALESCE(p.blocks_done, 0) AS blocks_done,
           COALESCE(p.tuples_total, 0) AS tuples_total,
           COALESCE(p.tuples_done, 0) AS tuples_done,
           pg_catalog.pg_blocking_pids(a.pid) AS blocking,
           a.state
      FROM pg_catalog.pg_stat_activity AS a
      LEFT JOIN pg_catalog.pg_stat_progress_create_index AS p ON p.pid = a.pid
     WHERE a.pid = %(pid)s
"""

ANALYZING = """
    SELECT CASE WHEN a.wait_event = 'SyncRep' THEN 'waiting for a synchronous standby'
                ELSE COALESCE(p.phase, '') END AS phase,
           COALESCE(p.sample_blks_total, 0) AS blocks_total,
           COALESCE(p.sample_blks_scanned, 0) AS blocks_done,
           pg_catalog.pg_blocking_pids(a.pid) AS blocking,
           a.state
      FROM pg_catalog.pg_stat_activity AS a
      LEFT JOIN pg_catalog.pg_stat_progress_analyze AS p ON p.pid = a.pid
     WHERE a.pid = %(pid)s
"""
SHOWS_ANALYZE = 130000  # the first version with that view

# What is visible to a role that may not read the statistics views.
BLOCKERS_ONLY = """
    SELECT '' AS phase,
           'hidden' AS state,
           pg_catalog.pg_blocking_pids(%(pid)s) AS blocking
"""


class Counters(NamedTuple):
    """A row of the progress view."""

    phase: str
    blocks_total: int = 0
    blocks_done: int = 0
    tuples_total: int = 0
    tuples_done: int = 0


def counted(counters: Counters) -> tuple[int, int, str]:
    """Return what the phase has done, of how much, and the unit: tuples loaded, else blocks scanned."""
    if counters.phase == LOADING:
        return counters.tuples_done, counters.tuples_total, "tuples"
    return counters.blocks_done, counters.blocks_total, "blocks"


def fraction(counters: Counters) -> float | None:
    """Return the part of the build that is done, 0 to 1; None in a phase for which the server counts nothing.

    The counters are clamped: the last block of a scan is often never reported.
    """
    if counters.phase not in PHASES:
        return None
    (begins, share), (done, total, _) = PHASES[counters.phase], counted(counters)
    return (begins + share * min(done / total, 1.0)) / 100 if total else None


class Observation(NamedTuple):
    """What was last seen of a statement: the phase of a build, the blocks or tuples that it has done, its wait.

    Times are in seconds by the monotonic clock; ``waiting_since`` is None if the statement has not waited in its phase.
    """

    phase: str = ""
    done: int = 0
    at: float = 0.0
    waiting_since: float | None = None
    blockers: tuple[Blocker, ...] = ()


class Watch:
    """The watch over one running statement, which reports its progress and its waits.

    Args:
        index: the one that is built, dropped or waited for.
        pid: the server process that executes the statement.
        dropping: whether the statement is a DROP, which waits for readers of the table as well.

    Attributes:
        query: reads the progress of the statement.
        waited_in_all: the seconds for which the statement was seen to wait.
    """

    query = STATEMENT

    def __init__(self, sessions: Sessions, index: Index, pid: int, dropping: bool = False) -> None:
        self.sessions, self.index, self.pid, self.dropping = sessions, index, pid, dropping
        self.last = Observation()
        self.waited_in_all = 0.0
        self._started = self._observed = time.monotonic()
        self._idle_since: float | None = None

    def is_due(self) -> bool:
        """Return whether it is time for another observation."""
        return time.monotonic() - self._observed >= INTERVAL

    def is_lost(self) -> bool:
        """Return whether the server ended the statement long ago, so that its answer does not come any more."""
        return self._idle_since is not None and time.monotonic() - self._idle_since >= ANSWER_COMES_IN

    def waited(self) -> float:
        """Return the seconds for which the statement has been waiting in its phase."""
        return 0.0 if self.last.waiting_since is None else time.monotonic() - self.last.waiting_since

    def observe(self) -> None:
        """Observe the statement once, and report its progress or its wait. An error is a warning only."""
        before, self._observed = self._observed, time.monotonic()
        with self.sessions.tolerating_errors():
            rows = self.sessions.visible_rows(self.query, pid=self.pid)
            if rows is None:
                rows = self.sessions.catalog.rows(BLOCKERS_ONLY, pid=self.pid)
            is_executing = any(row.pop("state") != "idle" for row in rows)
            self._idle_since = None if is_executing else self._idle_since or self._observed
            for row in rows:
                blocking = row.pop("blocking")
                counters = Counters(**row)
                if blocking or counters.phase == WAITING_FOR_A_STANDBY:
                    self.waited_in_all += self._observed - before
                    self._report_wait(counters.phase, blocking)
                elif counters.phase:
                    self._report_progress(counters)
                else:
                    self.observe_elsewhere(before)
            if not rows:
                self.observe_elsewhere(before)

    def observe_elsewhere(self, before: float) -> None:
        """Observe what other nodes of a cluster do for the statement.

        Args:
            before: the time of the last observation.
        """

    def _report_progress(self, counters: Counters) -> None:
        done, _, unit = counted(counters)
        before, moved, since = self.last, 0, None
        if before.phase == counters.phase:
            # Between two of the many sessions that a phase waits for, it may be seen not to wait.
            moved, since = done - before.done, before.waiting_since
        self.last = Observation(counters.phase, done, self._observed, since)
        rate = moved / (self._observed - before.at) if moved > 0 else None
        seconds = self._observed - self._started
        self.sessions.report(Progress(self.index, counters.phase, fraction(counters), seconds, rate, unit))

    def _report_wait(self, phase: str, blocking: Sequence[int]) -> None:
        blockers = self.sessions.described({pid: "" for pid in blocking if pid})
        if 0 in blocking:  # a prepared transaction has no process
            for_readers = self.dropping or phase.startswith(FOR_READERS)
            expected = self.sessions.expected([self.index.table], for_readers)
            blockers += tuple(blocker for blocker in expected if blocker.pid is None)
        self.report_blockers(phase, blockers)

    def report_blockers(self, phase: str, blockers: tuple[Blocker, ...]) -> None:
        """Report that the statement waits for these sessions."""
        before = self.last.waiting_since
        since = before if before is not None and self.last.phase == phase else self._observed
        self.last = Observation(phase, waiting_since=since, blockers=blockers)
        self.sessions.report_hidden(blocker.hidden_from for blocker in blockers)
        self.sessions.report(Waiting(self.index, phase or WAITING_FOR_A_LOCK, blockers, self._observed - since))


class AnalyzeWatch(Watch):
    """The watch over an ANALYZE, whose progress a server before PostgreSQL 13 does not show."""

    query = ANALYZING


class BriefWatch(Watch):
    """The watch over a statement whose lock_timeout is shorter than the usual time between two observations."""

    def is_due(self) -> bool:
        """Return whether it is time for another observation."""
        return time.monotonic() - self._observed >= BRIEF_INTERVAL


def watch_over(sessions: Sessions, step: Step, pid: int, dropping: bool = False) -> Watch:
    """Return the watch over a statement of a step."""
    if sessions.catalog.is_citus:
        from indexer.postgres.citus.watch import CitusWatch

        return CitusWatch(sessions, step.index, pid, dropping)
    shows = sessions.catalog.database.server_version >= SHOWS_ANALYZE
    kind = AnalyzeWatch if step.action is Action.ANALYZE and shows else Watch
    return kind(sessions, step.index, pid, dropping)
