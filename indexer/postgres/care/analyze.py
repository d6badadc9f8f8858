"""What ``analyze`` asks of a PostgreSQL server besides the age of statistics. SELECTs only."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from indexer.postgres.session.reader import CatalogReader
from indexer.signals import Stop

COUNTS_AT_ONCE = 150000  # the first version that does
COUNTED_IN, POLL = 2.0, 0.1  # seconds; an earlier version counts within half a second

LAST_ANALYZE = """
    SELECT pg_catalog.pg_stat_get_last_analyze_time(t.oid) AS analyzed_at
      FROM pg_catalog.pg_class AS t
     WHERE t.relnamespace = %(namespace)s
       AND t.relname = %(table)s
"""

# An index on an expression has statistics under its own name. Those of an index of another role are not visible.
WITHOUT_STATISTICS = """
    SELECT t.relname AS table,
           i.relname AS index
      FROM pg_catalog.pg_class AS t
      JOIN pg_catalog.pg_index AS x ON x.indrelid = t.oid
      JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
     WHERE t.relnamespace = %(namespace)s
       AND t.relname = ANY (%(tables)s::pg_catalog.text[])
       AND t.relpages > 0
       AND x.indexprs IS NOT NULL
       AND x.indisvalid
       AND pg_catalog.pg_has_role(i.relowner, 'USAGE')
       AND NOT EXISTS (
           SELECT 1
             FROM pg_catalog.pg_stats AS s
            WHERE s.schemaname = %(schema)s
              AND s.tablename = i.relname)
     ORDER BY i.relname
"""


def expressions_without_statistics(catalog: CatalogReader, tables: Sequence[str]) -> dict[str, list[str]]:
    """Return the indexes on expressions of which there are no statistics, by the name of the table."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in catalog.rows(WITHOUT_STATISTICS, tables=list(tables)):
        found[row["table"]].append(row["index"])
    return found


@contextmanager
def counting(catalog: CatalogReader, table: str, stop: Stop) -> Iterator[None]:
    """Wait after the block, which analyzes a table, until the server has counted that: what follows reads the counters.

    Not for long, because the server may have been told to count nothing.
    """
    if catalog.database.server_version >= COUNTS_AT_ONCE:
        yield
        return
    before = _analyzed_at(catalog, table)
    yield
    until = time.monotonic() + COUNTED_IN
    while _analyzed_at(catalog, table) == before and time.monotonic() < until:
        stop.sleep(POLL)


def _analyzed_at(catalog: CatalogReader, table: str) -> Any:
    return [row["analyzed_at"] for row in catalog.rows(LAST_ANALYZE, table=table)]
