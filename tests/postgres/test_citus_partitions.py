"""Indexes of partitioned distributed tables: what is broken on a placement is named, repaired by up, dropped by down.

What needs a cluster runs where TEST_CITUS_URL names a database on its coordinator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from citus_cluster import PARTITIONED, Cluster, commit, marking, only_as_superuser, shard_on
from command import execute, run_script
from kinds import runner_of

from indexer import Column, Index
from indexer.care.observer import as_whole
from indexer.catalog import HELD, MISSING, ORDINARY, CatalogEntry
from indexer.decide import Action, Existing, decide_drop, decide_part, decide_whole
from indexer.definition import Definition
from indexer.errors import PreflightFailed
from indexer.partitions import Part, Partition, whole
from indexer.postgres.catalog.catalog import entry_of
from indexer.postgres.citus.cluster import entries_by_table
from indexer.postgres.citus.nodes import Shard
from indexer.postgres.citus.placements import Node, in_cluster, of_partitioned
from indexer.preflight import held_placements
from indexer.steps import Step

TYPE = Index("ix_activity_type", "activity", ("activity_type",))
LEAVES = ("activity_2024", "activity_2025")

# On a worker, {shard} is that of the partitioned table and {leaf} that of a partition.
HERE, THERE, LEAF = "ix_activity_type", "ix_activity_type_{shard}", "ix_activity_type_activity_2024_{leaf}"
DROP = f"DROP INDEX {{schema}}.{THERE}"
WHOLE = f"CREATE INDEX {THERE} ON ONLY {{schema}}.activity_{{shard}} (activity_type)"
OTHER_WHOLE = f"CREATE INDEX {THERE} ON {{schema}}.activity_{{shard}} (id)"
OTHER_ONLY = OTHER_WHOLE.replace(" ON ", " ON ONLY ")
PART = f"CREATE INDEX {LEAF} ON {{schema}}.activity_2024_{{leaf}} (activity_type)"
OTHER_PART = f"CREATE INDEX {LEAF} ON {{schema}}.activity_2024_{{leaf}} (id)"
ATTACH = f"ALTER INDEX {{schema}}.{THERE} ATTACH PARTITION {{schema}}.{LEAF}"
NO_PROPAGATION = "SET citus.enable_ddl_propagation TO off"


class Fault(NamedTuple):
    """Statements for the coordinator and a worker, and what is found after them, with what is wrong on the worker."""

    here: tuple[str, ...]
    there: tuple[str, ...]
    finding: str
    action: Action
    states: dict[str, str]


FAULTS = {
    "the whole is missing on a shard": Fault(
        (),
        (DROP,),
        "missing on 3 of 12 placements",
        Action.REBUILD,
        {"activity": "missing", "activity_2024": "missing", "activity_2025": "missing"},
    ),
    "the whole is another one on a shard": Fault(
        (),
        (DROP, OTHER_WHOLE),
        "different on 3 of 12 placements",
        Action.REBUILD,
        {"activity": "different", "activity_2024": "missing", "activity_2025": "missing"},
    ),
    "a leaf is missing on a shard": Fault(
        (),
        (DROP, WHOLE),
        "not valid on 3 of 12 placements",
        Action.REBUILD,
        {"activity": "not valid", "activity_2024": "missing", "activity_2025": "missing"},
    ),
    "one leaf alone is missing on a shard": Fault(
        (),
        (DROP, WHOLE, PART, ATTACH),
        "not valid on 2 of 12 placements",
        Action.REBUILD,
        {"activity": "not valid", "activity_2025": "missing"},
    ),
    "a leaf is another one on a shard": Fault(
        (),
        (DROP, WHOLE, OTHER_PART),
        "not valid on 3 of 12 placements",
        Action.REBUILD,
        {"activity": "not valid", "activity_2024": "different", "activity_2025": "missing"},
    ),
    "the whole and its leaf are others on a shard": Fault(
        (),
        (DROP, OTHER_ONLY, OTHER_PART, ATTACH),
        "different on 3 of 12 placements",
        Action.REBUILD,
        {"activity": "different", "activity_2024": "different", "activity_2025": "missing"},
    ),
    "a leaf is not attached on a shard": Fault(
        (),
        (DROP, PART),
        "missing on 3 of 12 placements",
        Action.REBUILD,
        {"activity": "missing", "activity_2024": "not attached", "activity_2025": "missing"},
    ),
    "a leaf is not valid on a shard": Fault(
        (),
        (marking(LEAF, "indisvalid = false"),),
        "not valid on 1 of 12 placements",
        Action.COMPLETE,
        {"activity_2024": "not valid"},
    ),
}


# Decisions about rows as a cluster of Citus 13.2 gave them -----------------------------------------------------------

SUPPORT = Path(__file__).parents[1] / "support"
RECORDED: dict[str, Any] = json.loads((SUPPORT / "citus" / "partitions.json").read_text())
DECLARED = Definition("activity", "btree", (Column("activity_type"),))
SHARDS = [Shard(**each) for each in RECORDED["shards"]]
OF_WORKER = {shard.table: shard.id for shard in reversed(SHARDS) if shard.node == 2}


def nodes_with(broken: Sequence[dict[str, Any]] | None) -> list[Node]:
    """Return what the nodes have, the first worker these rows."""
    return [
        Node(
            each["node"],
            each["where"],
            entries_by_table(broken if broken and each["node"] == 2 else each["rows"]),
            each["error"],
            each["has_shells"],
        )
        for each in RECORDED["nodes"]
    ]


def whole_with(nodes: Sequence[Node], **changed: Any) -> tuple[CatalogEntry, Action]:
    """Return what the index is in the cluster, and what up does about it.

    Args:
        changed: what is otherwise on the coordinator about the index of the partitioned table.
    """
    here = [entry_of(row) for row in RECORDED["coordinator"]]
    here = [each if each.attached_to else each._replace(**changed) for each in here]
    parts = [part_of(each, nodes) for each in sorted(here, key=lambda each: each.attached_to is not None)]
    found = whole(parts[0].step.found, parts)
    existing = Existing(found, parts=tuple(parts))
    return found, decide_whole(existing, [part.step.action for part in parts])


def part_of(here: CatalogEntry, nodes: Sequence[Node]) -> Part:
    """Return the part of the index on one table."""
    found = of_partitioned(in_cluster(here.name, here, SHARDS, nodes), here)
    table, is_leaf = here.definition.table, here.attached_to is not None
    declared = DECLARED._replace(table=table)
    kind = ORDINARY if is_leaf else "partitioned table"
    partition = Partition(0, 1 if is_leaf else None, "crm", 1, table, kind, "crm_owner", True)
    action = decide_part(declared, found, None, is_leaf)
    return Part(partition, Step(action, Index(here.name, table, ("activity_type",)), declared, found), True)


@pytest.mark.parametrize("name", FAULTS)
def test_each_broken_placement_is_found_and_has_its_decision(name: str) -> None:
    fault = FAULTS[name]
    found, action = whole_with(nodes_with(RECORDED["broken"][name]))
    assert (found.flaw, action) == (fault.finding, fault.action)
    assert {flaw.shard: flaw.state for flaw in found.flaws} == {
        OF_WORKER[table]: state for table, state in fault.states.items()
    }
    assert {flaw.node for flaw in found.flaws} == {"127.0.0.1:57002"}
    assert decide_drop(DECLARED, Existing(found), TYPE.name) is Action.DROP


@pytest.mark.parametrize("name", FAULTS)
def test_health_says_of_an_index_what_check_says_of_it_with_all_its_partitions(name: str) -> None:
    found, action = whole_with(nodes_with(RECORDED["broken"][name]))
    here = entry_of(RECORDED["coordinator"][0])
    step = Step(action, TYPE, DECLARED, found, parts=(part_of(here, nodes_with(None)),))
    observed = as_whole(here, step)
    assert observed
    assert (observed.flaw, observed.usable) == (FAULTS[name].finding, False)


def test_an_index_that_all_placements_have_is_kept() -> None:
    found, action = whole_with(nodes_with(None))
    assert (found.flaw, found.placements, action) == ("valid", 12, Action.KEEP)


def test_an_index_that_is_not_complete_on_the_coordinator_either_is_completed() -> None:
    broken = [{**row, "valid": row["kind"] == "i"} for row in RECORDED["nodes"][1]["rows"]]
    found, action = whole_with(nodes_with(broken), valid=False)
    assert (found.flaws, action) == ((), Action.KEEP)  # the tree says which of its parts are missing


def test_an_index_of_a_node_that_holds_parts_under_another_name_is_named_before_anything_is_dropped() -> None:
    renamed = f"ix_activity_type_{OF_WORKER['activity']}"
    rows = [row for row in RECORDED["nodes"][1]["rows"] if row["name"] != renamed]
    strange = [{**row, "part_of": 'crm."st.range"'} if row["part_of"] == f"crm.{renamed}" else row for row in rows]
    found, action = whole_with(nodes_with(strange))
    states = {flaw.shard: flaw.state for flaw in found.flaws}
    assert states == {OF_WORKER["activity"]: MISSING, **{OF_WORKER[leaf]: HELD for leaf in LEAVES}}
    assert action is Action.REBUILD
    parts = [Part(None, Step(action, TYPE, DECLARED, found), True)]
    (problem,) = held_placements([Step(Action.DROP, TYPE, DECLARED, found, parts=tuple(parts))])
    assert problem.startswith('crm."st.range" on 127.0.0.1:57002 holds ix_activity_type_activity_2024_')
    assert problem.endswith('or drop it: DROP INDEX crm."st.range"')


def test_nothing_is_decided_while_a_node_does_not_answer() -> None:
    silent = [node._replace(entries=None, error="no route") if node.id == 2 else node for node in nodes_with(None)]
    found, action = whole_with(silent)
    assert action is Action.REFUSE
    assert (found.unknown.node, found.unknown.reason) == ("127.0.0.1:57002", "no route")


# A cluster -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def built(cluster: Cluster) -> Cluster:
    """The cluster with a partitioned distributed table, which has one valid index."""
    only_as_superuser()
    execute(cluster.url, f"SET search_path TO {cluster.schema}", PARTITIONED)
    with runner_of(cluster.url, TYPE, schema=cluster.schema) as runner:
        runner.up()
    assert leaf_indexes(cluster) == {leaf: [f"ix_activity_type_{leaf}"] * 4 for leaf in LEAVES}
    return cluster


def leaf_indexes(cluster: Cluster) -> dict[str, list[str]]:
    """Return the indexes of the shards of each partition, without the number of the shard; "!" marks one not valid."""
    valid = "CASE WHEN indisvalid AND indisready AND indislive THEN '' ELSE '!' END"
    names = f"string_agg(relname || {valid}, ' ') FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid"
    command = f"SELECT {names} WHERE indrelid = '%s'::regclass"
    found: dict[str, list[str]] = {}
    for leaf in LEAVES:
        rows = execute(
            cluster.url, f"SELECT result FROM run_command_on_placements('{cluster.schema}.{leaf}', $${command}$$)"
        )
        found[leaf] = [re.sub(r"_\d{6,}", "", name) for (names,) in rows for name in names.split()]
    return found


def break_on_a_worker(cluster: Cluster, fault: Fault) -> dict[str, int]:
    """Break the index, and return the shard of each table that is broken."""
    shards = {table: shard_on(cluster, table) for table in ("activity", *LEAVES)}
    commit(cluster, fault.here, fault.there, leaf=shards["activity_2024"])
    return shards


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_is_broken_on_a_placement_is_named_and_repaired(built: Cluster, fault: Fault) -> None:
    shards = break_on_a_worker(built, fault)
    with runner_of(built.url, TYPE, schema=built.schema) as runner:
        (step,) = runner.inspector.status().steps
        assert (step.finding, step.action) == (fault.finding, fault.action)
        assert {flaw.shard: flaw.state for flaw in step.found.flaws} == {
            shards[table]: state for table, state in fault.states.items()
        }
        assert all(flaw.node in built.worker_url for flaw in step.found.flaws)
        assert [step.action for step in runner.up().steps] == [fault.action]
        assert [step.finding for step in runner.inspector.status().steps] == ["valid"]
        assert leaf_indexes(built) == {leaf: [f"ix_activity_type_{leaf}"] * 4 for leaf in LEAVES}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_is_broken_on_a_placement_is_dropped_by_down(built: Cluster, fault: Fault) -> None:
    break_on_a_worker(built, fault)
    with runner_of(built.url, TYPE, schema=built.schema) as runner:
        assert [step.action for step in runner.down().steps] == [Action.DROP]
    assert leaf_indexes(built) == {leaf: [] for leaf in LEAVES}


def test_an_index_that_was_renamed_on_a_worker_stops_up_and_down_and_loses_nothing(built: Cluster) -> None:
    shard = shard_on(built, "activity")
    commit(built, (), (f"ALTER INDEX {{schema}}.{THERE} RENAME TO strange",))
    before = leaf_indexes(built)
    with runner_of(built.url, TYPE, schema=built.schema) as runner:
        for run in (runner.up, runner.down):
            with pytest.raises(PreflightFailed) as failed:
                run()
            assert f"{built.schema}.strange on " in failed.value.problems[0]
    assert leaf_indexes(built) == before
    commit(built, (), (f"ALTER INDEX {{schema}}.strange RENAME TO ix_activity_type_{shard}",))
    with runner_of(built.url, TYPE, schema=built.schema) as runner:
        assert [step.finding for step in runner.inspector.status().steps] == ["valid"]


def test_an_unfinished_index_is_built_anew_where_a_placement_has_another_one_attached(built: Cluster) -> None:
    """Citus leaves that behind where it moves a shard after a run was killed."""
    with runner_of(built.url, TYPE, schema=built.schema) as runner:
        runner.down()
        unfinished = (
            "SET search_path TO {schema}",
            f"CREATE INDEX {HERE} ON ONLY activity (activity_type)",
            "CREATE INDEX ix_activity_type_activity_2024 ON activity_2024 (activity_type)",
        )
        attached = (
            "SET search_path TO {schema}",
            "CREATE INDEX other ON activity_2024_{leaf} (activity_type)",
            f"ALTER INDEX {THERE} ATTACH PARTITION other",
        )
        commit(built, unfinished, attached, leaf=shard_on(built, "activity_2024"))
        assert [step.action for step in runner.up().steps] == [Action.REBUILD]
        assert [step.finding for step in runner.inspector.status().steps] == ["valid"]
    assert leaf_indexes(built) == {leaf: [f"ix_activity_type_{leaf}"] * 4 for leaf in LEAVES}


def test_what_only_shards_have_is_dropped_there_and_built_anew(built: Cluster) -> None:
    commit(built, (NO_PROPAGATION, f"DROP INDEX {{schema}}.{HERE}"), ())
    with runner_of(built.url, TYPE, schema=built.schema) as runner:
        (step,) = runner.inspector.status().steps
        assert (step.finding, step.action) == ("not known to the coordinator on 4 placements", Action.REBUILD)
        assert [step.action for step in runner.up().steps] == [Action.REBUILD]
        assert [step.finding for step in runner.inspector.status().steps] == ["valid"]


def test_the_script_repairs_a_broken_placement_too_and_the_plan_says_which_lock_that_takes(built: Cluster) -> None:
    break_on_a_worker(built, FAULTS["a leaf is another one on a shard"])
    with runner_of(built.url, TYPE, schema=built.schema) as runner:
        plan = runner.inspector.plan()
        assert any("each DROP INDEX locks activity and its 2 partitions" in str(each) for each in plan.warnings)
        run_script(runner.script(plan), built.url)
        assert [step.finding for step in runner.inspector.status().steps] == ["valid"]


def test_offline_a_broken_placement_is_repaired_too(built: Cluster) -> None:
    break_on_a_worker(built, FAULTS["the whole is missing on a shard"])
    with runner_of(built.url, TYPE, schema=built.schema, offline=True) as runner:
        runner.up()
        assert [step.finding for step in runner.inspector.status().steps] == ["valid"]
