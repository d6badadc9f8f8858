"""What the two migrators share: playhouse operations that look into the catalog before they act, and after."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from peewee import SQL, EnclosedNodeList, Entity, Model, NodeList, PeeweeException
from playhouse.migrate import Operation, SchemaMigrator

from indexer.catalog import META_TABLES, ORDINARY, Catalog, CatalogEntry, Place, Table
from indexer.decide import CREATIONS, UNKNOWN, Action, Existing, Step, can_be_replaced, compare, decide, decide_drop
from indexer.errors import IndexerError, Problem, StatementFailed, UsageError
from indexer.events import Blocker, IndexFinished, Report, StatementStarted, silent
from indexer.inheritance import Child, Uncovered
from indexer.options import DEFAULTS
from indexer.records.provenance import Provenance
from indexer.signals import Stop
from indexer.spec import PLAIN, Column, Definition, Index, Variant
from indexer.text import identifier, reason

if TYPE_CHECKING:
    from indexer.verify.planner import QueryPlanner

BUILDING = CREATIONS | {Action.RENAME}  # SQLite builds an index again to rename it

Decide = Callable[[Index, Existing], Step]
Work = Generator[Any, None, None]
Doing = Generator[Any, None, Step]


class ScriptValues(NamedTuple):
    """What a script records of itself, as SQL that is evaluated when it runs. Times are UTC.

    ``start`` is the time to the millisecond, ``whole`` a start without them; ``elapsed`` the milliseconds since it.
    """

    now: str
    start: str
    whole: str
    elapsed: str
    role: str


class IndexOperation(Operation):
    """A playhouse operation on one index: lazy when made; carried out, it looks, decides, acts and looks again."""

    def __init__(self, migrator: CatalogMigrator, decide: Decide, index: Index) -> None:
        super().__init__(migrator, decide, index)
        self.decide = decide
        self.index = index

    def run(self) -> None:
        """Carry out this operation alone."""
        self.migrator.carry_out([self])


class Part(NamedTuple):
    """A part of a script; ``atomic`` where it stands whole or not at all."""

    statements: Sequence[str]
    atomic: bool = True


class CatalogMigrator(SchemaMigrator):
    """A playhouse migrator whose ``add_index`` and ``drop_index`` take an :class:`~indexer.spec.Index`.

    Attributes:
        catalog: where every decision comes from.
        report: called with each event of a run.
        options: what the user asks of a run.
        stop: asks the run to end.
        past: what ``drop_index`` has to know, such as which indexes stood there before ``up``.
        replaced_names: the names that runs of ours are on record to have given to indexes while they replaced them.
        declared_names: the names of all indexes of the chain; none of these is another one's twin.
        is_there: whether the database exists; a SQLite file may be still to be made.
    """

    script_values: ScriptValues
    database: Any
    catalog: Catalog
    options = DEFAULTS
    is_there = True

    def __init__(self, database: Any, schema: str | None = None) -> None:
        super().__init__(database, schema)
        self.report: Report = silent
        self.stop = Stop()
        self.past = UNKNOWN
        self.replaced_names: Collection[str] = ()
        self.declared_names: Collection[str] = ()

    # Operations ----------------------------------------------------------------------------------------------------

    def add_index(self, index: Index) -> IndexOperation:
        """Make this index stand: build it, rebuild it, keep it, or wait for the session that is building it."""
        return IndexOperation(self, self.step_up, index)

    def drop_index(self, index: Index) -> IndexOperation:
        """Take this index off, unless it stood there before ``up``."""
        return IndexOperation(self, self.step_down, index)

    def carry_out(self, operations: Sequence[IndexOperation], provenance: Provenance | None = None) -> tuple[Step, ...]:
        """Carry out operations, side by side where that is safe; return the steps that were taken in the end."""
        noting = provenance or Provenance()
        taken: dict[IndexOperation, Step] = {}

        def work(operation: IndexOperation) -> Work:
            taken[operation] = yield from self._work(operation, noting)

        self._schedule(operations, work)
        return tuple(taken[operation] for operation in operations)

    # Decisions -----------------------------------------------------------------------------------------------------

    def steps_up(self, indexes: Sequence[Index], sizes: bool = False) -> tuple[Step, ...]:
        """What ``up`` would do about each of these indexes now; with their sizes, if those are wanted."""
        return self._steps(self.step_up, self._standings(indexes, sizes, duplicates=True))

    def steps_down(self, indexes: Sequence[Index], sizes: bool = False) -> tuple[Step, ...]:
        """What ``down`` would do about each of these indexes now; with their sizes, if those are wanted."""
        return self._steps(self.step_down, self._standings(indexes, sizes, duplicates=True))

    def _steps(self, decide: Decide, standings: dict[Index, Existing]) -> tuple[Step, ...]:
        return tuple(decide(index, standing) for index, standing in standings.items())

    def _standings(
        self, indexes: Sequence[Index], sizes: bool = False, duplicates: bool = False
    ) -> dict[Index, Existing]:
        """What stands now and matters to these indexes, in two questions at most; the second one is for twins."""
        names = [name for index in indexes for name in (*index.names, self.alembic_name(index))]
        found = self.catalog.find(names, sizes) if indexes else {}
        missing = [index for index in indexes if duplicates and index.name not in found]
        others = self.catalog.indexes_on({index.table for index in missing}) if missing else []
        return {
            index: self._standing(index, found, self._duplicate(index, others) if index in missing else None)
            for index in indexes
        }

    def _standing(self, index: Index, found: Mapping[str, CatalogEntry], duplicate: CatalogEntry | None) -> Existing:
        others = [found.get(index.replacing), found.get(index.replaced)]
        replacing, replaced = (each if each and self.is_leftover(index, each) else None for each in others)
        conflict = next((each for each in others if each not in (None, replacing, replaced)), None)
        alembic_index = found.get(self.alembic_name(index))
        alembic_index = alembic_index if alembic_index and self.is_duplicate(index, alembic_index) else None
        return Existing(found.get(index.name), duplicate, alembic_index, replacing, replaced, conflict)

    def is_leftover(self, index: Index, found: CatalogEntry) -> bool:
        """Did a replacement of this index leave it? Else it only happens to carry one of the names."""
        if found.name == index.replacing:
            return not compare(self.definition(index, found), found)
        aside = found.name == index.replaced and found.name in self.replaced_names
        return aside and can_be_replaced(self.definition(index, found), found)

    def _duplicate(self, index: Index, others: Sequence[CatalogEntry]) -> CatalogEntry | None:
        """The first that is the same as this index in all but its name, and is nobody else's."""
        return next((other for other in others if self.is_duplicate(index, other)), None)

    def is_duplicate(self, index: Index, other: CatalogEntry) -> bool:
        """Is this the same index under another name?"""
        taken = other.name in index.names or other.name in self.declared_names
        if taken or not other.usable or other.definition is None:
            return False
        ours = self.definition(index, None)
        alike = (other.definition.table, other.definition.key) == (ours.table, ours.key)
        return alike and not compare(self.definition(index, other), other)

    def step_up(self, index: Index, standing: Existing) -> Step:
        """The decision about one index on the way up, with the statements that follow from it."""
        declared = self.definition(index, standing.found)
        action = decide(declared, standing, self.options)
        duplicate = standing.duplicate.name if standing.duplicate else None
        found = standing.found
        match action:
            case Action.CREATE:
                statements = [self.create_statement(index)]
            case Action.REBUILD:
                statements = [self.drop_statement(index.name), self.create_statement(index)]
            case Action.RENAME:
                assert duplicate
                statements = self.rename_statements(index, duplicate, index.name)
            case Action.REPLACE:
                statements = self.replace_statements(index, standing, bool(found and compare(declared, found)))
            case Action.JOIN if not (found and found.worker):
                statements, found = [], standing.replacing
            case _:
                statements = []
        known = self._is_known_to_alembic(index)
        return Step(action, index, declared, found, tuple(statements), duplicate, known, standing.conflict)

    def step_down(self, index: Index, standing: Existing) -> Step:
        """The decision about one index on the way down, with the statements that follow from it."""
        found = standing.found
        declared = self.definition(index, found)
        action = decide_drop(declared, standing, index.name, self.past, self.options)
        former = self.past.existed_before.get(index.name)
        statements: Sequence[str] = ()
        match action:
            case Action.DROP:
                alembic_index = standing.alembic_index if self.past.alembic_has_run else None
                dropped = (found, standing.replacing, standing.replaced, alembic_index)
                statements = [self.drop_statement(each.name) for each in dropped if each]
            case Action.LEAVE if standing.replacing:
                statements = [self.drop_statement(standing.replacing.name)]
            case Action.GIVE_BACK if found and former:
                statements = self.rename_statements(index, index.name, former)
            case Action.GIVE_BACK:
                statements, former = self.restore_statements(index, standing), None
            case Action.ABSENT:
                former = standing.duplicate.name if standing.duplicate else None
        other_name = former if former != index.name else None
        known = self._is_known_to_alembic(index)
        return Step(action, index, declared, found, tuple(statements), other_name, known)

    def _is_known_to_alembic(self, index: Index) -> bool:
        """Has the index the same name with Alembic?"""
        return self.alembic_name(index) == index.name

    # Carrying out --------------------------------------------------------------------------------------------------

    def _schedule(self, operations: Sequence[IndexOperation], work: Callable[[IndexOperation], Work]) -> None:
        for operation in operations:
            for _ in work(operation):
                pass

    def _work(self, operation: IndexOperation, provenance: Provenance) -> Doing:
        """One operation from the first look to the last; yields whenever it has to wait, returns the step taken."""
        started = time.monotonic()
        step = yield from self._act(operation, provenance)
        after = self._look(operation.index, size=True).found if step.changes else step.found
        self._confirm(step, after)
        provenance.finish(step)
        seconds, size = time.monotonic() - started, after.bytes if after else None
        self.report(IndexFinished(operation.index, step.action, seconds, size, step.other_name))
        return step

    def _act(self, operation: IndexOperation, provenance: Provenance) -> Doing:
        """Decide and execute; returns the step that was taken in the end."""
        step = self._decide(operation)
        for statement in step.statements:
            provenance.begin(step, statement)
            self.report(StatementStarted(operation.index, statement))
            self.execute_ddl(operation.index, statement)
        return step
        yield  # waits for nothing: a generator, because the online migrator's does

    def _decide(self, operation: IndexOperation) -> Step:
        return operation.decide(operation.index, self._look(operation.index))

    def _look(self, index: Index, size: bool = False) -> Existing:
        return self._standings([index], size, duplicates=self.options.adopt_renamed)[index]

    def _confirm(self, step: Step, after: CatalogEntry | None) -> None:
        name = step.index.name
        if step.action is Action.REFUSE:
            raise StatementFailed(
                f"Index {name} turned into something else while the run went on.",
                "See what stands there: python cli.py check",
            )
        if step.restores and not (after and after.usable):
            raise StatementFailed(
                f"The earlier {name} is not valid after it was given its name back.", "Run the same command again."
            )
        if step.action in (Action.DROP, Action.GIVE_BACK) and not step.restores and after is not None:
            raise StatementFailed(f"Index {name} still stands after it was dropped.", "Run the same command again.")
        if step.action in (*CREATIONS, Action.RENAME) and not (after and after.usable):
            raise StatementFailed(
                f"Index {name} is not valid after its build.", "Run the same command again: it rebuilds it."
            )

    # What a database says in its own words -------------------------------------------------------------------------

    @abstractmethod
    def definition(self, index: Index, found: CatalogEntry | None) -> Definition:
        """What the index is to be on this database, comparable with what is found."""

    @abstractmethod
    def create_statement(self, index: Index) -> str:
        """The statement that builds the index."""

    @abstractmethod
    def drop_statement(self, name: str) -> str:
        """The statement that drops an index."""

    @abstractmethod
    def rename_statements(self, index: Index, name: str, new_name: str) -> list[str]:
        """The statements that give this index, which stands under the first name, the second one."""

    @abstractmethod
    def replace_statements(self, index: Index, standing: Existing, differs: bool) -> list[str]:
        """The statements that put the declared index in the place of a different one, from wherever that came to.

        ``differs`` is false when its place has been taken already, and the other one is only to be dropped.
        """

    def restore_statements(self, index: Index, standing: Existing) -> list[str]:
        """The statements that give the index that a killed replacement has put aside its name back.

        None where a run is one transaction: there a replacement is done, or it never was.
        """
        return []

    @abstractmethod
    def execute_ddl(self, index: Index, statement: str) -> None:
        """Execute one statement about an index; raises StatementFailed with the database's own words."""

    @abstractmethod
    def script(self, parts: Sequence[Part]) -> str:
        """A script for the database's own shell."""

    def alembic_name(self, index: Index) -> str:
        """The name that Alembic's run of the same revision gives the index on this database."""
        return index.name

    @property
    @abstractmethod
    def place(self) -> Place:
        """The database and the schema."""

    def translate_error(self, error: PeeweeException) -> IndexerError:
        """What a failure means that came while nothing was being built."""
        return StatementFailed(f"{self.place}: {self.said(error)}", self.remedy(error))

    def said(self, error: PeeweeException) -> str:
        """Return what the database says about a failure, in sentences."""
        return f"{reason(error)}."

    def remedy(self, error: PeeweeException) -> str:
        """Return what to do about a failure, as a sentence that ends with running the same command again."""
        return "Remove the cause, then run the same command again."

    def tables_in(self, schema: str | None, names: Sequence[str]) -> dict[str, Table]:
        """Return the tables of these names in a schema, by name."""
        return self.catalog.tables(names) if schema == self.schema else {}

    def version_tables(self, schema: str | None, name: str) -> list[tuple[str | None, str]]:
        """Return schema and name of tables that look like Alembic's version table, besides the one of this name."""
        return []

    def children(self, tables: Mapping[str, Table]) -> list[Child]:
        """Return the tables that inherit from these."""
        return []

    def uncovered(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[Uncovered]:
        """Return which of these indexes are missing on tables that inherit from theirs."""
        return []

    def delays(self) -> list[str]:
        """Return what makes every commit wait, for people."""
        return []

    @abstractmethod
    def query_planner(self, models: Sequence[type[Model]]) -> QueryPlanner:
        """Return the planner that tells what this database would do with queries of these models."""

    def unseen(self, tables: Sequence[str]) -> list[str]:
        """Return what a look at these tables cannot see on this database, one sentence each."""
        return []

    def reconnect(self) -> None:
        """Open a session that was lost again; raises Unreachable."""

    def expected_blockers(self, steps: Sequence[Step]) -> tuple[Blocker, ...]:
        """The sessions that these steps would have to wait for if they began now."""
        return ()

    def hidden(self, blockers: Sequence[Blocker]) -> list[str]:
        """What would let us see more of these sessions, if we do not see all."""
        return []

    def reserve(self, steps: Sequence[Step]) -> None:
        """Have ready what these steps need of the server; raises NoSession."""

    def name_run(self, name: str) -> None:
        """Tell the server what our sessions are about to do."""

    def settle(self, tables: Sequence[str]) -> None:
        """Find the schema in which these tables are looked for, once, before anything else is asked."""

    def in_schemas(self, names: Sequence[str], pattern: str | None, tables: Sequence[str]) -> list[CatalogMigrator]:
        """A migrator for each of these schemas, or for each that holds any of the tables and is named like a pattern.

        Raises:
            UsageError: the database has no schemas, or none is like that.
        """
        raise UsageError("SQLite has no schemas.", "Leave --schema and --all-schemas out.")

    # Tables --------------------------------------------------------------------------------------------------------

    def create_tables(self, models: Sequence[Any]) -> None:
        """Create the tables of an empty database, all of them or none."""
        with self.database.atomic():
            for statement in self.table_statements(models):
                self.execute_text(statement)

    def execute_text(self, statement: str) -> None:
        """Execute a statement that is complete: nothing in it stands for a parameter."""
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

    def problems(self, steps: Sequence[Step], new: Mapping[str, Table] | None = None) -> list[str]:
        """Return everything that would stop these steps, one sentence each; nothing is changed.

        ``new`` are the tables that an empty database is given first.
        """
        indexed = {step.index.table for step in steps}
        tables = self.catalog.tables([*indexed, *META_TABLES])
        if new:
            rights = self.missing_rights(tables, creating=True)
            return [*self.catalog.problems(), *rights, *self.table_problems([step.index for step in steps], new)]
        creating = any(step.action in (*CREATIONS, Action.RENAME, Action.GIVE_BACK) for step in steps)
        changed = dict.fromkeys(step.index.table for step in steps if step.changes)
        return [
            *self.catalog.problems(),
            *self.missing_rights(tables, changed, creating),
            *self.table_problems([step.index for step in steps], tables),
            *self.unbuildable([step.index for step in steps if step.action in BUILDING], tables),
            *self._taken_names(steps),
            *self._needed(steps),
        ]

    def table_problems(self, indexes: Iterable[Index], tables: Mapping[str, Table]) -> list[str]:
        """Why these tables cannot have these indexes: missing, not tables, or without a column."""
        found: dict[str, None] = {}  # in order, each once
        for index in indexes:
            name, table = self.qualified(index.table), tables.get(index.table)
            if table is None:
                found[f"table {name} is missing"] = None
            elif table.kind != ORDINARY:
                found[f"{name} is a {table.kind}, not an ordinary table"] = None
            else:
                missing = [column.name for column in index.key if column.name not in table.columns]
                found.update({f"table {name} has no column {column}": None for column in missing})
        return list(found)

    @abstractmethod
    def unbuildable(self, indexes: Sequence[Index], tables: Mapping[str, Table]) -> list[str]:
        """Return why the database would refuse to build these indexes, one sentence each.

        What ``table_problems`` says about their tables is not said again.
        """

    def missing_rights(
        self, tables: Mapping[str, Table], indexed: Collection[str] = (), creating: bool = False
    ) -> list[Problem]:
        """Return the rights that our role lacks to change the indexes of these tables, and to record that.

        Args:
            tables: those there are, by name, and those that record revisions.
            indexed: the names of the tables whose indexes are changed.
            creating: whether an index is made or renamed, or a table made.
        """
        return []

    def hold(self, tables: Collection[tuple[str | None, str]]) -> None:
        """Keep others from changing what is attached to these tables, by schema and name, until the transaction ends.

        Raises:
            StatementFailed: one of them cannot be trusted any more.
        """

    def publications(self) -> list[str]:
        """Return the publications that would send the rows of a new table in our schema to subscribers."""
        return []

    def subscriptions(self) -> list[str]:
        """Return what are most likely the names of the subscriptions to this database."""
        return []

    def missing_rights_to_read(self, tables: Mapping[str, Table]) -> list[Problem]:
        """Return the rights that our role lacks to read what is recorded."""
        return []

    def _taken_names(self, steps: Sequence[Step]) -> list[str]:
        """The names that ``down`` is to give back, and that somebody else has taken meanwhile."""
        given_back = {step.other_name: step.index for step in steps if step.action is Action.GIVE_BACK}
        taken = self.catalog.find([name for name in given_back if name]) if given_back else {}
        return [
            f"{index.name} cannot get its name {name} back, because another {taken[name].kind} has it by now: "
            "rename that one, or drop ours instead: python cli.py down --include-adopted"
            for name, index in given_back.items()
            if name in taken
        ]

    def _needed(self, steps: Sequence[Step]) -> list[str]:
        """What else cannot do without an index that is to be dropped."""
        return [
            f"{step.index.name} cannot be dropped, because {step.found.needed_by} needs it"
            for step in steps
            if step.action is Action.DROP and step.found and step.found.needed_by
        ]

    def qualified(self, name: str) -> str:
        """A name with its schema, for people and for the statements that they are to type."""
        return ".".join(map(identifier, filter(None, (self.schema, name))))

    # Writing SQL ---------------------------------------------------------------------------------------------------

    def create_index(
        self, index: Index, variant: Variant = PLAIN, concurrently: bool = False, name: str | None = None
    ) -> str:
        """The text of a CREATE INDEX, its identifiers quoted by peewee; under another name, if one is given."""
        context = self.make_context().literal("CREATE UNIQUE INDEX " if index.unique else "CREATE INDEX ")
        context.literal("CONCURRENTLY " if concurrently else "").sql(Entity(name or index.name))
        context.literal(" ON ").sql(self._table(index.table))
        context.literal("" if variant.using == PLAIN.using else f" USING {variant.using}")
        context.literal(" ").sql(EnclosedNodeList([_ordered(column) for column in index.key]))
        context.literal(f" WHERE {variant.where}" if variant.where else "")
        return str(context.query()[0])

    def drop_index_statement(self, name: str, concurrently: bool = False, if_exists: bool = False) -> str:
        """The text of a DROP INDEX."""
        context = self.make_context().literal("DROP INDEX CONCURRENTLY " if concurrently else "DROP INDEX ")
        context.literal("IF EXISTS " if if_exists else "")
        return str(context.sql(self._table(name)).query()[0])

    def rename_index_statement(self, name: str, new_name: str) -> str:
        """The text of an ALTER INDEX that renames."""
        context = self.make_context().literal("ALTER INDEX ").sql(self._table(name)).literal(" RENAME TO ")
        return str(context.sql(Entity(new_name)).query()[0])


def _ordered(column: Column) -> Any:
    return NodeList((Entity(column.name), SQL("DESC"))) if column.descending else Entity(column.name)
