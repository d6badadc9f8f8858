"""Reads from the shards of a Citus cluster what is read from tables and indexes elsewhere.

The coordinator has an empty shell of each distributed table, with the sizes and counters of a shell. The same SELECT is
sent to all nodes instead, for the tables and indexes of shards. Where a node does not answer, nothing is known of what
it has a part of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from indexer.postgres.citus import nodes
from indexer.postgres.citus.nodes import Answer
from indexer.postgres.session.reader import CatalogReader
from indexer.tuples import NamedTuple

T = TypeVar("T")

# The tables and indexes of shards. Citus composes their names; it cuts and hashes long ones.
STORED = """
    SELECT c.relname AS of,
           COALESCE(n.nodeid, 0) AS node,
           n.nodename AS host,
           n.nodeport AS port,
           names.parts[pg_catalog.array_upper(names.parts, 1)] AS name
      FROM pg_catalog.pg_class AS c
      LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid
      JOIN pg_catalog.pg_dist_shard AS s ON s.logicalrelid = COALESCE(i.indrelid, c.oid)
      JOIN pg_catalog.pg_dist_placement AS p
        ON p.shardid = s.shardid
       AND p.shardstate = 1
      LEFT JOIN pg_catalog.pg_dist_node AS n
             ON n.groupid = p.groupid
            AND n.noderole = 'primary'
     CROSS JOIN LATERAL (
           SELECT pg_catalog.parse_ident(
                      pg_catalog.shard_name(c.oid::pg_catalog.regclass, s.shardid)) AS parts) AS names
     WHERE c.relnamespace = %(namespace)s
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
       AND c.relkind IN ('r', 'i')
     ORDER BY c.relname, s.shardid, n.nodeid
"""

RUN = """
    SELECT r.success,
           r.result
      FROM pg_catalog.master_run_on_worker(
               %(hosts)s::pg_catalog.text[], %(ports)s::pg_catalog.int4[], %(commands)s::pg_catalog.text[], true) AS r
"""
NAMESPACE = "(SELECT namespace.oid FROM pg_namespace AS namespace WHERE namespace.nspname = %(schema)s)"
MOMENTS = ("analyzed_at", "vacuumed_at", "counted_since", "last_scan", "started", "reset", "now")


class Stored(NamedTuple):
    """A table or an index of a shard on a node, and the one that it is a part of."""

    of: str
    node: int
    host: str
    port: int
    name: str

    @property
    def where(self) -> str:
        """Its name and its node, as the beginning of a sentence."""
        return f"{self.name} on {self.host}:{self.port}"


class Parts(NamedTuple):
    """What holds of the parts of one table or index.

    Attributes:
        all: of each copy of each shard.
        shards: of one copy of each shard, as the rows of a reference table count once.
    """

    all: tuple[Any, ...]
    shards: tuple[Any, ...]


class NodeReader(CatalogReader):
    """Reads the catalog of one node.

    Args:
        answers: those of all nodes to each question, which is sent to all of them at once.
    """

    def __init__(self, coordinator: CatalogReader, node: int, answers: dict[str, list[Answer]]) -> None:
        super().__init__(coordinator.database, coordinator.schema, coordinator.namespace)
        self.coordinator = coordinator
        self.node = node
        self._answers = answers

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows that the node has for a SELECT; none if it does not answer."""
        text = rendered(self.coordinator, query, parameters)
        if text not in self._answers:
            self._answers[text] = ask(self.coordinator, text)
        return next((answer.rows or [] for answer in self._answers[text] if answer.node == self.node), [])

    def ask(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the same: what is prepared on our session is not known to a node."""
        return self.rows(query, **parameters)


def of_cluster(
    coordinator: CatalogReader,
    found: Mapping[str, T],
    asked: Collection[str],
    read: Callable[[CatalogReader, Sequence[str]], dict[str, T]],
    whole: Callable[[str, Parts], T],
) -> dict[str, T]:
    """Return what was found of tables or indexes, with the sum of their shards for those that are distributed.

    Without Citus that is what was found.

    Args:
        found: what the coordinator says, by name.
        asked: the names that ``read`` was given.
        read: reads what holds of tables or indexes of these names, by name.
        whole: returns what holds of the parts of one.
    """
    stored = stored_as(coordinator, [*asked, *found]) if coordinator.is_citus else []
    if not stored:
        return dict(found)
    of_shards = sorted({each.name for each in stored if each.of in asked})
    answers: dict[str, list[Answer]] = {}
    by_node = {node: read(NodeReader(coordinator, node, answers), of_shards) for node in {each.node for each in stored}}
    return with_sums(found, stored, by_node, whole)


def with_sums(
    found: Mapping[str, T],
    stored: Sequence[Stored],
    by_node: Mapping[int, Mapping[str, T]],
    whole: Callable[[str, Parts], T],
) -> dict[str, T]:
    """Return what was found, with the sums over all placements instead of what the coordinator says of a shell.

    A distributed one is left out where one of its placements is not known.

    Args:
        by_node: what each node says of the tables or indexes of shards, by their names.
    """
    local = {name: each for name, each in found.items() if name not in {each.of for each in stored}}
    sums = {name: _parts([each for each in stored if each.of == name], by_node) for name in found}
    return {**local, **{name: whole(name, parts) for name, parts in sums.items() if parts}}


def stored_as(coordinator: CatalogReader, names: Iterable[str]) -> list[Stored]:
    """Return the tables and indexes of shards that those of these names are stored as; none for what is local."""
    asked = list(dict.fromkeys(names))
    return [Stored(**row) for row in coordinator.rows(STORED, names=asked)] if asked else []


def _parts(stored: Sequence[Stored], by_node: Mapping[int, Mapping[str, Any]]) -> Parts | None:
    """Return what is known of the parts of one table or index; None where one is not known."""
    known = [(each.name, by_node[each.node].get(each.name)) for each in stored]
    if not known or any(part is None for _, part in known):
        return None
    return Parts(tuple(part for _, part in known), tuple(dict(known).values()))


def ask(coordinator: CatalogReader, query: str) -> list[Answer]:
    """Return what each node answers to a SELECT without parameters; nothing if our role may not ask the nodes."""
    with nodes.allowed():
        answers = nodes.ask(coordinator, query)
        return [
            answer._replace(rows=[_with_moments(row) for row in answer.rows]) if answer.rows else answer
            for answer in answers
        ]
    return []


def rendered(coordinator: CatalogReader, query: str, parameters: Mapping[str, Any]) -> str:
    """Return a query with its parameters in it; another node has another OID for the schema."""
    text = query.replace("%(namespace)s", NAMESPACE)
    sent: bytes = coordinator.database.cursor().mogrify(text, {"schema": coordinator.schema, **parameters})
    return sent.decode()


def _with_moments(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of JSON with moments as they come from a row of the database."""
    return {
        name: datetime.fromisoformat(value) if name in MOMENTS and isinstance(value, str) else value
        for name, value in row.items()
    }
