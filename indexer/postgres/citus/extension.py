"""What a run has to know about the extension Citus.

Its tables, views and functions are in pg_catalog, where only a superuser can create anything. None of them is named
before the extension is known to exist.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def is_worker(catalog: CatalogReader) -> bool:
    """Return whether this server is a worker: it refuses to build, and would keep our records to itself."""
    return any(row["is_worker"] for row in catalog.rows(LOCAL_GROUP))


def unseen(catalog: CatalogReader, tables: Sequence[str]) -> list[str]:
    """Return what is not visible from here, if any of these tables is distributed or copied to each worker."""
    if is_worker(catalog):
        return [f"{WORKER[0].upper()}{WORKER[1:]}."]
    return [UNSEEN] if catalog.rows(DISTRIBUTED, tables=list(tables)) else []
