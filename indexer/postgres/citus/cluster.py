"""Reads what indexes are in the whole cluster: on the coordinator, and on the shards of every node."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from indexer.catalog import PARTITIONED_INDEX, CatalogEntry
from indexer.postgres.catalog.catalog import INDEXES, PostgresCatalog, entry_of
from indexer.postgres.citus import nodes
from indexer.postgres.citus.nodes import Answer, Shard
from indexer.postgres.citus.placements import Node, in_cluster, of_partitioned
from indexer.text import identifier

OF_A_SCHEMA = "WHERE c.relnamespace = %(namespace)s"
OF_SHARDS = """WHERE i.indrelid = ANY ({relations})
           AND EXISTS (
               SELECT 1
                 FROM pg_catalog.unnest({beginnings}) AS n (beginning)
                WHERE pg_catalog.starts_with(c.relname::pg_catalog.text, n.beginning))"""

# Around the indexes of a node: how many tuples they have, and which process builds or drops one that is not valid.
ON_A_NODE = """
    SELECT q.*,
           x.reltuples::pg_catalog.int8 AS tuples,
           CASE WHEN NOT (q.valid AND q.ready AND q.live) THEN (
                SELECT pg_catalog.min(l.pid)
                  FROM pg_catalog.pg_locks AS l
                  LEFT JOIN pg_catalog.pg_stat_progress_create_index AS b ON b.pid = l.pid
                 WHERE l.locktype = 'relation'
                   AND l.database = (
                       SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
                   AND l.mode = 'ShareUpdateExclusiveLock'
                   AND l.granted
                   AND (l.relation = x.oid
                        OR l.relation = i.indrelid
                        AND b.pid IS NOT NULL
                        AND COALESCE(b.index_relid, x.oid) = x.oid)) END AS worker
      FROM ({indexes}) AS q
      JOIN pg_catalog.pg_class AS x ON x.oid = q.oid::pg_catalog.oid
      JOIN pg_catalog.pg_index AS i ON i.indexrelid = x.oid
"""


def complete(
    catalog: PostgresCatalog, names: Sequence[str], found: Mapping[str, CatalogEntry]
) -> dict[str, CatalogEntry]:
    """Return what has these names in the whole cluster, by name.

    Args:
        found: what the coordinator has of these names; what is being built or dropped is not asked about.
    """
    if found and all(each.worker for each in found.values()):
        return dict(found)
    asked = [name for name in names if name not in found or _is_index(found[name])]
    tables = {each.definition.table for each in found.values() if each.definition}
    shards = nodes.shards(catalog, sorted(tables.union(catalog.indexed)))
    if not shards or not asked:
        return dict(found)
    with nodes.allowed():
        return {**found, **_completed(_indexes_of(catalog, shards, asked), asked, found, shards)}
    # What is not visible the extension says. The sizes of the empty parts on the coordinator are none.
    distributed = {shard.table for shard in shards}
    return {name: _without_size(entry) if _is_on(entry, distributed) else entry for name, entry in found.items()}


def _is_on(entry: CatalogEntry, tables: Collection[str]) -> bool:
    """Return whether an index is on one of these tables."""
    return entry.definition is not None and entry.definition.table in tables


def _without_size(entry: CatalogEntry) -> CatalogEntry:
    return entry._replace(bytes=None, tuples=None)


def _completed(
    answers: Sequence[Answer], names: Sequence[str], found: Mapping[str, CatalogEntry], shards: Sequence[Shard]
) -> dict[str, CatalogEntry]:
    reported = [Node(each.node, each.where, _entries(each), each.error, each.has_shells) for each in answers]
    completed = {name: in_cluster(name, found.get(name), shards, reported) for name in names}
    return {name: _of_kind(entry, found.get(name)) for name, entry in completed.items() if entry}


def _of_kind(entry: CatalogEntry, found: CatalogEntry | None) -> CatalogEntry:
    return of_partitioned(entry, found) if found and is_part(found) else entry


def is_part(found: CatalogEntry) -> bool:
    """Return whether an index is that of a partitioned table, or attached to one."""
    return found.kind == PARTITIONED_INDEX or found.attached_to is not None


def _is_index(found: CatalogEntry) -> bool:
    return found.definition is not None and not found.worker


def _indexes_of(catalog: PostgresCatalog, shards: Sequence[Shard], names: Sequence[str]) -> list[Answer]:
    tables = dict.fromkeys(f"{shard.schema}.{identifier(shard.table)}" for shard in shards)
    relations = nodes.relations([*tables, *dict.fromkeys(shard.relation for shard in shards)])
    beginnings = nodes.array(map(nodes.beginning, names))
    of_shards = OF_SHARDS.format(relations=relations, beginnings=beginnings)
    indexes = INDEXES.replace(OF_A_SCHEMA, of_shards).replace("%(sizes)s", "true")
    return nodes.ask(catalog, ON_A_NODE.format(indexes=indexes))


def _entries(answer: Answer) -> dict[str, list[CatalogEntry]] | None:
    """Return the indexes of a node's shards by the names of their tables; None if it did not answer."""
    return None if answer.rows is None else entries_by_table(answer.rows)


def entries_by_table(rows: Iterable[dict[str, Any]]) -> dict[str, list[CatalogEntry]]:
    """Return the indexes that a node has answered, by the names of their tables."""
    entries: dict[str, list[CatalogEntry]] = {}
    for row in rows:
        entry = entry_of(row)._replace(tuples=row["tuples"], worker=row["worker"])
        entries.setdefault(row["table_name"], []).append(entry)
    return entries
