"""The plain migrator: SQLite has no online build, so a run is one transaction that stands whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from peewee import DatabaseError, OperationalError, SqliteDatabase
from playhouse.migrate import SqliteMigrator

from indexer.catalog import Found
from indexer.errors import StatementFailed
from indexer.events import LockWaited
from indexer.migrator import CatalogMigrator
from indexer.spec import Definition, Index
from indexer.sqlite.catalog import SqliteCatalog


class PlainMigrator(CatalogMigrator, SqliteMigrator):
    """Builds every index as a whole B-tree, all of a run inside one BEGIN IMMEDIATE."""

    lock_poll = 0.1  # seconds between two tries for the write lock

    def __init__(self, database: SqliteDatabase, address: str) -> None:
        super().__init__(database)
        self.catalog = SqliteCatalog(database)
        self._address = address

    @property
    def address(self) -> str:
        """The URL; a SQLite URL holds no secret."""
        return self._address

    @contextmanager
    def migration_context(self, atomic: bool = True) -> Iterator[None]:
        """One run: take the write lock, and commit all of it or nothing."""
        with ExitStack() as transaction:
            told = False
            while not self._begin(transaction):
                if not told:
                    self.report(LockWaited("another process writes to the file"))
                    told = True
                time.sleep(self.lock_poll)
            yield

    def _begin(self, transaction: ExitStack) -> bool:
        try:
            transaction.enter_context(self.database.atomic("IMMEDIATE"))
            return True
        except OperationalError as error:
            if "locked" in str(error):
                return False
            raise StatementFailed(f"Cannot write to {self.address}: {error}.") from error

    def definition(self, index: Index, found: Found | None) -> Definition:
        """A whole B-tree: access method and predicate are PostgreSQL's alone."""
        return Definition(
            table=index.table,
            method="btree",
            key=tuple(map(str, index.key)),
            unique=index.unique,
        )

    def create_statement(self, index: Index) -> str:
        """CREATE INDEX, without what only PostgreSQL is to do."""
        return self.create_index(index)

    def drop_statement(self, index: Index) -> str:
        """DROP INDEX."""
        return self.drop_index_statement(index)

    def execute_ddl(self, statement: str) -> None:
        """Send one statement inside the run's transaction."""
        try:
            self.database.execute_sql(statement)
        except DatabaseError as error:
            raise StatementFailed(
                f"SQLite refused {statement}: {error}.", "All of this run was rolled back; nothing was changed."
            ) from error

    def script(self, statements: Sequence[str]) -> str:
        """A script for the sqlite3 shell: one transaction, stopped at the first error."""
        return "\n".join([".bail on", "BEGIN IMMEDIATE;", *(f"{statement};" for statement in statements), "COMMIT;"])
