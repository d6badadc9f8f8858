"""The collations that indexes sort by: the version that PostgreSQL recorded of each, and the one that the system has.

libc's have a version since PostgreSQL 13, the database's default since 15, the builtin ones since 17. C, POSIX and all
of musl have none. A change of version may change the order of text, under which an index no longer finds its rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from indexer.catalog import Collation
from indexer.postgres.catalog.measured import version_of_default
from indexer.postgres.session.reader import CatalogReader
from indexer.text import counted, qualified

# Of an index that sorts: a hash index looks up text by its bytes, unless its collation is not deterministic. Columns of
# pg_database that came with version 15 are read as JSON.
SORTING = """
    SELECT i.indexrelid,
           c.relname,
           c.relnamespace,
           k.position::pg_catalog.int4 AS position,
           o.oid,
           n.nspname,
           o.collname,
           o.collprovider,
           CASE WHEN o.collprovider = 'd' THEN pg_catalog.to_jsonb(d) ->> 'datcollversion'
                ELSE o.collversion END AS recorded,
           COALESCE(CASE WHEN o.collprovider = 'd' THEN pg_catalog.to_jsonb(d) ->> 'datlocprovider' END,
                    NULLIF(o.collprovider, 'd')::pg_catalog.text,
                    'c') AS provider,
           CASE WHEN o.collprovider = 'd' THEN d.datcollate
                ELSE o.collcollate END AS locale
      FROM pg_catalog.pg_index AS i
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
      JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
     CROSS JOIN LATERAL pg_catalog.unnest(i.indcollation) WITH ORDINALITY AS k (oid, position)
      JOIN pg_catalog.pg_collation AS o ON o.oid = k.oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = o.collnamespace
      JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
     WHERE i.indisvalid
       AND (m.amname <> 'hash' OR NOT o.collisdeterministic)
"""

OF_INDEXES = f"""
    SELECT s.relname AS index,
           a.attname AS column,
           s.nspname AS schema,
           s.collname AS name,
           pg_catalog.quote_ident(s.collname) AS quoted,
           s.recorded,
           CASE WHEN s.collprovider = 'd' THEN {{of_default}}
                ELSE pg_catalog.pg_collation_actual_version(s.oid) END AS actual
      FROM ({SORTING}
       AND c.relnamespace = %(namespace)s
       AND c.relname = ANY (%(names)s::pg_catalog.text[])) AS s
      JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
      LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = s.indexrelid
      LEFT JOIN pg_catalog.pg_attribute AS a
             ON a.attrelid = i.indrelid
            AND a.attnum = i.indkey[s.position - 1]
            AND a.attnum <> 0
     ORDER BY s.relname, s.position
"""  # noqa: S608  made of constants

# By code points text is sorted in the same order for ever.
OTHERS = f"""
    SELECT pg_catalog.count(DISTINCT s.indexrelid) AS others
      FROM ({SORTING}) AS s
     WHERE (s.relnamespace <> %(namespace)s OR s.relname <> ALL (%(names)s::pg_catalog.text[]))
       AND (s.provider = 'i' OR s.provider = 'c' AND s.locale !~* '^(C|POSIX)$|^C[.]')
       AND (%(collation)s::pg_catalog.text IS NULL
            OR s.collname = %(collation)s::pg_catalog.text AND s.nspname = %(of)s::pg_catalog.text)
"""  # noqa: S608  made of constants

NAME = "SELECT pg_catalog.current_database()::pg_catalog.text AS name"


def collations_of(reader: CatalogReader, names: Sequence[str]) -> dict[str, list[Collation]]:
    """Return the collations that the valid indexes of these names sort by, in the order of the key."""
    query = OF_INDEXES.format(of_default=version_of_default(reader))
    found: dict[str, list[Collation]] = {}
    for row in reader.rows(query, names=list(names)) if names else []:
        found.setdefault(row.pop("index"), []).append(Collation(**row))
    return found


def other_text_indexes(reader: CatalogReader, names: Sequence[str], collation: Collation | None = None) -> int:
    """Return how many indexes of the database besides these sort by a collation that can change, or by this one."""
    name, schema = (collation.name, collation.schema) if collation else (None, None)
    (row,) = reader.rows(OTHERS, names=list(names), collation=name, of=schema)
    return int(row["others"])


def refreshes(reader: CatalogReader, names: Sequence[str]) -> list[str]:
    """Return how to record the present versions of the collations that these indexes sort by, one sentence each.

    PostgreSQL warns of a changed version until that is done, and no more after it. So it comes last.
    """
    changed = {
        (each.schema, each.name): each
        for found in collations_of(reader, names).values()
        for each in found
        if each.has_changed
    }
    return [_refresh(reader, names, each) for each in changed.values()]


def _refresh(reader: CatalogReader, names: Sequence[str], collation: Collation) -> str:
    others = other_text_indexes(reader, names, collation)
    if collation.is_default:
        (row,) = reader.rows(NAME)
        statement = f"ALTER DATABASE {qualified(row['name'])} REFRESH COLLATION VERSION"
    else:
        statement = f"ALTER COLLATION {qualified(collation.schema)}.{collation.quoted} REFRESH VERSION"
    first = (
        f"First check or rebuild what else sorts by it: {counted(others, 'other index', 'other indexes')}. Then run:"
    )
    return (
        f"PostgreSQL recorded version {collation.recorded} of collation {collation.name}, and the system has version"
        f" {collation.actual}. {first if others else 'Run:'} {statement};"
    )
