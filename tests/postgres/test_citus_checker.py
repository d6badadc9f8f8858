"""What the answers of nodes to a deep check say of a distributed index, in the words of amcheck and of Citus."""

from __future__ import annotations

import pytest

from indexer.care.deep import AMCHECK, CANNOT_TELL, CLEAN, CORRUPT, LOOKUPS, Finding, together
from indexer.postgres.care.lookups import Facts, Part
from indexer.postgres.citus.checker import OTHER_SCAN, Placement, of_amcheck, of_lookups, one_of_each_node
from indexer.postgres.citus.reading import Stored

KEY = (Part("phone", "pg_catalog.=", None, True),)
FACTS = Facts("contact_102008", "btree", True, 100.0, 1, 1, "base/1/2", "base/1/3", [], None, None, KEY)


def placement(number: int, node: int) -> Placement:
    """Return an index of a shard on a node."""
    return Placement(Stored("ix_phone", node, "10.0.0.1", 5432, f"ix_phone_{number}"), FACTS)


ONE = placement(102008, 2)


@pytest.mark.parametrize(
    ("result", "state"),
    [
        ('ERROR:  item order invariant violated for index "ix_phone_102008"', CORRUPT),
        ('ERROR:  heap tuple (0,1) from table "c" lacks matching index tuple within index "ix_phone_102008"', CORRUPT),
        ("ERROR:  invalid page in block 3 of relation base/5/16999", CORRUPT),
        ("ERROR:  permission denied for function bt_index_check", CANNOT_TELL),
        ('ERROR:  cannot check index "ix_phone_102008"', CANNOT_TELL),
        ("connection not open", CANNOT_TELL),
        ("server closed the connection unexpectedly", CANNOT_TELL),
    ],
)
def test_an_error_of_amcheck_is_damage_only_where_it_speaks_of_the_index(result: str, state: str) -> None:
    finding = of_amcheck(ONE, False, result)
    assert (finding.state, finding.is_failed) == (state, state == CANNOT_TELL)
    assert of_amcheck(ONE, True, "") == Finding("ix_phone_102008", CLEAN, AMCHECK)


def answer(looked_up: int, found: int, scans: int) -> str:
    """Return the result of a lookup as Citus returns it."""
    missing = "null" if found == looked_up else '"(57,60)"'
    row = f'{{"looked_up":{looked_up},"found":{found},"by_key":0,"missing":{missing},"scans":{scans}}}'
    return f'<table xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n<row>\n<answer>[{row}]</answer>\n</row></table>'


def test_lookups_count_only_where_each_has_scanned_the_index() -> None:
    assert of_lookups(ONE, True, answer(250, 250, 250)).state == CLEAN
    lacking = of_lookups(ONE, True, answer(250, 225, 250))
    assert (lacking.state, lacking.text) == (CORRUPT, "25 of 250 rows not found, such as the row with ctid (57,60).")
    assert of_lookups(ONE, True, answer(250, 250, 249)) == Finding("ix_phone_102008", CANNOT_TELL, None, OTHER_SCAN)
    assert of_lookups(ONE, True, answer(0, 0, 0)).state == CLEAN  # the whole table was read
    large = ONE._replace(facts=FACTS._replace(tuples=1e9, pages_then=10_000_000, pages=10_000_000))
    assert of_lookups(large, True, answer(0, 0, 0)).state == CANNOT_TELL
    assert of_lookups(ONE, False, "ERROR:  canceling statement due to user request").is_failed


def test_an_index_is_as_bad_as_its_worst_placement_which_is_named() -> None:
    clean = Finding("ix_1", CLEAN, LOOKUPS, "", 0.0, 250, 250)
    lacking = Finding("ix_2", CORRUPT, LOOKUPS, "25 of 250 rows not found.", 0.0, 250, 225)
    unknown = Finding("ix_3", CANNOT_TELL, None, "It did not answer.", is_failed=True)
    assert together("ix", [("a", clean), ("b", clean)]) == Finding("ix", CLEAN, LOOKUPS, "", 0.0, 500, 500)
    worst = together("ix", [("a", clean), ("b", lacking), ("c", unknown)])
    assert (worst.state, worst.text, worst.looked_up, worst.found) == (
        CORRUPT,
        "b: 25 of 250 rows not found.",
        500,
        475,
    )
    assert together("ix", [("a", clean), ("c", unknown)]).text == "c: It did not answer."


def test_each_node_checks_one_placement_at_a_time() -> None:
    given = [placement(number, node) for number, node in ((1, 2), (2, 3), (3, 2), (4, 2))]
    groups = [[each.stored.name for each in group] for group in one_of_each_node(given)]
    assert groups == [["ix_phone_1", "ix_phone_2"], ["ix_phone_3"], ["ix_phone_4"]]
