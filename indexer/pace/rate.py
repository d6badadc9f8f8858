"""How long a build is expected to take, from what other builds have taken. Pure: no clock here.

Measured in seconds per byte of the table, because the scan and the sort of its rows take the time of a build.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.records.log import Entry

MATTERS = 8 * 1024 * 1024  # bytes; the build on a smaller table measures the beginning and the end of a build only
AT_LEAST = 1.0  # seconds that any build is expected to take
# Ten times what the slowest of 24 concurrent builds took. They did 61 to 380 MB of the table a second: PostgreSQL 15,
# two busy processors, 16 MB of shared_buffers, a fast disk, tables of 7 to 284 MB.
GUESSED = 1 / (6 * 1024 * 1024)  # seconds per byte
LARGER, EXTRAPOLATED = 10, 3.0  # the same builds took up to three times as long for each byte of a larger table
AT_ONCE = 2  # so many builds may have run side by side in a run of which only the duration is known
GUESS, EARLIER, THIS_RUN = "a cautious guess", "measured in an earlier run", "measured in this run"
BUILT = ("create", "rebuild", "replace", "reindex")


class Prediction(NamedTuple):
    """What a build is expected to take, and how that is known; ``bytes`` are those of its table."""

    seconds: float
    bytes: int
    source: str


class Rate(NamedTuple):
    """The seconds that builds take per byte of their tables.

    Attributes:
        bytes: the largest table for which it was measured; None for a guess.
    """

    seconds: float = GUESSED
    bytes: int | None = None
    source: str = GUESS

    def predict(self, size: int) -> Prediction:
        """Return what the build on a table of this many bytes is expected to take."""
        is_beyond = self.bytes is not None and size > LARGER * self.bytes
        seconds = size * self.seconds * (EXTRAPOLATED if is_beyond else 1.0)
        return Prediction(max(seconds, AT_LEAST), size, self.source)

    def measured(self, seconds: float, size: int) -> Rate:
        """Return the rate after a build of this run: the slowest of its builds counts."""
        if size < MATTERS:
            return self
        if self.source != THIS_RUN or self.bytes is None:
            return Rate(seconds / size, size, THIS_RUN)
        return Rate(max(self.seconds, seconds / size), max(self.bytes, size), THIS_RUN)


def rate_of(entries: Iterable[Entry], sizes: Mapping[str, int]) -> Rate:
    """Return the rate of the last run in the log that has built enough to measure it; else a guess.

    Args:
        entries: the last one first.
        sizes: the bytes that the table of each index has now, by the name of the index.
    """
    for entry in entries:
        built = [sizes.get(name, 0) for name, action in entry.indexes.items() if action in BUILT]
        if built and max(built) >= MATTERS:
            return Rate(AT_ONCE * entry.duration_ms / 1000 / sum(built), max(built), EARLIER)
    return Rate()
