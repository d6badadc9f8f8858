"""What the nodes of Citus know of indexes that do not exist yet: of each placement, by the statistics of its shard."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import chain
from typing import TypeVar

from indexer.definition import Definition
from indexer.postgres.catalog.leaves import by_schema, leaf_tables
from indexer.postgres.catalog.planned import PostgresPlanned
from indexer.postgres.citus.nodes import Answer
from indexer.postgres.citus.reading import NodeReader, stored_as
from indexer.postgres.session.reader import CatalogReader
from indexer.predict.planned import Planned

Key = TypeVar("Key", bound=Hashable)

UNREAD = "the nodes of Citus have not told what they know of its rows"


def on_nodes(coordinator: CatalogReader, definitions: Mapping[str, Definition]) -> dict[str, list[Planned]]:
    """Return what indexes of distributed tables will be like on each placement, by the name of the index.

    The placements of a partitioned table are those of its leaves.
    """
    leaves = leaf_tables(coordinator, {each.table for each in definitions.values()})
    found = {name: list[Planned]() for name in definitions}
    plain = {name: each for name, each in definitions.items() if each.table not in leaves}
    for name, planned in _on_placements(coordinator, plain).items():
        found[name] += planned
    for reader, group in by_schema(coordinator, chain.from_iterable(leaves.values())):
        on_leaves = {
            (name, leaf.name): definition._replace(table=leaf.name)
            for name, definition in definitions.items()
            for leaf in group
            if leaf.of == definition.table
        }
        for (name, _), planned in _on_placements(reader, on_leaves).items():
            found[name] += planned
    return found


def _on_placements(coordinator: CatalogReader, definitions: Mapping[Key, Definition]) -> dict[Key, list[Planned]]:
    """Return what indexes of tables in one schema will be like on each placement."""
    stored = stored_as(coordinator, {each.table for each in definitions.values()})
    answers: dict[str, list[Answer]] = {}
    found = {key: list[Planned]() for key in definitions}
    for node in sorted({each.node for each in stored}):
        reader = PostgresPlanned(NodeReader(coordinator, node, answers), explains=False)
        of_node = [each for each in stored if each.node == node]
        asked = {
            (key, each.name): definition._replace(table=each.name)
            for key, definition in definitions.items()
            for each in of_node
            if each.of == definition.table
        }
        for (key, shard), planned in reader.read(asked).items():
            found[key] += planned or [Planned(shard, None, 0, why=UNREAD)]
    return found
