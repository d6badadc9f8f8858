"""What an index of a Citus cluster is, from rows that a cluster of Citus 13.2 gave in each state."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from indexer import Index
from indexer.care.health import Health
from indexer.catalog import CatalogEntry, Place, Table
from indexer.console.health import answer
from indexer.console.text import cannot_tell
from indexer.decide import Action, Existing, compare, decide
from indexer.definition import Column, Definition
from indexer.options import Options
from indexer.postgres.catalog.catalog import entry_of
from indexer.postgres.citus.cluster import entries_by_table
from indexer.postgres.citus.nodes import Shard, array, is_named_after
from indexer.postgres.citus.placements import Node, building, in_cluster
from indexer.steps import Step

TABLE = Table("activity", "table", frozenset())
NAME = "ix_activity_type"
DECLARED = Definition("activity", "btree", (Column("activity_type"),))
RECORDED = json.loads((Path(__file__).parents[1] / "support" / "citus" / "placements.json").read_text())
ONLY_ONE = "not known to the coordinator on 1 placement"

STATES = {
    "valid": ("valid", Action.KEEP),
    "missing on a shard": ("missing on 1 of 4 placements", Action.REBUILD),
    "not valid on a shard": ("not valid on 1 of 4 placements", Action.REBUILD),
    "IF NOT EXISTS": ("not valid on the coordinator", Action.REINDEX),
    "half dropped": ("not live", Action.REBUILD),
    "dropped while it was built": ("not live", Action.REBUILD),
    "on all shards only": ("not known to the coordinator on 4 placements", Action.REBUILD),
    "on one shard only": (ONLY_ONE, Action.REBUILD),
    "another definition on a shard": ("valid", Action.REFUSE),
    "another definition on a shard only": (ONLY_ONE, Action.REFUSE),
    "another definition where the coordinator has it marked as invalid": (
        "different on 1 of 4 placements",
        Action.REBUILD,
    ),
}


def rows_of(state: str) -> tuple[CatalogEntry | None, list[Shard], list[Node]]:
    """Return what the coordinator has, the shards, and what the nodes have, as they were recorded."""
    recorded = RECORDED[state]
    found = recorded["coordinator"] and entry_of(recorded["coordinator"])
    return found, [Shard(**each) for each in recorded["shards"]], list(map(_node, recorded["nodes"]))


def _node(recorded: dict[str, Any]) -> Node:
    entries = entries_by_table(recorded["rows"])
    return Node(recorded["node"], recorded["where"], entries, recorded["error"], recorded["has_shells"])


def all_of(node: Node) -> list[CatalogEntry]:
    """Return the indexes of a node."""
    return [entry for entries in (node.entries or {}).values() for entry in entries]


def seen(state: str) -> CatalogEntry:
    """Return what the index is in the cluster."""
    entry = in_cluster(NAME, *rows_of(state))
    assert entry is not None
    return entry


@pytest.mark.parametrize("state", STATES)
def test_each_state_of_the_cluster_has_its_decision(state: str) -> None:
    entry = seen(state)
    assert (entry.flaw, decide(DECLARED, Existing(entry))) == STATES[state]


def test_an_index_that_no_node_has_is_absent() -> None:
    assert in_cluster(NAME, *rows_of("missing")) is None


def test_the_size_and_the_tuples_are_those_of_all_placements() -> None:
    _, _, nodes = rows_of("valid")
    shards = [each for node in nodes for each in all_of(node) if each.name != NAME]
    entry = seen("valid")
    assert len(shards) == entry.placements == 4
    assert (entry.bytes, entry.tuples) == (sum(each.bytes or 0 for each in shards), 5000)


def test_a_flaw_names_the_shard_and_its_node() -> None:
    ((flaw),) = seen("missing on a shard").flaws
    shard = RECORDED["missing on a shard"]["shards"][0]
    assert str(flaw) == f"missing for shard {shard['id']} on {shard['where']}"


def test_another_definition_on_a_shard_differs_there_and_is_replaced_only_with_consent() -> None:
    entry = seen("another definition on a shard")
    (difference,) = compare(DECLARED, entry)
    assert difference.part == f"key of {entry.flaws[0].place}"
    assert (difference.declared, difference.found) == ("activity_type", "id")
    assert decide(DECLARED, Existing(entry), Options(replace=True)) is Action.REPLACE


def test_what_only_a_shard_has_cannot_be_replaced_and_is_dropped_there() -> None:
    entry = seen("another definition on a shard only")
    assert decide(DECLARED, Existing(entry), Options(replace=True)) is Action.REFUSE
    assert entry.flaws[0].remedy == f"DROP INDEX CONCURRENTLY crm.{entry.flaws[0].name}"


def test_nothing_is_decided_while_a_node_does_not_answer() -> None:
    found, shards, nodes = rows_of("valid")
    silent = [node._replace(entries=None, error="no route") if node.id == shards[0].node else node for node in nodes]
    entry = in_cluster(NAME, found, shards, silent)
    assert entry
    assert entry.unknown
    assert (entry.usable, entry.bytes) == (False, None)
    assert (entry.unknown.node, entry.unknown.reason) == (shards[0].where, "no route")
    assert decide(DECLARED, Existing(entry), Options(replace=True)) is Action.REFUSE


def test_a_node_that_does_not_answer_is_named_with_the_next_step() -> None:
    found, shards, nodes = rows_of("valid")
    silent = [node._replace(entries=None, error="no route to host") for node in nodes]
    entry = in_cluster(NAME, found, shards, silent)
    step = Step(Action.REFUSE, Index(NAME, "activity", ("activity_type",)), DECLARED, entry)
    assert step.state == "unknown"
    said = str(cannot_tell([step]))
    for node in {shard.where for shard in shards}:
        assert f"{node} does not answer (no route to host)" in said
    assert said.startswith(f"Cannot tell whether these indexes are valid: {NAME}.")
    assert said.endswith("When all nodes answer, run: indexer check")
    health = Health(Place("postgresql://owner@coordinator/crm"), datetime.now(timezone.utc), unknown=(step,))
    assert health.exit_code == 7
    assert answer(health._replace(tables=((TABLE, None),))).line == cannot_tell([step], "health")


def test_a_node_that_was_not_asked_is_no_evidence_either() -> None:
    found, shards, nodes = rows_of("valid")
    entry = in_cluster(NAME, found, shards, [node for node in nodes if node.id != shards[0].node])
    assert entry
    assert entry.unknown


def test_a_build_on_a_node_is_waited_for() -> None:
    found, shards, nodes = rows_of("not valid on a shard")
    busy = [_with(node, [_at_work(each) for each in all_of(node)]) for node in nodes]
    entry = in_cluster(NAME, found, shards, busy)
    assert entry
    assert decide(DECLARED, Existing(entry)) is Action.WAIT


def _with(node: Node, kept: list[CatalogEntry]) -> Node:
    by_table: dict[str, list[CatalogEntry]] = {}
    for entry in kept:
        assert entry.definition
        by_table.setdefault(entry.definition.table, []).append(entry)
    return node._replace(entries=by_table)


def _at_work(entry: CatalogEntry) -> CatalogEntry:
    return entry if entry.usable else entry._replace(worker=4711)


def test_an_index_whose_build_did_not_come_to_the_workers_in_the_end_is_rebuilt() -> None:
    found, shards, nodes = rows_of("IF NOT EXISTS")
    without = [_with(node, [each for each in all_of(node) if each.name != NAME]) for node in nodes]
    entry = in_cluster(NAME, found, shards, without)
    assert entry
    assert decide(DECLARED, Existing(entry)) is Action.REBUILD


@pytest.mark.parametrize(
    ("found", "is_its_own"),
    [
        ("ix_activity_type_102010", True),
        ("ix_activity_type_102011", False),
        ("ix_activity_type_ccnew_102010", False),
        ("ix_activity_type_replacing_102010", False),
    ],
)
def test_the_index_of_a_shard_is_known_by_its_whole_name(found: str, is_its_own: bool) -> None:
    assert is_named_after(NAME, 102010, found) is is_its_own


def test_a_long_name_that_citus_cuts_and_hashes_is_known() -> None:
    name = "ix_act_a_very_long_name_that_is_really_much_too_long_for_a_sh"
    assert is_named_after(name, 102024, "ix_act_a_very_long_name_that_is_really_much_too_192cbf9c_102024")
    assert not is_named_after(name, 102024, "ix_act_a_very_long_name_that_is_really_another_192cbf9c_102024")


def test_progress_counts_the_placements_and_adds_those_that_are_being_built() -> None:
    _, shards, nodes = rows_of("valid")
    done = {"is_done": True, "phase": None, "blocks_total": 0, "blocks_done": 0}
    rows = {node.id: [{**done, "name": each.name} for each in all_of(node)] for node in nodes}
    assert building(NAME, shards, rows)[:3] == (4, 4, "")
    first = rows[shards[0].node]
    first[0] |= {"is_done": False, "phase": "building index", "blocks_total": 8, "blocks_done": 2}
    found = building(NAME, shards, rows)
    assert found[:3] == (4, 3, "building index")
    assert found.running == ({"phase": "building index", "blocks_total": 8, "blocks_done": 2},)


def test_texts_reach_a_node_whatever_its_settings() -> None:
    assert array(["a'b", "c\\d"]) == "ARRAY[E'a''b', E'c\\\\d']::pg_catalog.text[]"
