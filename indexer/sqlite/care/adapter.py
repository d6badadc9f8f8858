"""What a SQLite file knows about indexes in use. Each answer is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from indexer.care.adapter import CareAdapter

if TYPE_CHECKING:
    from indexer.care.deep import Checker
    from indexer.care.facts import FactsReader
    from indexer.care.statistics import Statistics


class SqliteCare(CareAdapter):
    """The questions about the indexes of one file."""

    def index_facts(self) -> FactsReader:
        """Return the reader of dbstat."""
        from indexer.sqlite.care.facts import SqliteFacts

        return SqliteFacts(self.catalog)

    def statistics(self, tables: Sequence[str]) -> dict[str, Statistics]:
        """Return the statistics that ANALYZE has left of these tables, by name."""
        from indexer.sqlite.care.statistics import statistics

        return statistics(self.catalog, tables)

    def checker(self, heap: bool, longest: float) -> Checker:
        """Return what checks the indexes of the file; SQLite always compares them with all rows, and has no limit."""
        from indexer.sqlite.care.checker import SqliteChecker

        return SqliteChecker(self.migrator)
