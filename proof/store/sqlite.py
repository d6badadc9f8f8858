"""SQLite: many rows a statement, one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from peewee import SQL, Database, EnclosedNodeList, Entity, PeeweeException, SqliteDatabase

from proof.generator import Columns
from proof.store import AGAIN

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

HURRIED = {"synchronous": "off", "journal_mode": "memory"}
CACHE = -100_000  # KiB, while filling
SETTINGS = ("journal_mode", "synchronous", "cache_size", "page_size")


class SqliteStore:
    """The tables of one file.

    Attributes:
        product: name and version.
        errors: what it refuses a statement with.
    """

    errors: tuple[type[Exception], ...] = (sqlite3.Error, PeeweeException)

    def __init__(self, migrator: CatalogMigrator) -> None:
        self._database: Any = migrator.database
        self.product = f"SQLite {sqlite3.sqlite_version}"

    @contextmanager
    def filling(self, tables: Collection[str], new: bool) -> Iterator[None]:
        """The migrator's own transaction is one already; a larger cache spares it from writing pages twice.

        SQLite goes on after the highest id by itself.
        """
        before = self._database.pragma("cache_size")
        self._database.pragma("cache_size", CACHE)
        try:
            yield
        finally:
            self._database.pragma("cache_size", before)

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """Wait for no disk."""
        before = {name: self._database.pragma(name) for name in HURRIED}
        self._set(HURRIED)
        try:
            yield
        finally:
            self._set(before)

    def _set(self, pragmas: dict[str, Any]) -> None:
        for name, setting in pragmas.items():
            self._database.pragma(name, setting)

    def holds_rows(self, table: str) -> bool:
        """Is there a row in it?"""
        context = self._database.get_sql_context().literal("SELECT EXISTS (SELECT 1 FROM ").sql(Entity(table))
        return bool(self._database.execute(context.literal(")")).fetchone()[0])

    def load(self, table: str, batches: Iterable[Columns]) -> None:
        """INSERT the rows into a table."""
        connection = self._database.connection()
        for columns in batches:
            connection.executemany(self._insert(table, columns), zip(*columns.values(), strict=True))

    def _insert(self, table: str, columns: Iterable[str]) -> str:
        names = EnclosedNodeList([Entity(column) for column in columns])
        values = EnclosedNodeList([SQL("?") for _ in columns])
        context = self._database.get_sql_context().literal("INSERT INTO ").sql(Entity(table)).literal(" ").sql(names)
        return str(context.literal(" VALUES ").sql(values).query()[0])

    def analyze(self, tables: Collection[str]) -> None:
        """ANALYZE the tables."""
        for table in tables:
            self._database.execute(self._database.get_sql_context().literal("ANALYZE ").sql(Entity(table)))

    def bytes(self, tables: Collection[str]) -> int:
        """What the file takes; there is nothing else in it."""
        return int(self._database.pragma("page_count") * self._database.pragma("page_size"))

    def settings(self) -> dict[str, str]:
        """The pragmas that matter to speed."""
        return {name: str(self._database.pragma(name)) for name in SETTINGS}

    @contextmanager
    def application(self) -> Iterator[Database]:
        """A connection of its own."""
        with closing(SqliteDatabase(self._database.database)) as database:
            yield database

    def remedy(self, error: Exception) -> str:
        """What the user can do about a refused statement."""
        return AGAIN

    def canceller(self, database: Database) -> Callable[[], None]:
        """Interrupts the statement."""
        connection = database.connection()

        def cancel() -> None:
            with suppress(sqlite3.ProgrammingError):  # closed
                connection.interrupt()

        return cancel
