"""The plans of a Citus cluster: what each node would do with its part of a query, in the coordinator's names. Pure.

A part reads the tables of shards by their indexes. ``names`` has for the name of each of them that on the coordinator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Node = dict[str, Any]
RELATION, INDEX, PARTS = "Relation Name", "Index Name", "Distributed Query"


def is_distributed(plan: Node) -> bool:
    """Return whether nodes of the cluster plan parts of the query, each by itself."""
    return any(PARTS in node for node in _nodes(plan))


def parts_of(plan: Node, names: Mapping[str, str]) -> list[Node]:
    """Return the plans that read tables: those of the nodes, and the coordinator's if it reads some itself.

    The coordinator may sort what the nodes return, which no index spares it.
    """
    remote = [part for node in _nodes(plan) if PARTS in node for part in _remote(node[PARTS])]
    coordinators = [plan] if not remote or any(RELATION in node for node in _nodes(plan)) else []
    parts = [*coordinators, *(inner for part in remote for inner in parts_of(part, names))]
    return [_renamed(part, names) for part in parts]


def _remote(query: Mapping[str, Any]) -> Iterator[Node]:
    """Yield the plans of the tasks of a distributed query, and those of the queries that are executed before it."""
    for subplan in query.get("Subplans", ()):
        for statement in subplan.get("PlannedStmt", ()):
            yield statement["Plan"]
    for task in query.get("Job", {}).get("Tasks", ()):
        for documents in task.get("Remote Plan", ()):
            for document in documents:
                yield document["Plan"]


def _nodes(plan: Node) -> Iterator[Node]:
    """Yield the nodes of a plan, without those of distributed queries in it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _renamed(plan: Node, names: Mapping[str, str]) -> Node:
    renamed = {**plan, "Plans": [_renamed(child, names) for child in plan.get("Plans", ())]}
    for kind in (RELATION, INDEX):
        if kind in plan:
            renamed[kind] = names.get(plan[kind], plan[kind])
    return renamed
