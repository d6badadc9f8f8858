"""The prediction of an index that is stored as several: on the leaves of a partitioned table, or on Citus's placements.

What needs a cluster runs where TEST_CITUS_URL names a database on its coordinator.
"""

from __future__ import annotations

import partitioned
import pytest
from citus_cluster import PARTITIONED, Cluster
from command import TEN_NAMES, execute
from kinds import runner_of

from indexer import Index, Variant, desc
from indexer.predict.forecast import Forecast

ON_ACTIVITY = [
    Index("ix_by_id", "activity", ("openphone_id",)),
    Index("ix_by_type", "activity", ("activity_type",)),
    Index("ix_by_time", "activity", ("conversation_id", desc("created_at"))),
    Index("ix_hash", "activity", ("openphone_id",), on_postgresql=Variant(using="hash")),
]
assert not TEN_NAMES & {each.name for each in ON_ACTIVITY}


def assert_right(forecast: Forecast, builds: dict) -> None:
    assert builds.keys() == {each.name for each in ON_ACTIVITY}
    for name, each in builds.items():
        assert forecast.predictions[name].bytes == pytest.approx(each.bytes, rel=0.1), name


def test_the_index_of_a_partitioned_table_is_the_sum_of_its_leaves_whose_sizes_a_window_counts(base_url):
    partitioned.by_range(base_url, rows=30_000)
    with runner_of(base_url, *ON_ACTIVITY) as runner:
        assert runner.plan(forecasts=True).forecast.predictions["ix_by_id"].bytes is None
        execute(base_url, "ANALYZE activity")
        forecast = runner.plan(forecasts=True).forecast
        builds = runner.up().builds
    assert_right(forecast, builds)
    assert {"activity_2022", "activity_2023", "activity_2024", "activity_default"} == forecast.leaves.keys()
    assert forecast.leaves["activity_2022"] > 0


def test_the_index_of_a_distributed_table_is_the_sum_of_its_placements(cluster: Cluster):
    columns = "(contact_id, conversation_id, openphone_id, activity_type, created_at)"
    rows = "SELECT n, n % 50, 'AC' || n, 'message', now() FROM generate_series(1, 30000) AS n"
    execute(
        cluster.url,
        f"INSERT INTO {cluster.schema}.activity {columns} {rows}",
        f"ANALYZE {cluster.schema}.activity",
    )
    with runner_of(cluster.url, *ON_ACTIVITY, schema=cluster.schema) as runner:
        forecast = runner.plan(forecasts=True).forecast
        builds = runner.up().builds
    assert_right(forecast, builds)


def test_the_index_of_a_partitioned_distributed_table_is_the_sum_of_the_placements_of_its_leaves(cluster: Cluster):
    path = f"SET search_path TO {cluster.schema}"
    execute(cluster.url, path, PARTITIONED.replace("5000", "30000"), "ANALYZE activity")
    with runner_of(cluster.url, *ON_ACTIVITY, schema=cluster.schema) as runner:
        forecast = runner.plan(forecasts=True).forecast
        builds = runner.up().builds
    assert_right(forecast, builds)
    assert forecast.predictions["ix_by_id"].bytes > 500_000
