"""What is behind the index of a partitioned table: the indexes of its leaves, in any schema."""

from __future__ import annotations

from command import execute
from kinds import runner_of
from partitioned import YEARS, by_range, fill, index_parents

from indexer import Index

NAME = "ix_activity_type"


def test_the_leaves_of_a_partitioned_index_are_found_in_any_schema_and_a_plain_one_is_its_own(base_url: str) -> None:
    by_range(base_url, rows=0)
    execute(base_url, "CREATE SCHEMA archive", "ALTER TABLE activity_2022 SET SCHEMA archive")
    index_parents(base_url)
    execute(base_url, "CREATE INDEX ix_contact_phone_hash ON contact USING hash (phone)")
    with runner_of(base_url, Index(NAME, "activity", ("activity_type",))) as runner:
        found = runner.migrator.catalog.physical([NAME, "ix_contact_phone_hash", "ix_missing", "contact"])
    assert {leaf.label: leaf.table for leaf in found.pop(NAME)} == {
        "archive.activity_2022_activity_type_idx": "activity_2022",
        "activity_2023_activity_type_idx": "activity_2023",
        "activity_2024_activity_type_idx": "activity_2024",
        "activity_default_activity_type_idx": "activity_default",
    }
    assert {name: [leaf.label for leaf in leaves] for name, leaves in found.items()} == {
        "ix_contact_phone_hash": ["ix_contact_phone_hash"]
    }


def test_an_index_of_a_table_that_is_partitioned_twice_has_its_leaves_alone(base_url: str) -> None:
    by_range(base_url, rows=0)
    execute(
        base_url,
        "CREATE TABLE activity_2026 PARTITION OF activity FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
        " PARTITION BY LIST (activity_type)",
        "CREATE TABLE activity_2026_calls PARTITION OF activity_2026 FOR VALUES IN ('call')",
    )
    index_parents(base_url)
    with runner_of(base_url, Index(NAME, "activity", ("activity_type",))) as runner:
        tables = {leaf.table for leaf in runner.migrator.catalog.physical([NAME])[NAME]}
    assert tables == {*(f"activity_{year}" for year in YEARS), "activity_default", "activity_2026_calls"}


def test_a_partitioned_table_has_the_rows_and_the_bytes_of_its_leaves(base_url: str) -> None:
    by_range(base_url, rows=0)
    fill(base_url, 1000, (2023,))
    fill(base_url, 3000, (2024,))
    with runner_of(base_url, Index(NAME, "activity", ("activity_type",))) as runner:
        unknown = runner.migrator.catalog.tables(["activity"])["activity"]
        execute(base_url, "VACUUM ANALYZE activity_2023", "VACUUM ANALYZE activity_2024")
        known = runner.migrator.catalog.tables(["activity"], sizes=True)["activity"]
        leaves = runner.migrator.catalog.tables(["activity_2023", "activity_2024"], sizes=True).values()
    assert (unknown.rows, unknown.bytes) == (None, None)
    assert known.rows == 4000
    assert known.bytes >= sum(leaf.bytes for leaf in leaves) > 0
