"""The plans of a Citus cluster, as recorded on a coordinator with two nodes: which tables and indexes they read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from indexer.postgres.citus.plans import is_distributed, parts_of

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "support" / "citus" / "plans.json").read_text())
LONG = "an_index_with_a_name_that_is_so_long_that_the_shards_cannot_have_it"[:63]
NAMES = {row["name"]: row["of"] for row in RECORDED["stored"]}


def plan_of(query: str) -> dict[str, Any]:
    """Return the recorded plan of a query."""
    plan: dict[str, Any] = RECORDED["plans"][query]["document"][0]["Plan"]
    return plan


def names_in(plan: dict[str, Any], kind: str) -> list[str]:
    """Return the names of a kind in a plan, in its order."""
    of_children = [name for child in plan.get("Plans", ()) for name in names_in(child, kind)]
    return [plan[kind], *of_children] if kind in plan else of_children


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        ("all shards", [["ix_contact_phone_hash"], ["ix_contact_phone_hash"]]),
        ("one shard", [["ix_contact_phone_hash"]]),
        ("sorted by the coordinator", [["ix_activity_conversation_created"]] * 2),
        (
            "a subquery that is executed before",
            [["ix_activity_conversation_created"]] * 2 + [["contact_pkey"]] * 2,
        ),
        ("a copied and a local table", [["ix_campaign_membership_contact_id", "campaign_pkey"]]),
        ("a local table", [["ix_webhook_event_event_type"]]),
        ("a local and a distributed table", [["ix_webhook_event_event_type"]] + [["ix_contact_phone_hash"]] * 2),
        ("a long name", [[LONG], [LONG]]),
        ("read whole", [[], []]),
    ],
)
def test_the_indexes_of_shards_have_the_names_that_the_coordinator_knows(query: str, indexes: list[list[str]]) -> None:
    found = [names_in(part, "Index Name") for part in parts_of(plan_of(query), NAMES)]
    assert sorted(found) == sorted(indexes)


def test_the_tables_of_shards_have_the_names_that_the_coordinator_knows() -> None:
    parts = parts_of(plan_of("read whole"), NAMES)
    assert [names_in(part, "Relation Name") for part in parts] == [["contact"], ["contact"]]


def test_what_the_coordinator_sorts_is_in_no_part_and_what_the_nodes_sort_is() -> None:
    by_coordinator, by_nodes = plan_of("sorted by the coordinator"), plan_of("sorted by the nodes")
    assert "Sort" in names_in(by_coordinator, "Node Type")
    assert not any("Sort" in names_in(part, "Node Type") for part in parts_of(by_coordinator, NAMES))
    assert all("Sort" in names_in(part, "Node Type") for part in parts_of(by_nodes, NAMES))


def test_only_the_plan_of_a_local_table_is_not_distributed() -> None:
    assert [query for query in RECORDED["plans"] if not is_distributed(plan_of(query))] == ["a local table"]
