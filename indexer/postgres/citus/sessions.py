"""The sessions of a Citus cluster that block a build: on the workers, and known by their global process ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from indexer.events import Blocker
from indexer.postgres.citus import nodes
from indexer.postgres.run.sessions import WHO_MAY_END, blocker_of
from indexer.postgres.session.reader import CatalogReader

# Where a session began its transaction; the sessions that this opened on the nodes have the same global process id.
SESSIONS = """
    SELECT a.global_pid AS pid,
           COALESCE(n.nodename || ':' || n.nodeport, 'the coordinator') AS node,
           COALESCE(a.usename, a.backend_type, 'a role that is not visible') AS role,
           COALESCE(a.application_name, '') AS application,
           CASE WHEN a.backend_type IS NULL THEN ''
                ELSE COALESCE(pg_catalog.host(a.client_addr), 'local') END AS client,
           COALESCE(a.xact_start::pg_catalog.text, a.backend_start::pg_catalog.text, '') AS transaction,
           EXTRACT(epoch FROM pg_catalog.clock_timestamp() - COALESCE(a.xact_start, a.backend_start))::float AS seconds,
           CASE WHEN a.backend_type IS NULL THEN 'state not visible to ' || pg_catalog.quote_ident(CURRENT_USER)
                ELSE COALESCE(a.state, a.backend_type) END AS reason,
           CASE WHEN a.backend_type IS NULL THEN '' ELSE a.query END AS query,
           CASE WHEN a.backend_type IS NULL THEN CURRENT_USER::pg_catalog.text END AS hidden_from,
           e.ending_as
      FROM pg_catalog.citus_stat_activity AS a
      LEFT JOIN pg_catalog.pg_dist_node AS n ON n.nodeid = a.nodeid
"""

OF_GLOBAL_PIDS = """
     WHERE NOT a.is_worker_query
       AND a.global_pid = ANY (%(pids)s::pg_catalog.int8[])
     ORDER BY seconds DESC NULLS LAST
"""

# Those of sessions on the nodes, without what began on this node, which the coordinator's own catalog shows.
GLOBAL_PIDS = """
    SELECT DISTINCT
           a.nodeid AS node,
           a.pid,
           a.global_pid
      FROM pg_catalog.citus_stat_activity AS a
     WHERE a.pid = ANY (%(pids)s::integer[])
       AND pg_catalog.citus_nodeid_for_gpid(a.global_pid)
           <> pg_catalog.citus_nodeid_for_gpid(pg_catalog.citus_backend_gpid())
"""

# A build is shown to wait for itself, too.
WAITS = """
    SELECT DISTINCT w.blocking_gpid AS pid
      FROM pg_catalog.citus_lock_waits AS w
     WHERE w.waiting_gpid = pg_catalog.citus_calculate_gpid(
               pg_catalog.citus_nodeid_for_gpid(pg_catalog.citus_backend_gpid()), %(pid)s::integer)
       AND w.blocking_gpid <> w.waiting_gpid
"""

HOLDERS = """
    SELECT l.pid,
           pg_catalog.bool_and(l.mode = 'ShareUpdateExclusiveLock') AS is_maintenance,
           pg_catalog.bool_or(p.pid IS NOT NULL) AS is_build
      FROM pg_catalog.pg_locks AS l
      LEFT JOIN pg_catalog.pg_stat_progress_create_index AS p ON p.pid = l.pid
     WHERE l.locktype = 'relation'
       AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
       AND l.granted
       AND l.pid IS NOT NULL
       AND l.relation = ANY ({relations})
       AND l.mode = ANY ({modes})
     GROUP BY l.pid
"""


def waits(catalog: CatalogReader, pid: int) -> tuple[Blocker, ...]:
    """Return the sessions anywhere in the cluster that a statement of the coordinator's session waits for."""
    return _described(catalog, {row["pid"]: "" for row in catalog.rows(WAITS, pid=pid)})


def holders(
    catalog: CatalogReader, tables: Sequence[str], modes: Collection[str], lock: str, builds_only: bool = False
) -> tuple[Blocker, ...]:
    """Return the sessions of the workers that hold a lock on a shard of these tables.

    Args:
        lock: what such a lock is called in the reason.
        builds_only: whether to return only those that build an index.
    """
    shards = nodes.shards(catalog, tables)
    if not shards:
        return ()
    query = HOLDERS.format(relations=nodes.relations(shard.relation for shard in shards), modes=nodes.array(modes))
    found: dict[tuple[int, int], str] = {}
    with nodes.allowed():
        for answer in nodes.ask(catalog, query):
            for row in answer.rows or ():
                if row["is_build"] or not builds_only:
                    found[answer.node, row["pid"]] = _reason(row, lock)
    known = catalog.rows(GLOBAL_PIDS, pids=[pid for _, pid in found]) if found else []
    reasons = {row["global_pid"]: found.get((row["node"], row["pid"])) for row in known}
    return _described(catalog, {pid: reason for pid, reason in reasons.items() if reason})


def _reason(row: Mapping[str, Any], lock: str) -> str:
    if row["is_build"]:
        return "builds on this table"
    return "vacuums a shard of this table" if row["is_maintenance"] else f"holds a {lock} on a shard"


def _described(catalog: CatalogReader, reasons: Mapping[int, str]) -> tuple[Blocker, ...]:
    rows = catalog.rows(SESSIONS + WHO_MAY_END + OF_GLOBAL_PIDS, pids=list(reasons)) if reasons else []
    return tuple(blocker_of(row, reasons[row["pid"]]) for row in rows)
