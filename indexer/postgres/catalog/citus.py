"""What a run has to know about Citus.

The coordinator holds only an empty shell of a distributed table and of its indexes; the rows, the builds and the waits
are on the workers. Citus's own tables and views are in pg_catalog, where only a superuser can create anything, and none
of them is named before the extension is known to exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from indexer.postgres.expression.tokens import tokens
from indexer.postgres.session.reader import CatalogReader

WORKER = "the server is a Citus worker: connect to the coordinator"
UNSEEN = (
    "Citus: only the coordinator is inspected. Not visible are the shards' own indexes and sizes, the progress of"
    " builds on the workers, and the sessions that block them there."
)

EXTENSION = """
    SELECT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_extension AS e
            WHERE e.extname = 'citus') AS is_citus
"""

LOCAL_GROUP = """
    SELECT g.groupid <> 0 AS is_worker
      FROM pg_catalog.pg_dist_local_group AS g
"""

DISTRIBUTED = """
    SELECT c.relname AS name
      FROM pg_catalog.pg_dist_partition AS p
      JOIN pg_catalog.pg_class AS c ON c.oid = p.logicalrelid
     WHERE c.relnamespace = %(namespace)s
       AND c.relname = ANY (%(tables)s::pg_catalog.text[])
"""

# The statements of all nodes: the coordinator's own, and those that it, or a coordinator that has crashed, sent to the
# workers.
STATEMENTS = """
    SELECT a.pid,
           a.query
      FROM pg_catalog.citus_stat_activity AS a
     WHERE a.state = 'active'
       AND a.datname = pg_catalog.current_database()
       AND a.query LIKE '%%CONCURRENTLY%%'
     ORDER BY a.is_worker_query, a.pid
"""

SHARD = r"_\d+$"


def is_worker(catalog: CatalogReader) -> bool:
    """Return whether this server is a worker: it refuses to build, and would keep our records to itself."""
    return any(row["is_worker"] for row in catalog.rows(LOCAL_GROUP))


def unseen(catalog: CatalogReader, tables: Sequence[str]) -> list[str]:
    """Return what is not visible from here, if any of these tables is distributed or copied to each worker."""
    if is_worker(catalog):
        return [f"{WORKER[0].upper()}{WORKER[1:]}."]
    return [UNSEEN] if catalog.rows(DISTRIBUTED, tables=list(tables)) else []


def at_work(catalog: CatalogReader, names: Iterable[str]) -> dict[str, int]:
    """Return the process that is building or dropping each of these indexes anywhere in the cluster, by name.

    While the shards are built the coordinator holds no lock, and its own index looks like the leftover of a failed
    build.
    """
    statements = catalog.rows(STATEMENTS)
    found: dict[str, int] = {}
    for name in names:
        for row in statements:
            if concerns(row["query"], name, catalog.schema or ""):
                found.setdefault(name, row["pid"])
    return found


def concerns(statement: str, name: str, schema: str) -> bool:
    """Return whether a statement builds or drops this index, or that of one of its shards.

    A statement that names no schema counts, because the search path of its session is not known.
    """
    words = [token.folded for token in tokens(statement) if token.kind in ("word", "quoted")]
    on_an_index = words[1:3] in (["index", "concurrently"], ["unique", "index"])
    named = any(name in (word, re.sub(SHARD, "", word)) for word in words)
    return on_an_index and named and (schema in words or "." not in statement)
