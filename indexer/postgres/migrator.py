"""The online migrator: every index built and dropped CONCURRENTLY, one statement a call, no transaction around it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from peewee import Entity
from playhouse.migrate import PostgresqlMigrator

from indexer.catalog import Found
from indexer.errors import UsageError
from indexer.events import Blocker
from indexer.migrator import CatalogMigrator, IndexOperation
from indexer.plan import Action, Step
from indexer.postgres.catalog import PostgresCatalog
from indexer.postgres.execution import Execution, Run
from indexer.postgres.lock import RunLock
from indexer.postgres.pooler import refuse_transaction_pooling
from indexer.postgres.schedule import Schedule
from indexer.postgres.session import OnlineDatabase
from indexer.postgres.watch import Sessions
from indexer.spec import Definition, Index

NOTICEABLE = 1.0  # seconds; a transaction that is younger ends before anybody has read its name


class OnlineMigrator(CatalogMigrator, PostgresqlMigrator):
    """Builds and drops indexes while the application goes on working."""

    transactional_ddl = False
    catalog: PostgresCatalog
    schema: str | None

    def __init__(self, database: OnlineDatabase, address: str, schema: str | None = None) -> None:
        super().__init__(database, schema)
        self.catalog = PostgresCatalog(database, schema)
        self.lock = RunLock(self.catalog)
        self.sessions = Sessions(self.catalog)
        self.indexed_tables: Sequence[str] = ()
        self._address = address
        self._execution: Execution

    @property
    def address(self) -> str:
        """The URL without its password, and the schema."""
        return f"{self._address} (schema {self.schema})" if self.schema else self._address

    def settle(self, tables: Sequence[str]) -> None:
        """Find the schema of these tables once; from then on every name is qualified and no search path trusted.

        Raises:
            UsageError: the schema that was asked for does not exist, or the search path names none that does.
        """
        self.indexed_tables = tables
        if self.schema is None:
            self.schema = self.catalog.schema = self.catalog.schema_of(tables)
        if self.schema is None or not self.catalog.schema_exists():
            asked = (
                f"There is no schema {self.schema}." if self.schema else "The search path names no schema that exists."
            )
            raise UsageError(asked, "Name the schema that holds the tables with --schema.")
        if not self.database.pooled:
            self.catalog.pin_search_path()

    @contextmanager
    def migration_context(self, atomic: bool = True) -> Iterator[None]:
        """One run: hold the run lock, and no transaction, because CONCURRENTLY cannot run inside one."""
        if self.database.pooled:
            refuse_transaction_pooling(self.database)
            self.catalog.pin_search_path()
        with self.lock.held(self.report, self.patience, self.stop):
            run = Run(self.database, self.sessions, self.lock, self.patience, self.stop, self.report)
            self._execution = Execution(run)
            try:
                yield
            finally:
                self._execution.builders.close()

    def name_run(self, name: str) -> None:
        """Make our sessions recognisable in pg_stat_activity, unless the URL names them itself."""
        self.database.name_sessions(f"indexer {name}")

    # Before --------------------------------------------------------------------------------------------------------

    def complaints(self, steps: Sequence[Step], creating_tables: bool = False) -> list[str]:
        """What would stop these steps; when the tables are elsewhere, where that is."""
        found = super().complaints(steps, creating_tables)
        if creating_tables or any(" is missing" in complaint for complaint in found):
            elsewhere = self.catalog.other_schemas(self.indexed_tables)
            found += [f"the tables stand in schema {schema}: add --schema {schema}" for schema in elsewhere]
        return found

    def expected_blockers(self, steps: Sequence[Step]) -> tuple[Blocker, ...]:
        """The sessions that these steps would have to wait for if they began now."""
        tables = sorted({step.index.table for step in steps if step.changes})
        dropping = all(step.action is Action.DROP for step in steps if step.changes)
        found = self.sessions.expected(tables, dropping) if tables else ()
        return tuple(blocker for blocker in found if blocker.seconds >= NOTICEABLE)

    def definition(self, index: Index, found: Found | None) -> Definition:
        """The index with its PostgreSQL variant; the predicate as the server prints it, if there is one to compare."""
        theirs = found.definition if found else None
        compared = theirs is not None and theirs.table == index.table and theirs.predicate is not None
        return Definition(
            table=index.table,
            method=index.on_postgresql.using,
            key=tuple(map(str, index.key)),
            unique=index.unique,
            predicate=self.catalog.predicate(index) if compared else index.on_postgresql.where,
        )

    def create_statement(self, index: Index) -> str:
        """CREATE INDEX CONCURRENTLY, never IF NOT EXISTS: that accepts an invalid index and any definition."""
        return self.create_index(index, index.on_postgresql, concurrently=not self.patience.offline)

    def drop_statement(self, index: Index) -> str:
        """DROP INDEX CONCURRENTLY: a plain DROP would queue every query of the table behind itself."""
        return self.drop_index_statement(index, concurrently=not self.patience.offline)

    # Carrying out --------------------------------------------------------------------------------------------------

    def _schedule(self, operations: Sequence[IndexOperation]) -> None:
        tables = self.catalog.tables({operation.index.table for operation in operations})
        sizes = {name: table.bytes or 0 for name, table in tables.items()}
        largest_first = sorted(operations, key=lambda operation: -sizes.get(operation.index.table, 0))
        schedule = Schedule(self.patience, self.database.server_version, self.sessions.others_active, self.stop)
        schedule.run(largest_first, self._work)

    def _act(self, operation: IndexOperation) -> Generator[Any, None, Step]:
        return (yield from self._execution.act(lambda: self._decide(operation)))

    # Tables and scripts --------------------------------------------------------------------------------------------

    def table_statements(self, models: Sequence[Any]) -> list[str]:
        """The statements that create these tables, in our schema."""
        path = self.make_context().literal("SET LOCAL search_path TO ").sql(Entity(self.schema))
        return [str(path.query()[0]), *super().table_statements(models)]

    def script(self, tables: Sequence[str], statements: Sequence[str]) -> str:
        """A script for psql: in autocommit, without timeouts, stopped at the first error."""
        preamble = ["\\set ON_ERROR_STOP on", "SET statement_timeout = 0;", "SET lock_timeout = 0;"]
        transaction = ["BEGIN", *tables, "COMMIT"] if tables else []
        return "\n".join([*preamble, *(f"{statement};" for statement in (*transaction, *statements))])
