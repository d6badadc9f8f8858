"""What SQLite knows about its indexes: dbstat reads the whole index, and so tells what is in its pages."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
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

    def read(self, names: Sequence[str]) -> dict[str, Facts]:
        """Return the facts of the indexes of these names; without dbstat, only that they exist."""
        found = {name: each for name, each in self.catalog.find(names).items() if each.kind == "index"}
        measured = self.catalog.measured(list(found))
        return {name: self._facts(name, measured.get(name)) for name in found}

    def look_inside(self, facts: Facts) -> Inside | str:
        """Return that there is nothing more to read."""
        return "dbstat has told all there is"

    def _facts(self, name: str, measured: Any) -> Facts:
        if measured is None:
            return Facts(name, None)
        return Facts(
            name,
            measured.bytes,
            page=self.catalog.rows("PRAGMA page_size")[0][0],
            merges=False,
            definition=measured.definition,
            server_version=measured.server_version,
            tuples=measured.tuples,
            packed=self._packed(name),
        )

    def _packed(self, name: str) -> int:
        """Return the bytes after a rebuild, which fills each page as long as another entry fits."""
        size = 0
        for is_overflow, pages, cells, used, page in self.catalog.rows(PAGES, name):
            lost = used / cells / 2 if cells else 0
            size += pages if is_overflow else ceil(used / (page - lost)) * page
        return size
