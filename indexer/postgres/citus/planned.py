"""What the nodes of Citus know of indexes that do not exist yet: of each placement, by the statistics of its shard."""

from __future__ import annotations

from collections.abc import Mapping

from indexer.definition import Definition
from indexer.postgres.catalog.planned import PostgresPlanned
from indexer.postgres.citus.nodes import Answer
from indexer.postgres.citus.reading import NodeReader, stored_as
from indexer.postgres.session.reader import CatalogReader
from indexer.predict.planned import Planned

UNREAD = "the nodes of Citus have not told what they know of its rows"


def on_nodes(coordinator: CatalogReader, definitions: Mapping[str, Definition]) -> dict[str, list[Planned]]:
    """Return what indexes of distributed tables will be like on each placement, by the name of the index."""
    stored = stored_as(coordinator, {each.table for each in definitions.values()})
    answers: dict[str, list[Answer]] = {}
    found: dict[str, list[Planned]] = {name: [] for name in definitions}
    for node in sorted({each.node for each in stored}):
        reader = PostgresPlanned(NodeReader(coordinator, node, answers), explains=False)
        of_node = [each for each in stored if each.node == node]
        asked = {
            (name, each.name): definition._replace(table=each.name)
            for name, definition in definitions.items()
            for each in of_node
            if each.of == definition.table
        }
        for (name, shard), planned in reader.read(asked).items():
            found[name] += planned or [Planned(shard, None, 0, why=UNREAD)]
    return found
