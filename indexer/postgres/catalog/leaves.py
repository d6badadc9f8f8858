"""The leaves of partitioned tables, and their indexes: what each holds is on disk there, and nothing in the parents.

Parents and leaves are found by pg_inherits, as names may be any and a leaf may be in another schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from indexer.catalog import CatalogEntry, LeafIndex
from indexer.postgres.session.reader import CatalogReader
from indexer.tuples import NamedTuple

# These tables or indexes, and all that are attached to them.
TREE = """
    WITH RECURSIVE tree (of, oid) AS (
           SELECT c.relname, c.oid
             FROM pg_catalog.pg_class AS c
            WHERE c.relnamespace = %(namespace)s
              AND c.relname = ANY (%(names)s::pg_catalog.text[])
              AND c.relkind = ANY (%(kinds)s::pg_catalog."char"[])
            UNION ALL
           SELECT t.of, h.inhrelid
             FROM tree AS t
             JOIN pg_catalog.pg_inherits AS h ON h.inhparent = t.oid)
"""

PHYSICAL = """
    SELECT t.of,
           n.nspname AS schema,
           n.oid::pg_catalog.int8 AS namespace,
           c.relname AS name,
           o.relname AS table,
           c.relkind::pg_catalog.text AS kind,
           c.oid::pg_catalog.int8 AS oid,
           i.indisvalid AS valid,
           i.indisready AS ready,
           i.indislive AS live,
           CASE WHEN c.relkind = 'i' THEN pg_catalog.pg_relation_size(c.oid) END AS bytes,
           NULLIF(c.reltuples, -1)::pg_catalog.int8 AS tuples
      FROM tree AS t
      JOIN pg_catalog.pg_class AS c ON c.oid = t.oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      JOIN pg_catalog.pg_class AS o ON o.oid = i.indrelid
     ORDER BY t.of, o.relname, n.nspname
"""

# Nothing is known of the rows where nothing is known of those of any leaf that has some. A foreign table has none here.
OF_LEAVES = """
    WITH RECURSIVE tree (name, oid) AS (
           SELECT c.relname, c.oid
             FROM pg_catalog.pg_class AS c
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = %(schema)s::pg_catalog.text
              AND c.relname = ANY (%(names)s::pg_catalog.text[])
              AND c.relkind = 'p'
            UNION ALL
           SELECT t.name, h.inhrelid
             FROM tree AS t
             JOIN pg_catalog.pg_inherits AS h ON h.inhparent = t.oid)
    SELECT l.name,
           CASE WHEN pg_catalog.bool_or(l.rows IS NULL) THEN NULL
                ELSE COALESCE(pg_catalog.sum(l.rows), 0)::pg_catalog.int8 END AS rows,
           CASE WHEN %(sizes)s THEN COALESCE(pg_catalog.sum(l.bytes), 0)::pg_catalog.int8 END AS bytes,
           pg_catalog.count(*) FILTER (WHERE l.is_leaf) AS partitions
      FROM (
      SELECT t.name,
             c.relkind = 'r' AS is_leaf,
             CASE
             WHEN c.relkind <> 'r' THEN 0
             WHEN c.reltuples > 0 OR c.relpages > 0 THEN NULLIF(c.reltuples, -1)::pg_catalog.int8
             WHEN pg_catalog.pg_relation_size(c.oid) = 0 THEN 0 END AS rows,
             CASE WHEN %(sizes)s AND c.relkind = 'r' THEN pg_catalog.pg_table_size(c.oid) END AS bytes
        FROM tree AS t
        JOIN pg_catalog.pg_class AS c ON c.oid = t.oid) AS l
     GROUP BY l.name
"""

# Foreign tables are left out: they have no indexes and no sizes here.
TABLES = """
    SELECT t.of,
           n.nspname AS schema,
           n.oid::pg_catalog.int8 AS namespace,
           c.relname AS name,
           CASE WHEN c.relpages > 0 THEN true
                ELSE pg_catalog.pg_relation_size(c.oid) > 0 END AS has_rows
      FROM tree AS t
      JOIN pg_catalog.pg_class AS c ON c.oid = t.oid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r'
     ORDER BY t.of, c.relname, n.nspname
"""

LEAF = "i"
INDEXES, PARTITIONED_TABLES = [LEAF, "I"], ["p"]  # kinds of relations


class Leaf(NamedTuple):
    """A leaf of a partitioned table: a partition that has rows of its own.

    Attributes:
        of: the name of the partitioned table.
        label: the name of the leaf, with its schema where that is not the schema of the partitioned table.
        namespace: the OID of its schema.
    """

    of: str
    label: str
    schema: str
    namespace: int
    name: str
    has_rows: bool


class InSchema(Protocol):
    """What has a name in a schema."""

    @property
    def schema(self) -> str | None:
        """Its schema."""

    @property
    def namespace(self) -> int | None:
        """The OID of that."""

    @property
    def name(self) -> str:
        """Its name there."""


T = TypeVar("T", bound=InSchema)


def by_schema(reader: CatalogReader, leaves: Iterable[T]) -> Iterator[tuple[CatalogReader, list[T]]]:
    """Yield leaves, or leaf indexes, schema by schema, each with a reader of its catalog: one question is for all."""
    found: dict[tuple[str | None, int | None], list[T]] = {}
    for leaf in leaves:
        found.setdefault((leaf.schema, leaf.namespace), []).append(leaf)
    for (schema, namespace), group in found.items():
        yield CatalogReader(reader.database, schema, namespace, reader.is_citus), group


def leaf_tables(reader: CatalogReader, tables: Iterable[str]) -> dict[str, list[Leaf]]:
    """Return the leaves of those of these tables of the schema that are partitioned, by the table."""
    found: dict[str, list[Leaf]] = {}
    for row in reader.rows(TREE + TABLES, names=list(tables), kinds=PARTITIONED_TABLES):
        label = labelled(reader, row["schema"], row["name"])
        found.setdefault(row["of"], []).append(Leaf(label=label, **row))
    return found


def labelled(reader: CatalogReader, schema: str, name: str) -> str:
    """Return a name with its schema, unless that is the reader's."""
    return name if schema == reader.schema else f"{schema}.{name}"


def physical(reader: CatalogReader, names: Sequence[str]) -> dict[str, list[LeafIndex]]:
    """Return the physical indexes behind these of the schema: each itself, or the leaf indexes of a partitioned one."""
    found: dict[str, list[LeafIndex]] = {}
    for row in reader.rows(TREE + PHYSICAL, names=list(names), kinds=INDEXES) if names else []:
        leaves = found.setdefault(row["of"], [])
        if row["kind"] == LEAF:
            leaves.append(_leaf(reader, row))
    return found


def _leaf(reader: CatalogReader, row: dict[str, Any]) -> LeafIndex:
    label = labelled(reader, row["schema"], row["name"])
    flags = {name: row[name] for name in ("valid", "ready", "live", "bytes", "oid", "tuples")}
    entry = CatalogEntry(row["name"], "index", **flags)
    return LeafIndex(row["of"], label, row["schema"], row["namespace"], row["name"], row["table"], entry)
