"""What a database adapter supplies about indexes in use. The adapters are in ``postgres/care`` and ``sqlite/care``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexer.care.deep import Checker
    from indexer.care.facts import FactsReader
    from indexer.care.needless import Candidate, Needless
    from indexer.care.statistics import Statistics
    from indexer.care.usage import ServerCounts


class CareAdapter(ABC):
    """The questions about the indexes of one migrator's schema or file; none of them changes anything."""

    def __init__(self, migrator: Any) -> None:
        self.migrator = migrator
        self.catalog = migrator.catalog

    @abstractmethod
    def index_facts(self) -> FactsReader:
        """Return the reader of what the database knows about indexes and their tables."""

    @abstractmethod
    def statistics(self, tables: Sequence[str]) -> dict[str, Statistics]:
        """Return the statistics that the planner has of these tables, by name."""

    def expressions_without_statistics(self, tables: Sequence[str]) -> dict[str, list[str]]:
        """Return the indexes on expressions of which there are no statistics, by the name of the table."""
        return {}

    def counts(self, tables: Sequence[str]) -> ServerCounts | None:
        """Return what the server has counted of these tables and their indexes; None where nothing is counted."""
        return None

    def needless(self, candidates: Sequence[Candidate]) -> list[Needless]:
        """Return which of these indexes the planner hardly needs beside the wider one of each."""
        return []

    # Deep checks ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def checker(self, heap: bool, longest: float) -> Checker:
        """Return what checks the indexes of this database.

        Args:
            heap: whether to look for rows that an index lacks as well, where that costs more.
            longest: how many seconds the check of one index may take.
        """

    def lock_if_free(self) -> AbstractContextManager[None]:
        """Hold the run lock, if that takes no waiting, and then give a run that waits for it the time to take it.

        Here nothing, because a check excludes no run.

        Raises:
            Locked: a run holds it.
        """
        return nullcontext()

    def refreshes(self, names: Sequence[str]) -> list[str]:
        """Return how to record the versions of the collations of these indexes, once they are rebuilt; a sentence each.

        Nothing where the versions are those recorded.
        """
        return []
