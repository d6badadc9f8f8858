"""How large an index that does not exist yet will be: B-trees and hash indexes of PostgreSQL. Pure arithmetic.

The layout of a page is that of ``indexer.care.sizes``, by which the size after a rebuild is estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil, erf, exp, floor, log2, sqrt

from indexer.care import sizes
from indexer.care.facts import HASH, Column, Facts
from indexer.predict.keys import Distribution, distribution_of, fewest, is_doubtful
from indexer.predict.planned import KeyColumn, Planned
from indexer.spec import BTREE
from indexer.tuples import NamedTuple

CLOSE = 1.3  # the largest quotient of an upper and a lower bound that still tells a size
FEWER, MORE = 0.5, 1000.0  # factors for the number of values that is in doubt
NEARLY_ALL = 0.95  # of the rows
MOST_NULLABLE = 5  # columns whose combinations of NULLs are counted one by one
POSTING = 808  # bytes of the longest tuple that a build makes of rows with the same key
SURE = 40.0  # rows of a key, from which on their number varies little
MOST_PAGES = 10  # of a bucket whose keys are all shorter than one
HASH_TUPLE = 20  # bytes of a row in a temporary file


class Size(NamedTuple):
    """What an index will need on disk, in bytes.

    Attributes:
        bytes: its size; None where that cannot be told.
        at_most: a bound of it; None where none is known.
        sort_bytes: what a build sorts, which goes to temporary files if it exceeds the memory for that.
        tuples: how many rows it will have.
        why: why its size cannot be told, as the end of a sentence.
    """

    bytes: int | None = None
    at_most: int | None = None
    sort_bytes: int | None = None
    tuples: float | None = None
    why: str = ""


def size_of(planned: Planned) -> Size:
    """Return how large an index will be."""
    if planned.why or planned.rows is None:
        return Size(why=planned.why)
    if planned.method not in (BTREE, HASH):
        return Size(why=f"the size of a {planned.method} index depends on more than statistics tell")
    if planned.rows == 0:
        empty = sizes.hash_of(2, 0, _facts(planned, ())) if planned.method == HASH else planned.page
        return Size(empty, None, 0, 0.0)
    if planned.share is None:
        return Size(why="it is not known how many rows its predicate selects")
    columns = [each for each in planned.columns if each is not None]
    if len(columns) < len(planned.columns):
        return Size(why="nothing is known of the values of its expression before it is built")
    if any(each.column.width is None or each.column.nulls is None for each in columns):
        return Size(why="its columns have no statistics that this role may see")
    tuples = planned.rows * planned.share
    return _of_hash(planned, columns, tuples) if planned.method == HASH else _of_btree(planned, columns, tuples)


# B-trees --------------------------------------------------------------------------------------------------------------


def _of_btree(planned: Planned, columns: Sequence[KeyColumn], tuples: float) -> Size:
    width = _width(columns)
    if width > sizes.LONGEST:
        return Size(tuples=tuples, why="its values are so long that PostgreSQL compresses them")
    facts, sort_bytes = _facts(planned, columns), round(tuples * width)
    keys = [each for each in columns if each.column.is_key]
    if not planned.merges or len(keys) < len(columns) or not all(each.merges for each in keys):
        return Size(sizes.btree_of(tuples * width, facts), None, sort_bytes, tuples)
    low, likely, high = (sizes.btree_of(leaf, facts) for leaf in _merged_bytes(planned, keys))
    if high <= CLOSE * low:
        return Size(likely, None, sort_bytes, tuples)
    most = sizes.btree_of(tuples * width, facts)  # if all keys differ
    return Size(None, most, sort_bytes, tuples, "it is not known how many of its rows will have the same key")


def _merged_bytes(planned: Planned, keys: Sequence[KeyColumn]) -> tuple[float, float, float]:
    """Return the bytes of the leaf tuples at least, most likely and at most, of rows that may share a key."""
    rows, sampled = planned.rows or 0.0, planned.sampled
    tuples, width = rows * (planned.share or 0.0), _width(_without_common(keys))

    def leaf(doubt: float = 1.0) -> float:
        return _bytes_of(distribution_of(keys, rows, sampled, doubt), tuples, width)

    likely = low = high = leaf()
    if any(is_doubtful(each, rows, sampled) for each in keys):
        low, high = leaf(FEWER), leaf(MORE)
    if len(keys) > 1:
        low = min(low, _bytes_of(fewest(keys, rows, sampled), tuples, width))
    return low, likely, high


def _without_common(keys: Sequence[KeyColumn]) -> list[KeyColumn]:
    """Return the columns with the width of the values that are not common: common ones are stored once."""
    (first, *more), common = keys, sum(keys[0].frequencies)
    others = 1 - common - (first.column.nulls or 0.0)
    if more or not first.common_width or first.column.width is None or others <= 0:
        return list(keys)
    width = (first.column.width * (others + common) - first.common_width * common) / others
    return [first._replace(column=first.column._replace(width=max(width, 1.0)))]


def _bytes_of(spread: Distribution, tuples: float, width: float) -> float:
    """Return the bytes of the leaf tuples of so many rows that are spread like this over keys."""
    return sum(keys * _bytes_of_key(tuples * share, width) for keys, share in spread)


def _bytes_of_key(rows: float, width: float) -> float:
    """Return the bytes that a key takes which this many rows are expected to have."""
    if rows >= SURE:
        return _bytes_of_rows(rows, width)
    total, chance, most = 0.0, exp(-rows), ceil(rows + 6 * sqrt(rows)) + 6
    for number in range(1, most + 1):
        chance *= rows / number
        total += chance * _bytes_of_rows(number, width)
    return total


def _bytes_of_rows(rows: float, width: float) -> float:
    """Return the bytes of a key with this many rows: one tuple for each, or lists of rows as long as a build makes."""
    if rows <= 1:
        return rows * width
    longest = max((POSTING - (width - sizes.LINE_POINTER)) // sizes.TID, 2)
    full, rest = divmod(rows, longest)
    return full * _list_bytes(longest, width) + (0 if rest == 0 else width if rest == 1 else _list_bytes(rest, width))


def _list_bytes(rows: float, width: float) -> float:
    return width + ceil(sizes.TID * rows / sizes.ALIGNMENT) * sizes.ALIGNMENT


def _width(columns: Sequence[KeyColumn]) -> float:
    """Return the bytes of an index tuple with its line pointer, on average over rows with NULLs and without."""
    first, *more = columns
    if not more and first.common_tuple and sum(first.frequencies) + _nulls(first) > NEARLY_ALL:
        return _nulls(first) * 2 * sizes.ALIGNMENT + (1 - _nulls(first)) * first.common_tuple + sizes.LINE_POINTER
    nullable = [each for each in columns if _nulls(each) > 0]
    if len(nullable) > MOST_NULLABLE:
        nullable = []
    total = 0.0
    for absent in product((False, True), repeat=len(nullable)):
        share, missing = 1.0, set()
        for each, is_absent in zip(nullable, absent, strict=True):
            share *= _nulls(each) if is_absent else 1 - _nulls(each)
            if is_absent:
                missing.add(id(each))
        present = tuple(each.column._replace(nulls=None) for each in columns if id(each) not in missing)
        total += share * (_width_of(present) + (sizes.ALIGNMENT if missing else 0))
    return total


def _width_of(present: tuple[Column, ...]) -> float:
    if not present:
        return sizes.TUPLE_HEADER + sizes.LINE_POINTER
    width = sizes.width_of(present)
    return width if width is not None else sizes.LONGEST + 1.0


def _nulls(column: KeyColumn) -> float:
    return 0.0 if column.is_fixed or column.is_not_null else column.column.nulls or 0.0


def _facts(planned: Planned, columns: Sequence[KeyColumn]) -> Facts:
    return Facts(
        name=planned.table,
        bytes=None,
        method=planned.method,
        page=planned.page,
        fillfactor=planned.fillfactor,
        columns=tuple(each.column for each in columns),
    )


# Hash indexes ---------------------------------------------------------------------------------------------------------


def _of_hash(planned: Planned, columns: Sequence[KeyColumn], rows: float) -> Size:
    facts, (key,) = _facts(planned, columns), columns
    tuples = rows * (1 - _nulls(key))
    buckets, _ = sizes.hash_pages(tuples, planned.rows or 0.0, facts)
    if tuples > buckets * sizes.hash_target(facts):  # then the build makes the next ones, all of a step at once
        buckets, _ = sizes.hash_pages(tuples, (buckets + 1) * sizes.hash_target(facts), facts)
    spread = distribution_of([key._replace(is_not_null=True)], planned.rows or 0.0, planned.sampled)
    size = sizes.hash_of(buckets, _overflow(spread, tuples, buckets, planned.page), facts)
    return Size(size, None, round(tuples * HASH_TUPLE), tuples)


def _overflow(spread: Distribution, tuples: float, buckets: int, page: int) -> float:
    """Return the pages that buckets need beyond their first, for long keys and for more keys than fill a page."""
    capacity = (page - sizes.HASH_OVERHEAD) / sizes.HASH_ITEM
    long = sum(keys * (tuples * share / capacity - 0.5) for keys, share in spread if tuples * share > capacity)
    others = [(keys, share) for keys, share in spread if tuples * share <= capacity]
    rest = tuples * sum(keys * share for keys, share in others)
    if rest < 1:
        return long
    each = max(tuples * tuples * sum(keys * share * share for keys, share in others) / rest, 1.0)
    whole = int(2 ** floor(log2(buckets)))  # some of the others are split: then their two parts hold half as many
    halves = 2 * (buckets - whole)
    full, split = (_beyond(capacity, rest / number, each) for number in (whole, 2 * whole))
    return long + (buckets - halves) * full + halves * split


def _beyond(capacity: float, mean: float, each: float) -> float:
    """Return how many pages more a bucket needs, if keys of so many rows are spread at random around the mean."""
    deviation = sqrt(2 * mean * each)
    return sum((1 - erf((pages * capacity - mean) / deviation)) / 2 for pages in range(1, MOST_PAGES))
