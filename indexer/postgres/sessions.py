"""What the server says of a running statement: its phase, its counters, and the sessions that it waits for."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from peewee import PeeweeException

from indexer.errors import IndexerError
from indexer.events import Blocker, Progress, Report, Waiting, Warned, silent
from indexer.postgres.catalog import PostgresCatalog
from indexer.postgres.database import Question
from indexer.postgres.progress import Counters, counted, fraction
from indexer.spec import Index
from indexer.text import identifier, literal, reason

SHOWN = 80  # characters of a query
WAITING_FOR_A_LOCK = "waiting for a lock"
WAITING_FOR_A_STANDBY = "waiting for a synchronous standby"
LOST = 5.0  # seconds; an answer that has been on its way for longer does not come
INTERVAL = 0.5  # seconds between two looks at a running statement

SEEN = """
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

# What is left to see for a role from which somebody has taken the right to read the statistics.
BLOCKING = """
    SELECT '' AS phase,
           0 AS blocks_total,
           0 AS blocks_done,
           0 AS tuples_total,
           0 AS tuples_done,
           'hidden' AS state,
           pg_catalog.pg_blocking_pids(%(pid)s) AS blocking
"""

# Of a session of another role, a role without pg_read_all_stats sees the pid, database, role and application name, and
# NULL for all the rest. Autovacuum workers belong to no role, so they are hidden from every such role. The virtual
# transaction, which pg_locks shows to everyone, tells two transactions of a hidden session apart.
SESSIONS = """
    SELECT a.pid,
           COALESCE(a.usename, a.backend_type, 'autovacuum worker') AS role,
           COALESCE(a.application_name, '') AS application,
           CASE WHEN a.backend_type IS NULL THEN ''
                ELSE COALESCE(pg_catalog.host(a.client_addr), 'local') END AS client,
           COALESCE(a.xact_start::pg_catalog.text, a.backend_start::pg_catalog.text, v.virtualxid, '') AS transaction,
           EXTRACT(epoch FROM pg_catalog.clock_timestamp() - COALESCE(a.xact_start, a.backend_start))::float AS seconds,
           CASE WHEN a.query LIKE 'autovacuum:%%to prevent wraparound%%' THEN 'autovacuum to prevent wraparound'
                WHEN a.backend_type = 'walsender' THEN 'copies a table for a replication slot'
                WHEN a.backend_type IS NULL THEN 'state not visible to ' || pg_catalog.quote_ident(CURRENT_USER)
                ELSE COALESCE(a.state, a.backend_type) END AS reason,
           CASE WHEN a.backend_type IS NULL THEN ''
                ELSE a.query END AS query,
           CASE WHEN a.backend_type IS NULL THEN CURRENT_USER::pg_catalog.text END AS hidden_from,
           CASE WHEN m.rolsuper THEN ''
                WHEN COALESCE(r.rolsuper, true) THEN '  -- as a superuser'
                WHEN pg_catalog.pg_has_role(r.oid, 'USAGE')
                     OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') THEN ''
                ELSE '  -- as that role, or as a member of pg_signal_backend' END AS ending_as
      FROM pg_catalog.pg_stat_activity AS a
      JOIN pg_catalog.pg_roles AS m ON m.rolname = CURRENT_USER
      LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
      LEFT JOIN pg_catalog.pg_locks AS v
        ON v.locktype = 'virtualxid'
       AND v.mode = 'ExclusiveLock'
       AND v.pid = a.pid
     WHERE a.pid = ANY (%(pids)s::integer[])
     ORDER BY seconds DESC NULLS LAST
"""

# Whom a concurrent build or drop of an index of these tables would wait for if it began now: transactions with a
# lock on the table that conflicts with its own, and, for a build, older snapshots anywhere in the database.
LOCK_HOLDERS = """
    SELECT l.pid,
           l.virtualtransaction,
           pg_catalog.min(c.relname) AS table_name,
           pg_catalog.bool_and(l.mode = 'ShareUpdateExclusiveLock') AS is_beside
      FROM pg_catalog.pg_locks AS l
      JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
     WHERE l.locktype = 'relation'
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND l.granted
       AND c.relnamespace = %(namespace)s
       AND c.relname = ANY (%(tables)s::pg_catalog.text[])
       AND l.mode = ANY (%(modes)s::pg_catalog.text[])
       AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
     GROUP BY l.pid, l.virtualtransaction
"""

SNAPSHOT_HOLDERS = """
    SELECT a.pid
      FROM pg_catalog.pg_stat_activity AS a
     WHERE a.datname = pg_catalog.current_database()
       AND a.backend_xmin IS NOT NULL  -- NULL also where it is hidden: such a session is seen once a build waits for it
       AND a.backend_type NOT IN ('autovacuum worker', 'parallel worker')
       AND a.pid <> pg_catalog.pg_backend_pid()
"""

# What a plan adds, because a snapshot of another role may be hidden. A run does not wait for these before the start.
HIDDEN_TRANSACTIONS = """
    SELECT a.pid
      FROM pg_catalog.pg_stat_activity AS a
      JOIN pg_catalog.pg_locks AS v
        ON v.locktype = 'virtualxid'
       AND v.mode = 'ExclusiveLock'
       AND v.pid = a.pid
     WHERE a.datname = pg_catalog.current_database()
       AND a.backend_type IS NULL
       AND a.usesysid IS NOT NULL
"""

PREPARED = """
    SELECT p.gid,
           COALESCE(p.owner, 'a role that was dropped') AS role,
           p.prepared::pg_catalog.text AS transaction,
           EXTRACT(epoch FROM pg_catalog.clock_timestamp() - p.prepared)::float AS seconds,
           CASE WHEN m.rolsuper OR p.owner = CURRENT_USER THEN ''
                ELSE '  -- as that role, or as a superuser' END AS ending_as,
           l.virtualtransaction
      FROM pg_catalog.pg_prepared_xacts AS p
      JOIN pg_catalog.pg_roles AS m ON m.rolname = CURRENT_USER
      JOIN pg_catalog.pg_locks AS l
        ON l.locktype = 'transactionid'
       AND l.transactionid = p.transaction
       AND l.pid IS NULL
     WHERE p.database = pg_catalog.current_database()
"""

# Quietly: a client that did nothing for a second is not taken for a busy one, and neither is another of our runs. A
# client whose state is hidden counts as busy. Neither a physical walsender nor an autovacuum worker is a client: of
# these, the first has no database and the second no role, which everyone can see.
OTHERS_ACTIVE = """
    SELECT pg_catalog.count(*) AS active
      FROM pg_catalog.pg_stat_activity AS a
     WHERE (a.backend_type = 'client backend'
            OR a.backend_type IS NULL AND a.usesysid IS NOT NULL AND a.datid IS NOT NULL)
       AND COALESCE(a.application_name, '') NOT LIKE 'indexer%%'
       AND a.pid <> pg_catalog.pg_backend_pid()
       AND a.pid <> ALL (%(ours)s::integer[])
       AND (COALESCE(a.state, 'hidden') <> 'idle'
            OR a.state_change > pg_catalog.clock_timestamp() - interval '1 second')
"""

WRITING = ("RowExclusiveLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
READING = ("AccessShareLock", "RowShareLock", "ShareLock")
BESIDES = ("ShareUpdateExclusiveLock",)  # VACUUM, or another build


# The builds of other sessions on a table: they hold its lock, and the progress view knows them.
BUILDS = """
    SELECT l.pid
      FROM pg_catalog.pg_locks AS l
      JOIN pg_catalog.pg_stat_progress_create_index AS p ON p.pid = l.pid
      JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
     WHERE l.locktype = 'relation'
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND l.mode = 'ShareUpdateExclusiveLock'
       AND l.granted
       AND c.relnamespace = %(namespace)s
       AND c.relname = %(table)s
"""


BUILDING_ON = Question("indexer_building_on", {"namespace": "bigint", "table": "pg_catalog.text"}, BUILDS)
LOCKS = Question(
    "indexer_locks", {"namespace": "bigint", "tables": "pg_catalog.text[]", "modes": "pg_catalog.text[]"}, LOCK_HOLDERS
)
SNAPSHOTS = Question("indexer_snapshots", {}, SNAPSHOT_HOLDERS)
OTHERS = Question("indexer_others", {"ours": "integer[]"}, OTHERS_ACTIVE)


def clock() -> float:
    """Seconds, by a clock that cannot jump."""
    return time.monotonic()


class Sessions:
    """The other sessions of the server, as far as they matter to a build.

    Attributes:
        ours: the process ids of the sessions with which this run builds.
        told: whether the user knows what lets the role see more, or that a look failed.
    """

    def __init__(self, catalog: PostgresCatalog) -> None:
        self.catalog = catalog
        self.ours: set[int] = set()
        self.told: set[str] = set()
        self._seen_since: dict[object, float] = {}

    @contextmanager
    def overlooking(self, report: Report) -> Iterator[None]:
        """Leave a look out that fails: none may end a run, unless the session that looks is lost."""
        try:
            yield
        except IndexerError:
            raise
        except Exception as error:
            if self.catalog.database.is_lost:
                raise
            self._tell_once(report, f"The other sessions could not be looked at: {reason(error)}. The run goes on.")

    def tell_hidden(self, hidden_from: Iterable[str | None], report: Report) -> None:
        """Say once what lets the role see more."""
        for role in set(hidden_from) - {None}:
            self._tell_once(report, sees_more(str(role)))

    def _tell_once(self, report: Report, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            report(Warned(text))

    def age(self, blocker: Blocker) -> float:
        """Return the seconds for which this transaction has lasted; if that is hidden, since it was first seen."""
        if blocker.seconds is not None:
            return blocker.seconds
        return clock() - self._seen_since.setdefault(blocker.identity, clock())

    def named(self, pids: Collection[int], why: str = "") -> tuple[Blocker, ...]:
        """Who these sessions are."""
        return self._described(dict.fromkeys(pids, why))

    def _described(self, reasons: Mapping[int, str]) -> tuple[Blocker, ...]:
        """Return these sessions with what each is in the way for; only that where nothing else may be read."""
        try:
            found = self.catalog.rows(SESSIONS, pids=list(reasons)) if reasons else []
        except PeeweeException:
            if self.catalog.database.is_lost:
                raise
            return tuple(_undescribed(pid, reason) for pid, reason in reasons.items())
        return tuple(_session(row, reasons[row["pid"]]) for row in found)

    def seen(self, pid: int) -> list[dict[str, Any]]:
        """Return what can be seen of a session's statement, one row as long as there is that session."""
        try:
            return self.catalog.rows(SEEN, pid=pid)
        except PeeweeException:
            if self.catalog.database.is_lost:
                raise
            return self.catalog.rows(BLOCKING, pid=pid)

    def expected(self, tables: Sequence[str], dropping: bool = False, suspecting: bool = False) -> tuple[Blocker, ...]:
        """Return whom a build (or a drop) of an index of these tables would wait for if it began now.

        Args:
            tables: where the indexes are.
            dropping: they are to be dropped.
            suspecting: with the transactions whose snapshots are hidden, and may or may not be old.
        """
        modes = [*WRITING, *BESIDES, *(READING if dropping else ())]
        holders = self.catalog.ask(LOCKS, tables=list(tables), modes=modes)
        locked = {row["pid"]: _lock(row, dropping) for row in holders if row["pid"]}
        prepared = {row["virtualtransaction"]: _lock(row, dropping) for row in holders if not row["pid"]}
        snapshots = [] if dropping else [row["pid"] for row in self.catalog.ask(SNAPSHOTS)]
        suspects = [row["pid"] for row in self.catalog.rows(HIDDEN_TRANSACTIONS)] if suspecting and not dropping else []
        reasons = {
            **dict.fromkeys(suspects, "is in a transaction, and may hold an old snapshot"),
            **dict.fromkeys(snapshots, "holds an old snapshot"),
            **locked,
        }
        reasons = {pid: reason for pid, reason in reasons.items() if pid not in self.ours}
        return (*self._described(reasons), *self.prepared(prepared))

    def excluding(self, tables: Sequence[str], modes: Sequence[str]) -> tuple[Blocker, ...]:
        """Return who holds a lock of these modes on one of these tables."""
        holders = self.catalog.ask(LOCKS, tables=list(tables), modes=list(modes))
        reasons = {row["pid"]: f"holds a lock on {row['table_name']}" for row in holders if row["pid"]}
        return self._described(reasons)

    def prepared(self, reasons: dict[str, str]) -> tuple[Blocker, ...]:
        """The prepared transactions with these virtual transaction ids."""
        rows = self.catalog.rows(PREPARED) if reasons else []
        return tuple(
            Blocker(
                pid=None,
                role=row["role"],
                application="",
                client="",
                transaction=row["transaction"],
                seconds=row["seconds"],
                reason=f"prepared transaction {row['gid']} {reasons[row['virtualtransaction']]}",
                query="",
                ending=f"ROLLBACK PREPARED {literal(row['gid'])};" + row["ending_as"],
            )
            for row in rows
            if row["virtualtransaction"] in reasons
        )

    def building_on(self, table: str) -> tuple[Blocker, ...]:
        """The sessions that are building another index of this table."""
        return self.named([row["pid"] for row in self.catalog.ask(BUILDING_ON, table=table)], "builds on this table")

    def others_active(self, report: Report = silent) -> bool:
        """Return whether any client is at work on this server besides our own sessions, as far as that can be seen."""
        with self.overlooking(report):
            return bool(self.catalog.ask(OTHERS, ours=list(self.ours))[0]["active"])
        return True


def _lock(row: dict[str, Any], dropping: bool) -> str:
    kind = "vacuums, or builds on," if row["is_beside"] else "holds a lock on" if dropping else "holds a write lock on"
    return f"{kind} {row['table_name']}"


def sees_more(role: str) -> str:
    """Return what to tell a role that cannot see what sessions of other roles do."""
    return (
        f"What the sessions of other roles do, and since when, is not visible to {identifier(role)}. "
        f"GRANT pg_read_all_stats TO {identifier(role)}; lets it see more."
    )


def _undescribed(pid: int, reason: str) -> Blocker:
    ending = f"SELECT pg_catalog.pg_terminate_backend({pid});"
    return Blocker(pid, "a role that is not visible", "", "", "", None, reason or "session not visible", "", ending)


def _session(row: dict[str, Any], why: str) -> Blocker:
    ending = f"SELECT pg_catalog.pg_terminate_backend({row['pid']});" + row.pop("ending_as")
    reason = "; ".join(filter(None, (why, row["reason"])))
    # Not shortened by the server: that reads a query of another database as if it were in the encoding of this one.
    query = " ".join((row["query"] or "").split())[:SHOWN]
    return Blocker(**{**row, "reason": reason, "query": query}, ending=ending)


@dataclass(eq=False)
class Observation:
    """What the last look at a statement showed, and since when it has been waiting there."""

    phase: str = ""
    done: int = 0
    at: float = 0.0
    waiting_since: float | None = None
    blockers: tuple[Blocker, ...] = ()


class Watch:
    """Looks at one running statement now and then, and tells what it sees.

    Args:
        dropping: the statement is a DROP, which every reader of the table holds up as well.
    """

    def __init__(self, sessions: Sessions, index: Index, pid: int, report: Report, dropping: bool = False) -> None:
        self.sessions, self.index, self.pid, self.report, self.dropping = sessions, index, pid, report, dropping
        self.started = self.looked = clock()
        self.sight = Observation()
        self._idle_since: float | None = None

    def is_lost(self) -> bool:
        """Return whether the server has long ended the statement; then its answer does not come any more."""
        return self._idle_since is not None and clock() - self._idle_since >= LOST

    def is_due(self) -> bool:
        """Is it time for another look?"""
        return clock() - self.looked >= INTERVAL

    def look(self) -> None:
        """Look once, and report the progress or the wait; a look that fails is left out."""
        self.looked = clock()
        with self.sessions.overlooking(self.report):
            rows = self.sessions.seen(self.pid)
            is_at_work = any(row.pop("state") != "idle" for row in rows)
            self._idle_since = None if is_at_work else self._idle_since or self.looked
            for row in rows:
                blocking = row.pop("blocking")
                counters = Counters(**row)
                if blocking or counters.phase == WAITING_FOR_A_STANDBY:
                    self._waits(counters.phase, blocking)
                elif counters.phase:
                    self._gets_on(counters)

    def _gets_on(self, counters: Counters) -> None:
        done, unit = counted(counters)
        # Of many that a phase waits for, one may have ended and the next one not yet be waited for.
        since = self.sight.waiting_since if self.sight.phase == counters.phase else None
        before, self.sight = self.sight, Observation(counters.phase, done, self.looked, since)
        moved = done - before.done if before.phase == counters.phase else 0
        rate = moved / (self.looked - before.at) if moved > 0 else None
        seconds = self.looked - self.started
        self.report(Progress(self.index, counters.phase, fraction(counters), seconds, rate, unit))

    def _waits(self, phase: str, blocking: Sequence[int]) -> None:
        before = self.sight.waiting_since
        since = before if before is not None and self.sight.phase == phase else self.looked
        blockers = self.sessions.named([pid for pid in blocking if pid])
        if 0 in blocking:  # a prepared transaction has no process
            expected = self.sessions.expected([self.index.table], self.dropping)
            blockers += tuple(blocker for blocker in expected if blocker.pid is None)
        self.sight = Observation(phase, waiting_since=since, blockers=blockers)
        self.sessions.tell_hidden((blocker.hidden_from for blocker in blockers), self.report)
        self.report(Waiting(self.index, phase or WAITING_FOR_A_LOCK, blockers, self.looked - since))

    def waited(self) -> float:
        """Seconds for which the statement has been waiting for the same thing."""
        return 0.0 if self.sight.waiting_since is None else clock() - self.sight.waiting_since
