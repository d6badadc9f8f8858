"""verify accepts the plans that use leaf indexes, and names the leaves that are read without one."""

from __future__ import annotations

from typing import Any

from command import execute, nothing_changes, prepare, run, succeed
from partitioned import OF_ACTIVITY, by_range, index_parents, shell

BY_TYPE = "ix_activity_type"
DROPPED = f"DROP INDEX {', '.join(OF_ACTIVITY)}"


def partitioned_head(url: str, rows: int = 300) -> None:
    """Bring a database to the head with a partitioned table of activities."""
    prepare(url)
    execute(url, DROPPED)
    by_range(url, rows=rows)
    index_parents(url)


def of_activity(url: str) -> dict[str, Any]:
    """Return what verify says of the queries of activities, by index."""
    with nothing_changes(url):
        result = run("verify", "--json", url=url)
    found = {each["index"]: each for each in result.json()["queries"] if each["index"] in OF_ACTIVITY}
    assert result.exit_code == (0 if all(each["served"] for each in found.values()) else 4)
    return found


def not_served(url: str) -> set[str]:
    """Return the indexes on activities whose query is not served."""
    return {name for name, each in of_activity(url).items() if not each["served"]}


def test_every_query_of_a_partitioned_table_is_served_by_its_leaf_indexes(base_url):
    partitioned_head(base_url, rows=30_000)
    execute(base_url, "VACUUM ANALYZE activity")
    found = of_activity(base_url)
    assert len(found) == 3
    assert found["ix_activity_openphone_id"]["chosen"]
    assert all(each["usable"] and each["generic"] and each["served_by"] is None for each in found.values())
    assert any("returns the rows" in note or "can return" in note for note in found[OF_ACTIVITY[1]]["notes"])


def test_a_table_without_partitions_and_one_whose_partitions_are_empty_are_served(base_url):
    prepare(base_url)
    execute(base_url, DROPPED)
    shell(base_url, "activity", "RANGE (created_at)")
    index_parents(base_url)
    assert not_served(base_url) == set()
    execute(base_url, "CREATE TABLE activity_all PARTITION OF activity DEFAULT")
    assert not_served(base_url) == set()


def test_partitions_that_no_row_of_a_query_can_be_in_do_not_count(base_url):
    prepare(base_url)
    execute(base_url, DROPPED)
    shell(base_url, "activity", "LIST (activity_type)")
    for kind in ("call", "message"):
        execute(base_url, f"CREATE TABLE activity_{kind} PARTITION OF activity FOR VALUES IN ('{kind}')")
    execute(base_url, "INSERT INTO activity (activity_type, openphone_id) VALUES ('call', 'AC1')")
    index_parents(base_url)
    assert not_served(base_url) == set()


def test_subpartitions_in_another_schema_are_served(base_url):
    partitioned_head(base_url)
    execute(
        base_url,
        "CREATE SCHEMA archive",
        "CREATE TABLE archive.activity PARTITION OF activity FOR VALUES FROM ('2019-01-01') TO ('2020-01-01')"
        " PARTITION BY HASH (conversation_id)",
        "CREATE TABLE archive.activity_0 PARTITION OF archive.activity FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "INSERT INTO activity (openphone_id, conversation_id, activity_type, created_at)"
        " SELECT 'AC' || n, n % 50, 'call', '2019-05-01' FROM generate_series(1, 300) AS n",
    )
    assert not_served(base_url) == set()


def test_a_leaf_without_the_index_is_named(base_url):
    partitioned_head(base_url)
    execute(
        base_url,
        f"DROP INDEX {BY_TYPE}",
        f"CREATE INDEX {BY_TYPE} ON ONLY activity (activity_type)",
        "CREATE INDEX unattached ON activity_2022 (activity_type)",
        "CREATE INDEX attached ON activity_2023 (activity_type)",
        f"ALTER INDEX {BY_TYPE} ATTACH PARTITION attached",
    )
    index = of_activity(base_url)[BY_TYPE]
    assert (index["usable"], index["served_by"]) == (False, None)
    (note,) = index["notes"]
    assert "activity_2024" in note
    assert "activity_2022" not in note
    assert note.endswith("Build what is missing: python cli.py up")
    advice = [
        each["text"] for each in succeed("health", BY_TYPE, "--json", url=base_url).json()["indexes"][0]["advice"]
    ]
    (incomplete,) = [text for text in advice if "is not complete: " in text]
    assert incomplete.endswith("Complete it: python cli.py up")
    succeed("up", url=base_url)
    assert not_served(base_url) == set()
