"""What is: the records, every index, and what a run would do about them. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from peewee import Model

from indexer import inheritance
from indexer.advice import CHANGED_FILE, Advice, advise, on_empty_children
from indexer.catalog import META_TABLE, META_TABLES, ORDINARY, Place, Table
from indexer.decide import Action, Step
from indexer.errors import Hint, PreflightFailed, Problem
from indexer.migrator import CatalogMigrator
from indexer.options import DEFAULTS, Options
from indexer.plans import Check, Plan, RevisionPlan, Status
from indexer.publishing import NOT_PUBLISHED, Publishing
from indexer.records.alembic import AlembicState, AlembicTable, assumed_later
from indexer.records.log import Entry, LogTable
from indexer.records.provenance import revert_context
from indexer.records.revisions import Record, RevisionTable, checksum
from indexer.revisions.chain import Chain, Revision
from indexer.spec import Index

CAN_BE_RENAMED = (
    "{name} stands already under the name {duplicate}: up --adopt-renamed renames that instead of building another."
)
STAYS = "{duplicate} is the same as {name} under another name, and stays."


class State(NamedTuple):
    """What is on record, and which of the tables stand: read in one go, before anything is decided."""

    tables: dict[str, Table]
    records: dict[str, Record]
    alembic: AlembicState

    def unknown(self, chain: Chain) -> list[str]:
        """The recorded revisions that this version of the tool does not know."""
        return [revision for revision in self.records if revision not in chain.ids]


class Reader:
    """Looks at one database with the eyes of a chain of revisions.

    Args:
        migrator: the open database.
        chain: the revisions there are.
        models: gives the tables of the base schema; asked only about an empty database.
        options: what the user asks of a run; a plan takes it into account.
    """

    def __init__(
        self,
        migrator: CatalogMigrator,
        chain: Chain,
        models: Callable[[], Sequence[type[Model]]] = tuple,
        options: Options = DEFAULTS,
    ) -> None:
        self.migrator = migrator
        self.chain = chain
        self.models = models
        migrator.options = self.options = options
        self.history = RevisionTable(migrator)
        self.journal = LogTable(migrator)
        self.alembic = AlembicTable(migrator, chain, options)
        self.indexes = {revision.id: revision.indexes for revision in chain}
        migrator.declared_names = {index.name for index in self.declared}
        self.indexed_tables = chain.tables
        migrator.settle(self.indexed_tables)

    @property
    def declared(self) -> list[Index]:
        """The indexes of all revisions, in the order of the chain."""
        return [index for indexes in self.indexes.values() for index in indexes]

    @property
    def place(self) -> Place:
        """Where it looks."""
        return self.migrator.place

    def status(self) -> Status:
        """Where the database stands; changes nothing and takes no lock."""
        state = self._read()
        moves = tuple(self._move_up(revision, state, sizes=True) for revision in self.chain)
        base = state.records.get(self.chain.base)
        warnings = (
            *self._unknown(state),
            *self.alembic.left_alone(state.alembic, self.chain.revisions, "up"),
            *self._table_problems(state),
            *self.migrator.unseen(self.indexed_tables),
        )
        applied = [index for move in moves if move.is_applied for index in self.indexes[move.revision.id]]
        uncovered = tuple(self.migrator.uncovered(applied, state.tables))
        return Status(self.place, self._current(moves, state), self.chain, base, moves, warnings, uncovered)

    def plan(self, direction: str = "up", to: str | None = None, sizes: bool = False) -> Plan:
        """What ``up`` or ``down`` would do now, with table sizes if wanted; changes nothing and takes no lock."""
        state = self._read(sizes, direction)
        return self._plan_up(to, state) if direction == "up" else self._plan_down(to, state, sizes)

    def entries(self) -> list[Entry]:
        """What was done to this database, the last move first."""
        return self.journal.read(self._read().tables)

    def check(self) -> Check:
        """Is the database what its revisions say? Changes nothing and takes no lock."""
        status = self.status()
        steps = [step for move in status.moves for step in move.steps]
        advice = advise(
            steps,
            self.migrator.catalog.indexes_on(self.indexed_tables),
            lambda step, found: self.migrator.is_duplicate(step.index, found),
            lambda step, found: self.migrator.is_leftover(step.index, found),
            self.migrator.drop_statement,
        )
        changed = [
            Advice(CHANGED_FILE, None, None, f"{move.revision.file} has changed since it was applied.")
            for move in status.moves
            if move.record and move.record.checksum != checksum(self.indexes[move.revision.id])
        ]
        return Check(status, (*advice, *on_empty_children(status.uncovered), *changed))

    def _read(self, sizes: bool = False, command: str | None = None) -> State:
        """Read all that is on record; with a command that is to change something, refuse what keeps that from it."""
        tables = self.migrator.catalog.tables([*self.indexed_tables, *META_TABLES, *self.alembic.names], sizes)
        self.history.find(tables)
        self.journal.find(tables)
        if command and self.history.is_closed:
            raise PreflightFailed(self._missing_rights(tables, command), f"Correct this, then: python cli.py {command}")
        records = self.history.read(tables)
        self.migrator.replaced_names = {name for record in records.values() for name in record.existed_before}
        return State(tables, records, self.alembic.read(tables))

    def _missing_rights(self, tables: dict[str, Table], command: str) -> list[Problem]:
        """Return every right that a command may need, where what is recorded cannot be read to tell which it does."""
        indexed = () if command.startswith("stamp") else self.indexed_tables
        missing = self.migrator.missing_rights(tables, indexed, creating=command.startswith("up"))
        return [*missing, *self.alembic.missing_rights(tables)]

    def _plan_up(self, to: str | None, state: State) -> Plan:
        target = self.chain.resolve("head" if to is None else to)
        ours = [name for name in self.indexed_tables if name in state.tables]
        creating = not ours and self.migrator.catalog.is_empty()
        wanted = self.chain.revisions[: self.chain.position(target)]
        moves = tuple(self._move_up(revision, state) for revision in wanted)
        base_tables = _tables_of(self.models()) if creating else {}
        due = tuple(move for move in moves if move.is_due)
        plan = self._planned("up", self._current(moves, state), target, due, base_tables, state)._replace(to=to)
        left_alone = self.alembic.left_alone(state.alembic, wanted, "up")
        indexes = [index for revision in wanted for index in self.indexes[revision.id]]
        inheriting = inheritance.warnings(self.migrator.uncovered(indexes, state.tables))
        return self._warned(plan, state, [*left_alone, *inheriting], CAN_BE_RENAMED)

    def _plan_down(self, to: str | None, state: State, sizes: bool) -> Plan:
        moves = tuple(self._move_down(revision, state, sizes) for revision in self.chain)
        undoable = [move for move in moves if move.is_undoable]
        parent = undoable[-1].revision.down_revision if undoable else self.chain.base
        target = parent if to is None else self.chain.resolve(to)
        undone = [move for move in undoable if self.chain.position(move.revision.id) > self.chain.position(target)]
        due = tuple(reversed(undone))
        plan = self._planned("down", self._current(moves, state), target, due, {}, state)._replace(to=to)
        left_alone = self.alembic.left_alone(state.alembic, [move.revision for move in due], "down")
        return self._warned(plan, state, left_alone, STAYS)

    def _warned(self, plan: Plan, state: State, left_alone: Sequence[str | Hint], of_twin: str) -> Plan:
        unseen = [*self.migrator.unseen(self.indexed_tables), *self.migrator.hidden(plan.blockers)]
        run = [] if plan.is_empty else [*self.migrator.delays(), *self._closed_log()]
        known = (*plan.warnings, *self._unknown(state), *left_alone)
        return plan._replace(warnings=(*known, *_duplicates(plan.steps, of_twin), *unseen, *run))

    def _planned(
        self,
        direction: str,
        start: str | None,
        end: str,
        moves: tuple[RevisionPlan, ...],
        base_tables: dict[str, Table],
        state: State,
    ) -> Plan:
        steps = [step for move in moves for step in move.steps if direction == "up" or step.changes]
        plan = Plan(direction, start, end, moves, tuple(base_tables), state.tables, self.options)
        if plan.is_empty:
            return plan
        later = self._later_ones(direction, moves, state)
        problems = [*self.migrator.problems(steps, base_tables)]
        if any(isinstance(problem, Problem) for problem in problems) and any(move.alembic.position for move in moves):
            problems += self.alembic.missing_rights(state.tables)
        publishing = self._publishing(state.tables, tuple(base_tables))
        published = [] if self.options.published else publishing.problems
        blockers = () if base_tables else self.migrator.expected_blockers(steps)
        needed = plan.options._replace(
            below_later=plan.options.below_later or bool(later), published=plan.options.published or bool(published)
        )
        return plan._replace(
            problems=(*problems, *published),
            later=tuple(later),
            blockers=blockers,
            warnings=tuple(publishing.warnings),
            options=needed,
        )

    def _publishing(self, tables: dict[str, Table], base_tables: Sequence[str] = ()) -> Publishing:
        """Return the tables that are about to be made and the publications that send them to subscribers at once."""
        made = [table for table in (self.history, self.journal) if table.name not in tables]
        names = (*base_tables, *(table.name for table in made))
        publications = self.migrator.publications() if names else []
        if not publications:
            return NOT_PUBLISHED
        base = self.migrator.table_statements(self.models()) if base_tables else []
        statements = (*base, *(table.creation for table in made))
        return Publishing(names, tuple(publications), statements, tuple(self.migrator.subscriptions()))

    def _closed_log(self) -> list[str]:
        """Return a warning if our role may not write to the log, which stops no run."""
        if self.journal.is_writable:
            return []
        return [f"{self.journal.label} is not written, because {self.journal.obstacle}."]

    def _move_up(self, revision: Revision, state: State, sizes: bool = False) -> RevisionPlan:
        steps = self.migrator.steps_up(self.indexes[revision.id], sizes)
        return self._move(revision, steps, state)

    def _move_down(self, revision: Revision, state: State, sizes: bool) -> RevisionPlan:
        self.migrator.past = revert_context(state.records.get(revision.id), state.alembic.place(revision))
        steps = self.migrator.steps_down(revision.indexes[::-1], sizes)
        return self._move(revision, steps, state)

    def _move(self, revision: Revision, steps: tuple[Step, ...], state: State) -> RevisionPlan:
        return RevisionPlan(revision, steps, state.records.get(revision.id), state.alembic.place(revision))

    def _current(self, moves: Iterable[RevisionPlan], state: State) -> str | None:
        applied = [move.revision.id for move in takewhile(lambda move: move.is_applied, moves)]
        stands = any(name in state.tables for name in self.indexed_tables) or self.chain.base in state.records
        return applied[-1] if applied else self.chain.base if stands else None

    # What others have done -----------------------------------------------------------------------------------------

    def _unknown(self, state: State) -> list[str]:
        """A warning for each recorded revision that a later version of this tool has applied."""
        name = self.migrator.qualified(META_TABLE)
        return [
            f"{name} holds {revision} ({state.records[revision].description}), which this version does not know."
            for revision in state.unknown(self.chain)
        ]

    def _later_ones(self, direction: str, moves: Sequence[RevisionPlan], state: State) -> list[str]:
        """Return a problem for each later revision that ``down`` would go below, unless that is allowed."""
        if direction == "up" or self.options.below_later or not moves:
            return []
        unknown = [
            f"{META_TABLE} holds {later}, which {assumed_later(moves[0].revision.id)}"
            for later in state.unknown(self.chain)
        ]
        return [*state.alembic.later_than([move.revision for move in moves]), *unknown]

    def _table_problems(self, state: State) -> list[str]:
        """Why the tables cannot have the indexes, where there are tables at all."""
        ours = [name for name in self.indexed_tables if name in state.tables]
        if not ours and self.migrator.catalog.is_empty():
            return []
        return [f"{problem}." for problem in self.migrator.table_problems(self.declared, state.tables)]


def _tables_of(models: Sequence[type[Model]]) -> dict[str, Table]:
    """Return the tables that these models make, by name."""
    described = (model._meta for model in models)
    return {each.table_name: Table(each.table_name, ORDINARY, frozenset(each.columns)) for each in described}


def _duplicates(steps: Iterable[Step], told: str) -> Iterator[str]:
    """A sentence about each index that is not there and stands under another name."""
    for step in steps:
        if step.action in (Action.CREATE, Action.ABSENT) and step.other_name:
            yield told.format(name=step.index.name, duplicate=step.other_name)
