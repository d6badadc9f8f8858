"""Citus: up and down come to their end on distributed, reference and local tables, and a worker is left alone.

What needs a cluster runs where TEST_CITUS_URL names a database on its coordinator, for a superuser or for a role that
may make a schema there; the workers are reached by the names under which the coordinator knows them.
"""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple

import pytest
from citus_cluster import Cluster, commit, marking, only_as_superuser, shard_on
from command import TEN_NAMES, ask, execute, run_script
from kinds import runner_of
from scenes import Session, until

from indexer import Blocked, Column, Different, Expression, Index, Variant
from indexer.decide import Action
from indexer.postgres.citus.statements import concerns
from indexer.postgres.run.execution import on_one_session

# Decisions -----------------------------------------------------------------------------------------------------------

OURS = 'CREATE INDEX CONCURRENTLY "ix_activity_type" ON "crm"."activity" ("activity_type")'


@pytest.mark.parametrize(
    "statement",
    [
        OURS,
        "create unique index concurrently ix_activity_type on activity (activity_type)",
        "CREATE  INDEX CONCURRENTLY  ix_activity_type_102010 ON  crm.activity_102010 USING btree (activity_type )",
        "DROP INDEX CONCURRENTLY IF EXISTS crm.ix_activity_type_102010 RESTRICT",
        'REINDEX INDEX CONCURRENTLY "crm"."ix_activity_type"',
    ],
)
def test_a_statement_on_the_index_or_on_one_of_its_shards_is_recognised(statement: str) -> None:
    assert concerns(statement, "ix_activity_type", "crm")


@pytest.mark.parametrize(
    "statement",
    [
        OURS.replace("crm", "another"),
        OURS.replace("ix_activity_type", "ix_activity_type_replacing"),
        OURS.replace("ix_activity_type", "IX_activity_type"),
        "SELECT 'CREATE INDEX CONCURRENTLY ix_activity_type ON crm.activity (activity_type)'",
        "VACUUM crm.activity",
    ],
)
def test_a_statement_on_anything_else_is_not(statement: str) -> None:
    assert not concerns(statement, "ix_activity_type", "crm")


def test_a_transaction_is_sent_to_one_session_and_every_other_statement_by_itself() -> None:
    statements = ["CREATE a", "BEGIN", "ALTER b", "ALTER c", "COMMIT", "DROP d"]
    assert list(on_one_session(statements)) == [["CREATE a"], ["BEGIN", "ALTER b", "ALTER c", "COMMIT"], ["DROP d"]]


# A cluster -----------------------------------------------------------------------------------------------------------


def differing(cluster: Cluster) -> None:
    """Create other indexes with three declared names: on a distributed, a copied and a local table."""
    execute(
        cluster.url,
        f"SET search_path TO {cluster.schema}",
        "CREATE INDEX ix_activity_type ON activity (activity_type, id)",
        "CREATE INDEX ix_campaign_membership_contact_id ON campaign_membership (contact_id, id)",
        "CREATE INDEX ix_webhook_event_event_type ON webhook_event (event_type, id)",
    )


def test_up_check_and_down_end_with_0_and_a_second_up_finds_nothing_to_do(cluster: Cluster) -> None:
    assert "Citus" not in cluster.succeed("up").stdout
    assert cluster.valid_indexes() == TEN_NAMES
    assert cluster.indexes_of_shards() == {3}
    assert "Nothing to do" in cluster.succeed("up").stdout
    cluster.succeed("check")
    cluster.succeed("plan", "down")
    cluster.succeed("down")
    assert (cluster.valid_indexes(), cluster.indexes_of_shards()) == (set(), {0})
    cluster.succeed("up", "--offline")
    cluster.succeed("down", "--offline")
    assert (cluster.valid_indexes(), cluster.indexes_of_shards()) == (set(), {0})


def test_the_script_does_in_psql_what_up_does(cluster: Cluster) -> None:
    differing(cluster)
    run_script(cluster.succeed("plan", "--replace", "--sql").stdout, cluster.url)
    cluster.succeed("check")
    run_script(cluster.succeed("plan", "down", "--sql").stdout, cluster.url)
    assert (cluster.valid_indexes(), cluster.indexes_of_shards()) == (set(), {0})


def test_an_index_is_replaced_and_dropped_again(cluster: Cluster) -> None:
    differing(cluster)
    assert cluster.run("up").exit_code == 4
    cluster.succeed("up", "--replace")
    cluster.succeed("check")
    assert cluster.indexes_of_shards() == {3}
    cluster.succeed("down")
    assert (cluster.valid_indexes(), cluster.indexes_of_shards()) == (set(), {0})


@pytest.mark.parametrize("command", ["up", "down"])
def test_after_a_kill_the_next_run_waits_for_builds_that_continue_in_the_cluster(
    cluster: Cluster, command: str
) -> None:
    if command == "down":
        cluster.succeed("up")
    # Through a worker, so that the coordinator has nothing to wait for and its part is over at once.
    holder = Session(cluster.worker_url, f"INSERT INTO {cluster.schema}.activity (id, contact_id) VALUES (0, 1)")
    try:
        with cluster.in_background(command) as killed:
            name = until(lambda: waiting_shard(cluster), "a shard that waits")
            killed.kill()
        with cluster.in_background(command, "--json") as second:
            second.event("Joined", index=name)
            holder.end()
            second.succeed()
    finally:
        holder.end()
    expected = (TEN_NAMES, {3}) if command == "up" else (set(), {0})
    assert (cluster.valid_indexes(), cluster.indexes_of_shards()) == expected


def waiting_shard(cluster: Cluster) -> str | None:
    """Return the index that is still being built or dropped on a single shard."""
    rows = execute(
        cluster.url,
        f"""SELECT query
              FROM citus_stat_activity
             WHERE is_worker_query
               AND state = 'active'
               AND wait_event_type = 'Lock'
               AND query LIKE '%INDEX CONCURRENTLY%{cluster.schema}.%'
        """,
    )
    found = [re.search(r"(ix_\w+?)_\d+\b", query) for (query,) in rows]
    return next((match[1] for match in found if match), None)


def test_a_worker_is_refused_before_anything_is_created_on_it(cluster: Cluster) -> None:
    relations = f"SELECT relname FROM pg_class WHERE relnamespace = '{cluster.schema}'::regnamespace ORDER BY 1"
    before = ask(cluster.worker_url, relations)
    refused = cluster.run("up", url=cluster.worker_url)
    assert refused.exit_code == 1
    assert "the server is a Citus worker: connect to the coordinator" in refused.stderr
    assert "Citus worker" in cluster.run("status", url=cluster.worker_url).stdout
    assert ask(cluster.worker_url, relations) == before


def test_an_index_of_any_kind_is_built_on_the_shards_and_compared(cluster: Cluster) -> None:
    kinds = (
        Index("ix_a", "activity", (Expression("lower(activity_type)"),), include=("id",), where="id > 1"),
        Index("ix_b", "activity", (Column("activity_type", opclass="varchar_pattern_ops", collation="C"),)),
        Index("ix_c", "activity", ("created_at",), on_postgresql=Variant("brin", storage={"pages_per_range": 32})),
    )
    with runner_of(cluster.url, *kinds, schema=cluster.schema) as runner:
        runner.up()
        assert [step.state for step in runner.inspector.status().steps] == ["valid"] * len(kinds)
        assert cluster.indexes_of_shards() == {len(kinds)}
        runner.down()
        assert cluster.indexes_of_shards() == {0}


def test_a_tenant_with_a_schema_of_its_own_keeps_its_history_there(cluster: Cluster) -> None:
    tenant, given = f"{cluster.schema}_tenant", os.environ["TEST_CITUS_URL"]
    owner = execute(cluster.url, "SELECT current_user")[0][0]
    sharding = "SET citus.enable_schema_based_sharding TO on"
    execute(given, sharding, f"CREATE SCHEMA {tenant} AUTHORIZATION {owner}")
    try:
        execute(cluster.url, f"CREATE TABLE {tenant}.activity (id bigint, activity_type varchar(20))")
        with runner_of(cluster.url, TYPE, schema=tenant) as runner:
            assert [step.action for step in runner.up().steps] == [Action.CREATE]
            assert [step.found.placements for step in runner.inspector.status().steps if step.found] == [1]
            assert not runner.down().warnings
            assert [entry.direction for entry in runner.inspector.entries()] == ["down", "up"]
    finally:
        execute(given, f"DROP SCHEMA {tenant} CASCADE")


# What is broken on a placement ---------------------------------------------------------------------------------------

TYPE = Index("ix_activity_type", "activity", ("activity_type",))
INVALID = "indisvalid = false"
HALF_DROPPED = "indisready = false, indislive = false"
HERE = "ix_activity_type"
THERE = "ix_activity_type_{shard}"
DROP_HERE, DROP_THERE = (f"DROP INDEX {{schema}}.{name}" for name in (HERE, THERE))
CREATE_THERE = f"CREATE INDEX {THERE} ON {{schema}}.activity_{{shard}} (activity_type)"
OTHER_THERE = f"CREATE INDEX {THERE} ON {{schema}}.activity_{{shard}} (id)"
IF_NOT_EXISTS = f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {HERE} ON {{schema}}.activity (activity_type)"
NO_PROPAGATION = "SET citus.enable_ddl_propagation TO off"


class Fault(NamedTuple):
    """Statements for the coordinator and then for a worker that break an index, and what is found after them."""

    here: tuple[str, ...]
    there: tuple[str, ...]
    finding: str
    action: Action = Action.REBUILD


ON_SHARDS = "not known to the coordinator on"
FAULTS = {
    "missing on a shard": Fault((), (DROP_THERE,), "missing on 1 of 4 placements"),
    "not valid on a shard": Fault((), (marking(THERE, INVALID),), "not valid on 1 of 4 placements"),
    "IF NOT EXISTS": Fault((IF_NOT_EXISTS,), (), "not valid on the coordinator", Action.REINDEX),
    "half dropped": Fault((marking(HERE, f"{INVALID}, {HALF_DROPPED}"),), (), "not live"),
    "dropped while it was built": Fault((marking(HERE, HALF_DROPPED),), (), "not live"),
    "on all shards only": Fault((NO_PROPAGATION, DROP_HERE), (), f"{ON_SHARDS} 4 placements"),
    "on one shard only": Fault((DROP_HERE,), (CREATE_THERE,), f"{ON_SHARDS} 1 placement"),
}


@pytest.fixture
def built(cluster: Cluster) -> Cluster:
    """The cluster with one valid index, for a superuser, who alone can break an index in every way."""
    only_as_superuser()
    with runner_of(cluster.url, TYPE, schema=cluster.schema) as runner:
        runner.up()
    return cluster


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_is_broken_on_a_placement_is_found_and_repaired(built: Cluster, fault: Fault) -> None:
    before = execute(built.url, f"SELECT '{built.schema}.ix_activity_type'::regclass::oid")
    commit(built, fault.here, fault.there)
    with runner_of(built.url, TYPE, schema=built.schema) as runner:
        (step,) = runner.inspector.status().steps
        assert (step.finding, step.action) == (fault.finding, fault.action)
        assert [step.action for step in runner.up().steps] == [fault.action]
        assert [step.state for step in runner.inspector.status().steps] == ["valid"]
    assert built.indexes_of_shards() == {1}
    after = execute(built.url, f"SELECT '{built.schema}.ix_activity_type'::regclass::oid")
    assert (before == after) == (fault.action is Action.REINDEX)


@pytest.mark.parametrize("fault", ["missing on a shard", "on all shards only"])
def test_what_is_broken_on_a_placement_is_dropped_by_down(built: Cluster, fault: str) -> None:
    commit(built, FAULTS[fault].here, FAULTS[fault].there)
    with runner_of(built.url, TYPE, schema=built.schema) as runner:
        runner.down()
    assert shard_indexes(built) == []


def shard_indexes(cluster: Cluster) -> list[str]:
    """Return the names of the indexes of the shards of activity, valid or not."""
    command = "SELECT string_agg(indexrelid::regclass::text, ' ') FROM pg_index WHERE indrelid = '%s'::regclass"
    rows = execute(
        cluster.url, f"SELECT result FROM run_command_on_placements('{cluster.schema}.activity', $${command}$$)"
    )
    return [name for (names,) in rows for name in names.split()]


def test_another_definition_on_a_shard_is_refused_by_its_place_and_replaced_with_consent(built: Cluster) -> None:
    shard = commit(built, (), (DROP_THERE, OTHER_THERE))
    with runner_of(built.url, TYPE, schema=built.schema) as runner, pytest.raises(Different) as refused:
        runner.up()
    ((difference,),) = refused.value.found.values()
    assert difference.part.startswith(f"key of shard {shard} on ")
    assert (difference.declared, difference.found) == ("activity_type", "id")
    with runner_of(built.url, TYPE, schema=built.schema, replace=True) as runner:
        assert [step.action for step in runner.up().steps] == [Action.REPLACE]
    assert built.indexes_of_shards() == {1}
    assert len(shard_indexes(built)) == 4


def test_another_index_on_a_shard_alone_is_refused_with_the_statement_that_drops_it(built: Cluster) -> None:
    shard = commit(built, (DROP_HERE,), (OTHER_THERE,))
    with runner_of(built.url, TYPE, schema=built.schema) as runner:
        with pytest.raises(Different) as refused:
            runner.up()
        statement, node = re.search(r"shards have: (DROP .*) on (\S+), then", str(refused.value.hint)).groups()
        assert statement == f"DROP INDEX CONCURRENTLY {built.schema}.ix_activity_type_{shard}"
        assert node in built.worker_url
        execute(built.worker_url, statement)
        assert [step.action for step in runner.up().steps] == [Action.CREATE]


def test_check_and_status_name_the_broken_placement_and_the_next_step(cluster: Cluster) -> None:
    cluster.succeed("up")
    shard = shard_on(cluster)
    execute(cluster.worker_url, DROP_THERE.format(schema=cluster.schema, shard=shard))
    for command in ("check", "status"):
        result = cluster.run(command)
        assert result.exit_code == 4
        assert re.search(
            rf"ix_activity_type \(missing for shard {shard} on \S+:\d+\). To repair it, run: ", result.stdout
        )
    (index,) = (each for each in json.loads(cluster.run("check", "--json").stdout)["indexes"] if each["flaws"])
    assert (index["placements"], [flaw["state"] for flaw in index["flaws"]]) == (4, ["missing"])


# Waits and progress --------------------------------------------------------------------------------------------------


def test_a_build_gives_up_on_a_writer_of_a_worker_and_says_how_to_end_it(cluster: Cluster) -> None:
    holder = Session(cluster.worker_url, f"INSERT INTO {cluster.schema}.activity (id, contact_id) VALUES (0, 1)")
    try:
        with runner_of(cluster.url, TYPE, schema=cluster.schema, max_wait=0.5, retries=0) as runner:
            (blocker,) = until(lambda: runner.inspector.plan().blockers, "a transaction that is old enough")
            with pytest.raises(Blocked) as blocked:
                runner.up()
            assert f"global pid {blocker.pid} on {blocker.node}" in blocked.value.message
            assert blocker.node in cluster.worker_url
            execute(cluster.url, blocker.ending)
            assert [step.action for step in runner.up().steps] == [Action.CREATE]
    finally:
        holder.end()


def test_the_progress_of_a_build_counts_placements_and_a_wait_names_the_writer(cluster: Cluster) -> None:
    insert = f"INSERT INTO {cluster.schema}.activity (id, contact_id) VALUES (0, 1)"
    holder = Session(cluster.worker_url, insert)
    try:
        with cluster.in_background("up", "--json") as run:
            assert run.event("Waiting", phase="waiting for a lock")["blockers"][0]["node"] in cluster.worker_url
            holder.end()
            run.succeed()
    finally:
        holder.end()
