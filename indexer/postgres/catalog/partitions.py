"""The trees of partitioned tables, and the indexes of their partitions. SELECTs only.

What is attached to what is found by pg_inherits: a partition that is added later names its index as PostgreSQL does.
No function that locks the partitions is called, such as pg_partition_tree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from indexer.catalog import CatalogEntry
from indexer.partitions import Parent, Partition
from indexer.postgres.catalog.catalog import DEFINITIONS, PostgresCatalog, entry_of
from indexer.postgres.catalog.trust import KINDS
from indexer.text import qualified

# A partition whose DETACH CONCURRENTLY is not finished is none any more.
TREES = """
    WITH RECURSIVE tree (root, parent, oid, level) AS (
           SELECT c.relname, NULL::pg_catalog.oid, c.oid, 0
             FROM pg_catalog.pg_class AS c
            WHERE c.relnamespace = %(namespace)s
              AND c.relname = ANY (%(tables)s::pg_catalog.text[])
              AND c.relkind = 'p'
            UNION ALL
           SELECT t.root, t.oid, h.inhrelid, t.level + 1
             FROM tree AS t
             JOIN pg_catalog.pg_inherits AS h ON h.inhparent = t.oid
            WHERE pg_catalog.to_jsonb(h) ->> 'inhdetachpending' IS DISTINCT FROM 'true')
    SELECT t.root,
           t.oid::pg_catalog.int8 AS oid,
           t.parent::pg_catalog.int8 AS parent,
           n.nspname AS schema,
           n.oid::pg_catalog.int8 AS namespace,
           c.relname AS table,
           c.relkind::pg_catalog.text AS kind,
           pg_catalog.pg_get_userbyid(c.relowner) AS owner,
           pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned,
           CASE WHEN c.relkind = 'r' THEN COALESCE(pg_catalog.pg_relation_size(c.oid), 0)
                ELSE 0 END AS bytes,
           ARRAY (
           SELECT a.attname::pg_catalog.text
             FROM pg_catalog.pg_partitioned_table AS p
            CROSS JOIN pg_catalog.unnest(p.partattrs::pg_catalog.int2[]) AS k (number)
             LEFT JOIN pg_catalog.pg_attribute AS a
                    ON a.attrelid = p.partrelid
                   AND a.attnum = k.number
                   AND a.attnum <> 0
            WHERE p.partrelid = c.oid) AS key
      FROM tree AS t
      JOIN pg_catalog.pg_class AS c ON c.oid = t.oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     ORDER BY t.level, n.nspname, c.relname
"""

# PostgreSQL has compared the indexes when one was attached to the other, but for the order of each column and the
# storage parameters.
ATTACHED = """
    WITH RECURSIVE tree (root, parent, oid) AS (
           SELECT c.relname, NULL::pg_catalog.oid, c.oid
             FROM pg_catalog.pg_class AS c
            WHERE c.relnamespace = %(namespace)s
              AND c.relname = ANY (%(names)s::pg_catalog.text[])
              AND c.relkind = 'I'
            UNION ALL
           SELECT t.root, t.oid, h.inhrelid
             FROM tree AS t
             JOIN pg_catalog.pg_inherits AS h ON h.inhparent = t.oid)
    SELECT t.root,
           t.parent::pg_catalog.int8 AS attached_to,
           t.oid::pg_catalog.int8 AS oid,
           i.indrelid::pg_catalog.int8 AS table_oid,
           r.relname AS table,
           n.nspname AS schema,
           c.relnamespace::pg_catalog.int8 AS namespace,
           c.relname AS name,
           c.relkind::pg_catalog.text AS kind,
           i.indisvalid AS valid,
           i.indisready AS ready,
           i.indislive AS live,
           CASE WHEN c.relkind = 'i' AND %(sizes)s THEN pg_catalog.pg_relation_size(c.oid) END AS bytes,
           i.indoption::pg_catalog.int2[]::pg_catalog.text AS orders,
           COALESCE(c.reloptions, '{}'::pg_catalog.text[]) AS storage
      FROM tree AS t
      JOIN pg_catalog.pg_class AS c ON c.oid = t.oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      JOIN pg_catalog.pg_class AS r ON r.oid = i.indrelid
"""

OF_TABLES = f"""{DEFINITIONS}
     WHERE i.indrelid = ANY (%(tables)s::pg_catalog.oid[])
     ORDER BY i.indrelid, c.relname
"""

OF_OIDS = f"""{DEFINITIONS}
     WHERE i.indexrelid = ANY (%(oids)s::pg_catalog.oid[])
"""

IS_PLACED = """
    SELECT 1
      FROM pg_catalog.pg_inherits AS h
      JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid
     WHERE h.inhrelid = %(oid)s
       AND h.inhparent = %(parent)s
       AND c.relname = %(table)s
       AND c.relnamespace = %(namespace)s
       AND pg_catalog.to_jsonb(h) ->> 'inhdetachpending' IS DISTINCT FROM 'true'
       AND EXISTS (
           SELECT 1
             FROM pg_catalog.pg_class AS i
             JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
            WHERE i.relkind = 'I'
              AND i.relname = %(index)s
              AND n.nspname = %(schema)s)
"""

NAMES = """
    SELECT c.relnamespace::pg_catalog.int8 AS namespace,
           c.relname AS name
      FROM pg_catalog.pg_class AS c
     WHERE c.relname = ANY (%(names)s::pg_catalog.text[])
       AND c.relnamespace = ANY (%(namespaces)s::pg_catalog.oid[])
"""


def trees(catalog: PostgresCatalog, tables: Collection[str]) -> dict[str, list[Partition]]:
    """Return each of these partitioned tables of the schema with all below it, parents first."""
    found: dict[str, list[Partition]] = defaultdict(list)
    for row in catalog.ask(TREES, tables=sorted(tables)):
        root, kind, key = row.pop("root"), KINDS[row.pop("kind")], tuple(row.pop("key"))
        found[root].append(Partition(**row, kind=kind, key=key))
    return found


def attached(
    catalog: PostgresCatalog, found: dict[str, CatalogEntry], sizes: bool
) -> dict[str, dict[int, CatalogEntry]]:
    """Return the indexes that are parts of these indexes of partitioned tables, by name and OID of their table."""
    rows = catalog.ask(ATTACHED, names=list(found), sizes=sizes) if found else []
    by_oid = {row["oid"]: row for row in rows}
    others = [row["oid"] for row in rows if row["attached_to"] and not _is_alike(row, by_oid[row["attached_to"]])]
    defined = {row["oid"]: entry_of(row) for row in catalog.ask(OF_OIDS, oids=others, sizes=sizes)} if others else {}
    parts: dict[str, dict[int, CatalogEntry]] = defaultdict(dict)
    for row in rows:
        root = found[row["root"]]
        flags = {name: row[name] for name in ("name", "valid", "ready", "live", "bytes", "oid", "attached_to")}
        entry = defined.get(row["oid"]) or CatalogEntry(**flags, kind=KINDS[row["kind"]], definition=root.definition)
        above = by_oid.get(row["attached_to"])
        part_of = qualified(above["schema"], above["name"]) if above else root.part_of
        parts[row["root"]][row["table_oid"]] = entry._replace(part_of=part_of)
    if not (catalog.is_citus and rows):
        return parts
    from indexer.postgres.citus.partitions import complete_parts

    return complete_parts(catalog, rows, parts)


def _is_alike(row: dict[str, Any], parent: dict[str, Any]) -> bool:
    return (row["orders"], row["storage"]) == (parent["orders"], parent["storage"])


def indexes_of(catalog: PostgresCatalog, tables: Iterable[int]) -> dict[int, list[CatalogEntry]]:
    """Return the indexes of the tables with these OIDs, by OID."""
    found: dict[int, list[CatalogEntry]] = defaultdict(list)
    for row in catalog.ask(OF_TABLES, tables=list(tables), sizes=False):
        found[row["table_oid"]].append(entry_of(row))
    return found


def is_placed(catalog: PostgresCatalog, partition: Partition, parent: Parent) -> bool:
    """Return whether a partition has its name, its schema and its parent still, and the index of that exists."""
    of_parent = {"index": parent.name, "schema": parent.schema}
    of_table = {"oid": partition.oid, "table": partition.table, "namespace": partition.namespace}
    return bool(catalog.ask(IS_PLACED, parent=partition.parent, **of_table, **of_parent))


def taken_names(catalog: PostgresCatalog, names: Sequence[str], namespaces: Collection[int]) -> set[tuple[int, str]]:
    """Return which of these names something has in the schemas with these OIDs: the OID of the schema, and the name."""
    rows = catalog.ask(NAMES, names=list(names), namespaces=list(namespaces)) if names else []
    return {(row["namespace"], row["name"]) for row in rows}
