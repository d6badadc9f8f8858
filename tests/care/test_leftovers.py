"""Which invalid index an interrupted REINDEX CONCURRENTLY has left, and of which index."""

from __future__ import annotations

from typing import Any

import pytest

from indexer.catalog import CatalogEntry
from indexer.definition import Column, Definition
from indexer.leftovers import is_left_of

DEFINITION = Definition("activity", "btree", (Column("activity_type"),))
LONG = "ix_" + "a" * 60  # as long as a name can be
ACCENTED = "ix_" + "é" * 30  # as long, in bytes


def entry(name: str, **different: Any) -> CatalogEntry:
    """Return an invalid index with this name and the definition."""
    return CatalogEntry(**{"name": name, "kind": "index", "definition": DEFINITION, "valid": False, **different})


@pytest.mark.parametrize(
    ("left", "name"),
    [
        ("ix_ccnew", "ix"),
        ("ix_ccold", "ix"),
        ("ix_ccnew1", "ix"),
        ("ix_ccold12", "ix"),
        ("ix_ccnew_ccold", "ix_ccnew"),
        (f"{LONG[:57]}_ccnew", LONG),
        (f"{LONG[:56]}_ccold1", LONG),
        (f"ix_{'é' * 27}_ccnew", ACCENTED),  # 57 bytes are left: no half of a character is kept
        (f"ix_{'é' * 26}_ccnew1", ACCENTED),
        (f"ix_{'é' * 30}_ccnew", f"{ACCENTED}"),  # in LATIN1 there is room for all
    ],
)
def test_the_name_says_of_which_index_it_is_left_also_where_it_is_numbered_or_cut(left, name):
    assert is_left_of(entry(left), name, DEFINITION)


@pytest.mark.parametrize(
    ("left", "name"),
    [
        ("ix_ccnew", "ix_ccnew"),
        ("ix_ccnewer", "ix"),
        ("ix_cc", "ix"),
        ("_ccnew", ""),
        ("i_ccnew", "ix"),  # nothing made that name shorter
        ("other_ccnew", "ix"),
        (f"{LONG[:50]}_ccnew", LONG),
        (f"ix_{'é' * 25}_ccnew", ACCENTED),
    ],
)
def test_another_name_is_no_leftover(left, name):
    assert not is_left_of(entry(left), name, DEFINITION)


@pytest.mark.parametrize(
    "different",
    [
        {"valid": True},
        {"worker": 4711},
        {"definition": DEFINITION._replace(key=(Column("status"),))},
        {"definition": DEFINITION._replace(table="contact")},
        {"definition": DEFINITION._replace(method="hash")},
        {"definition": None, "kind": "table"},
    ],
)
def test_a_valid_index_one_that_is_being_built_and_another_definition_are_no_leftover(different):
    assert not is_left_of(entry("ix_ccnew", **different), "ix", DEFINITION)


@pytest.mark.parametrize("state", [{"ready": False}, {"live": False}])
def test_the_old_index_of_a_constraint_is_a_leftover_without_the_constraint(state):
    of_a_constraint = DEFINITION._replace(unique=True, constraint="one_type")
    left = entry("ix_ccold", definition=DEFINITION._replace(unique=True), **state)
    assert is_left_of(left, "ix", of_a_constraint)
