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

# The keys of the indexes that sort: a hash index looks up text by its bytes, unless its collation is not deterministic.
# Columns of pg_database that came with version 15 are read as JSON. Few joins, because planning them takes the time.
SORTING = """
    SELECT i.indexrelid,
           c.relname,
           c.relnamespace,
           k.position,
           (
           SELECT a.attname
             FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = i.indrelid
              AND a.attnum = i.indkey[k.position - 1]
              AND a.attnum <> 0) AS column_name,
           o.oid AS collation,
           (
           SELECT n.nspname
             FROM pg_catalog.pg_namespace AS n
            WHERE n.oid = o.collnamespace) AS nspname,
           o.collname,
           o.collprovider,
           CASE WHEN o.collprovider = 'd' THEN pg_catalog.to_jsonb(d) ->> 'datcollversion'
                ELSE o.collversion END AS recorded,
           COALESCE(CASE WHEN o.collprovider = 'd' THEN pg_catalog.to_jsonb(d) ->> 'datlocprovider' END,
                    NULLIF(o.collprovider, 'd')::pg_catalog.text,
                    'c') AS provider,
           CASE WHEN o.collprovider = 'd' THEN d.datcollate
                ELSE o.collcollate END AS locale,
           d.oid,
           d.datcollate
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
     CROSS JOIN LATERAL pg_catalog.generate_series(1, i.indnkeyatts) AS k (position)
      JOIN pg_catalog.pg_collation AS o ON o.oid = i.indcollation[k.position - 1]
     WHERE i.indisvalid
       AND (NOT o.collisdeterministic
            OR c.relam <> (SELECT m.oid FROM pg_catalog.pg_am AS m WHERE m.amname = 'hash'))
"""

# Named d, because of_default is an expression on a row of pg_database.
OF_INDEXES = f"""
    SELECT d.relname AS index,
           d.column_name AS column,
           d.nspname AS schema,
           d.collname AS name,
           pg_catalog.quote_ident(d.collname) AS quoted,
           d.recorded,
           CASE WHEN d.collprovider = 'd' THEN {{of_default}}
                ELSE pg_catalog.pg_collation_actual_version(d.collation) END AS actual
      FROM ({SORTING}
       AND c.relkind IN ('i', 'I')
       AND c.relnamespace = %(namespace)s
       AND c.relname = ANY (%(names)s::pg_catalog.text[])) AS d
     ORDER BY d.relname, d.position
"""  # noqa: S608  made of constants

# By code points text is sorted in the same order for ever.
OTHERS = f"""
    SELECT pg_catalog.count(DISTINCT s.indexrelid) AS others
      FROM ({SORTING}
       AND c.relkind = 'i') AS s
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
