"""The run lock: one run at a time on one schema, held by a session and gone with it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timezone

from peewee import PeeweeException

from indexer.errors import Command, Hint, Locked, StatementFailed
from indexer.events import LockWaited, Report
from indexer.options import Options
from indexer.postgres.catalog import PostgresCatalog
from indexer.postgres.database import Question
from indexer.postgres.sessions import Sessions
from indexer.signals import Stop

FAMILY = 0x5343_5256  # the upper half of the key, the same for every run of this tool; the lower half is the schema

TRY = """
    SELECT pg_catalog.pg_try_advisory_lock((%(family)s::bigint << 32) | %(namespace)s) AS taken
"""

UNLOCK = """
    SELECT pg_catalog.pg_advisory_unlock((%(family)s::bigint << 32) | %(namespace)s)
"""

HOLDING = """
    SELECT l.pid,
           a.usename AS role,
           a.application_name AS application,
           CASE WHEN a.backend_type IS NOT NULL THEN COALESCE(pg_catalog.host(a.client_addr), 'local') END AS client,
           a.backend_start AS since,
           CASE WHEN a.pid IS NOT NULL AND a.backend_type IS NULL THEN CURRENT_USER::pg_catalog.text END AS hidden_from
      FROM pg_catalog.pg_locks AS l
      LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
     WHERE l.locktype = 'advisory'
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND l.classid = %(family)s
       AND l.objid = %(namespace)s
       AND l.objsubid = 1
       AND l.granted
"""

HELD_BY_US = """
    SELECT l.pid
      FROM pg_catalog.pg_locks AS l
     WHERE l.locktype = 'advisory'
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND l.classid = %(family)s
       AND l.objid = %(namespace)s
       AND l.objsubid = 1
       AND l.granted
       AND l.pid = pg_catalog.pg_backend_pid()
"""

HELD = Question("indexer_held", {"family": "integer", "namespace": "bigint"}, HELD_BY_US)
HOLDER = Question("indexer_holder", {"family": "integer", "namespace": "bigint"}, HOLDING)

# Of a hidden build everybody sees that there is one, on which table it holds its lock, and whether it waits.
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

STANDING = """
    SELECT pg_catalog.count(*) AS indexes
      FROM pg_catalog.pg_index AS i
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid AND c.relnamespace = %(namespace)s
     WHERE i.indisvalid
"""


class RunLock:
    """A session-level advisory lock, polled and never waited for inside the server.

    A session that waits in ``pg_advisory_lock`` holds a snapshot, and the holder's concurrent build waits for that
    snapshot in turn: a deadlock (flyway/flyway#1654, golang-migrate/migrate#960).
    """

    poll = 0.5  # seconds, give or take half
    retell = 10.0  # seconds

    def __init__(self, catalog: PostgresCatalog, sessions: Sessions) -> None:
        self.catalog = catalog
        self.sessions = sessions

    @contextmanager
    def held(self, report: Report, options: Options, stop: Stop) -> Iterator[None]:
        """Hold the lock; follows the run that has it until that ends.

        Raises:
            Locked: it is taken, and waiting was refused, or the other run made no progress for too long.
        """
        if not self._try():
            self._follow(report, options, stop)
        try:
            yield
        finally:
            with suppress(PeeweeException):  # a session that is gone has given the lock back
                self.catalog.rows(UNLOCK, family=FAMILY)

    def _follow(self, report: Report, options: Options, stop: Stop) -> None:
        seen: object = None
        moved, told = time.monotonic(), 0.0
        while not self._try():
            now = time.monotonic()
            with self.sessions.overlooking(report):
                progress = self._progress()
                if progress != seen:
                    seen, moved = progress, now
                if not told or now - told >= self.retell:
                    self._tell(report)
                    told = now
            if options.wait_lock is not None and now - moved >= options.wait_lock:
                raise Locked(
                    f"Another run holds the lock: {self._visible_holder(report)}.",
                    Hint("Wait for it to end, or see what it does: ", Command("status")),
                )
            stop.sleep(self.poll * random.uniform(0.5, 1.5))

    def _try(self) -> bool:
        assert self.catalog.namespace, "a lock is of a schema: settle first"
        return bool(self.catalog.rows(TRY, family=FAMILY)[0]["taken"])

    def _progress(self) -> object:
        """Something that is different as soon as the holder has got further.

        A build whose progress is hidden counts as getting further as long as it waits for nobody.
        """
        building = self.catalog.rows(BUILDING)
        unseen = time.monotonic() if any(row["works_unseen"] for row in building) else 0
        return building, self.catalog.rows(STANDING), unseen

    def _tell(self, report: Report) -> None:
        holders = self.catalog.ask(HOLDER, family=FAMILY)
        self.sessions.tell_hidden((row["hidden_from"] for row in holders), report)
        report(LockWaited(self.holder()))

    def _visible_holder(self, report: Report) -> str:
        with self.sessions.overlooking(report):
            return self.holder()
        return "its session is not visible"

    def holder(self) -> str:
        """Who holds the lock, since when, and how far that run is, for people."""
        builds = ", ".join(_build(row) for row in self.catalog.rows(BUILDING))
        for row in self.catalog.ask(HOLDER, family=FAMILY):
            who = ", ".join(filter(None, (row["role"], row["application"], row["client"])))
            since = f", since {row['since'].astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC" if row["since"] else ""
            return f"pid {row['pid']} ({who}){since}" + (f"; {builds}" if builds else "")
        return "a run that has just ended"

    def confirm(self) -> None:
        """Make sure that this very session holds the lock; behind a transaction pooler it may not.

        Raises:
            StatementFailed: it does not.
        """
        if not self.catalog.ask(HELD, family=FAMILY):
            raise StatementFailed(
                "The run lock is not held by this session any more.",
                "Connect to the server directly, not through a transaction pooler, and run the same command again.",
            )


def _build(row: dict[str, object]) -> str:
    blocks, total = int(str(row["blocks_done"] or 0)), int(str(row["blocks_total"] or 0))
    counted = f" {min(blocks / total, 1):.0%}" if total else ""
    return f"{row['index'] or 'an index'}: {row['phase']}{counted}"
