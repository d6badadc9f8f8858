"""What a database would do with a query, asked without running it. One small module for each database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from indexer.catalog import CatalogEntry, Table
from indexer.spec import Index

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

T = TypeVar("T")

LONGEST_RUN = 10  # seconds that a query may take when it is run


class Statement(NamedTuple):
    """A statement in the placeholders of its driver, and what goes into them.

    ``constants`` are the places of the parameters that are the same whatever is asked for.
    """

    text: str
    parameters: tuple[Any, ...] = ()
    constants: frozenset[int] = frozenset()


class Scan(NamedTuple):
    """One use of an index in a plan, and the columns by which it is searched."""

    name: str
    columns: frozenset[str]


class Heir(NamedTuple):
    """A table that inherits from another one, by its name in plans."""

    parent: str
    name: str
    has_rows: bool


class Plan(NamedTuple):
    """The parts of a plan that a verdict depends on; ``cost`` is None where the database tells none.

    ``whole`` are the tables that are read from their first row to their last.
    """

    scans: tuple[Scan, ...]
    sorts: bool
    cost: float | None = None
    whole: frozenset[str] = frozenset()


class Refused(Exception):
    """The database understands the query, or a sample of its arguments, no more than its tables let it."""


class Planner(Protocol):
    """The questions that a verdict asks, the same for every database; those inside ``asking`` may raise Refused."""

    def check_rights(self) -> None:
        """Raises IndexerError when our role may not even name the tables."""

    def asking(self) -> AbstractContextManager[None]:
        """All other questions are asked inside, and nothing of them stays behind."""

    def preamble(self) -> str:
        """What has to be said in the database's own shell before the queries that are written out."""

    def children(self, tables: Mapping[str, Table]) -> list[Heir]:
        """Return the tables that are read whenever one of these is."""

    def indexes(self, tables: Mapping[str, Table]) -> dict[str, CatalogEntry]:
        """The indexes of these tables and their children by name, those of constraints included."""

    def read(self, question: Callable[[], T]) -> T:
        """What a question of the caller's own answers, inside ``asking``."""

    def now(self, query: Statement) -> Plan:
        """What the database would do now."""

    def forced(self, query: Statement, index: Index) -> Iterator[Plan]:
        """What it would do if it had to use an index, in one way after another, until a plan satisfies."""

    def prepared(self, query: Statement, keeping: Collection[int] = ()) -> AbstractContextManager[Statement]:
        """The query as a prepared statement, whose forced plans are plans for any parameters but those kept."""

    def cost_of_scanning(self, query: Statement) -> float | None:
        """What the query would cost without any index."""

    def milliseconds(self, query: Statement) -> float | None:
        """How long the query takes: runs it, read-only. None if that is more than LONGEST_RUN."""

    def written_out(self, query: Statement) -> str:
        """The query with its parameters in their places, for people to read and to repeat."""


def planner_of(migrator: CatalogMigrator) -> Planner:
    """The planner of the database that a migrator works on."""
    from peewee import PostgresqlDatabase

    if isinstance(migrator.database, PostgresqlDatabase):
        from indexer.postgres.planner import PostgresPlanner

        return PostgresPlanner(migrator)
    from indexer.sqlite.planner import SqlitePlanner

    return SqlitePlanner(migrator)
