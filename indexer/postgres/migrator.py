"""The online migrator: every index built and dropped CONCURRENTLY, one statement a call, no transaction around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
from peewee import Entity, PostgresqlDatabase
from playhouse.migrate import PostgresqlMigrator
from psycopg2 import errorcodes

from indexer.catalog import Found
from indexer.errors import StatementFailed, UsageError
from indexer.migrator import CatalogMigrator
from indexer.plan import Step
from indexer.postgres.catalog import PostgresCatalog
from indexer.postgres.lock import RunLock
from indexer.spec import Definition, Index

NEXT_STEP = {
    errorcodes.DISK_FULL: "Free or add disk space; the same command then goes on where it stopped.",
    errorcodes.INSUFFICIENT_PRIVILEGE: "Connect as the owner of the tables.",
    errorcodes.DEADLOCK_DETECTED: "Another session indexes the same table; run the same command again.",
}


class OnlineMigrator(CatalogMigrator, PostgresqlMigrator):
    """Builds and drops indexes while the application goes on working."""

    transactional_ddl = False
    catalog: PostgresCatalog
    schema: str | None

    def __init__(self, database: PostgresqlDatabase, address: str, schema: str | None = None) -> None:
        super().__init__(database, schema)
        self.catalog = PostgresCatalog(database, schema)
        self.lock = RunLock(self.catalog)
        self.indexed_tables: Sequence[str] = ()
        self._address = address

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
        self.catalog.pin_search_path()

    @contextmanager
    def migration_context(self, atomic: bool = True) -> Iterator[None]:
        """One run: hold the run lock, and no transaction, because CONCURRENTLY cannot run inside one."""
        with self.lock.held(self.report):
            yield

    def complaints(self, steps: Sequence[Step], creating_tables: bool = False) -> list[str]:
        """What would stop these steps; when the tables are elsewhere, where that is."""
        found = super().complaints(steps, creating_tables)
        if creating_tables or any(" is missing" in complaint for complaint in found):
            elsewhere = self.catalog.other_schemas(self.indexed_tables)
            found += [f"the tables stand in schema {schema}: add --schema {schema}" for schema in elsewhere]
        return found

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
        return self.create_index(index, index.on_postgresql, concurrently=True)

    def drop_statement(self, index: Index) -> str:
        """DROP INDEX CONCURRENTLY: a plain DROP would queue every query of the table behind itself."""
        return self.drop_index_statement(index, concurrently=True)

    def execute_ddl(self, statement: str) -> None:
        """Send one statement in autocommit, once the run lock is known to be ours."""
        self.lock.confirm()
        try:
            with self.database.connection().cursor() as cursor:
                cursor.execute(statement)  # not through peewee: it binds values, and a % would have to be doubled
        except psycopg2.Error as error:
            reason = error.diag.message_primary or str(error).strip()
            hint = NEXT_STEP.get(error.pgcode or "", "Run the same command again: it goes on where this run stopped.")
            raise StatementFailed(f"The server refused {statement}: {reason}.", hint) from error

    def table_statements(self, models: Sequence[Any]) -> list[str]:
        """The statements that create these tables, in our schema."""
        path = self.make_context().literal("SET LOCAL search_path TO ").sql(Entity(self.schema))
        return [str(path.query()[0]), *super().table_statements(models)]

    def script(self, statements: Sequence[str]) -> str:
        """A script for psql: in autocommit, without timeouts, stopped at the first error."""
        preamble = ["\\set ON_ERROR_STOP on", "SET statement_timeout = 0;", "SET lock_timeout = 0;"]
        return "\n".join([*preamble, *(f"{statement};" for statement in statements)])
