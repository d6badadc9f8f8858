"""What SQLite knows about its indexes: dbstat reads the whole index, and so tells what is in its pages."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from sqlite3 import sqlite_version
from typing import Any

from indexer.care.facts import Facts, Inside
from indexer.sqlite.catalog import SqliteCatalog

# An overflow page has the rest of one long entry, and stays as it is in a rebuild.
PAGES = """
    SELECT s.pagetype = 'overflow',
           sum(s.pgsize),
           sum(s.ncell),
           sum(s.pgsize - s.unused),
           max(s.pgsize)
      FROM dbstat AS s
     WHERE s.name = ?
     GROUP BY s.pagetype = 'overflow'
"""


class SqliteFacts:
    """The facts of the indexes of one file."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self.catalog = catalog

    def read(self, names: Sequence[str]) -> dict[str, list[Facts]]:
        """Return the facts of the indexes of these names; without dbstat, only that they exist."""
        found = {name: each for name, each in self.catalog.find(names).items() if each.kind == "index"}
        return {name: [self._facts(name, self.catalog.rows_if_any(PAGES, name))] for name in found}

    def look_inside(self, facts: Facts) -> Inside | str:
        """Return that there is nothing more to read."""
        return "dbstat has told all there is"

    def _facts(self, name: str, kinds: Sequence[Any]) -> Facts:
        """Return the facts of an index with these kinds of pages."""
        if not kinds:
            return Facts(name, None)
        return Facts(
            name,
            sum(size for _, size, *_ in kinds),
            page=max(page for *_, page in kinds),
            merges=False,
            definition=self.catalog.fingerprint_of(name),
            server_version=sqlite_version,
            tuples=sum(cells for _, _, cells, *_ in kinds),
            packed=sum(_packed(*kind) for kind in kinds),
        )


def _packed(is_overflow: bool, size: int, cells: int, used: int, page: int) -> int:
    """Return the bytes of pages after a rebuild, which fills each page as long as another entry fits."""
    if is_overflow:
        return size
    lost = used / cells / 2 if cells else 0
    return ceil(used / (page - lost)) * page
