"""What indexes are like now: their size, their tuples, and the versions of the collations that they sort by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from textwrap import indent
from typing import TYPE_CHECKING

from indexer.catalog import LeafIndex, Measured
from indexer.postgres.catalog.leaves import by_schema
from indexer.postgres.session.reader import CatalogReader
from indexer.text import fingerprint, literal

if TYPE_CHECKING:
    from indexer.postgres.catalog.catalog import PostgresCatalog

HAS_VERSION_OF_DATABASE = 150000
OF_DATABASE = "pg_catalog.pg_database_collation_actual_version(d.oid)"
# Before, only the system's own collations have a version, which is the same for all of libc.
OF_LIBC = """CASE WHEN d.datcollate !~* '^(C|POSIX)$|^C[.]' THEN (
                    SELECT pg_catalog.pg_collation_actual_version(s.oid)
                      FROM pg_catalog.pg_collation AS s
                     WHERE s.collprovider = 'c'
                       AND s.collcollate !~* '^(C|POSIX)$|^C[.]'
                     ORDER BY s.oid
                     LIMIT 1) END"""

# What the size of an entry depends on. No OID and no name, so that it is the same after a restore and a renaming.
DEFINITION = """pg_catalog.concat_ws(
               ' ',
               (
               SELECT m.amname
                 FROM pg_catalog.pg_am AS m
                WHERE m.oid = c.relam),
               (
               SELECT pg_catalog.string_agg(
                          pg_catalog.concat_ws(
                              ' ',
                              pg_catalog.pg_get_indexdef(c.oid, x.attnum, false),
                              pg_catalog.format_type(x.atttypid, x.atttypmod),
                              p.opcname),
                          ', ' ORDER BY x.attnum)
                 FROM pg_catalog.pg_attribute AS x
                 LEFT JOIN pg_catalog.pg_opclass AS p
                        ON x.attnum <= i.indnkeyatts
                       AND p.oid = i.indclass[x.attnum - 1]
                WHERE x.attrelid = c.oid
                  AND x.attnum > 0),
               pg_catalog.pg_get_expr(i.indpred, i.indrelid),
               pg_catalog.array_to_string(c.reloptions, ', '))"""

# One text a column, as indexer.care.values reads it. pg_stats shows the columns that our role may read; those of an
# expression have the name that the index gives it.
VALUES = """(
           SELECT pg_catalog.string_agg(
                      pg_catalog.concat_ws('/', s.avg_width, s.null_frac, s.n_distinct), ' ' ORDER BY x.attnum)
             FROM pg_catalog.pg_attribute AS x
             LEFT JOIN pg_catalog.pg_attribute AS a
                    ON a.attrelid = t.oid
                   AND a.attnum = i.indkey[x.attnum - 1]
                   AND a.attnum <> 0
             JOIN pg_catalog.pg_stats AS s
               ON s.schemaname = %(schema)s
              AND s.tablename = ANY (ARRAY [c.relname, t.relname])
              AND s.tablename = CASE WHEN a.attnum IS NULL THEN c.relname ELSE t.relname END
              AND s.attname = COALESCE(a.attname, x.attname)
              AND NOT s.inherited
            WHERE x.attrelid = c.oid
              AND x.attnum > 0)"""

MEASURED = """
    SELECT c.relname AS name,
           pg_catalog.pg_relation_size(c.oid) AS bytes,
           NULLIF(c.reltuples, -1)::pg_catalog.int8 AS tuples,
           (
           SELECT pg_catalog.string_agg(v.name || ' ' || v.version, ', ' ORDER BY v.name COLLATE pg_catalog."C")
             FROM (
             SELECT DISTINCT
                    pg_catalog.quote_ident(o.collname) AS name,
                    CASE WHEN o.collprovider = 'd' THEN {of_default}
                         ELSE pg_catalog.pg_collation_actual_version(o.oid) END AS version
               FROM pg_catalog.unnest(i.indcollation) AS k (oid)
               JOIN pg_catalog.pg_collation AS o ON o.oid = k.oid
               JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()) AS v
            WHERE v.version IS NOT NULL) AS collation_version,
           pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS server_version,
           {definition} AS definition,
           CASE WHEN t.reltuples > c.reltuples THEN t.reltuples::pg_catalog.int8 END AS rows,
           {values} AS values
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
"""
OF_NAMES = """
     WHERE c.relnamespace = %(namespace)s
       AND c.relkind = 'i'
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
       AND i.indisvalid
"""

# The same as JSON, as records store baselines: what a script adds to the baselines that are on record.
AS_BASELINES = """(
    {kept}::pg_catalog.jsonb || COALESCE((
    SELECT pg_catalog.jsonb_object_agg(
               m.name,
               pg_catalog.jsonb_build_object(
                   'bytes', m.bytes,
                   'tuples', m.tuples,
                   'rows', m.rows,
                   'values', m.values,
                   'definition', pg_catalog.left(pg_catalog.encode(
                       pg_catalog.sha256(pg_catalog.convert_to(m.definition, 'UTF8')), 'hex'), 16),
                   'collation_version', m.collation_version,
                   'server_version', m.server_version,
                   'by', 'up',
                   'at', {now},
                   'built_at', {now}))
      FROM (
{measured}
      ) AS m
     WHERE m.tuples IS NOT NULL), '{{}}'))"""
NAMESPACE = "(SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = {schema})"
NOW = """pg_catalog.to_char(
                       pg_catalog.timezone('UTC', pg_catalog.clock_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS')"""


WORTH_KEEPING = 16 * 8192  # bytes of a leaf index; a smaller one tells nothing later


def measured(catalog: PostgresCatalog, names: Sequence[str]) -> dict[str, Measured]:
    """Return what the valid indexes of these names are like now, by name.

    A partitioned index is the sum of its leaf indexes; these are there by their labels, too, unless they are small.
    """
    found = _measured(catalog, names)
    leaves = catalog.leaves(names)
    return {**found, **_of_leaves(catalog, leaves)} if leaves else found


def baselines_in_sql(catalog: PostgresCatalog, names: Sequence[str], kept: str) -> str:
    """Return the SQL expression for the baselines of plain indexes of these names once they are built.

    Args:
        kept: other baselines, as JSON.
    """
    query = MEASURED.format(of_default=version_of_default(catalog), definition=DEFINITION, values=VALUES).rstrip()
    query += OF_NAMES
    schema = literal(catalog.schema or "")
    values = {
        "schema": schema,
        "namespace": NAMESPACE.format(schema=schema),
        "names": f"ARRAY [{', '.join(map(literal, names))}]",
    }
    measured = indent((query % values).strip("\n"), "    ")
    return AS_BASELINES.format(kept=literal(kept), now=NOW, measured=measured)


def _of_leaves(catalog: PostgresCatalog, leaves: Mapping[str, Sequence[LeafIndex]]) -> dict[str, Measured]:
    from indexer.care.sums import sum_measured

    of_leaves: dict[str, Measured] = {}
    for reader, group in by_schema(catalog, chain.from_iterable(leaves.values())):
        found = _measured(reader, [leaf.name for leaf in group])
        of_leaves |= {leaf.label: found[leaf.name] for leaf in group if leaf.name in found}
    whole = {
        name: sum_measured([of_leaves[leaf.label] for leaf in group])
        for name, group in leaves.items()
        if group and all(leaf.label in of_leaves for leaf in group)
    }
    return {**{label: each for label, each in of_leaves.items() if each.bytes >= WORTH_KEEPING}, **whole}


def _measured(reader: CatalogReader, names: Sequence[str]) -> dict[str, Measured]:
    found = _read(reader, names)
    if not reader.is_citus:
        return found
    from indexer.care.sums import sum_measured
    from indexer.postgres.citus.reading import of_cluster

    return of_cluster(reader, found, names, _read, lambda _, parts: sum_measured(parts.all))


def _read(reader: CatalogReader, names: Sequence[str]) -> dict[str, Measured]:
    if not names:
        return {}
    query = (MEASURED + OF_NAMES).format(of_default=version_of_default(reader), definition=DEFINITION, values=VALUES)
    rows = reader.ask(query, names=list(names))
    return {row.pop("name"): Measured(**{**row, "definition": fingerprint(row["definition"])}) for row in rows}


def version_of_default(reader: CatalogReader) -> str:
    """Return the expression for the version of the default collation of the database ``d``."""
    return OF_DATABASE if reader.database.server_version >= HAS_VERSION_OF_DATABASE else OF_LIBC
