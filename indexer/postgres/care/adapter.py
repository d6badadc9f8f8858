"""What a PostgreSQL server knows about indexes in use. Each answer is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from indexer.care.adapter import CareAdapter

if TYPE_CHECKING:
    from indexer.care.deep import Checker
    from indexer.care.facts import FactsReader
    from indexer.care.needless import Candidate, Needless
    from indexer.care.statistics import Statistics
    from indexer.care.usage import ServerCounts


class PostgresCare(CareAdapter):
    """The questions about the indexes of one schema."""

    def index_facts(self) -> FactsReader:
        """Return the reader of the catalog, of the statistics and of the counters of changes."""
        from indexer.postgres.care.facts import PostgresFacts

        return PostgresFacts(self.catalog)

    def checker(self, heap: bool, longest: float) -> Checker:
        """Return what checks indexes on the main session.

        Raises:
            PreflightFailed: a pooler shares the session with other clients.
        """
        from indexer.postgres.care.checker import PostgresChecker
        from indexer.postgres.session.pooler import refuse_transaction_pooling

        if self.migrator.database.pooled:
            refuse_transaction_pooling(self.migrator.database)
        if self.catalog.is_citus:
            from indexer.postgres.citus.checker import ClusterChecker

            return ClusterChecker(self.migrator, heap, longest)
        return PostgresChecker(self.migrator, heap, longest)

    @contextmanager
    def lock_if_free(self) -> Iterator[None]:
        """Hold the run lock, if no run holds it, and then give way to one that waits; a standby has no runs."""
        if self.migrator.server.is_standby:
            yield
            return
        with self.migrator.lock.held_if_free():
            yield
        self.migrator.lock.give_way()

    def refreshes(self, names: Sequence[str]) -> list[str]:
        """Return how to record the versions of the collations of these indexes, once they are rebuilt."""
        from indexer.postgres.care.collations import refreshes

        return refreshes(self.catalog, names)

    def counts(self, tables: Sequence[str]) -> ServerCounts:
        """Return what the server has counted of these tables and their indexes."""
        from indexer.postgres.care.usage import counts

        return counts(self.catalog, self.migrator.place, tables)

    def expressions_without_statistics(self, tables: Sequence[str]) -> dict[str, list[str]]:
        """Return the indexes on expressions of which there are no statistics, by the name of the table."""
        from indexer.postgres.care.analyze import expressions_without_statistics

        return expressions_without_statistics(self.catalog, tables)

    def statistics(self, tables: Sequence[str]) -> dict[str, Statistics]:
        """Return the statistics that the planner has of these tables, by name."""
        from indexer.postgres.care.usage import statistics

        return statistics(self.catalog, tables)

    def needless(self, candidates: Sequence[Candidate]) -> list[Needless]:
        """Return which of these indexes the planner hardly needs beside the wider one of each."""
        from indexer.postgres.care.needless import needless

        return needless(self.catalog, candidates)
