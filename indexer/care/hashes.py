"""Hash indexes: what they cannot do, and where many equal values make them slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from indexer.care.facts import HASH, Column, Facts, Inside
from indexer.care.tuples import count
from indexer.definition import Definition
from indexer.text import counted
from indexer.tuples import NamedTuple

# Rows of one value. About 400 entries fill a page; those that follow make a chain of pages, which each insert reads. Of
# 400,000 phones on PostgreSQL 15 an insert took 5 µs if up to 400 rows had the same one, 8 µs at 4,000 and 19 µs at
# 20,000, where a B-tree took less than 6 µs. The hash index had five times the size of the B-tree.
FILLING_A_PAGE = 400
SLOW_TO_INSERT = 4000


class Distinct(NamedTuple):
    """The values of a hash index by the statistics of its column.

    Attributes:
        values: how many different ones there are.
        each: the rows of a value on average.
        most: the rows of the commonest value.
    """

    values: float
    each: float
    most: float


def limits(name: str, definition: Definition) -> tuple[str, ...]:
    """Return what an index cannot do because of its access method, without a full stop; nothing for other methods."""
    if definition.method != HASH:
        return ()
    key = definition.key[0]
    return (f"{name} serves only equality: a hash index cannot serve LIKE, ranges or ORDER BY on {key}, nor be unique",)


def overflow_of(name: str, inside: Inside) -> str:
    """Return how many overflow pages a hash index has, without a full stop."""
    pages, buckets = counted(inside.leaves, "overflow page"), counted(inside.buckets or 0, "bucket")
    return f"{name} has {pages} for {buckets}"


def hash_distinct(migrator: Any, names: Sequence[str]) -> dict[str, str]:
    """Return for each of these hash indexes with too many equal values why that is slow, without a full stop."""
    found = migrator.care.index_facts().read(names) if names else {}
    return {
        name: text
        for name, leaves in found.items()
        for facts in sorted(leaves, key=lambda each: each.bytes or 0)  # of leaf indexes, the largest is named
        if facts.method == HASH and (text := _advice(facts))
    }


def distinct_of(facts: Facts) -> Distinct | None:
    """Return how its values are spread; None without statistics of its column."""
    tuples, rows = count(facts, None)[:2]
    (column,) = facts.columns
    if not tuples or rows is None or column.distinct is None:
        return None
    values = _distinct(column, rows)
    return Distinct(values, tuples / values, (column.commonest or 0) * rows)


def _distinct(column: Column, rows: float) -> float:
    found = column.distinct or 0
    return max(-found * rows if found < 0 else found, 1.0)


def _advice(facts: Facts) -> str:
    found = distinct_of(facts)
    if found is None or facts.bytes is None or facts.statistics is None:
        return ""
    chain = "a hash index keeps them in a chain of pages, and an insert reads all of it"
    if found.each > FILLING_A_PAGE:
        values = counted(round(found.values), "different value")
        return f"{facts.name} has about {values}, each for {found.each:,.0f} rows: {chain}"
    if found.most > SLOW_TO_INSERT:
        return f"{facts.name} has one value for about {found.most:,.0f} rows: {chain}"
    return ""
