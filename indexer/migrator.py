"""What the two migrators share: playhouse operations that look into the catalog before they act, and after."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Generator, Sequence
from itertools import groupby
from typing import Any

from peewee import SQL, EnclosedNodeList, Entity, NodeList
from playhouse.migrate import Operation, SchemaMigrator

from indexer.catalog import ORDINARY, Catalog, Found
from indexer.errors import StatementFailed
from indexer.events import Blocker, IndexFinished, Report, StatementStarted, silent
from indexer.patience import Patience
from indexer.plan import Action, Step, decide, decide_drop
from indexer.spec import PLAIN, Column, Definition, Index, Variant
from indexer.stop import Stop

Decide = Callable[[Index, Found | None], Step]
Work = Generator[Any, None, None]


class IndexOperation(Operation):
    """A playhouse operation on one index: lazy when made; carried out, it looks, decides, acts and looks again."""

    def __init__(self, migrator: CatalogMigrator, decide: Decide, index: Index) -> None:
        super().__init__(migrator, decide, index)
        self.decide = decide
        self.index = index

    def run(self) -> None:
        """Carry out this operation alone."""
        self.migrator.carry_out([self])


class _Deaf:
    """A database that executes nothing, for playhouse's own operations while a revision is only being read."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def execute(self, query: Any) -> None:
        """Do not."""


class CatalogMigrator(SchemaMigrator):
    """A playhouse migrator whose ``add_index`` and ``drop_index`` take an :class:`~indexer.spec.Index`.

    Attributes:
        catalog: where every decision comes from.
        report: called with each event of a run.
        patience: how long to wait, how often to try.
        stop: asks the run to end.
        existed_before: names of indexes that ``drop_index`` leaves, because they stood there before ``up``.
    """

    database: Any
    catalog: Catalog
    patience = Patience()

    def __init__(self, database: Any, schema: str | None = None) -> None:
        super().__init__(database, schema)
        self.report: Report = silent
        self.stop = Stop()
        self.existed_before: Collection[str] = ()
        self._declared: list[Index] | None = None

    # What a revision file calls ------------------------------------------------------------------------------------

    def add_index(self, index: Index) -> IndexOperation:
        """Make this index stand: build it, rebuild it, keep it, or wait for the session that is building it."""
        return IndexOperation(self, self.step_up, index)

    def drop_index(self, index: Index) -> IndexOperation:
        """Take this index off, unless it stood there before ``up``."""
        return IndexOperation(self, self.step_down, index)

    def migrate(self, *operations: Operation) -> None:
        """Carry out operations in order; neighbouring ones on indexes may go side by side."""
        for on_indexes, group in groupby(operations, lambda operation: isinstance(operation, IndexOperation)):
            if on_indexes:
                self.carry_out(list(group))
            else:
                for operation in group:
                    operation.run()

    def carry_out(self, operations: Sequence[IndexOperation]) -> None:
        """Carry out operations on indexes, or note them down while a revision is only being read."""
        if self._declared is not None:
            self._declared += [operation.index for operation in operations]
        else:
            self._schedule(operations)

    # Reading a revision --------------------------------------------------------------------------------------------

    def indexes_of(self, move: Callable[[Any], None]) -> tuple[Index, ...]:
        """The indexes that ``upgrade`` or ``downgrade`` of a revision names, in its order; nothing is executed."""
        database, self.database, self._declared = self.database, _Deaf(self.database), []
        try:
            move(self)
            return tuple(self._declared)
        finally:
            self.database, self._declared = database, None

    def steps_up(self, indexes: Sequence[Index], sizes: bool = False) -> tuple[Step, ...]:
        """What ``up`` would do about each of these indexes now; with their sizes, if those are wanted."""
        return self._steps(self.step_up, indexes, sizes)

    def steps_down(self, indexes: Sequence[Index]) -> tuple[Step, ...]:
        """What ``down`` would do about each of these indexes now."""
        return self._steps(self.step_down, indexes)

    def _steps(self, decide: Decide, indexes: Sequence[Index], sizes: bool = False) -> tuple[Step, ...]:
        found = self.catalog.find([index.name for index in indexes], sizes) if indexes else {}
        return tuple(decide(index, found.get(index.name)) for index in indexes)

    def step_up(self, index: Index, found: Found | None) -> Step:
        """The decision about one index on the way up, with the statements that follow from it."""
        declared = self.definition(index, found)
        action = decide(declared, found)
        statements = {
            Action.CREATE: (self.create_statement(index),),
            Action.REBUILD: (self.drop_statement(index), self.create_statement(index)),
        }
        return Step(action, index, declared, found, statements.get(action, ()))

    def step_down(self, index: Index, found: Found | None) -> Step:
        """The decision about one index on the way down, with the statement that follows from it."""
        declared = self.definition(index, found)
        action = decide_drop(declared, found, index.name, self.existed_before)
        statements = (self.drop_statement(index),) if action is Action.DROP else ()
        return Step(action, index, declared, found, statements)

    # Carrying out --------------------------------------------------------------------------------------------------

    def _schedule(self, operations: Sequence[IndexOperation]) -> None:
        for operation in operations:
            for _ in self._work(operation):
                pass

    def _work(self, operation: IndexOperation) -> Work:
        """One operation from the first look to the last; yields whenever it has to wait."""
        started = time.monotonic()
        step = yield from self._act(operation)
        after = self._look(operation.index, size=True) if step.changes else step.found
        self._confirm(step, after)
        seconds = time.monotonic() - started
        self.report(IndexFinished(operation.index, step.action, seconds, after.bytes if after else None))

    def _act(self, operation: IndexOperation) -> Generator[Any, None, Step]:
        """Decide and execute; returns the step that was taken in the end."""
        step = self._decide(operation)
        for statement in step.statements:
            self.report(StatementStarted(operation.index, statement))
            self.execute_ddl(operation.index, statement)
        return step
        yield  # waits for nothing: a generator, because the online migrator's does

    def _decide(self, operation: IndexOperation) -> Step:
        return operation.decide(operation.index, self._look(operation.index))

    def _look(self, index: Index, size: bool = False) -> Found | None:
        return self.catalog.find([index.name], size).get(index.name)

    def _confirm(self, step: Step, after: Found | None) -> None:
        if step.action is Action.REFUSE:
            raise StatementFailed(
                f"Index {step.index.name} turned into something else while the run went on.",
                "See what stands there: python cli.py status",
            )
        if step.action is Action.DROP and after is not None:
            raise StatementFailed(
                f"Index {step.index.name} still stands after it was dropped.", "Run the same command again."
            )
        if step.action in (Action.CREATE, Action.REBUILD) and not (after and after.usable):
            raise StatementFailed(
                f"Index {step.index.name} is not valid after its build.", "Run the same command again: it rebuilds it."
            )

    # What a database says in its own words -------------------------------------------------------------------------

    @abstractmethod
    def definition(self, index: Index, found: Found | None) -> Definition:
        """What the index is to be on this database, comparable with what is found."""

    @abstractmethod
    def create_statement(self, index: Index) -> str:
        """The statement that builds the index."""

    @abstractmethod
    def drop_statement(self, index: Index) -> str:
        """The statement that drops the index."""

    @abstractmethod
    def execute_ddl(self, index: Index, statement: str) -> None:
        """Execute one statement about an index; raises StatementFailed with the database's own words."""

    @abstractmethod
    def script(self, tables: Sequence[str], statements: Sequence[str]) -> str:
        """A script for the database's own shell: the tables all or none, then the statements, online, in order."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The database's URL for people, without a password."""

    def expected_blockers(self, steps: Sequence[Step]) -> tuple[Blocker, ...]:
        """The sessions that these steps would have to wait for if they began now."""
        return ()

    def name_run(self, name: str) -> None:
        """Tell the server what our sessions are about to do."""

    def settle(self, tables: Sequence[str]) -> None:
        """Find the schema in which these tables are looked for, once, before anything else is asked."""

    # Tables --------------------------------------------------------------------------------------------------------

    def create_tables(self, models: Sequence[Any]) -> None:
        """Create the tables of an empty database, all of them or none."""
        with self.database.atomic():
            for statement in self.table_statements(models):
                self.database.execute_sql(statement)

    def table_statements(self, models: Sequence[Any]) -> list[str]:
        """The statements that create these tables and the unique indexes they declare."""
        with self.database.bind_ctx(models):
            contexts = [
                context
                for schema in (model._schema for model in models)
                for context in (schema._create_table(safe=False), *schema._create_indexes(safe=False))
            ]
        return [str(context.query()[0]) for context in contexts]

    def complaints(self, steps: Sequence[Step], creating_tables: bool = False) -> list[str]:
        """Everything that would stop these steps, one sentence each; nothing is changed."""
        return [*self.catalog.complaints(), *([] if creating_tables else self._table_complaints(steps))]

    def _table_complaints(self, steps: Sequence[Step]) -> list[str]:
        tables = self.catalog.tables({step.index.table for step in steps})
        changed = {step.index.table for step in steps if step.changes}
        found: dict[str, None] = {}  # in order, each once
        for index in (step.index for step in steps):
            name, table = self.qualified(index.table), tables.get(index.table)
            if table is None:
                found[f"table {name} is missing"] = None
            elif table.kind != ORDINARY:
                found[f"{name} is a {table.kind}, not a table that can be indexed online"] = None
            else:
                missing = [column.name for column in index.key if column.name not in table.columns]
                found.update({f"table {name} has no column {column}": None for column in missing})
                if index.table in changed and not table.owned:
                    found[f"table {name} belongs to role {table.owner}, and only its owner can index it"] = None
        return list(found)

    def qualified(self, name: str) -> str:
        """A name with its schema, for people."""
        return f"{self.schema}.{name}" if self.schema else name

    # Writing SQL ---------------------------------------------------------------------------------------------------

    def create_index(self, index: Index, variant: Variant = PLAIN, concurrently: bool = False) -> str:
        """The text of a CREATE INDEX, its identifiers quoted by peewee."""
        context = self.make_context().literal("CREATE UNIQUE INDEX " if index.unique else "CREATE INDEX ")
        context.literal("CONCURRENTLY " if concurrently else "").sql(Entity(index.name))
        context.literal(" ON ").sql(self._table(index.table))
        context.literal("" if variant.using == PLAIN.using else f" USING {variant.using}")
        context.literal(" ").sql(EnclosedNodeList([_ordered(column) for column in index.key]))
        context.literal(f" WHERE {variant.where}" if variant.where else "")
        return str(context.query()[0])

    def drop_index_statement(self, index: Index, concurrently: bool = False) -> str:
        """The text of a DROP INDEX."""
        context = self.make_context().literal("DROP INDEX CONCURRENTLY " if concurrently else "DROP INDEX ")
        return str(context.sql(self._table(index.name)).query()[0])


def _ordered(column: Column) -> Any:
    return NodeList((Entity(column.name), SQL("DESC"))) if column.descending else Entity(column.name)
