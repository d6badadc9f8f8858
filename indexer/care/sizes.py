"""How large an index is right after a build: B-trees and hash indexes of PostgreSQL. Pure arithmetic.

Since PostgreSQL 13 a B-tree stores equal keys once, with six bytes for each further row. So its bytes per tuple depend
on how many rows share a key, and half of the rows do not always take half of the room. The bytes of a build tell how
many different keys it had, if the width of a key is known.
"""

from __future__ import annotations

from math import ceil, erf, floor, log2, sqrt

from indexer.care.facts import Column, Facts

TUPLE_HEADER, ALIGNMENT, LINE_POINTER = 8, 8, 4
NUMBERS = (2, 4, 8)  # lengths in bytes that are aligned; a uuid of 16 is not
TID = 6  # bytes of one more row with the same key
PADDING = 3.5  # bytes of alignment after the rows of a key, on average
LONGEST_LIST = 132  # rows that share one copy of their key in a build
PAGE_HEADER, BTREE_SPECIAL = 24, 16
NON_LEAF_FILL = 0.7
HASH_ITEM = 20  # bytes, with its line pointer; and the bytes of a page that are not for items
HASH_OVERHEAD = 40
SMALLEST_PHASED = 512  # buckets, from which on a hash index grows in quarters, and not in doubles
LONGEST = 500  # bytes; PostgreSQL compresses longer values in an index


# B-trees --------------------------------------------------------------------------------------------------------------


def width_of(columns: tuple[Column, ...]) -> float | None:
    """Return the bytes of an index tuple with its line pointer; None without statistics, or of very long values."""
    widths = [column.length or column.width for column in columns]
    if any(width is None or width > LONGEST for width in widths):
        return None
    data = _data_of(columns)
    nulls = ALIGNMENT if any(column.nulls for column in columns) and len(columns) > 1 else 0
    size = TUPLE_HEADER + nulls + data
    varies = any(column.length is None for column in columns)
    return max(_round_up(size), size + PADDING if varies else 0) + LINE_POINTER


def least_width(columns: tuple[Column, ...]) -> float:
    """Return the bytes of the shortest index tuple of such columns, with its line pointer."""
    return _round_up(TUPLE_HEADER + sum(column.length or 1 for column in columns)) + LINE_POINTER


def _data_of(columns: tuple[Column, ...]) -> float:
    """Return the bytes of the values of a tuple; a number or a time begins at a multiple of its own length."""
    data = 0.0
    for column in columns:
        if column.length in NUMBERS:
            data = ceil(data / column.length) * column.length
        data += column.length or column.width or 0
    return data


def _round_up(size: float) -> float:
    """Return a size as it is aligned in a page."""
    return ceil(size / ALIGNMENT) * ALIGNMENT


def leaf_bytes(keys: float, tuples: float, width: float) -> float:
    """Return the bytes of the leaf tuples of a build with this number of different keys."""
    more = max(tuples - keys, 0)  # rows that share a key, as evenly as possible: at first in pairs
    return keys * width + TID * min(tuples, 2 * more) + PADDING * min(keys, more)


def keys_of(size: float, tuples: float, width: float, tolerance: float) -> float:
    """Return how many different keys a build of this many leaf bytes had.

    Args:
        tolerance: the share of the bytes of different keys from which on all of them count as different.
    """
    if size >= tolerance * tuples * width:
        return tuples
    keys = (size - TID * tuples) / (width + PADDING)
    if tuples < 2 * keys:
        keys = (size - (2 * TID + PADDING) * tuples) / (width - 2 * TID - PADDING)
    return min(max(keys, tuples / LONGEST_LIST), tuples)


def distinct_keys(columns: tuple[Column, ...], tuples: float) -> tuple[float, float] | None:
    """Return how many different keys this many rows have at least and at most, by the statistics of each column."""
    least = most = 1.0
    for column in columns:
        if not column.is_key:
            continue
        if column.distinct is None:
            return None
        found = max(-column.distinct * tuples if column.distinct < 0 else column.distinct, 1.0)
        least, most = max(least, found), most * found
    return min(least, tuples), min(most, tuples)


def btree_of(leaf: float, facts: Facts) -> int:
    """Return the bytes of a new B-tree with this many bytes of leaf tuples."""
    return with_leaves(leaf / _filled(facts), facts)


def with_leaves(count: float, facts: Facts) -> int:
    """Return the bytes of a new B-tree with this many leaves; one page more has the metadata of each that is stored."""
    stored = len(facts.shares)
    leaves = max(ceil(count), stored)
    return facts.page * (stored + leaves + inner_pages(leaves, facts))


def leaves_of(size: int, facts: Facts) -> int:
    """Return the leaves of a new B-tree of this size."""
    pages = size // facts.page - len(facts.shares)
    return pages - inner_pages(pages, facts)


def leaf_bytes_of(size: int, facts: Facts) -> float:
    """Return the bytes of leaf tuples in a new B-tree of this size, whose last leaf is half full on average."""
    half_full = len(facts.shares) / 2
    return max(leaves_of(size, facts) - half_full, half_full) * _filled(facts)


def used_of(leaves: int, density: float, facts: Facts) -> float:
    """Return the bytes of leaf tuples in this many leaves, of which this share is in use."""
    return max(leaves * (_room(facts) * density - _bound(facts)), 0)


def _room(facts: Facts) -> int:
    """Return the bytes for tuples in a page of a B-tree."""
    return facts.page - PAGE_HEADER - BTREE_SPECIAL


def _filled(facts: Facts) -> float:
    """Return the bytes that a build fills of a leaf, without the upper bound of its keys."""
    return _room(facts) * facts.fillfactor / 100 - _bound(facts)


def _bound(facts: Facts) -> float:
    """Return the bytes of the upper bound that each leaf has; a guess without statistics."""
    return width_of(facts.columns) or least_width(facts.columns)


def inner_pages(leaves: int, facts: Facts) -> int:
    """Return the pages above this many leaves."""
    entry = min(width_of(facts.columns) or 4 * ALIGNMENT, facts.page / 8)
    fanout, pages, level = max(facts.page * NON_LEAF_FILL / (entry + ALIGNMENT), 2), 0, leaves
    while level > 1:
        level = ceil(level / fanout)
        pages += level
    return pages


# Hash indexes ---------------------------------------------------------------------------------------------------------


def hash_pages(tuples: float, rows: float, facts: Facts) -> tuple[int, float]:
    """Return the bucket pages of a new hash index, and its overflow pages if all keys differ.

    A build makes room for all rows of the table, those with NULLs included, in steps.
    """
    stored = [_hash_pages(tuples * share, rows * share, facts) for share in facts.shares]
    return sum(buckets for buckets, _ in stored), sum(overflow for _, overflow in stored)


def _hash_pages(tuples: float, rows: float, facts: Facts) -> tuple[int, float]:
    """Return the pages of one hash index of those that are stored."""
    buckets = _stepped(max(rows, tuples) / hash_target(facts))
    whole = 2 ** floor(
        log2(buckets)
    )  # beyond a power of two, some buckets are split, and the others hold twice as many
    split = 2 * (buckets - whole)
    capacity = (facts.page - HASH_OVERHEAD) / HASH_ITEM
    overflow = (buckets - split) * _beyond(capacity, tuples / whole) + split * _beyond(capacity, tuples / whole / 2)
    return buckets, overflow


def hash_target(facts: Facts) -> int:
    """Return how many tuples a bucket of a new hash index is to have."""
    return max(facts.page * facts.fillfactor // 100 // HASH_ITEM, 10)


def hash_of(buckets: float, overflow: float, facts: Facts) -> int:
    """Return the bytes of a hash index with these pages; one page more has its metadata, another one a bitmap."""
    return facts.page * (2 * len(facts.shares) + round(buckets + overflow))


def _stepped(buckets: float) -> int:
    """Return how many buckets a build makes where this many are needed."""
    needed = max(floor(buckets), 2)
    power = int(2 ** ceil(log2(needed)))
    if power <= SMALLEST_PHASED:
        return power
    step = power // 8
    return ceil(needed / step) * step


def _beyond(capacity: float, mean: float) -> float:
    """Return the share of buckets that need one page more, if their tuples are spread at random around the mean."""
    if mean <= 0:
        return 0.0
    return (1 - erf((capacity - mean) / sqrt(2 * mean))) / 2
