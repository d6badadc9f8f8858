"""What filling and measuring can tell while they go on; the events of ``up`` come in between, as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from indexer.events import Event


class Filling(NamedTuple):
    """So many rows of all seven tables have been written; the last ones went into this table."""

    table: str
    done: int
    total: int


class Filled(NamedTuple):
    """All rows are in. ``seconds`` is what making and writing them took."""

    rows: int
    seconds: float


class RoundStarted(NamedTuple):
    """The measuring of one size begins: so many activities."""

    activities: int
    product: str


class Measuring(NamedTuple):
    """This is being timed now; ``phase`` is ``queries without indexes``, ``queries with indexes`` or ``inserts``."""

    phase: str
    subject: str
    done: int
    total: int


class Written(NamedTuple):
    """A file with the results is there."""

    path: str


class NoPicture(NamedTuple):
    """Matplotlib is not installed, so there is no chart; ``remedy`` is the command that draws it."""

    remedy: str


Told = Filling | Filled | RoundStarted | Measuring | Written | NoPicture | Event
Tell = Callable[[Told], None]


def silently(event: Told) -> None:
    """Tell nobody."""
