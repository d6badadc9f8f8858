"""Since when the nodes of a Citus cluster count: nothing that was counted is lost since the latest of them began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from indexer.care.sums import latest
from indexer.postgres.citus.extension import unanswered
from indexer.postgres.citus.nodes import Answer
from indexer.postgres.citus.reading import ask, rendered
from indexer.postgres.session.reader import CatalogReader


def server_of_cluster(coordinator: CatalogReader, server: Mapping[str, Any], query: str) -> dict[str, Any]:
    """Return what is known of the coordinator as the server that counts, with what is known of all nodes.

    Args:
        query: asks a node what ``server`` is the answer of the coordinator to.
    """
    return of_nodes(server, ask(coordinator, rendered(coordinator, query, {})))


def of_nodes(server: Mapping[str, Any], answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the answers of all nodes as one; since when they count is not known where one did not answer."""
    nodes = [server, *(row for answer in answers for row in answer.rows or ())]
    without = tuple(_sentence(unanswered(each.where, each.error)) for each in answers if each.rows is None)
    return {
        **server,
        "started": None if without else latest(node["started"] for node in nodes),
        "reset": None if without else max((node["reset"] for node in nodes if node["reset"]), default=None),
        "is_counting": all(node["is_counting"] for node in nodes),
        "standbys": max(server["standbys"], sum(node["standbys"] for node in nodes[1:])),
        "members": tuple(dict.fromkeys(node["identity"] for node in nodes)),
        "unanswered": without,
    }


def _sentence(phrase: str) -> str:
    return f"{phrase[0].upper()}{phrase[1:]}."
