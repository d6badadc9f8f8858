"""Indexes of partitioned tables: what up, down, status, check and plan do about a parent index and its leaves."""

from __future__ import annotations

from command import execute, succeed
from partitioned import OF_ACTIVITY, by_range

BY_HAND = (
    "CREATE INDEX ix_activity_openphone_id ON activity (openphone_id)",
    "CREATE INDEX ix_activity_conversation_created ON activity (conversation_id, created_at DESC)",
    "CREATE INDEX ix_activity_type ON activity (activity_type)",
)


def test_indexes_that_a_partitioned_table_has_are_kept(base_url: str) -> None:
    by_range(base_url)
    execute(base_url, *BY_HAND)
    succeed("up", url=base_url)
    found = {each["name"]: each["state"] for each in succeed("check", "--json", url=base_url).json()["indexes"]}
    assert {found[name] for name in OF_ACTIVITY} == {"valid"}
