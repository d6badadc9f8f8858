"""Citus: up and down come to their end on distributed, reference and local tables, and a worker is left alone.

What needs a cluster runs where TEST_CITUS_URL names a database on its coordinator, for a superuser or for a role that
may make a schema there; the workers are reached by the names under which the coordinator knows them.
"""

from __future__ import annotations

import re

import pytest
from citus_cluster import Cluster
from command import TEN_NAMES, ask, execute, run_script
from kinds import runner_of
from scenes import Session, until

from indexer import Column, Expression, Index, Variant
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
