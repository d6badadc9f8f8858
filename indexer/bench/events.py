"""The events of filling and measuring. Those of ``up`` come between them."""

from __future__ import annotations

from collections.abc import Callable

from indexer.events import Event
from indexer.tuples import NamedTuple


class Filling(NamedTuple):
    """So many rows of all tables are written; the last ones went into this table."""

    table: str
    done: int
    total: int


class Filled(NamedTuple):
    """All rows are written; making and writing them took so many seconds."""

    rows: int
    seconds: float


class RoundStarted(NamedTuple):
    """The measurement of one size begins."""

    activities: int
    product: str


class Measuring(NamedTuple):
    """A query or a table is being measured.

    ``phase`` is ``queries without indexes``, ``queries with indexes`` or ``inserts``.
    """

    phase: str
    subject: str
    done: int
    total: int


class Written(NamedTuple):
    """A file of the results was written."""

    path: str


Told = Filling | Filled | RoundStarted | Measuring | Written | Event
Tell = Callable[[Told], None]
