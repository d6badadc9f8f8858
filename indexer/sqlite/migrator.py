"""The plain migrator: SQLite has no online build, so a run is one transaction."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from peewee import DatabaseError, Model, OperationalError, PeeweeException, SqliteDatabase
from playhouse.migrate import SqliteMigrator

from indexer.catalog import CatalogEntry, Engine, Place, Table
from indexer.decide import Action
from indexer.errors import Held, IndexerError, StatementFailed
from indexer.events import LockWaited, Progress, StatementStarted
from indexer.migrator import CatalogMigrator, Context, Decide, Doing, IndexOperation, Work
from indexer.pace.pace import UNLIMITED, Pace
from indexer.records.provenance import Provenance
from indexer.server import Server
from indexer.spec import Index
from indexer.sqlite.catalog import IN_MEMORY, SqliteCatalog
from indexer.sqlite.dialect import SqliteDialect, keeps_nulls
from indexer.sqlite.file import MALFORMED, recovery
from indexer.steps import Step

if TYPE_CHECKING:
    from indexer.care.adapter import CareAdapter
    from indexer.predict.forecast import Predictor
    from indexer.query_planner import QueryPlanner

WRITABLE = (
    "Check that the file and its folder can be written and the disk is not full, then run the same command again."
)
LOCK_POLL = 0.1  # seconds between two tries for the write lock
# Each thread sorts as many rows as the cache has room for. Half of SQLite's default takes 4 MB less and no more time; a
# larger cache made large builds slower.
SETTINGS = {"threads": min(os.cpu_count() or 1, 4), "cache_size": -1000, "busy_timeout": 0}
STEPS_BETWEEN = 500_000  # virtual machine steps between two reports
NULLS = "SQLite keeps them first in ascending and last in descending order. Use on_sqlite=Variant(columns=...)"
NO_COLLATION = "no such collation sequence"
STEPS_PER_ROW = 8  # of the virtual machine, and one more for each column of the key


class PlainMigrator(CatalogMigrator, SqliteMigrator):
    """Builds every index as a whole B-tree, all of a run inside one BEGIN IMMEDIATE."""

    catalog: SqliteCatalog

    def __init__(
        self,
        database: SqliteDatabase,
        path: str,
        address: str,
        context: Context,
        connect: Callable[[], SqliteDatabase] | None = None,
    ) -> None:
        catalog = SqliteCatalog(database, path)
        super().__init__(database, catalog, SqliteDialect(database, catalog), Server(), context)
        self.path = path
        self.exists = os.path.exists(path)
        self._address = address
        self._connect = connect
        self._pace = UNLIMITED
        self._growth: dict[str, int] = {}  # bytes by which the last build of an index has made the file grow

    def within(self, context: Context, tables: Sequence[str]) -> PlainMigrator:
        """Return another migrator on the same file."""
        return PlainMigrator(self.database, self.path, self._address, context, self._connect)

    def reopen(self, within: float | None = None) -> None:
        """Close the file and open it again, because another process may have created it since."""
        if self._connect:
            self.close()
            self.database = self._connect()

    @property
    def place(self) -> Place:
        """The URL; a SQLite URL holds no secret."""
        return Place(self._address)

    @property
    def engine(self) -> Engine:
        """SQLite, and the version of its library."""
        return Engine("sqlite", sqlite3.sqlite_version)

    def translate_error(self, error: PeeweeException) -> IndexerError:
        """Return our error for a failure outside of a build; Held where another process has locked the file."""
        if "locked" not in str(error):
            return super().translate_error(error)
        return Held(f"Cannot read {self.place}: {error}.")

    def driver_is_in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of sqlite3."""
        return bool(connection.in_transaction)

    @contextmanager
    def migration_context(self, atomic: bool = True) -> Iterator[None]:
        """Take the write lock for one run, and commit all of it or nothing."""
        self._open_file()
        with ExitStack() as transaction:
            try:
                begin = partial(self.database.atomic, "IMMEDIATE")
                self._wait("another process is writing to the file", lambda: transaction.enter_context(begin()))
            except OperationalError as error:
                raise StatementFailed(f"Cannot write to {self.place}: {error}.", WRITABLE) from error
            self.context.stop.on_ask(partial(interrupt, self.database.connection()))
            try:
                with self._settings():
                    yield
                self.context.stop.check()  # a signal between two statements interrupts none of them
            except (DatabaseError, sqlite3.Error):  # peewee does not translate what happens while rows are fetched
                self.context.stop.check()  # what failed, failed because of it: an interruption rolls all back
                raise
            else:
                commit = partial(self.database.execute_sql, "COMMIT")
                self._wait("another process reads the file, and the run cannot be committed before it ends", commit)
            finally:
                # peewee ends a transaction: the run's was committed, or an interruption has rolled it back.
                if not self.database.connection().in_transaction:
                    self.database.execute_sql("BEGIN")

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Let SQLite sort in threads during a run, and not wait for readers.

        A full cache is written out early if no other process reads (sqlite.org/atomiccommit.html, 6.4); otherwise it
        grows, and each attempt to write it would wait for the reader as long as ``busy_timeout`` says.
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
        """Create a file that did not exist, and was read as an empty database until now."""
        if self.database.database == IN_MEMORY:
            self.database.create(self.path)

    def _wait(self, reason: str, action: Callable[[], object]) -> None:
        """Try until no lock is in the way; busy_timeout would wait, too, but without a report and deaf to signals."""
        started, is_reported = time.monotonic(), False
        while True:
            try:
                action()
                return
            except OperationalError as error:
                if "locked" not in str(error):
                    raise
            self.context.options.check_wait(time.monotonic() - started, f"{self.place}: {reason}")
            if not is_reported:
                self.context.report(LockWaited(reason))
                is_reported = True
            self.context.stop.sleep(LOCK_POLL)

    def unbuildable(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[str]:
        """Return why SQLite would refuse to build these indexes: it compiles the statements and executes none."""
        nulls = [index.name for index in indexes if not all(map(keeps_nulls, index.sqlite.key))]
        refused = {index: self._refused(index, tables[index.table].columns) for index in indexes}
        return [
            *(f"{name} cannot have this order of NULLs: {NULLS}" for name in nulls),
            *(f"{index.name} cannot be built on {index.table}: {why}" for index, why in refused.items() if why),
        ]

    def _refused(self, index: Index, columns: Collection[str]) -> str | None:
        from indexer.sqlite.buildable import changing, misspelled

        definition, statement = index.sqlite, self.dialect.create_statement(index, index.replacing)
        said = misspelled(definition, columns) or self._not_compiled(statement)
        return said or changing(definition, columns, self.database)

    def _not_compiled(self, statement: str) -> str | None:
        try:
            self.database.execute_sql(f"EXPLAIN {statement}").fetchall()
        except DatabaseError as error:
            said = str(error)
            if NO_COLLATION in said:
                return f"{said}: the application registers it, so pass the application's database to connect()"
            return None if "already" in said or "no such table" in said else said
        return None

    @property
    def care(self) -> CareAdapter:
        """The questions about indexes in use to this file."""
        from indexer.sqlite.care.adapter import SqliteCare

        return SqliteCare(self)

    def query_planner(self, models: Sequence[type[Model]]) -> QueryPlanner:
        """Return a planner that asks with EXPLAIN QUERY PLAN."""
        from indexer.sqlite.query_planner import SqliteQueryPlanner

        return SqliteQueryPlanner(self)

    @property
    def predictor(self) -> Predictor:
        """What tells how much this file will need to build indexes."""
        from indexer.sqlite.predictor import SqlitePredictor

        return SqlitePredictor(self.catalog)

    def analyze(self, step: Step) -> None:
        """Gather the statistics of the table of a step, from a sample of its rows if it is large (SQLite 3.32)."""
        from indexer.sqlite.care.statistics import SAMPLED

        before = self.database.pragma("analysis_limit")
        self.database.pragma("analysis_limit", SAMPLED)
        try:
            super().analyze(step)
        finally:
            self.database.pragma("analysis_limit", before)

    def table_bytes(self, names: Collection[str]) -> dict[str, int]:
        """Return the bytes of these tables; those of the whole file where this SQLite has no dbstat."""
        tables = self.catalog.tables(names, sizes=True)
        return {name: self._used_bytes() if each.bytes is None else each.bytes for name, each in tables.items()}

    def _schedule(
        self, operations: Sequence[IndexOperation], work: Callable[[IndexOperation], Work], pace: Pace
    ) -> None:
        """Do the work of one operation after the other, first of one that measures the rate if need be."""
        self._pace, probe = pace, pace.probe({operation.index.table for operation in operations})
        for operation in sorted(operations, key=lambda each: each.index.table != probe):
            for _ in work(operation):
                pass

    def _act(self, decide: Decide, provenance: Provenance) -> Doing:
        step, started = decide(), time.monotonic()
        self._pace.check(step)
        for statement in step.statements:
            provenance.begin(step, statement)
            self.context.report(StatementStarted(step.index, statement))
            used = self._used_bytes()
            self._execute(step.index, statement)
            if step.action is not Action.REINDEX:
                self._growth[step.index.name] = self._used_bytes() - used
        self._pace.built(step, time.monotonic() - started)
        return step
        yield  # waits for nothing: a generator, because the online migrator's is one

    def _used_bytes(self) -> int:
        """Return the bytes of the file that hold something."""
        pages = self.database.pragma("page_count") - self.database.pragma("freelist_count")
        return int(pages * self.database.pragma("page_size"))

    def _look_again(self, name: str) -> CatalogEntry | None:
        """Return what has the name of an index, with the bytes that its build took: to count them reads all of it."""
        growth = self._growth.get(name)
        found = self.catalog.find([name], sizes=growth is None).get(name)
        return found if found is None or growth is None else found._replace(bytes=growth)

    def _execute(self, index: Index, statement: str) -> None:
        """Execute one statement in the run's transaction, and report its progress."""
        self.context.stop.check()
        try:
            with self._progress(index):
                self.database.execute_sql(statement)
        except DatabaseError as error:
            self.context.stop.check()
            again = "Correct the table or the index, then run the same command again."
            remedy = recovery(self.path) if MALFORMED in str(error) else again
            raise StatementFailed(
                f"SQLite refused {statement}: {error}.", f"All of this run was rolled back. {remedy}"
            ) from error

    @contextmanager
    def _progress(self, index: Index) -> Iterator[None]:
        """Report the progress of a statement, estimated from the steps of SQLite's virtual machine."""
        table = self.catalog.tables([index.table])[index.table]
        steps = (table.rows or 0) * (STEPS_PER_ROW + len(index.sqlite.key))
        started, taken = time.monotonic(), 0

        def count() -> int:
            nonlocal taken
            taken += STEPS_BETWEEN
            done = min(taken / steps, 1.0) if steps else None
            self._pace.look([index])
            self.context.report(Progress(index, "building index", done, time.monotonic() - started))
            return int(self.context.stop.asked)  # a signal just before the statement had nothing to interrupt yet

        connection = self.database.connection()
        connection.set_progress_handler(count, STEPS_BETWEEN)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)


class OwnMigrator(PlainMigrator):
    """A migrator on the application's own connection to a database in memory, which stays open."""

    def within(self, context: Context, tables: Sequence[str]) -> OwnMigrator:
        """Return another migrator on the same connection."""
        return OwnMigrator(self.database, self.path, self._address, context)

    def close(self) -> None:
        """Leave the connection open."""

    def _open_file(self) -> None:
        """Use the connection that is open."""


def interrupt(connection: sqlite3.Connection) -> None:
    """Interrupt the statement that is running, if the connection is not closed already."""
    with suppress(sqlite3.ProgrammingError):
        connection.interrupt()
