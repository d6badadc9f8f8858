"""A database that is filled and measured. One small module for each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from proof.generator import Columns

if TYPE_CHECKING:
    from peewee import Database

    from indexer.migrator import CatalogMigrator

AGAIN = "Remove the cause, then run the same command again."


class Store(Protocol):
    """What filling and measuring ask of a database, the same for every one."""

    product: str
    errors: tuple[type[Exception], ...]

    def filling(self, tables: Collection[str], new: bool) -> AbstractContextManager[None]:
        """One transaction in which nobody else writes to these tables; new ones hold nothing of anybody's.

        At its end, ids that the database gives begin after those that are there.
        """

    def hurrying(self) -> AbstractContextManager[None]:
        """Write faster than safely: for a database that is thrown away anyhow."""

    def holds_rows(self, table: str) -> bool:
        """Is there a row in it?"""

    def load(self, table: str, batches: Iterable[Columns]) -> None:
        """Put rows into a table."""

    def analyze(self, tables: Collection[str]) -> None:
        """Bring statistics up to date, and clear away what rolled-back transactions left; not in a transaction."""

    def bytes(self, tables: Collection[str]) -> int:
        """What the tables and all their indexes take."""

    def settings(self) -> dict[str, str]:
        """Settings of the database that matter to speed."""

    def application(self) -> AbstractContextManager[Database]:
        """A connection as an application opens it: with the defaults of peewee and of the database."""

    def remedy(self, error: Exception) -> str:
        """What the user can do about one of the errors."""

    def canceller(self, database: Database) -> Callable[[], None]:
        """Ends the statement that a database is executing; may be called from another thread, and at any time."""


def store_of(migrator: CatalogMigrator) -> Store:
    """The store that a migrator works on."""
    from peewee import PostgresqlDatabase

    if isinstance(migrator.database, PostgresqlDatabase):
        from proof.store.postgres import PostgresStore

        return PostgresStore(migrator)
    from proof.store.sqlite import SqliteStore

    return SqliteStore(migrator)
