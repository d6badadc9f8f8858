"""An index that does not exist yet, as far as the statistics of its table tell what it will be like."""

from __future__ import annotations

from indexer.care.facts import Column
from indexer.spec import BTREE
from indexer.tuples import NamedTuple


class KeyColumn(NamedTuple):
    """A column of a planned index.

    Attributes:
        column: its statistics, as of an index that exists.
        frequencies: the shares of the rows that have one of the commonest values, the commonest first.
        common_width: the bytes of these values on average; None where that is not known.
        common_tuple: those of an index tuple with such a value alone, as it is aligned.
        is_fixed: whether the predicate allows one value only.
        is_not_null: whether the predicate excludes NULL.
        merges: whether equal values are equal byte for byte, so that a B-tree may store them once.
    """

    column: Column
    frequencies: tuple[float, ...] = ()
    common_width: float | None = None
    common_tuple: float | None = None
    is_fixed: bool = False
    is_not_null: bool = False
    merges: bool = True


class Planned(NamedTuple):
    """An index as it would be built now on one table.

    Attributes:
        rows: those of the table, estimated; None where nothing has counted them.
        table_bytes: the size of the table.
        share: the part of the rows that meet the predicate; None where that is not known.
        columns: those of the key, then those stored beside it; None for an expression, of which nothing is known.
        why: why its size cannot be told, as the end of a sentence; empty where it can be.
        sampled: how many rows ANALYZE has looked at.
        page: the bytes of a page.
        fillfactor: the per cent of a page that a build fills.
        merges: whether a build stores equal keys once.
        is_logged: whether the table's changes are written to the WAL.
    """

    table: str
    rows: float | None
    table_bytes: int
    share: float | None = 1.0
    columns: tuple[KeyColumn | None, ...] = ()
    why: str = ""
    sampled: int = 30_000
    method: str = BTREE
    page: int = 8192
    fillfactor: int = 90
    merges: bool = True
    is_logged: bool = True
