"""The other sessions of the server: which of them block a build, who they are, and how to end them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from peewee import PeeweeException

from indexer.errors import Detail, Hint, IndexerError
from indexer.events import Blocker, Laggard, Report, Warned, silent
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.text import identifier, literal, reason
from indexer.tuples import NamedTuple

SHOWN = 80  # characters of a query

# Of a session of another role, a role without pg_read_all_stats sees the pid, database, role and application name, and
# NULL for all the rest. An autovacuum worker belongs to no role, so it is hidden from every such role. The virtual
# transaction, which pg_locks shows to every role, distinguishes two transactions of a hidden session.
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
           e.ending_as
      FROM pg_catalog.pg_stat_activity AS a
      LEFT JOIN pg_catalog.pg_locks AS v
        ON v.locktype = 'virtualxid'
       AND v.mode = 'ExclusiveLock'
       AND v.pid = a.pid
"""

# Who may end such a session, as a comment after the statement that does.
WHO_MAY_END = """
      JOIN pg_catalog.pg_roles AS m ON m.rolname = CURRENT_USER
      LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = a.usename
     CROSS JOIN LATERAL (
           SELECT CASE WHEN m.rolsuper THEN ''
                       WHEN COALESCE(r.rolsuper, true) THEN '  -- as a superuser'
                       WHEN pg_catalog.pg_has_role(r.oid, 'USAGE')
                            OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') THEN ''
                       ELSE '  -- as that role, or as a member of pg_signal_backend' END AS ending_as) AS e
"""

OF_PIDS = """
     WHERE a.pid = ANY (%(pids)s::integer[])
     ORDER BY seconds DESC NULLS LAST
"""

# A concurrent build or drop waits for transactions with a lock on the table that conflicts with its own, and a build
# also for older snapshots anywhere in the database.
LOCK_HOLDERS = """
    SELECT l.pid,
           l.virtualtransaction,
           pg_catalog.min(c.relname) AS table_name,
           pg_catalog.bool_and(l.mode = 'ShareUpdateExclusiveLock') AS is_maintenance
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

# The view is not of one moment: a session that was idle may hold the snapshot of its next statement a moment later. The
# snapshots of other roles may be hidden. A plan lists their transactions (suspecting); a run does not wait for them
# in advance, and sees them once a build waits for them.
SNAPSHOT_HOLDERS = """
    SELECT a.pid,
           CASE WHEN a.backend_type IS NULL THEN 'is in a transaction, and may hold an old snapshot'
                ELSE 'holds an old snapshot' END AS reason
      FROM pg_catalog.pg_stat_activity AS a
     WHERE a.datname = pg_catalog.current_database()
       AND a.pid <> pg_catalog.pg_backend_pid()
       AND (a.backend_xmin IS NOT NULL
            AND a.state IS DISTINCT FROM 'idle'
            AND a.backend_type NOT IN ('autovacuum worker', 'parallel worker')
            OR %(suspecting)s AND a.backend_type IS NULL AND a.usesysid IS NOT NULL AND EXISTS (
               SELECT 1
                 FROM pg_catalog.pg_locks AS v
                WHERE v.locktype = 'virtualxid'
                  AND v.mode = 'ExclusiveLock'
                  AND v.pid = a.pid))
"""

PREPARED = """
    SELECT p.gid,
           COALESCE(p.owner, 'a role that was dropped') AS role,
           p.prepared::pg_catalog.text AS transaction,
           EXTRACT(epoch FROM pg_catalog.clock_timestamp() - p.prepared)::float AS seconds,
           CASE WHEN m.rolsuper OR p.owner = CURRENT_USER THEN ''
                ELSE '  -- as that role, or as a superuser' END AS ending_as,
           l.virtualtransaction AS xid
      FROM pg_catalog.pg_prepared_xacts AS p
      JOIN pg_catalog.pg_roles AS m ON m.rolname = CURRENT_USER
      JOIN pg_catalog.pg_locks AS l
        ON l.locktype = 'transactionid'
       AND l.transactionid = p.transaction
       AND l.pid IS NULL
     WHERE p.database = pg_catalog.current_database()
"""

# The clients that are executing a statement now, in any database, or whose transaction is not one of a moment: one that
# is idle between two statements takes no processor time, whatever it did before. A client whose state is hidden counts.
# Another run of this tool does not, nor do the idle sessions that Citus keeps on each node, as their names tell.
# A physical walsender and an autovacuum worker are no clients: the first has no database and the second no role, which
# every role can see.
ACTIVE_CLIENTS = """
    SELECT pg_catalog.count(*) AS clients,
           pg_catalog.count(*) FILTER (WHERE a.backend_type IS NULL) AS hidden,
           CURRENT_USER::pg_catalog.text AS role
      FROM pg_catalog.pg_stat_activity AS a
     WHERE (a.backend_type = 'client backend'
            OR a.backend_type IS NULL AND a.usesysid IS NOT NULL AND a.datid IS NOT NULL)
       AND COALESCE(a.application_name, '') NOT LIKE 'indexer%%'
       AND NOT (a.backend_type IS NULL
                AND (pg_catalog.starts_with(COALESCE(a.application_name, ''), 'citus_internal gpid=')
                     OR COALESCE(a.application_name, '') = 'Citus Maintenance Daemon'))
       AND a.pid <> pg_catalog.pg_backend_pid()
       AND a.pid <> ALL (%(ours)s::integer[])
       AND (COALESCE(a.state, 'hidden') NOT IN ('idle', 'idle in transaction', 'idle in transaction (aborted)')
            OR a.xact_start < pg_catalog.clock_timestamp() - interval '0.2 seconds')
"""

WRITING = ("RowExclusiveLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
READING = ("AccessShareLock", "RowShareLock", "ShareLock")
MAINTAINING = ("ShareUpdateExclusiveLock",)  # VACUUM, or another build


class Load(NamedTuple):
    """The clients that are active beside a run.

    Attributes:
        clients: how many, the hidden ones included.
        hidden: how many may be idle, because what they do is not visible to our role.
        role: our role.
    """

    clients: int
    hidden: int
    role: str

    def __str__(self) -> str:
        if not self.hidden:
            return f"{self.clients} clients are active"
        return f"{self.clients} clients are active, or not visible to role {self.role}"


class Sessions:
    """The other sessions of the server, as far as they matter to a build.

    Args:
        catalog: of the schema of the tables.
        report: called with what they do to a build, and with what of them is not visible.
        warned: the warnings that the user has seen; each is reported once.
    """

    def __init__(self, catalog: PostgresCatalog, report: Report = silent, warned: set[object] | None = None) -> None:
        self.catalog = catalog
        self.report = report
        self.warned: set[object] = set() if warned is None else warned
        self._seen_since: dict[object, float] = {}

    @contextmanager
    def tolerating_errors(self) -> Iterator[None]:
        """Report an error of the block as a warning: a run goes on without it, unless its main session is lost."""
        try:
            yield
        except IndexerError:
            raise
        except Exception as error:
            if self.catalog.database.is_lost:
                raise
            self.warn(f"The other sessions could not be queried: {reason(error)}. The run continues.")

    def report_hidden(self, hidden_from: Iterable[str | None]) -> None:
        """Warn once of activity that is hidden from a role of this run."""
        for role in set(hidden_from) - {None}:
            self.warn(visibility_advice(str(role)))

    def warn(self, text: str | Hint, topic: str = "") -> None:
        """Report a warning, unless the user has seen it, or another one about its topic."""
        if (topic or text) not in self.warned:
            self.warned.add(topic or text)
            self.report(Warned(text))

    def load(self) -> Load | None:
        """Return the clients that are active beside this run; None where they cannot be queried."""
        with self.tolerating_errors():
            pids = list(self.catalog.database.builders.pids)
            return Load(**self.catalog.ask(ACTIVE_CLIENTS, ours=pids)[0])
        return None

    # Blockers --------------------------------------------------------------------------------------------------------

    def expected(
        self, tables: Sequence[str], dropping: bool = False, suspecting: bool = False, rebuilding: bool = False
    ) -> tuple[Blocker, ...]:
        """Return the sessions that a concurrent build would wait for if it began now.

        Args:
            dropping: whether indexes of these tables are dropped and not built.
            suspecting: whether to add the transactions whose snapshots are hidden, and may or may not be old.
            rebuilding: whether an old index is taken away in the end, which waits for readers, too.
        """
        modes = [*WRITING, *MAINTAINING, *(READING if dropping or rebuilding else ())]
        holders = self.catalog.ask(LOCK_HOLDERS, tables=list(tables), modes=modes)
        reasons: dict[int, str] = {}
        if not dropping:
            reasons = {row["pid"]: row["reason"] for row in self.catalog.ask(SNAPSHOT_HOLDERS, suspecting=suspecting)}
        reasons |= {row["pid"]: _lock(row, dropping or rebuilding) for row in holders if row["pid"]}
        for pid in self.catalog.database.builders.pids:
            reasons.pop(pid, None)
        prepared = {row["virtualtransaction"]: _lock(row, dropping or rebuilding) for row in holders if not row["pid"]}
        lock = "lock" if dropping or rebuilding else "write lock"
        return (*self.described(reasons), *self._prepared(prepared), *self._holding_elsewhere(tables, modes, lock))

    def _holding_elsewhere(self, tables: Sequence[str], modes: Sequence[str], lock: str) -> tuple[Blocker, ...]:
        """Return the sessions on other nodes of a cluster that hold a lock of these modes, which is called so."""
        if not self.catalog.is_citus:
            return ()
        from indexer.postgres.citus.sessions import holders

        return holders(self.catalog, tables, modes, lock)

    def builds_elsewhere(self, table: str) -> tuple[Blocker, ...]:
        """Return the sessions on other nodes of a cluster that build on a table."""
        if not self.catalog.is_citus:
            return ()
        from indexer.postgres.citus.sessions import holders

        return holders(self.catalog, [table], MAINTAINING, "lock", builds_only=True)

    def holding(self, tables: Sequence[str], modes: Sequence[str]) -> tuple[Blocker, ...]:
        """Return the sessions that hold a lock of these modes on one of these tables."""
        holders = self.catalog.ask(LOCK_HOLDERS, tables=list(tables), modes=list(modes))
        return self.described({row["pid"]: f"holds a lock on {row['table_name']}" for row in holders if row["pid"]})

    def described(self, reasons: Mapping[int, str]) -> tuple[Blocker, ...]:
        """Return the sessions with these process ids, each with the reason why it blocks (or "")."""
        found = self.visible_rows(SESSIONS + WHO_MAY_END + OF_PIDS, pids=list(reasons)) if reasons else []
        if found is None:
            return tuple(_hidden(pid, reason) for pid, reason in reasons.items())
        return tuple(blocker_of(row, reasons[row["pid"]]) for row in found)

    def _prepared(self, reasons: Mapping[str, str]) -> tuple[Blocker, ...]:
        """Return the prepared transactions with these virtual transaction ids, each with the reason why it blocks."""
        rows = self.catalog.rows(PREPARED) if reasons else []
        return tuple(_transaction(row, reasons[row["xid"]]) for row in rows if row["xid"] in reasons)

    def visible_rows(self, query: str, **parameters: Any) -> list[dict[str, Any]] | None:
        """Return the rows of a query; None where the role may not execute it."""
        try:
            return self.catalog.rows(query, **parameters)
        except PeeweeException:
            if self.catalog.database.is_lost:
                raise
            return None

    def age(self, blocker: Blocker) -> float:
        """Return the age of a transaction in seconds; if it is hidden, the seconds since it was first seen."""
        if blocker.seconds is not None:
            return blocker.seconds
        now = time.monotonic()
        return now - self._seen_since.setdefault(blocker.identity, now)


def listed(blockers: Iterable[Blocker | Laggard]) -> str:
    """Return a line for each blocker, and one with the statement that ends it, if there is one."""
    return "".join(map(_listed, blockers))


def _listed(blocker: Blocker | Laggard) -> str:
    return f"\n  - {blocker}" + (f"\n    end it: {blocker.ending}" if blocker.ending else "")


def visibility_advice(role: str) -> str:
    """Return the warning for a role that cannot see the activity of other roles."""
    return (
        f"Role {identifier(role)} cannot see what the sessions of other roles are doing, or since when. "
        f"To allow it: GRANT pg_read_all_stats TO {identifier(role)};"
    )


def _lock(row: dict[str, Any], dropping: bool) -> str:
    if row["is_maintenance"]:
        return f"vacuums, or builds on, {row['table_name']}"
    return f"holds a {'' if dropping else 'write '}lock on {row['table_name']}"


def _hidden(pid: int, reason: str) -> Blocker:
    ending = _end(pid)
    return Blocker(pid, "a role that is not visible", "", "", "", None, reason or "session not visible", "", ending)


def _transaction(row: dict[str, Any], why: str) -> Blocker:
    reason = Detail(f"prepared transaction {row['gid']} {why}", why)  # its name is chosen by another program
    ending = f"ROLLBACK PREPARED {literal(row['gid'])};" + row["ending_as"]
    return Blocker(None, row["role"], "", "", row["transaction"], row["seconds"], reason, "", ending)


def blocker_of(row: dict[str, Any], why: str) -> Blocker:
    """Return the session of a row of SESSIONS, here or on another node of a cluster.

    Args:
        why: the reason why it blocks, or "".
    """
    ending = _end(row["pid"]) + row.pop("ending_as")
    reason = "; ".join(filter(None, (why, row["reason"])))
    if row["hidden_from"]:
        reason = Detail(reason, "; ".join(filter(None, (why, "state not visible to this role"))))
    # Not shortened by the server: that reads a query of another database as if it were in the encoding of this one.
    query = " ".join((row["query"] or "").split())[:SHOWN]
    return Blocker(**{**row, "reason": reason, "query": query}, ending=ending)


def _end(pid: int) -> str:
    """Return the statement that ends a session."""
    return f"SELECT pg_catalog.pg_terminate_backend({pid});"
