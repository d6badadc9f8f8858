"""How long a build is expected to take, from what other builds have taken. Pure: no clock here.

Measured in seconds per byte of work: the bytes of the table, which is read, and several times those of the index, which
is sorted and written, as far as its size is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.records.log import Build, Entry

MATTERS = 8 * 1024 * 1024  # bytes; the build on a smaller table measures the beginning and the end of a build only
# The processor time of 78 concurrent builds on 12 MB to 3.3 GB of table, PostgreSQL 15, in multiples of that for a byte
# of the table. A hash index is filled row by row.
WRITTEN, OF_HASH = 3, 10
# The same builds did 190 to 500 MB of work a second. A disk that is slow, or a server that is busy, does less.
FASTEST, SLOWEST = 1 / (400 * 1024 * 1024), 1 / (40 * 1024 * 1024)  # seconds per byte, where nothing was measured
AT_LEAST = 1.0  # seconds that any build is expected to take
# Ten times what the slowest of 24 concurrent builds took. They did 61 to 380 MB of the table a second: PostgreSQL 15,
# two busy processors, 16 MB of shared_buffers, a fast disk, tables of 7 to 284 MB.
GUESSED = 1 / (6 * 1024 * 1024)  # seconds per byte
LARGER, EXTRAPOLATED = 10, 3.0  # the same builds took up to three times as long for each byte of a larger table
AT_ONCE = 2  # so many builds may have run side by side in a run of which only the duration is known
EACH = 0.03  # seconds that a concurrent build takes on an empty table: it is three transactions
GUESS, EARLIER, THIS_RUN = "a cautious guess", "measured in an earlier run", "measured in this run"
BUILT = ("create", "rebuild", "replace", "reindex")


class Prediction(NamedTuple):
    """What a build is expected to take at most, and how that is known; ``bytes`` are its work."""

    seconds: float
    bytes: int
    source: str


def work_of(table_bytes: int, index_bytes: int, is_hash: bool = False) -> int:
    """Return the work of a build in bytes."""
    return table_bytes + (OF_HASH if is_hash else WRITTEN) * index_bytes


class Rate(NamedTuple):
    """The seconds that builds take per byte of work.

    Attributes:
        seconds: those of the slowest build.
        bytes: the largest work for which it was measured; None for a guess.
        usual: the seconds of an ordinary build; None where nothing was measured.
        overlap: the time of a whole run, as a part of the times of its builds, of which some ran at once.
    """

    seconds: float = GUESSED
    bytes: int | None = None
    source: str = GUESS
    usual: float | None = None
    overlap: float = 1.0

    def predict(self, size: int) -> Prediction:
        """Return what a build with this work is expected to take at most."""
        return Prediction(max(self.at_most(size), AT_LEAST), size, self.source)

    def at_most(self, size: int) -> float:
        """Return the seconds of a build with this work, if it is as slow as the slowest one."""
        is_beyond = self.bytes is not None and size > LARGER * self.bytes
        return size * self.seconds * (EXTRAPOLATED if is_beyond else 1.0)

    def measured(self, seconds: float, size: int) -> Rate:
        """Return the rate after a build of this run: the slowest of its builds counts."""
        if size < MATTERS:
            return self
        if self.source != THIS_RUN or self.bytes is None:
            return Rate(seconds / size, size, THIS_RUN, seconds / size)
        return Rate(max(self.seconds, seconds / size), max(self.bytes, size), THIS_RUN, self.usual)


def rate_of(entries: Iterable[Entry], sizes: Mapping[str, int]) -> Rate:
    """Return the rate of the last run in the log that has built enough to measure it; else a guess.

    Args:
        entries: the last one first.
        sizes: the bytes that the table of each index has now, by the name of the index: for runs of which only the
            duration is known.
    """
    for entry in entries:
        measured = {name: each for name, each in entry.builds.items() if each.work and each.work >= MATTERS}
        if measured:
            return _rate_of_builds(list(measured.values()), entry)
        built = [sizes.get(name, 0) for name, action in entry.indexes.items() if action in BUILT]
        if built and max(built) >= MATTERS:
            each = entry.duration_ms / 1000 / sum(built)
            return Rate(AT_ONCE * each, max(built), EARLIER, each)
    return Rate()


def _rate_of_builds(builds: Sequence[Build], entry: Entry) -> Rate:
    work, seconds = sum(each.work for each in builds), sum(each.seconds for each in builds)
    slowest = max(each.seconds / each.work for each in builds)
    together = sum(each.seconds for each in entry.builds.values())
    overlap = min(entry.duration_ms / 1000 / together, 1.0) if together else 1.0
    return Rate(slowest, max(each.work for each in builds), EARLIER, seconds / work, overlap)
