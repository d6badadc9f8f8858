"""The statistics that the planner has of a table, and whether they are old. Pure: no database here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from indexer.text import are, counted
from indexer.tuples import NamedTuple

FEWEST = 50  # changed rows that do not make statistics old, as for autovacuum by default
SHARE = 0.1  # of the rows, as for autovacuum by default


class Statistics(NamedTuple):
    """The statistics of a table.

    Attributes:
        rows: those it has now, as far as the database knows; None where it knows only that there are some.
        exist: whether there are any; None where our role may not see them.
        analyzed_at: when they were gathered, in UTC; None where that is not known.
        modified: the rows that were inserted, updated or deleted since, as far as the database has counted them.
        is_uncounted: whether the counters were lost after the statistics were gathered, so that more may have changed.
        rows_then: those that the table had when they were gathered, where a database records that alone.
        of_leaf: why those of a leaf of a partitioned table, or of the tables that inherit from one, should be gathered;
            None where they need not be.
    """

    table: str
    rows: int | None
    exist: bool | None
    analyzed_at: datetime | None = None
    modified: int | None = None
    is_uncounted: bool = False
    rows_then: int | None = None
    of_leaf: str | None = None

    @property
    def flaw(self) -> str | None:
        """Why they should be gathered again, as a sentence without its full stop; None where they need not be."""
        return self._flaw or self.of_leaf

    @property
    def _flaw(self) -> str | None:
        if self.exist is False and self.rows is None:
            return f"{self.table} is not empty on disk and has no statistics"
        if not self.rows and not self.modified:
            return None
        if self.exist is False:
            return f"{self.table} has {_rows(self.rows or self.modified)} and no statistics"
        if self.modified is None:
            return None
        if self.loss:
            return self.loss
        if self.modified <= FEWEST + SHARE * (self.rows or 0):
            return None
        if self.rows_then is not None:
            return f"{self.table} has {_rows(self.rows)}, and its statistics were gathered at {self.rows_then:,}"
        changed = f"{_rows(self.modified)} of {self.table} {'has' if self.modified == 1 else 'have'} changed"
        return f"{changed} since its statistics were gathered, and it has {self.rows or 0:,}"

    @property
    def loss(self) -> str | None:
        """That the counters were lost, without a full stop; None where they were not, or do not matter."""
        if not (self.exist and self.is_uncounted and self.rows):
            return None
        return f"the server no longer knows what has changed in {self.table}, as after a crash"


def lacking(indexes: Sequence[str]) -> str | None:
    """Return that these indexes on expressions have no statistics, without a full stop; None if there are none."""
    return f"{', '.join(indexes)} {are(indexes)} on an expression without statistics" if indexes else None


def _rows(count: int | None) -> str:
    return counted(count or 0, "row")
