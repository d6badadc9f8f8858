"""The run lock: one run at a time on a schema, held by the main session and released with it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timezone
from typing import Any

from peewee import PeeweeException

from indexer.errors import Command, Hint, Locked, StatementFailed
from indexer.events import LockWaited
from indexer.migrator import Context
from indexer.postgres.run.sessions import Sessions

POLL = 0.5  # seconds between two attempts, give or take half
MARGIN = 0.25  # seconds that the queries of a poll may take
REPEATED = 10.0  # seconds between two reports of the wait
LONGEST_POLL = 1.5 * POLL
FAMILY = 0x5343_5256  # the upper half of the key, the same for every run of this tool; the lower half is the schema
AWAITED = FAMILY + 1  # of the lock that a run holds while it waits

TRY = """
    SELECT pg_catalog.pg_try_advisory_lock((%(family)s::bigint << 32) | %(namespace)s) AS taken
"""

# What a run holds while it waits for the run lock: pg_locks shows no wait, because nothing waits inside the server.
AWAIT = """
    SELECT pg_catalog.pg_try_advisory_lock_shared((%(awaited)s::bigint << 32) | %(namespace)s)
"""

AWAIT_NO_MORE = """
    SELECT pg_catalog.pg_advisory_unlock_shared((%(awaited)s::bigint << 32) | %(namespace)s)
"""

UNLOCK = """
    SELECT pg_catalog.pg_advisory_unlock((%(family)s::bigint << 32) | %(namespace)s)
"""

IS_RUN_LOCK = """
     WHERE l.locktype = 'advisory'
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND l.classid = %(family)s
       AND l.objid = %(namespace)s
       AND l.objsubid = 1
       AND l.granted
"""

HOLDERS = """
    SELECT l.pid,
           a.usename AS role,
           a.application_name AS application,
           CASE WHEN a.backend_type IS NOT NULL THEN COALESCE(pg_catalog.host(a.client_addr), 'local') END AS client,
           a.backend_start AS since,
           CASE WHEN a.pid IS NOT NULL AND a.backend_type IS NULL THEN CURRENT_USER::pg_catalog.text END AS hidden_from
      FROM pg_catalog.pg_locks AS l
      LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
"""

# A role may not be allowed to read pg_stat_activity.
LOCKS = """
    SELECT l.pid
      FROM pg_catalog.pg_locks AS l
"""

IS_OURS = """
       AND l.pid = pg_catalog.pg_backend_pid()
"""

# Our lock, and the builds of other sessions on a table: they hold a lock on it, and are in the progress view.
LOCK_AND_BUILDS = """
    SELECT l.pid,
           l.locktype = 'advisory' AS is_run_lock
      FROM pg_catalog.pg_locks AS l
     WHERE l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND l.granted
       AND (l.locktype = 'advisory'
            AND l.classid = %(family)s
            AND l.objid = %(namespace)s
            AND l.objsubid = 1
            AND l.pid = pg_catalog.pg_backend_pid()
            OR l.locktype = 'relation'
            AND l.mode = 'ShareUpdateExclusiveLock'
            AND l.relation = (
                SELECT c.oid
                  FROM pg_catalog.pg_class AS c
                 WHERE c.relnamespace = %(schema_of_table)s
                   AND c.relname = %(table)s)
            AND EXISTS (
                SELECT 1
                  FROM pg_catalog.pg_stat_progress_create_index AS p
                 WHERE p.pid = l.pid))
"""

# Of a hidden build every role sees that it exists, on which table it holds its lock, and whether it waits.
BUILDING = """
    SELECT i.relname AS index,
           CASE WHEN p.relid IS NOT NULL THEN p.phase
                ELSE 'progress not visible to ' || pg_catalog.quote_ident(CURRENT_USER) END AS phase,
           p.blocks_done,
           p.blocks_total,
           p.tuples_done,
           p.relid IS NULL AND pg_catalog.cardinality(pg_catalog.pg_blocking_pids(p.pid)) = 0 AS works_unseen
      FROM pg_catalog.pg_stat_progress_create_index AS p
      LEFT JOIN pg_catalog.pg_class AS i ON i.oid = p.index_relid
     WHERE p.datname = pg_catalog.current_database()
       AND EXISTS (
           SELECT 1
             FROM pg_catalog.pg_class AS t
            WHERE t.relnamespace = %(namespace)s
              AND (t.oid = p.relid
                   OR p.relid IS NULL AND t.oid IN (
                      SELECT l.relation
                        FROM pg_catalog.pg_locks AS l
                       WHERE l.pid = p.pid
                         AND l.locktype = 'relation'
                         AND l.database = p.datid
                         AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock'))))
     ORDER BY p.pid
"""

VALID = """
    SELECT pg_catalog.count(*) AS indexes
      FROM pg_catalog.pg_index AS i
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid AND c.relnamespace = %(namespace)s
     WHERE i.indisvalid
"""


class RunLock:
    """A session-level advisory lock, polled and never waited for inside the server.

    A session that waits in ``pg_advisory_lock`` holds a snapshot, and the concurrent build of the run that holds the
    lock waits for that snapshot in turn: a deadlock (flyway/flyway#1654, golang-migrate/migrate#960).
    """

    def __init__(self, sessions: Sessions, context: Context) -> None:
        self.catalog = sessions.catalog
        self.sessions = sessions
        self.options, self.report, self.stop, _ = context

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; wait for the run that holds it as long as that makes progress.

        Raises:
            Locked: another run holds it and has made no progress for ``wait_lock`` seconds.
            Interrupted: a signal came while waiting.
        """
        if not self._take():
            with self._awaiting():
                self._wait()
        try:
            yield
        finally:
            with suppress(PeeweeException):  # a session that was lost has released the lock
                self.catalog.rows(UNLOCK, family=FAMILY)

    @contextmanager
    def held_if_free(self) -> Iterator[None]:
        """Hold the lock for a moment, without waiting for it.

        Raises:
            Locked: a run holds it.
        """
        if not self._take():
            raise self._locked()
        try:
            yield
        finally:
            with suppress(PeeweeException):
                self.catalog.rows(UNLOCK, family=FAMILY)

    def give_way(self) -> None:
        """If a run waits for the lock, give it the time to take it: it polls, and so would seldom find it free."""
        if self.catalog.ask(LOCKS + IS_RUN_LOCK, family=AWAITED):
            self.stop.sleep(LONGEST_POLL + MARGIN)

    def _take(self) -> bool:
        assert self.catalog.namespace, "the run lock belongs to one schema: call settle() first"
        return bool(self.catalog.rows(TRY, family=FAMILY)[0]["taken"])

    @contextmanager
    def _awaiting(self) -> Iterator[None]:
        """Show in pg_locks that a run waits, for a deep check that takes the lock for one index after another."""
        self.catalog.rows(AWAIT, awaited=AWAITED)
        try:
            yield
        finally:
            with suppress(PeeweeException):
                self.catalog.rows(AWAIT_NO_MORE, awaited=AWAITED)

    def _wait(self) -> None:
        progress: object = None
        progressed, reported = time.monotonic(), float("-inf")
        while not self._take():
            now = time.monotonic()
            with self.sessions.tolerating_errors():
                before, progress = progress, self._progress()
                if progress != before:
                    progressed = now
            if self.options.wait_lock is not None and now - progressed >= self.options.wait_lock:
                raise self._locked()
            if now - reported >= REPEATED:
                self.report(LockWaited(self.holder()))
                reported = now
            self.stop.sleep(POLL * random.uniform(0.5, 1.5))

    def _locked(self) -> Locked:
        hint = Hint("Wait for it to end, or see what it is doing: ", Command("status"))
        return Locked(f"Another run holds the lock: {self.holder()}.", hint)

    def _progress(self) -> object:
        """Return a value that differs as soon as the run that holds the lock has made progress.

        A build whose progress is hidden counts as making progress as long as it waits for no session.
        """
        builds = self.catalog.rows(BUILDING)
        unseen = time.monotonic() if any(row["works_unseen"] for row in builds) else 0
        return builds, self.catalog.rows(VALID), unseen

    def holder(self) -> str:
        """Return which session holds the lock, since when, and how far its builds are, as a phrase."""
        with self.sessions.tolerating_errors():
            builds = ", ".join(_build(row) for row in self.catalog.rows(BUILDING))
            for row in self.catalog.ask(HOLDERS + IS_RUN_LOCK, family=FAMILY):
                self.sessions.report_hidden([row["hidden_from"]])
                who = ", ".join(filter(None, (row["role"], row["application"], row["client"])))
                since = f", since {row['since'].astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC" if row["since"] else ""
                return f"pid {row['pid']} ({who}){since}" + (f"; {builds}" if builds else "")
            return "a run that has just ended"
        return "its session is not visible"

    def confirm(self) -> None:
        """Check that the main session holds the lock; behind a transaction pooler it may lose it.

        Raises:
            StatementFailed: the session does not hold it.
        """
        _refuse_unless(bool(self.catalog.ask(LOCKS + IS_RUN_LOCK + IS_OURS, family=FAMILY)))

    def confirm_and_find_builds(self, table: str, namespace: int | None = None) -> list[int]:
        """Check as ``confirm``, and return the processes of other sessions that build on a table, in one question.

        Args:
            namespace: the OID of the table's schema, if that is another than the lock's.
        """
        of_table = namespace or self.catalog.namespace
        rows = self.catalog.ask(LOCK_AND_BUILDS, family=FAMILY, table=table, schema_of_table=of_table)
        _refuse_unless(any(row["is_run_lock"] for row in rows))
        return [row["pid"] for row in rows if not row["is_run_lock"]]


def _refuse_unless(is_held: bool) -> None:
    if not is_held:
        raise StatementFailed(
            "This session no longer holds the run lock.",
            "Connect to the server directly, not through a transaction pooler, and run the same command again.",
        )


def _build(row: dict[str, Any]) -> str:
    done, total = row["blocks_done"] or 0, row["blocks_total"] or 0
    counted = f" {min(done / total, 1):.0%}" if total else ""
    return f"{row['index'] or 'an index'}: {row['phase']}{counted}"
