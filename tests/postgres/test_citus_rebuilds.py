"""What an interrupted REINDEX CONCURRENTLY leaves on shards, as the nodes of a Citus cluster answer it."""

from __future__ import annotations

import pytest

from indexer.catalog import CatalogEntry, IndexFile
from indexer.definition import Column, Definition
from indexer.leftovers import is_left_of
from indexer.postgres.citus.nodes import Shard
from indexer.postgres.citus.rebuilds import drop_on_nodes, together, with_workers

NAME = "ix_contact_phone_hash"
DEFINITION = Definition("contact", "hash", (Column("phone"),))
SHARDS = [
    Shard("contact", 102008, 2, "127.0.0.1:57002", "contact_102008", "crm"),
    Shard("contact", 102009, 3, "127.0.0.1:57003", "contact_102009", "crm"),
]


def on_shard(shard: Shard, ending: str = "_ccnew", of: str = NAME) -> tuple[Shard, CatalogEntry]:
    """Return an invalid index as the node of a shard has it."""
    definition = DEFINITION._replace(table=shard.name)
    return shard, CatalogEntry(f"{of}_{shard.id}{ending}", "index", definition, valid=False, ready=False)


def test_what_is_left_on_several_shards_is_one_leftover_of_the_index() -> None:
    (left,) = together(map(on_shard, SHARDS))
    assert (left.name, left.usable, left.is_orphaned) == (f"{NAME}_ccnew", False, True)
    assert [flaw.name for flaw in left.flaws] == [f"{NAME}_102008_ccnew", f"{NAME}_102009_ccnew"]
    assert is_left_of(left, NAME, DEFINITION)


def test_another_invalid_index_of_a_shard_is_no_leftover_of_a_rebuild() -> None:
    assert together([on_shard(SHARDS[0], ending="")]) == []
    (other,) = together([on_shard(SHARDS[0], of="ix_contact_phone")])
    assert not is_left_of(other, NAME, DEFINITION)


def test_it_is_no_leftover_while_a_session_rebuilds_the_index() -> None:
    (left,) = with_workers(together(map(on_shard, SHARDS)), {NAME: 4711})
    assert not is_left_of(left, NAME, DEFINITION)


def test_each_placement_is_dropped_on_its_node_and_one_after_another() -> None:
    (left,) = together(map(on_shard, SHARDS))
    statement = drop_on_nodes("crm", left.flaws)
    assert "ARRAY['127.0.0.1', '127.0.0.1']::pg_catalog.text[], ARRAY[57002, 57003]" in statement
    assert "'DROP INDEX CONCURRENTLY IF EXISTS crm.ix_contact_phone_hash_102009_ccnew'" in statement
    assert statement.endswith("false) AS r")


@pytest.mark.parametrize(
    ("now", "is_new"),
    [((11, 12), True), ((11, 2), False), ((1, 2), False), ((), False)],
)
def test_an_index_is_rebuilt_once_all_of_its_placements_are(now: tuple[int, ...], is_new: bool) -> None:
    assert IndexFile(of_placements=now).has_replaced(IndexFile(of_placements=(1, 2))) is is_new
