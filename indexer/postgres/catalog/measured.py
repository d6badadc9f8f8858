"""What indexes are like now: their size, their tuples, and the versions of the collations that they sort by."""

from __future__ import annotations

from collections.abc import Sequence

from indexer.catalog import Measured
from indexer.postgres.session.reader import CatalogReader

HAS_VERSION_OF_DATABASE = 150000
OF_DATABASE = "pg_catalog.pg_database_collation_actual_version(d.oid)"
# Before, only the system's own collations have a version: that of the same locale as the database's default.
OF_SAME_LOCALE = """(
               SELECT pg_catalog.max(pg_catalog.pg_collation_actual_version(s.oid))
                 FROM pg_catalog.pg_collation AS s
                WHERE s.collprovider = 'c'
                  AND s.collcollate = d.datcollate
                  AND s.collencoding IN (-1, d.encoding))"""

MEASURED = """
    SELECT c.relname AS name,
           pg_catalog.pg_relation_size(c.oid) AS bytes,
           NULLIF(c.reltuples, -1)::pg_catalog.int8 AS tuples,
           (
           SELECT pg_catalog.string_agg(v.name || ' ' || v.version, ', ' ORDER BY v.name)
             FROM (
             SELECT DISTINCT
                    pg_catalog.quote_ident(o.collname) AS name,
                    CASE WHEN o.collprovider = 'd' THEN {of_default}
                         ELSE pg_catalog.pg_collation_actual_version(o.oid) END AS version
               FROM pg_catalog.unnest(i.indcollation) AS k (oid)
               JOIN pg_catalog.pg_collation AS o ON o.oid = k.oid
               JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()) AS v
            WHERE v.version IS NOT NULL) AS collation_version,
           pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS server_version
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
     WHERE c.relnamespace = %(namespace)s
       AND c.relkind = 'i'
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
       AND i.indisvalid
"""


def measured(reader: CatalogReader, names: Sequence[str]) -> dict[str, Measured]:
    """Return what the valid indexes of these names are like now, by name."""
    if not names:
        return {}
    is_known = reader.database.server_version >= HAS_VERSION_OF_DATABASE
    query = MEASURED.format(of_default=OF_DATABASE if is_known else OF_SAME_LOCALE)
    rows = reader.rows(query, names=list(names))
    return {row.pop("name"): Measured(**row) for row in rows}
