"""The plain migrator: SQLite has no online build, so a run is one transaction that stands whole or not at all."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from peewee import DatabaseError, Model, OperationalError, PeeweeException, SqliteDatabase
from playhouse.migrate import SqliteMigrator

from indexer.catalog import CatalogEntry, Place, Table
from indexer.decide import Existing
from indexer.errors import Held, IndexerError, StatementFailed
from indexer.events import LockWaited, Progress
from indexer.migrator import CatalogMigrator, Part, ScriptValues
from indexer.spec import Definition, Index
from indexer.sqlite.catalog import SqliteCatalog

if TYPE_CHECKING:
    from indexer.verify.planner import QueryPlanner

WRITABLE = (
    "Check that the file and its folder can be written and the disk is not full, then run the same command again."
)
LOCK_POLL = 0.1  # seconds between two tries for the write lock
SETTINGS = {"threads": 2, "busy_timeout": 0}  # more threads gained nothing, a larger cache made large builds slower
SCRIPT_VALUES = ScriptValues(
    now="strftime('%Y-%m-%d %H:%M:%S', 'now')",
    start="strftime('%Y-%m-%d %H:%M:%f', 'now')",
    whole="strftime('%Y-%m-%d %H:%M:%S', started_at)",
    elapsed="max(0, CAST(round((julianday('now') - julianday(started_at)) * 86400000) AS integer))",
    role="'sqlite3 script'",
)
STEPS_BETWEEN = 500_000  # virtual machine steps between two reports
NO_COLLATION = "no such collation sequence"
STEPS_PER_ROW = {1: 9, 2: 10, 3: 11}


class PlainMigrator(CatalogMigrator, SqliteMigrator):
    """Builds every index as a whole B-tree, all of a run inside one BEGIN IMMEDIATE."""

    script_values = SCRIPT_VALUES
    catalog: SqliteCatalog

    def __init__(self, database: SqliteDatabase, path: str, address: str) -> None:
        super().__init__(database)
        self.catalog = SqliteCatalog(database, path)
        self.path = path
        self.is_there = os.path.exists(path)
        self._address = address

    @property
    def place(self) -> Place:
        """The URL; a SQLite URL holds no secret."""
        return Place(self._address)

    def translate_error(self, error: PeeweeException) -> IndexerError:
        """A file that another process has locked meanwhile is not to be read: that it is."""
        if "locked" not in str(error):
            return super().translate_error(error)
        return Held(f"Cannot read {self.place}: {error}.")

    @contextmanager
    def migration_context(self, atomic: bool = True) -> Iterator[None]:
        """One run: take the write lock, and commit all of it or nothing."""
        self._open_file()
        with ExitStack() as transaction:
            self._wait("another process writes to the file", lambda: self._begin(transaction))
            self.stop.on_ask(partial(_interrupt, self.database.connection()))
            try:
                with self._settings():
                    yield
                self.stop.check()  # a signal between two statements interrupts none of them
            except (DatabaseError, sqlite3.Error):  # peewee does not translate what happens while rows are fetched
                self.stop.check()  # whatever failed, failed because of it: an interruption rolls everything back
                raise
            else:
                self._wait("a reader holds the file, and the run cannot be committed before it ends", self._commit)
            finally:
                self._ensure_transaction()

    def _ensure_transaction(self) -> None:
        """Peewee is about to end a transaction that may have ended: committed, or rolled back by an interruption."""
        if not self.database.connection().in_transaction:
            self.database.execute_sql("BEGIN")

    def _commit(self) -> bool:
        try:
            self.database.execute_sql("COMMIT")
            return True
        except OperationalError as error:
            if "locked" in str(error):
                return False
            raise

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Within a run, SQLite sorts in threads, and waits for no reader.

        A full cache is written out early if nobody reads (sqlite.org/atomiccommit.html, 6.4); it grows otherwise,
        and each try would wait for the reader as long as ``busy_timeout`` says.
        """
        before = {name: self.database.pragma(name) for name in SETTINGS}
        for name, value in SETTINGS.items():
            self.database.pragma(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                self.database.pragma(name, value)

    def _open_file(self) -> None:
        """A file that was not there has been read as an empty one; only now is it made."""
        if self.database.database != self.path:
            self.database.close()
            self.database.init(self.path, timeout=self.database.timeout)
            self.database.connect()

    def _wait(self, reason: str, attempt: Callable[[], bool]) -> None:
        """Try until it is done; busy_timeout would do the waiting as well, but deaf to signals and in silence."""
        started = time.monotonic()
        told = False
        while not attempt():
            self.options.check_wait(time.monotonic() - started, f"{self.place}: {reason}")
            if not told:
                self.report(LockWaited(reason))
                told = True
            self.stop.sleep(LOCK_POLL)

    def _begin(self, transaction: ExitStack) -> bool:
        try:
            transaction.enter_context(self.database.atomic("IMMEDIATE"))
            return True
        except OperationalError as error:
            if "locked" in str(error):
                return False
            raise StatementFailed(f"Cannot write to {self.place}: {error}.", WRITABLE) from error

    def unbuildable(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[str]:
        """Return why SQLite would refuse these indexes, by letting it compile the statements."""
        fit = [index for index in indexes if not self.table_problems([index], tables)]
        refused = {index: self._refused(self.create_index(index, name=index.replacing)) for index in fit}
        return [f"{index.name} cannot be built on {index.table}: {why}" for index, why in refused.items() if why]

    def _refused(self, statement: str) -> str | None:
        try:
            self.database.execute_sql(f"EXPLAIN {statement}").fetchall()
        except DatabaseError as error:
            said = str(error)
            if NO_COLLATION in said:
                return f"{said}: the application registers it, so only the application can build this index"
            return None if "already" in said else said
        return None

    def definition(self, index: Index, found: CatalogEntry | None) -> Definition:
        """A whole B-tree: access method and predicate are PostgreSQL's alone. SQLite knows no case in names."""
        return Definition(
            table=index.table.lower(),
            method="btree",
            key=tuple(str(column._replace(name=column.name.lower())) for column in index.key),
            unique=index.unique,
        )

    def query_planner(self, models: Sequence[type[Model]]) -> QueryPlanner:
        """Return a planner that asks with EXPLAIN QUERY PLAN."""
        from indexer.sqlite.query_planner import SqliteQueryPlanner

        return SqliteQueryPlanner(self)

    def version_tables(self, schema: str | None, name: str) -> list[tuple[str | None, str]]:
        """Return the first few tables of the file that look like Alembic's, without a schema."""
        if schema:
            return []
        return [(None, found) for found in self.catalog.version_tables(name)]

    def alembic_name(self, index: Index) -> str:
        """Some have another name with Alembic on SQLite."""
        return index.alembic_name_on_sqlite or index.name

    def create_statement(self, index: Index) -> str:
        """CREATE INDEX, without what only PostgreSQL is to do."""
        return self.create_index(index)

    def drop_statement(self, name: str) -> str:
        """DROP INDEX."""
        return self.drop_index_statement(name)

    def rename_statements(self, index: Index, name: str, new_name: str) -> list[str]:
        """Dropped and built again under the other name, all in the run's transaction: SQLite renames no index."""
        return [self.drop_statement(name), self.create_index(index, name=new_name)]

    def replace_statements(self, index: Index, standing: Existing, differs: bool) -> list[str]:
        """Dropped and built again: nobody sees the moment between, which is inside the run's transaction."""
        return [self.drop_statement(index.name), self.create_statement(index)]

    def execute_ddl(self, index: Index, statement: str) -> None:
        """Execute one statement inside the run's transaction, telling how far it is."""
        self.stop.check()
        try:
            with self._progress(index):
                self.database.execute_sql(statement)
        except DatabaseError as error:
            self.stop.check()
            raise StatementFailed(
                f"SQLite refused {statement}: {error}.",
                "All of this run was rolled back. Correct the table or the index, then run the same command again.",
            ) from error

    @contextmanager
    def _progress(self, index: Index) -> Iterator[None]:
        """Report how far a statement is, from the steps that SQLite's virtual machine has taken."""
        table = self.catalog.tables([index.table])[index.table]
        steps = (table.rows or 0) * STEPS_PER_ROW[len(index.key)]
        started, taken = time.monotonic(), 0

        def count() -> int:
            nonlocal taken
            taken += STEPS_BETWEEN
            done = min(taken / steps, 1.0) if steps else None
            self.report(Progress(index, "building index", done, time.monotonic() - started))
            return int(self.stop.asked)  # a signal just before the statement had nothing to interrupt yet

        connection = self.database.connection()
        connection.set_progress_handler(count, STEPS_BETWEEN)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)

    def script(self, parts: Sequence[Part]) -> str:
        """A script for the sqlite3 shell: one transaction, stopped at the first error."""
        transaction = ["BEGIN IMMEDIATE", *(statement for part in parts for statement in part.statements), "COMMIT"]
        return "\n".join([".bail on", *(f"{statement};" for statement in transaction)])


def _interrupt(connection: sqlite3.Connection) -> None:
    """End the statement that is running, unless the run has ended and closed the connection by itself."""
    with suppress(sqlite3.ProgrammingError):
        connection.interrupt()
