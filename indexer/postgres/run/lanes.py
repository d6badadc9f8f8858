"""The lanes of a run, one for each table: two concurrent builds on one table deadlock. The longest sets the pace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

MATTERS = 8 * 1024 * 1024  # bytes; for a smaller table the server starts no parallel worker by default


class Lanes:
    """How many builds each table has left, and which tables are being built on.

    Args:
        sizes: the bytes of each table, by name.
        tables: the table of each build.
    """

    def __init__(self, sizes: Mapping[str, int] | None = None, tables: Iterable[str] = ()) -> None:
        self._sizes = dict(sizes or {})
        self._left = Counter(tables)
        self._begun: Counter[str] = Counter()

    def add(self, sizes: Mapping[str, int], tables: Iterable[str]) -> None:
        """Note more builds: the bytes of their tables, by name, and the table of each."""
        self._sizes.update(sizes)
        self._left.update(tables)

    def begin(self, table: str) -> None:
        """Note that a build on a table has begun."""
        self._begun[table] += 1

    def end(self, table: str, is_done: bool = True) -> None:
        """Note that a build on a table has ended; one that is not done begins again."""
        self._begun -= Counter([table])
        if is_done:
            self._left -= Counter([table])

    def may_use_workers(self, table: str) -> bool:
        """Return whether a build that begins now may use parallel workers of the server.

        Beside the longest lane it may not: its workers would take processor time from that lane, whose end is the end
        of the run. The length of a lane is the size of its table times the builds that are left.
        """
        others = [other for other in self._begun if other != table]
        if not others or self.is_short(table):
            return True
        return all(self._length(table) >= self._length(other) for other in others)

    def is_short(self, table: str) -> bool:
        """Return whether a build on a table takes a moment only."""
        return self._sizes.get(table, 0) < MATTERS

    def _length(self, table: str) -> int:
        return self._sizes.get(table, 0) * self._left[table]
