"""The partitions of distributed tables: each is a distributed table itself, with an index on each of its shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from indexer.care.sums import total
from indexer.catalog import CatalogEntry, LeafIndex, Table
from indexer.partitions import Part, Partition
from indexer.postgres.catalog.catalog import PostgresCatalog
from indexer.postgres.catalog.leaves import by_schema, labelled, leaf_tables
from indexer.postgres.citus import nodes
from indexer.postgres.citus.cluster import complete
from indexer.postgres.citus.nodes import Shard
from indexer.postgres.citus.placements import of_partitioned
from indexer.postgres.citus.tables import UNKNOWN, Size, index_sizes_of_cluster, sizes_of_cluster

# The indexes of these tables that are attached to another one, and the name of that.
ATTACHED = """
    SELECT t.relname AS table,
           c.relname AS name,
           p.relname AS parent
      FROM pg_catalog.pg_index AS i
      JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
      JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = c.oid
      JOIN pg_catalog.pg_class AS p ON p.oid = h.inhparent
     WHERE i.indrelid = ANY ({relations})
"""


def tables_of_leaves(catalog: PostgresCatalog, tables: Iterable[Table], sizes: bool) -> dict[str, Table]:
    """Return these partitioned tables with the rows and the bytes of their leaves on all nodes."""
    given = {table.name: table for table in tables}
    leaves, of_leaves = leaf_tables(catalog, given), dict[str, Size]()
    for reader, group in by_schema(catalog, chain.from_iterable(leaves.values())):
        found = sizes_of_cluster(reader, [leaf.name for leaf in group])
        of_leaves |= {labelled(catalog, str(reader.schema), name): size for name, size in found.items()}
    return {
        name: _with_sizes(table, [of_leaves.get(leaf.label, UNKNOWN) for leaf in leaves.get(name, ())], sizes)
        for name, table in given.items()
    }


def _with_sizes(table: Table, leaves: Sequence[Size], sizes: bool) -> Table:
    size = total([0, *(leaf.bytes for leaf in leaves)]) if sizes else None
    return table._replace(rows=total([0, *(leaf.rows for leaf in leaves)]), bytes=size)


def leaves_of_cluster(catalog: PostgresCatalog, found: Mapping[str, Sequence[LeafIndex]]) -> dict[str, list[LeafIndex]]:
    """Return leaf indexes with the bytes and the tuples of their placements on all nodes; None where not known."""
    measured: dict[str, Mapping[str, Size]] = {}
    for reader, group in by_schema(catalog, chain.from_iterable(found.values())):
        measured[str(reader.schema)] = index_sizes_of_cluster(reader, [leaf.name for leaf in group])
    return {name: [_measured(leaf, measured[str(leaf.schema)]) for leaf in leaves] for name, leaves in found.items()}


def _measured(leaf: LeafIndex, sizes: Mapping[str, Size]) -> LeafIndex:
    size = sizes.get(leaf.name, UNKNOWN)
    return leaf._replace(entry=leaf.entry._replace(bytes=size.bytes, tuples=size.rows))


def complete_parts(
    catalog: PostgresCatalog, rows: Sequence[Mapping[str, Any]], parts: Mapping[str, Mapping[int, CatalogEntry]]
) -> dict[str, dict[int, CatalogEntry]]:
    """Return the parts of indexes of partitioned tables as they are in the whole cluster.

    Args:
        rows: of ATTACHED, one for each part.
        parts: what the coordinator has, by the name of the partitioned index and the OID of the table of the part.
    """
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["schema"], row["namespace"]].append(row)
    completed: dict[str, dict[int, CatalogEntry]] = defaultdict(dict)
    completed.update({name: dict(entries) for name, entries in parts.items()})
    for (schema, namespace), group in groups.items():
        entries = {row["name"]: _on_table(parts[row["root"]][row["table_oid"]], row["table"]) for row in group}
        found = complete(catalog.beside(schema, namespace), list(entries), entries)
        for row in group:
            part = parts[row["root"]][row["table_oid"]]
            completed[row["root"]][row["table_oid"]] = found[row["name"]]._replace(definition=part.definition)
    return completed


def complete_on(
    catalog: PostgresCatalog, partitions: Iterable[Partition], entries: Mapping[int, Sequence[CatalogEntry]]
) -> dict[int, list[CatalogEntry]]:
    """Return the indexes of partitions, by the OID of the table, as they are in the whole cluster."""
    schemas: dict[tuple[str, int], list[int]] = defaultdict(list)
    for partition in partitions:
        schemas[partition.schema, partition.namespace].append(partition.oid)
    completed: dict[int, list[CatalogEntry]] = defaultdict(list)
    for (schema, namespace), tables in schemas.items():
        here = {entry.name: entry for table in tables for entry in entries.get(table, ())}
        found = complete(catalog.beside(schema, namespace), list(here), here)
        for table in tables:
            each = entries.get(table, ())
            completed[table] = [of_partitioned(found[entry.name], entry) for entry in each]
    return completed


def is_displaced(catalog: PostgresCatalog, parts: Iterable[Part]) -> bool:
    """Return whether any placement of these parts has another index attached to that of the part's parent.

    Citus makes the indexes of a shard that it moves without ONLY, so that PostgreSQL builds one on each partition.
    """
    schemas: dict[tuple[str, int], dict[str, Part]] = defaultdict(dict)
    for part in parts:
        partition = part.partition
        schemas[partition.schema, partition.namespace][partition.table] = part
    return any(_is_displaced(catalog.beside(*schema), by_table) for schema, by_table in schemas.items())


def _is_displaced(catalog: PostgresCatalog, parts: Mapping[str, Part]) -> bool:
    placed = {(shard.node, shard.name): shard for shard in nodes.shards(catalog, sorted(parts))}
    if not placed:
        return False
    relations = nodes.relations(dict.fromkeys(shard.relation for shard in placed.values()))
    with nodes.allowed():
        answers = nodes.ask(catalog, ATTACHED.format(relations=relations))
        found = ((placed.get((each.node, row["table"])), row) for each in answers for row in each.rows or ())
        return any(_displaces(row, shard, parts[shard.table]) for shard, row in found if shard)
    return False


def _displaces(row: Mapping[str, Any], shard: Shard, part: Part) -> bool:
    assert part.parent
    is_own = nodes.is_named_after(part.step.index.name, shard.id, row["name"])
    return not is_own and nodes.is_of_any_shard(part.parent.name, row["parent"])


def _on_table(entry: CatalogEntry, table: str) -> CatalogEntry:
    return entry._replace(definition=entry.definition and entry.definition._replace(table=table))
