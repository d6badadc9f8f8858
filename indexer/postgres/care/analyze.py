"""What ``analyze`` asks of a PostgreSQL server besides the age of statistics. SELECTs only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from indexer.postgres.session.reader import CatalogReader

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
