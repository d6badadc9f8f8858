"""What a Citus cluster would do with a query: EXPLAIN of all its parts, in one read-only transaction for each question.

A node that joins a transaction later knows none of its savepoints, and Citus sends a setting to the nodes only if its
statement comes alone. A node is never asked for a generic plan: it gets its part of a query with the parameters in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from peewee import PeeweeException

from indexer.catalog import CatalogEntry, Table
from indexer.errors import Command, Hint, IndexerError, StatementFailed
from indexer.postgres.citus import extension
from indexer.postgres.citus.plans import is_distributed, parts_of
from indexer.postgres.citus.reading import stored_as
from indexer.postgres.query_planner import BEGIN, PostgresQueryPlanner, refusing
from indexer.postgres.session.database import sendable
from indexer.postgres.session.server_errors import said, sqlstate
from indexer.query_planner import Plan, Statement
from indexer.records.table import placed

LOST = "08"  # the class of errors of connections
ALL_PARTS = "SET LOCAL citus.explain_all_tasks = on"
FOR_ALL_NODES = "SET LOCAL citus.propagate_set_commands = 'local'"


class ClusterQueryPlanner(PostgresQueryPlanner):
    """The planner of a coordinator and of the nodes that it sends the parts of a query to."""

    def tables(self, names: Sequence[str]) -> dict[str, Table]:
        """Return the tables; raise IndexerError on a node that does not coordinate."""
        if extension.is_worker(self.catalog):
            raise IndexerError("The server is a Citus worker.", "Connect to the coordinator.")
        self._tables = super().tables(names)
        return self._tables

    def indexes(self, tables: Mapping[str, Table]) -> dict[str, CatalogEntry]:
        """Return the indexes of these tables and of their children, by their names in plans."""
        self._indexes = super().indexes(tables)
        return self._indexes

    @cached_property
    def _names(self) -> dict[str, str]:
        """The names that the coordinator has for the tables and indexes of shards, which the plans of nodes name."""
        tables = {entry.definition.table for entry in self._indexes.values() if entry.definition}
        names = [*self._tables, *tables, *(entry.name for entry in self._indexes.values())]
        return {each.name: each.of for each in stored_as(self.catalog, names)}

    @contextmanager
    def session(self) -> Iterator[None]:
        """Let each question begin its own transaction; roll the last one back at the end."""
        with self.database.manual_commit(), placed(self.models, self.migrator.schema):
            try:
                yield
            finally:
                self.database.rollback()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read the tables under the settings of the session."""
        with refusing():
            self._begin()
            yield

    def translate_error(self, error: PeeweeException) -> IndexerError:
        """Return the error to raise; the session with a node may be lost while that with the coordinator is not."""
        if (sqlstate(error) or "").startswith(LOST) and not self.database.is_lost:
            return StatementFailed(
                f"{self.migrator.place}: {said(error)}", Hint("Start it, then run: ", Command("verify"))
            )
        return super().translate_error(error)

    def _begin(self) -> None:
        """Begin a transaction in which a setting holds on all nodes, whichever the query needs."""
        self.database.rollback()
        self.database.begin()
        path = sendable(f"SET LOCAL search_path TO {self._path}")
        for statement in (*BEGIN, path, ALL_PARTS, FOR_ALL_NODES):
            self.database.execute_sql(statement)

    def _send(self, statement: Statement, settings: Sequence[str] = ()) -> Any:
        """Execute a statement under these settings, each sent by itself."""
        with refusing():
            self._begin()
            for setting in settings:
                self.database.execute_sql(setting)
            return self.database.execute_sql(sendable(statement.text), statement.parameters)

    def _plan(self, root: dict[str, Any]) -> Plan:
        """Return what matters of the plans of all parts."""
        return self._plan_of(parts_of(root, self._names))._replace(is_distributed=is_distributed(root))
