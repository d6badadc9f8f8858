"""One index that the database stores as several, such as one on each shard or partition: what holds of all together.

Pure: no database here. What one of them does not know is not known of all, but for those that hold no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from indexer.care.facts import Column, Facts
from indexer.care.facts import Statistics as Counted
from indexer.care.statistics import Statistics
from indexer.care.usage import IndexCounts, TableCounts
from indexer.catalog import Measured

T = TypeVar("T")
Number = TypeVar("Number", int, float)


def total(numbers: Iterable[Number | None]) -> Number | None:
    """Return the sum of these numbers; None if one of them is None."""
    known: Number | None = None
    for number in numbers:
        if number is None:
            return None
        known = number if known is None else known + number
    return known


def oldest(moments: Iterable[datetime | None]) -> datetime | None:
    """Return the first of these moments; None if one of them is None."""
    given = list(moments)
    known = [moment for moment in given if moment is not None]
    return min(known) if known and len(known) == len(given) else None


def latest(moments: Iterable[datetime | None]) -> datetime | None:
    """Return the last of these moments; None if one of them is None."""
    given = list(moments)
    known = [moment for moment in given if moment is not None]
    return max(known) if known and len(known) == len(given) else None


# Sizes ----------------------------------------------------------------------------------------------------------------


def sum_measured(parts: Sequence[Measured]) -> Measured:
    """Return what the indexes are like together; at least one is given.

    Each of them stores its own copy of a value, so their numbers of different values are added.
    """
    versions = {version for part in parts if part.collation_version for version in part.collation_version.split(", ")}
    is_partial = any(part.rows is not None for part in parts)
    filled = [part for part in parts if part.tuples] or parts
    return parts[0]._replace(
        bytes=sum(part.bytes for part in parts),
        tuples=total(part.tuples for part in parts),
        collation_version=", ".join(sorted(versions)) or None,
        rows=total(_rows_of(part) for part in parts) if is_partial else None,
        values=_values_of(filled),
    )


def _rows_of(part: Measured) -> int | None:
    return part.tuples if part.rows is None else part.rows


def _values_of(parts: Sequence[Measured]) -> str | None:
    """Return the text of ``Measured.values`` for all parts; None where one has no statistics of a column."""
    read = [_columns_of(part) for part in parts]
    if len({len(columns) for columns in read}) != 1 or not read[0]:
        return None
    columns = sum_columns(read, [float(_rows_of(part) or 0) for part in parts])
    return " ".join(f"{_short(each.width)}/{_short(each.nulls)}/{_short(each.distinct)}" for each in columns)


def _columns_of(part: Measured) -> tuple[Column, ...]:
    texts = [text.split("/") for text in (part.values or "").split()]
    if any(len(text) != 3 for text in texts):
        return ()
    return tuple(
        Column(None, width=float(width), nulls=float(nulls), distinct=float(distinct))
        for width, nulls, distinct in texts
    )


def _short(number: float | None) -> str:
    return f"{number:.6g}"


# Facts ----------------------------------------------------------------------------------------------------------------


def sum_facts(name: str, parts: Sequence[Facts]) -> Facts:
    """Return the facts of an index that is stored as these; at least one is given."""
    first, rows = parts[0], [_rows_in(part) for part in parts]
    filled = [(part, count) for part, count in zip(parts, rows, strict=True) if count] or [(first, 0.0)]
    return first._replace(
        name=name,
        bytes=total(part.bytes for part in parts),
        merges=all(part.merges for part in parts),
        fillfactor=min(part.fillfactor for part in parts),
        columns=sum_columns([part.columns for part, _ in filled], [count for _, count in filled]),
        statistics=_sum_counted([part.statistics for part in parts if part.statistics]),
        shares=tuple(count / sum(rows) for count in rows) if sum(rows) else (1 / len(parts),) * len(parts),
    )


def _rows_in(part: Facts) -> float:
    """Return how many rows the table of a part has, as far as that is known."""
    return float(max(part.statistics.rows or 0, part.statistics.live) if part.statistics else 0)


def sum_columns(parts: Sequence[tuple[Column, ...]], rows: Sequence[float]) -> tuple[Column, ...]:
    """Return the statistics of the columns of one index over all parts.

    Args:
        parts: the columns of each, in the same order.
        rows: the rows of the table of each.
    """
    return tuple(_sum_column(columns, rows) for columns in zip(*parts, strict=True))


def _sum_column(columns: Sequence[Column], rows: Sequence[float]) -> Column:
    return columns[0]._replace(
        width=_mean([column.width for column in columns], rows),
        nulls=_mean([column.nulls for column in columns], rows),
        distinct=_distinct([column.distinct for column in columns], rows),
        commonest=_mean([column.commonest for column in columns], rows),
    )


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Return the weighted mean; None if a value is not known."""
    if not sum(weights):
        return values[0]
    found = total(None if value is None else value * weight for value, weight in zip(values, weights, strict=True))
    return None if found is None else found / sum(weights)


def _distinct(values: Sequence[float | None], rows: Sequence[float]) -> float | None:
    """Return how many different values all parts store; if negative in each, divided by the rows, as in ``Column``."""
    found = total(_stored(value, count) for value, count in zip(values, rows, strict=True))
    grows = all(value is not None and value < 0 for value in values)
    whole = sum(rows)
    return -found / whole if found is not None and grows and whole else found


def _stored(distinct: float | None, rows: float) -> float | None:
    """Return a number of different values that is not divided by the rows."""
    return -distinct * rows if distinct is not None and distinct < 0 else distinct


def _sum_counted(parts: Sequence[Counted]) -> Counted | None:
    """Return what is counted of the tables together; those without rows do not count."""
    if not parts:
        return None
    filled = [part for part in parts if part.pages_now or part.live] or parts[:1]
    return Counted(
        tuples=total(part.tuples for part in filled),
        index_pages=sum(part.index_pages for part in parts),
        rows=total(part.rows for part in filled),
        pages=sum(part.pages for part in parts),
        pages_now=sum(part.pages_now for part in parts),
        live=sum(part.live for part in parts),
        dead=sum(part.dead for part in parts),
        modified=sum(part.modified for part in parts),
        analyzed_at=oldest(part.analyzed_at for part in filled),
        vacuumed_at=oldest(part.vacuumed_at for part in filled),
        counted_since=latest(part.counted_since for part in parts),
    )


# Counters -------------------------------------------------------------------------------------------------------------


def sum_statistics(table: str, parts: Sequence[Statistics]) -> Statistics:
    """Return the statistics of a table that is stored as these; as old as the oldest of them."""
    filled = [part for part in parts if part.rows != 0 or part.modified] or parts
    return Statistics(
        table=table,
        rows=total(part.rows for part in parts),
        exist=_every(part.exist for part in filled),
        analyzed_at=oldest(part.analyzed_at for part in filled),
        modified=total(part.modified for part in parts),
        is_uncounted=any(part.is_uncounted for part in filled),
    )


def _every(answers: Iterable[bool | None]) -> bool | None:
    """Return False if one answer is, else None if one is, else True."""
    given = list(answers)
    if False in given:
        return False
    return None if None in given else True


def sum_index_counts(parts: Sequence[IndexCounts]) -> IndexCounts:
    """Return what is counted of an index that is stored as these; at least one is given."""
    return IndexCounts(
        scans=_added(parts, lambda part: part.scans),
        entries=_added(parts, lambda part: part.entries),
        hits=_added(parts, lambda part: part.hits),
        reads=_added(parts, lambda part: part.reads),
        last_scan=max((part.last_scan for part in parts if part.last_scan), default=None),
        age=min((part.age for part in parts if part.age is not None), default=None),
    )


def sum_table_counts(parts: Sequence[TableCounts]) -> TableCounts:
    """Return what is counted of a table that is stored as these; its foreign keys are those of the first."""
    return TableCounts(
        inserts=_added(parts, lambda part: part.inserts),
        updates=_added(parts, lambda part: part.updates),
        foreign_keys=parts[0].foreign_keys,
    )


def _added(parts: Sequence[T], number: Callable[[T], int]) -> int:
    return sum(number(part) for part in parts)
