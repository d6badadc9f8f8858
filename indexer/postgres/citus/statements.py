"""The statements that build or drop an index anywhere in a Citus cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable

from indexer.postgres.expression.tokens import tokens
from indexer.postgres.session.reader import CatalogReader

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
