"""What a database would do with a query: the records of a plan, and the questions to a planner.

The adapters are ``indexer.postgres.query_planner`` and ``indexer.sqlite.query_planner``; a migrator supplies its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from peewee import PeeweeException

from indexer.catalog import CatalogEntry, Table
from indexer.errors import IndexerError
from indexer.server import Child
from indexer.spec import Index
from indexer.tuples import NamedTuple

LONGEST_RUN = 10  # seconds that a query may take when it is run


class Statement(NamedTuple):
    """The text of a query with the placeholders of its driver, and its parameters.

    ``constants`` are the positions of the parameters that are the same for any arguments of the query.
    """

    text: str
    parameters: tuple[Any, ...] = ()
    constants: frozenset[int] = frozenset()


class Scan(NamedTuple):
    """One use of an index in a plan.

    Attributes:
        name: of the index; of a leaf index that of the partitioned one to which it is attached.
        columns: those that it is searched by, for an expression on SQLite ``<expr>``; none if all of it is read.
        covers: whether the table is not read beside it. SQLite only.
        table: that it is on, where the plan names it: one of the leaves of a partitioned table.
    """

    name: str
    columns: frozenset[str]
    covers: bool = False
    table: str | None = None


class Plan(NamedTuple):
    """What matters of a plan: index scans, whether it sorts, its cost, and the tables that it reads whole.

    Attributes:
        cost: in the planner's unit; None where the database gives no costs.
        is_distributed: whether nodes of a cluster plan parts of the query, which they do not for any parameters.
    """

    scans: tuple[Scan, ...]
    sorts: bool
    cost: float | None = None
    whole: frozenset[str] = frozenset()
    is_distributed: bool = False


class Refused(Exception):
    """The database cannot plan the query, or read samples for it, because of its tables, columns or types.

    Args:
        is_unsupported: whether the database cannot execute such a query at all, whatever the tables have.
    """

    def __init__(self, message: str, is_unsupported: bool = False) -> None:
        super().__init__(message)
        self.is_unsupported = is_unsupported


class QueryPlanner(ABC):
    """The planner of one session. The methods from ``reading`` to ``literal`` need ``session()``, and raise Refused."""

    def __init__(self, migrator: Any) -> None:
        self.migrator = migrator
        self.database = migrator.database
        self.catalog = migrator.catalog

    def tables(self, names: Sequence[str]) -> dict[str, Table]:
        """Return the tables of these names by name; raise IndexerError if our role may not even name them."""
        tables: dict[str, Table] = self.catalog.tables(names)
        return tables

    def children(self, tables: Mapping[str, Table]) -> list[Child]:
        """Return the tables that inherit from these, and the leaves of partitioned ones, by their names in plans."""
        return []

    def indexes(self, tables: Mapping[str, Table]) -> dict[str, CatalogEntry]:
        """Return the indexes of these tables and of their children, by their names in plans."""
        return {entry.name: entry for entry in self.catalog.indexes_on(tables)}

    def session(self) -> AbstractContextManager[None]:
        """Prepare the session for the questions below, and undo in the end what they have set."""
        return nullcontext()

    def preamble(self) -> str:
        """Return the statement to execute before those of ``literal``, or an empty string."""
        return ""

    @abstractmethod
    def reading(self) -> AbstractContextManager[None]:
        """Let the block read the tables."""

    @abstractmethod
    def plan(self, statement: Statement) -> Plan:
        """Return the plan that the database would follow now."""

    @abstractmethod
    def forced_plans(self, statement: Statement, index: Index) -> Iterator[Plan]:
        """Yield the plans of a database that has to use indexes, forced in one way after another."""

    @abstractmethod
    def prepared(self, statement: Statement, keeping: Collection[int] = ()) -> AbstractContextManager[Statement]:
        """Prepare the statement for any parameters, except those at the positions to keep.

        The forced plans of the resulting statement are generic: made before the parameters are known.
        """

    def cost_without_indexes(self, statement: Statement) -> float | None:
        """Return the cost of the plan that uses no index; None where the database gives no costs."""
        return None

    @abstractmethod
    def milliseconds(self, statement: Statement) -> float | None:
        """Run the statement read-only and return how long it took; None if it was stopped after LONGEST_RUN seconds."""

    @abstractmethod
    def literal(self, statement: Statement) -> str:
        """Return the statement with its parameters as literals, to be read and to be run in a shell."""

    def translate_error(self, error: PeeweeException) -> IndexerError:
        """Return the error to raise for a failure of the database."""
        failure: IndexerError = self.migrator.translate_error(error)
        return failure
