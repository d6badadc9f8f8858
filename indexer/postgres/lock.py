"""The run lock: one run at a time on one schema, held by a session and gone with it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from indexer.errors import StatementFailed
from indexer.events import LockWaited, Report
from indexer.postgres.catalog import PostgresCatalog

FAMILY = 0x5343_5256  # the upper half of the key, the same for every run of this tool; the lower half is the schema

TRY = """
    SELECT pg_catalog.pg_try_advisory_lock((%(family)s::bigint << 32) | n.oid::bigint) AS taken
      FROM pg_catalog.pg_namespace AS n
     WHERE n.nspname = %(schema)s
"""

UNLOCK = """
    SELECT pg_catalog.pg_advisory_unlock((%(family)s::bigint << 32) | n.oid::bigint)
      FROM pg_catalog.pg_namespace AS n
     WHERE n.nspname = %(schema)s
"""

HOLDER = """
    SELECT l.pid,
           l.pid = pg_catalog.pg_backend_pid() AS is_ours,
           a.usename AS role,
           a.application_name AS application,
           COALESCE(a.client_addr::text, 'local') AS client,
           a.backend_start AS since
      FROM pg_catalog.pg_locks AS l
      JOIN pg_catalog.pg_namespace AS n ON n.oid = l.objid AND n.nspname = %(schema)s
      LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
     WHERE l.locktype = 'advisory'
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND l.classid = %(family)s
       AND l.objsubid = 1
       AND l.granted
"""


class RunLock:
    """A session-level advisory lock, polled and never waited for inside the server.

    A session that waits in ``pg_advisory_lock`` holds a snapshot, and the holder's concurrent build waits for that
    snapshot in turn: a deadlock (flyway/flyway#1654, golang-migrate/migrate#960).
    """

    poll = 0.5  # seconds, give or take half

    def __init__(self, catalog: PostgresCatalog) -> None:
        self.catalog = catalog

    @contextmanager
    def held(self, report: Report) -> Iterator[None]:
        """Hold the lock; waits for another run to end, and says once that it does."""
        told = False
        while not self._try():
            if not told:
                report(LockWaited(self.holder()))
                told = True
            time.sleep(self.poll * random.uniform(0.5, 1.5))
        try:
            yield
        finally:
            self.catalog.rows(UNLOCK, family=FAMILY)

    def _try(self) -> bool:
        return bool(self.catalog.rows(TRY, family=FAMILY)[0]["taken"])

    def holder(self) -> str:
        """Who holds the lock, for people."""
        for row in self.catalog.rows(HOLDER, family=FAMILY):
            who = ", ".join(filter(None, (row["role"], row["application"], row["client"])))
            return f"pid {row['pid']} ({who}), since {row['since']:%H:%M:%S}"
        return "a run that has just ended"

    def confirm(self) -> None:
        """Make sure that this very session holds the lock; behind a transaction pooler it may not.

        Raises:
            StatementFailed: it does not.
        """
        if not any(row["is_ours"] for row in self.catalog.rows(HOLDER, family=FAMILY)):
            raise StatementFailed(
                "The run lock is not held by this session any more.",
                "Connect to the server directly, not through a transaction pooler, and run the same command again.",
            )
