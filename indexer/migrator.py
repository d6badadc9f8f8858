"""The playhouse migrator of both databases: its operations read the catalog before they change anything, and after."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from peewee import Model, PeeweeException
from playhouse.migrate import Operation, SchemaMigrator

from indexer.catalog import MOMENT, Catalog, CatalogEntry, Engine, Place, Table
from indexer.decide import CREATIONS, UNKNOWN, Action, RevertContext
from indexer.dialect import Dialect
from indexer.errors import Command, Hint, IndexerError, PreflightFailed, StatementFailed, UsageError
from indexer.events import IndexFinished, Report
from indexer.options import Options
from indexer.pace.pace import UNLIMITED, Left, Pace
from indexer.records.provenance import Provenance
from indexer.server import Server
from indexer.signals import Stop
from indexer.spec import Index
from indexer.steps import Step, StepPlanner
from indexer.text import qualified, reason
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.care.adapter import CareAdapter
    from indexer.predict.forecast import Predictor
    from indexer.query_planner import QueryPlanner

AGAIN = "Run the same command again."
REBUILD = "Run the same command again: it rebuilds the index."


class Context(NamedTuple):
    """What work on a database is done with.

    Attributes:
        application: the user's own peewee database, if the work is on that.
    """

    options: Options
    report: Report
    stop: Stop
    application: Any = None


Decide = Callable[[], Step]
GetPlanner = Callable[[], StepPlanner]
Work = Generator[Any, None, None]
Doing = Generator[Any, None, Step]


class IndexOperation(Operation):
    """A playhouse operation on one index; carried out, it looks, decides the step to take, acts and looks again.

    Args:
        planned: the step that was decided a moment ago. If another session creates the index first, the database
            refuses to, and the step is decided again.
    """

    def __init__(
        self,
        migrator: CatalogMigrator,
        index: Index,
        decide: Decide,
        is_drop: bool = False,
        planned: Step | None = None,
    ) -> None:
        super().__init__(migrator, decide, index)
        self.index = index
        self.is_drop = is_drop
        self._decide = decide
        self._planned = planned
        self._until = time.monotonic() + MOMENT

    def decide(self) -> Step:
        """Return the step to take now."""
        planned, self._planned = self._planned, None
        return planned if planned and time.monotonic() < self._until else self._decide()

    def run(self) -> None:
        """Carry out this operation alone."""
        self.migrator.carry_out([self])


class CatalogMigrator(SchemaMigrator):
    """A playhouse migrator whose ``add_index`` and ``drop_index`` take an :class:`~indexer.spec.Index`.

    Attributes:
        exists: whether the database exists; a SQLite file may be still to be created.
    """

    database: Any
    schema: str | None
    exists = True

    def __init__(self, database: Any, catalog: Catalog, dialect: Dialect, server: Server, context: Context) -> None:
        super().__init__(database, catalog.schema)
        self.catalog: Any = catalog
        self.dialect: Any = dialect
        self.server = server
        self.context = context

    @abstractmethod
    def within(self, context: Context, tables: Sequence[str]) -> CatalogMigrator:
        """Return another migrator on the same session, for work on these tables, whose schema it finds.

        Raises:
            UsageError: there is no such schema.
        """

    def beside(self, schema: str, namespace: int) -> CatalogMigrator:
        """Return the migrator of another schema with this OID, on the same session and in the same run."""
        raise UsageError("SQLite has no schemas.", "Leave --schema out.")

    @property
    @abstractmethod
    def place(self) -> Place:
        """The database and the schema."""

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """The database system and its version."""

    def is_current(self) -> bool:
        """Return whether the session still shows what its URL names: a file may have been replaced by another."""
        return False

    def limit_statements(self, seconds: float) -> None:
        """Let the server cancel each statement of this session that takes longer."""

    def settle(self, tables: Sequence[str]) -> None:
        """Find the schema that holds these tables, once, before anything else is asked."""

    def in_schemas(self, names: Sequence[str], pattern: str | None, tables: Sequence[str]) -> list[CatalogMigrator]:
        """Return a migrator for each of these schemas or, with a pattern, for those it matches that hold any table.

        Raises:
            UsageError: the database has no schemas, or none that matches.
        """
        raise UsageError("SQLite has no schemas.", "Leave --schema and --all-schemas out.")

    def free_connections(self) -> int | None:
        """Return how many more connections can be opened beside those of others; None if there is no limit."""
        return None

    def reconnect(self) -> None:
        """Open a session that was lost again; raises Unreachable."""

    @abstractmethod
    def reopen(self, within: float | None = None) -> None:
        """End the session and open another one; the next question is to be asked by a migrator of ``within``.

        Args:
            within: how many seconds that may take, if that is less than the URL allows.

        Raises:
            Unreachable: the database cannot be reached.
        """

    def close(self) -> None:
        """End the sessions of this tool."""
        self.database.close()

    def __enter__(self) -> CatalogMigrator:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def refuse_own_transaction(self) -> None:
        """Raise PreflightFailed if a transaction is open on the user's database in this thread, which cannot end it."""
        if self._is_in_transaction(self.context.application):
            problem = "your database object has an open transaction in this thread, and the run would wait for it"
            raise PreflightFailed([problem], "Commit it or roll it back, then start the run outside of atomic().")

    def _is_in_transaction(self, database: Any) -> bool:
        """Return whether a transaction is open on a peewee database in this thread, peewee's or the driver's."""
        if database is None or database.is_closed():
            return False
        return bool(database.in_transaction() or self.driver_is_in_transaction(database.connection()))

    @abstractmethod
    def driver_is_in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of the driver."""

    # Operations -----------------------------------------------------------------------------------------------------

    def planner(self) -> StepPlanner:
        """Return a planner of steps that knows of no chain and no record."""
        return StepPlanner(self.catalog, self.dialect, self.context.options)

    def add_index(self, index: Index, planner: GetPlanner | None = None, planned: Step | None = None) -> IndexOperation:
        """Return the operation that builds the index, repairs it, keeps it, or waits for another session's build."""
        planner = planner or self.planner
        return IndexOperation(self, index, lambda: planner().next_up(index), planned=planned)

    def drop_index(
        self, index: Index, planner: GetPlanner | None = None, context: RevertContext = UNKNOWN
    ) -> IndexOperation:
        """Return the operation that drops the index, unless the context says that it existed before ``up``."""
        planner = planner or self.planner
        return IndexOperation(self, index, lambda: planner().next_down(index, context), is_drop=True)

    def carry_out(
        self,
        operations: Sequence[IndexOperation],
        provenance: Provenance | None = None,
        pace: Pace = UNLIMITED,
    ) -> tuple[Step, ...]:
        """Carry out operations, side by side where that is safe; return the steps that were taken in the end.

        An operation that the pace does not let begin any more has no step; ``pace.left`` says why.
        """
        noting = provenance or Provenance()
        taken: dict[IndexOperation, Step] = {}

        def work(operation: IndexOperation) -> Work:
            with suppress(Left):
                taken[operation] = yield from self._work(operation, noting)

        self._schedule(operations, work, pace)
        return tuple(taken[operation] for operation in operations if operation in taken)

    def analyze(self, step: Step) -> None:
        """Gather the statistics of the table of a step; it waits, reports and obeys signals as a build does."""
        target = step.index.renamed(step.index.table)  # which events name
        statements = (self.dialect.analyze_statement(target.table),)
        analyzing = Step(Action.ANALYZE, target, step.declared, None, statements)

        def work(operation: IndexOperation) -> Work:
            yield from self._act(operation.decide, Provenance())

        self._schedule([IndexOperation(self, target, lambda: analyzing)], work, UNLIMITED)

    def _work(self, operation: IndexOperation, provenance: Provenance) -> Doing:
        """Carry out one operation; yields whenever it has to wait, and returns the step that was taken."""
        started, name = time.monotonic(), operation.index.name
        step = yield from self._act(operation.decide, provenance)
        after = self._look_again(name) if step.changes else step.found
        _confirm(step, after)
        provenance.finish(step, after)
        seconds, size = time.monotonic() - started, after.bytes if after else None
        before = step.found.bytes if step.found and step.action is Action.REINDEX else None
        self.context.report(
            IndexFinished(
                operation.index,
                step.action,
                seconds,
                size,
                step.other_name,
                before,
                partitions=step.partitions,
                part_of=step.part_of if step.action is Action.LEAVE else None,
            )
        )
        return step

    @abstractmethod
    def _look_again(self, name: str) -> CatalogEntry | None:
        """Return what has the name of an index after its step, with its size."""

    @abstractmethod
    def _schedule(
        self, operations: Sequence[IndexOperation], work: Callable[[IndexOperation], Work], pace: Pace
    ) -> None:
        """Do the work of each operation, at this pace."""

    @abstractmethod
    def _act(self, decide: Decide, provenance: Provenance) -> Doing:
        """Decide and execute the statements; yields whenever it has to wait, and returns the step that was taken."""

    def table_bytes(self, names: Collection[str]) -> dict[str, int]:
        """Return the bytes of those of these tables that exist; where they cannot be told, more than they can be."""
        tables = self.catalog.tables(names, sizes=True)
        return {name: table.bytes or 0 for name, table in tables.items()}

    # What a run needs -----------------------------------------------------------------------------------------------

    def name_run(self, name: str) -> None:
        """Tell the server what our sessions are about to do."""

    def reserve(self, steps: Sequence[Step]) -> None:
        """Open what these steps need of the server before the first change; raises NoSession."""

    def lock_tables(self, tables: Collection[tuple[str | None, str]]) -> None:
        """Keep others from changing what is attached to these existing tables (schema, name) in this transaction.

        Raises:
            StatementFailed: one of them cannot be trusted any more.
        """

    @abstractmethod
    def unbuildable(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[str]:
        """Return why the database would refuse to build these indexes on these tables, one sentence each."""

    def unpartitionable(self, steps: Sequence[Step]) -> list[str]:
        """Return which partitions prevent these steps, which build on partitioned tables, one sentence each."""
        return []

    def uncreatable(self, models: Sequence[type[Model]]) -> list[str]:
        """Return why the database would refuse to create the tables of these models, one sentence each."""
        return []

    @abstractmethod
    def query_planner(self, models: Sequence[type[Model]]) -> QueryPlanner:
        """Return the planner that tells what this database would do with queries of these models."""

    @property
    @abstractmethod
    def care(self) -> CareAdapter:
        """The questions about indexes in use to this database."""

    @property
    @abstractmethod
    def predictor(self) -> Predictor:
        """What tells how much this database will need to build indexes."""

    def create_tables(self, models: Sequence[Any]) -> None:
        """Create the tables of an empty database, all of them or none."""
        with self.database.atomic():
            for statement in self.dialect.table_statements(models):
                self.execute_text(statement)

    def execute_last(self, queries: Sequence[Any]) -> None:
        """Execute queries of peewee's that end a transaction, which may be committed at once."""
        for query in queries:
            self.database.execute(query)

    def execute_text(self, statement: str) -> None:
        """Execute a statement without parameters."""
        self.database.execute_sql(statement)

    def qualified(self, name: str) -> str:
        """Return a name with its schema, quoted where a statement needs that."""
        return qualified(self.catalog.schema, name)

    # What a failure means -------------------------------------------------------------------------------------------

    def translate_error(self, error: PeeweeException) -> IndexerError:
        """Return our error for a failure of the database outside of a build."""
        return StatementFailed(f"{self.place}: {self.said(error)}", self.remedy(error))

    def said(self, error: PeeweeException) -> str:
        """Return what the database says about a failure, in sentences."""
        return f"{reason(error)}."

    def remedy(self, error: PeeweeException) -> str:
        """Return what to do about a failure, as a sentence that ends with running the same command again."""
        return "Remove the cause, then run the same command again."


def _confirm(step: Step, after: CatalogEntry | None) -> None:
    """Compare what a step has come to with what it was to be; raises StatementFailed if it is not that."""
    name, is_usable = step.index.name, after is not None and after.usable
    if step.action is Action.REFUSE and step.found and step.found.unknown:
        raise StatementFailed(f"Cannot tell whether index {name} is valid: {step.found.unknown}.", AGAIN)
    if step.action is Action.REFUSE:
        raise StatementFailed(
            f"Index {name} was replaced by another session during the run.",
            Hint("See what has the name now: ", Command("check")),
        )
    if step.restores:
        if not is_usable:
            raise StatementFailed(f"The earlier index {name} is not valid after it was renamed back.", AGAIN)
    elif step.action in (Action.DROP, Action.RENAME_BACK) and after is not None:
        raise StatementFailed(f"Index {name} still exists after it was dropped.", AGAIN)
    elif step.action in (*CREATIONS, Action.COMPLETE, Action.RENAME, Action.REINDEX) and not is_usable:
        raise StatementFailed(
            f"Index {name} is not valid after its build.", "Run the same command again to rebuild it."
        )
