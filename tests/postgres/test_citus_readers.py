"""Citus: sizes, scans, statistics, plans and deep checks are those of the shards, and a rebuild reaches all of them.

What needs a cluster runs where TEST_CITUS_URL names a database on its coordinator.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from citus_cluster import PARTITIONED, Cluster
from command import execute
from scenes import Session, until

DISTRIBUTED, COPIED, LOCAL = (
    "ix_activity_openphone_id",
    "ix_campaign_membership_contact_id",
    "ix_webhook_event_processed",
)

PLACEMENTS = """
    SELECT nodename, nodeport, shardid, result
      FROM run_command_on_placements('{schema}.{table}', $$ {query} $$)
"""
INVALID = "SELECT count(*) FROM pg_index WHERE indrelid = '%s'::regclass AND NOT indisready"
FILES = "SELECT pg_relation_filenode(indexrelid) FROM pg_index WHERE indrelid = '%s'::regclass AND NOT indisprimary"


def on_placements(cluster: Cluster, table: str, query: str) -> list[tuple[str, int, int, str]]:
    """Return host, port, shard and answer of each placement of a table."""
    return execute(cluster.url, PLACEMENTS.format(schema=cluster.schema, table=table, query=query))


def document(cluster: Cluster, *arguments: str) -> Any:
    """Return the document of a command that ends with 0."""
    return json.loads(cluster.succeed(*arguments, "--json").stdout)


def test_sizes_rows_and_scans_are_the_sums_of_all_placements(cluster: Cluster) -> None:
    cluster.succeed("up")
    execute(cluster.url, f"SET search_path TO {cluster.schema}", "ANALYZE activity", "ANALYZE campaign_membership")
    phone = f"SELECT count(*) FROM {cluster.schema}.activity WHERE openphone_id = 'x'"
    forced = ("SET citus.propagate_set_commands = 'local'", "BEGIN", "SET LOCAL enable_seqscan = off", phone, "COMMIT")
    execute(cluster.url, *forced)

    def health() -> Any:
        return {each["index"]: each for each in document(cluster, "health")["indexes"]}

    assert until(lambda: health()[DISTRIBUTED]["scans"], "the scans of the shards") >= 4
    found = health()
    for name, function in (
        (DISTRIBUTED, "citus_relation_size"),
        (COPIED, "citus_relation_size"),
        (LOCAL, "pg_table_size"),
    ):
        ((size,),) = execute(cluster.url, f"SELECT {function}('{cluster.schema}.{name}')")
        assert found[name]["bytes"] == size, name
    rows = {each["table"]: each["rows"] for each in document(cluster, "health")["tables"]}
    assert (rows["activity"], rows["campaign_membership"]) == (5000, 0)
    assert "on the 3 nodes of the cluster" in cluster.succeed("health").stdout


def test_verify_reads_the_plans_of_all_shards(cluster: Cluster) -> None:
    def usable() -> dict[str, bool | None]:
        report = json.loads(cluster.run("verify", "--json").stdout)
        return {each["index"]: each["usable"] for each in report["queries"] if each["fits"]}

    cluster.succeed("up")
    assert usable()[DISTRIBUTED] is True
    assert usable()["ix_contact_flag_opted_out"] is True
    ((host, port, shard, _), *_) = on_placements(cluster, "activity", "SELECT 1")
    drop = f"DROP INDEX {cluster.schema}.{DISTRIBUTED}_{shard}"
    execute(cluster.url, f"SELECT * FROM master_run_on_worker(ARRAY['{host}'], ARRAY[{port}], ARRAY['{drop}'], false)")
    assert usable()[DISTRIBUTED] is False


def test_a_deep_check_looks_rows_up_on_every_shard(cluster: Cluster) -> None:
    cluster.succeed("up")
    checked = {each["index"]: each for each in document(cluster, "check", "--deep")["deep"]}
    assert checked["ix_contact_phone_hash"]["result"] == "clean"
    assert checked["ix_contact_phone_hash"]["looked_up"] == checked["ix_contact_phone_hash"]["found"] > 100


def test_an_interrupted_rebuild_is_cleaned_up_on_the_shards_and_done_again(cluster: Cluster) -> None:
    cluster.succeed("up")
    before = on_placements(cluster, "contact", FILES)
    holder = Session(cluster.worker_url, f"UPDATE {cluster.schema}.contact SET phone = '1' WHERE id = 1")
    try:
        with cluster.in_background("reindex", "ix_contact_phone_hash") as run:
            until(lambda: any(each[3] == "1" for each in on_placements(cluster, "contact", INVALID)), "a copy")
            run.send(signal.SIGINT)
            ended = run.end()
        assert ended.exit_code == 130
        assert "ix_contact_phone_hash is rebuilt" not in ended.stderr
    finally:
        holder.end()
    assert any(each[3] == "1" for each in on_placements(cluster, "contact", INVALID))
    assert "is left on" in cluster.succeed("check").stdout
    cluster.succeed("reindex", "ix_contact_phone_hash")
    assert {each[3] for each in on_placements(cluster, "contact", INVALID)} == {"0"}
    after = on_placements(cluster, "contact", FILES)
    assert all(now != then for now, then in zip(after, before, strict=True))


def test_analyze_gathers_the_statistics_of_the_shards(cluster: Cluster) -> None:
    cluster.succeed("up")
    cluster.succeed("analyze")
    analyzed = on_placements(cluster, "activity", "SELECT reltuples > 0 FROM pg_class WHERE oid = '%s'::regclass")
    assert {each[3] for each in analyzed} == {"t"}


SIZES = "SELECT sum(pg_relation_size(indexrelid)) FROM pg_index WHERE indrelid = '%s'::regclass"


def test_a_partitioned_distributed_table_is_the_sum_of_the_shards_of_its_partitions(cluster: Cluster) -> None:
    execute(cluster.url, f"SET search_path TO {cluster.schema}", PARTITIONED)
    cluster.succeed("up")
    cluster.succeed("check")
    health = document(cluster, "health")
    bytes_of = {each["index"]: each["bytes"] for each in health["indexes"] if each["table"] == "activity"}
    answers = [*on_placements(cluster, "activity_2024", SIZES), *on_placements(cluster, "activity_2025", SIZES)]
    assert sum(bytes_of.values()) == sum(int(size) for _, _, _, size in answers)
    assert next(each["rows"] for each in health["tables"] if each["table"] == "activity") == 5000
    report = json.loads(cluster.run("verify", "--json").stdout)
    assert {each["usable"] for each in report["queries"] if each["index"] == DISTRIBUTED} == {True}
    cluster.succeed("down")
    assert {size for _, _, _, size in on_placements(cluster, "activity_2024", SIZES)} == {""}


@pytest.fixture
def unreachable(coordinator: str) -> Iterator[str]:
    """The statement that lets the coordinator look for a worker where no server is, for this database alone."""
    if execute(coordinator, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") != [(True,)]:
        pytest.skip("only a superuser can give a node of the cluster another port")
    ((node, port),) = execute(coordinator, "SELECT nodeid, nodeport FROM pg_dist_node ORDER BY nodeid DESC LIMIT 1")
    yield f"UPDATE pg_dist_node SET nodeport = 1 WHERE nodeid = {node}"
    execute(coordinator, f"UPDATE pg_dist_node SET nodeport = {port} WHERE nodeid = {node}")


def test_what_a_node_that_does_not_answer_has_is_unknown(cluster: Cluster, coordinator: str, unreachable: str) -> None:
    cluster.succeed("up")
    execute(coordinator, unreachable)
    answer = cluster.run("health", "--json")
    health = json.loads(answer.stdout)
    found = {each["index"]: each for each in health["indexes"]}
    assert answer.exit_code == 7
    assert (found[DISTRIBUTED]["bytes"], found[DISTRIBUTED]["scans"]) == (None, None)
    assert found[LOCAL]["bytes"]
    assert any("does not answer" in each for each in health["not_counted"])
    refused = cluster.run("verify")
    assert refused.exit_code == 1
    assert "Start it, then run: python cli.py verify" in refused.stderr
    for command in ("analyze", "reindex", f"reindex {DISTRIBUTED}"):
        refused = cluster.run(*command.split())
        assert refused.exit_code == 1
        assert re.search(r"node \S+ of the Citus cluster does not answer", refused.stderr)
