"""Whether the values of an index are still like those that it was built of: only then do its sizes compare."""

from __future__ import annotations

from itertools import zip_longest

from indexer.care.facts import Column
from indexer.tuples import NamedTuple

WIDER = 1.1  # a factor, and a byte, by which the average width of values may differ
MORE_NULLS = 0.05
FEW_ROWS, MANY_ROWS = 1.25, 100  # that have the same value


class Values(NamedTuple):
    """What the statistics say of a column; ``rows`` are those that have the same value, on average."""

    width: float
    nulls: float
    rows: float


def is_alike(then: str, rows_then: float, columns: tuple[Column, ...], rows_now: float) -> bool:
    """Return whether the columns of an index have values like those of the text in its baseline."""
    before = [_read(each, rows_then) for each in then.split()]
    return all(
        one is not None and other is not None and _alike(one, other)
        for one, other in zip_longest(before, [_values(column, rows_now) for column in columns])
    )


def _read(text: str, rows: float) -> Values | None:
    parts = text.split("/")
    if len(parts) != 3:
        return None
    width, nulls, distinct = map(float, parts)
    return Values(width, nulls, _rows(distinct, rows))


def _values(column: Column, rows: float) -> Values | None:
    if column.width is None or column.nulls is None or column.distinct is None:
        return None
    return Values(column.width, column.nulls, _rows(column.distinct, rows))


def _rows(distinct: float, rows: float) -> float:
    return rows / max(-distinct * rows if distinct < 0 else distinct, 1)


def _alike(one: Values, other: Values) -> bool:
    narrow, wide = sorted((one.width, other.width))
    is_as_wide = wide <= max(WIDER * narrow, narrow + 1)
    return is_as_wide and abs(one.nulls - other.nulls) <= MORE_NULLS and _kind(one.rows) == _kind(other.rows)


def _kind(rows: float) -> int:
    """Return 0 for nearly unique values, 2 for many equal ones, 1 for those between."""
    return (rows > FEW_ROWS) + (rows > MANY_ROWS)
