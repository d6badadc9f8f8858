"""What an index of a Citus cluster is: valid only if it is valid on the coordinator and on every placement. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from indexer.catalog import DIFFERENT, HELD, MISSING, ORPHAN, PARTITIONED_INDEX, UNATTACHED, UNKNOWN, CatalogEntry, Flaw
from indexer.definition import Definition
from indexer.postgres.citus.nodes import Shard, is_named_after, is_of_any_shard
from indexer.text import identifier
from indexer.tuples import NamedTuple

LAST_NAME = re.compile(r'(?:"(?:[^"]|"")*"|[^".]+)$')  # of a name with its schema
NOT_ASKED = "the node is not active"


class Building(NamedTuple):
    """How far an index is built in a cluster.

    Attributes:
        phase: that of most placements that are being built.
        running: the counters of those, as the progress view has them.
    """

    placements: int
    done: int
    phase: str
    running: tuple[dict[str, Any], ...]


class Node(NamedTuple):
    """What a node says of indexes.

    Attributes:
        entries: those on its shards and on the empty tables that it shares with the coordinator, by the name of their
            table; None if it does not answer.
        error: why it does not.
        has_shells: whether it is a worker that has these empty tables.
    """

    id: int
    where: str
    entries: Mapping[str, Sequence[CatalogEntry]] | None
    error: str = ""
    has_shells: bool = False


def in_cluster(
    name: str, found: CatalogEntry | None, shards: Sequence[Shard], nodes: Sequence[Node]
) -> CatalogEntry | None:
    """Return what an index is in the whole cluster.

    Args:
        found: what the coordinator has of this name; None if only shards may have an index of the name.
        shards: the placements of all tables that may have it.
    """
    by_id = {node.id: node for node in nodes}
    if found is None:
        return _orphans(name, shards, by_id)
    table = found.definition.table if found.definition else ""
    placed = [(shard, _on(shard, name, by_id)) for shard in shards if shard.table == table]
    if not placed:
        return found  # its table is not distributed
    flaws = [flaw for shard, entry in placed if (flaw := _flaw(shard, entry, found, by_id))]
    is_conflict = found.usable and all(flaw.state == DIFFERENT for flaw in flaws)
    if not is_conflict:  # it is rebuilt whatever the shards have
        flaws = [flaw._replace(definition=None) for flaw in flaws]
    if not found.usable and not flaws:
        flaws = _without_shell(name, table, nodes)
    built = [entry for _, entry in placed if entry]
    is_seen_in_part = any(flaw.state == UNKNOWN for flaw in flaws)
    return found._replace(
        valid=found.valid and is_conflict,
        worker=found.worker or next((entry.worker for entry in built if entry.worker), None),
        bytes=None if is_seen_in_part else _sum(entry.bytes for entry in built),
        tuples=None if is_seen_in_part else _sum(entry.tuples for entry in built),
        placements=len(placed),
        flaws=tuple(flaws),
    )


def of_partitioned(entry: CatalogEntry, found: CatalogEntry) -> CatalogEntry:
    """Return a part of the index of a partitioned table, which is repaired whatever its placements have.

    Args:
        entry: the part in the whole cluster.
        found: the same part on the coordinator. That of a partitioned table is not valid before it is complete.
    """
    is_incomplete = entry.kind == PARTITIONED_INDEX and not found.valid
    flaws = tuple(
        flaw._replace(definition=None)
        for flaw in entry.flaws
        if not is_incomplete or flaw.state in (MISSING, DIFFERENT, UNKNOWN)
    )
    return entry._replace(valid=found.valid and not flaws, flaws=flaws)


def _without_shell(name: str, table: str, nodes: Sequence[Node]) -> list[Flaw]:
    """Return the workers on which a build did not come to its last step; a REINDEX of the index would fail on them."""
    return [Flaw(node.where, None, MISSING) for node in nodes if node.has_shells and not _has_shell(node, name, table)]


def _has_shell(node: Node, name: str, table: str) -> bool:
    return any(entry.name == name for entry in (node.entries or {}).get(table, ()))


def _orphans(name: str, shards: Sequence[Shard], nodes: Mapping[int, Node]) -> CatalogEntry | None:
    """Return an index that only shards have, which prevents one of the name from being built."""
    orphans = [(shard, entry) for shard in shards if (entry := _on(shard, name, nodes))]
    if not orphans:
        return None
    flaws = tuple(_orphan(shard, entry) for shard, entry in orphans)
    first = orphans[0][1]
    worker = next((entry.worker for _, entry in orphans if entry.worker), None)
    return first._replace(name=name, oid=None, valid=False, worker=worker, flaws=flaws)


def _orphan(shard: Shard, entry: CatalogEntry) -> Flaw:
    how = "" if entry.kind == PARTITIONED_INDEX else "CONCURRENTLY "
    drop = f"DROP INDEX {how}{shard.schema}.{identifier(entry.name)}"
    return Flaw(shard.where, shard.id, ORPHAN, entry.name, entry.definition, remedy=drop)


def _on(shard: Shard, name: str, nodes: Mapping[int, Node]) -> CatalogEntry | None:
    """Return the index of a placement, its definition as if it was on the distributed table."""
    node = nodes.get(shard.node)
    for entry in ((node and node.entries) or {}).get(shard.name, ()):
        if is_named_after(name, shard.id, entry.name):
            return entry._replace(definition=_of_table(entry.definition, shard))
    return None


def _of_table(definition: Definition | None, shard: Shard) -> Definition | None:
    if definition is None:
        return None
    constraint = definition.constraint and definition.constraint.removesuffix(f"_{shard.id}")
    return definition._replace(table=shard.table, constraint=constraint)


def _flaw(shard: Shard, entry: CatalogEntry | None, found: CatalogEntry, nodes: Mapping[int, Node]) -> Flaw | None:
    """Return what is wrong with the index on one placement; ``found`` is what the coordinator has."""
    node = nodes.get(shard.node)
    if node is None or node.entries is None:
        return Flaw(shard.where, shard.id, UNKNOWN, reason=node.error if node else NOT_ASKED)
    if entry is None:
        return Flaw(shard.where, shard.id, MISSING)
    if entry.definition != found.definition:
        is_attached = entry.attached_to is not None
        return Flaw(shard.where, shard.id, DIFFERENT, entry.name, entry.definition, is_attached=is_attached)
    if found.attached_to and not entry.attached_to:
        return Flaw(shard.where, shard.id, UNATTACHED, entry.name)
    if found.part_of and entry.part_of and not _is_of_shard(found.part_of, entry.part_of):
        drop = f"DROP INDEX {entry.part_of}"
        return Flaw(shard.where, shard.id, HELD, entry.name, remedy=drop, held_by=entry.part_of)
    return None if entry.usable else Flaw(shard.where, shard.id, entry.flaw, entry.name)


def _is_of_shard(label: str, of_shard: str) -> bool:
    """Return whether an index of a node has the name of a shard's, of the index of this name on the coordinator."""
    name, of_node = LAST_NAME.search(label), LAST_NAME.search(of_shard)
    assert name
    assert of_node
    return is_of_any_shard(_unquoted(name[0]), _unquoted(of_node[0]))


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None and number >= 0]
    return sum(known) if known else None


def building(name: str, shards: Sequence[Shard], rows: Mapping[int, Sequence[dict[str, Any]]]) -> Building:
    """Return how far an index is built; ``rows`` are what each node says of the indexes of its shards."""
    done, running = 0, []
    for shard in shards:
        for row in rows.get(shard.node, ()):
            if is_named_after(name, shard.id, row["name"]):
                done += row["is_done"]
                running += [{**row}] if row["phase"] else []
    for counters in running:
        del counters["name"], counters["is_done"]
    phases = Counter(counters["phase"] for counters in running)
    return Building(len(shards), done, phases.most_common(1)[0][0] if phases else "", tuple(running))
