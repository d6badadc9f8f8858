"""Reads a database: its records, every index, and what a run would do about them. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING

from peewee import Model, PeeweeException

from indexer import preflight
from indexer.advice import (
    CHANGED_FILE,
    Advice,
    advise,
    on_children_with_rows,
    on_empty_children,
    on_indexes_of_children,
)
from indexer.catalog import META_TABLE, META_TABLES, ORDINARY, Table
from indexer.decide import CREATIONS, Action
from indexer.errors import Command, Hint, IndexerError, PreflightFailed, Problem
from indexer.migrator import CatalogMigrator
from indexer.partitions import (
    attached_in_words,
    dropped_with_in_words,
    drops_in_words,
    duplicates_in_words,
    kept_in_words,
    parts_of_others_in_words,
)
from indexer.plans import Check, Plan, RevisionPlan, StampPlan, State, Status
from indexer.records.alembic import AlembicTable, assumed_later
from indexer.records.log import Entry, LogTable
from indexer.records.provenance import attached_by, revert_context
from indexer.records.revisions import Record, RevisionTable, checksum
from indexer.replication import for_the_primary
from indexer.revisions.chain import Chain
from indexer.revisions.revision import Revision
from indexer.spec import Index
from indexer.steps import StepPlanner
from indexer.text import identifier

if TYPE_CHECKING:
    from indexer.predict.forecast import Forecast

Due = tuple[Sequence[RevisionPlan], Sequence[RevisionPlan], str]  # all, those to be applied or reverted, and the end


class Inspector:
    """Reads one database, and compares it with a chain of revisions; the arguments are as for a runner."""

    def __init__(
        self, migrator: CatalogMigrator, chain: Chain, models: Callable[[], Sequence[type[Model]]] = tuple
    ) -> None:
        self.migrator = migrator
        self.chain = chain
        self.models = models
        self.options = migrator.context.options
        self.revisions = RevisionTable(migrator)
        self.log = LogTable(migrator)
        self.alembic = AlembicTable(migrator, chain, self.options)

    @property
    def declared(self) -> list[Index]:
        """The indexes of all revisions, in the order of the chain."""
        return self.chain.indexes

    def planner(self, replaced: Collection[str] = ()) -> StepPlanner:
        """Return a planner of steps for the chain; ``replaced`` as for the planner."""
        declared = frozenset(index.name for index in self.declared)
        return StepPlanner(self.migrator.catalog, self.migrator.dialect, self.options, declared, replaced)

    # Questions ------------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return the state of the database. Changes nothing and takes no lock."""
        return self._status(self._read())

    def check(self) -> Check:
        """Return the state of the database, with advice. Changes nothing and takes no lock."""
        state = self._read()
        status, planner = self._status(state), self.planner(state.replaced)
        advice = advise(status.steps, self.migrator.catalog.indexes_on(self.chain.tables), planner)
        if any(step.parts for step in status.steps):
            from indexer.on_leaves import advise_on_leaves

            advice += advise_on_leaves(status.steps, planner, self.migrator.dialect)
        changed = [
            Advice(CHANGED_FILE, None, None, f"{revision_plan.revision.file} has changed since it was applied.")
            for revision_plan in status.revisions
            if revision_plan.record and revision_plan.record.checksum != checksum(revision_plan.revision.indexes)
        ]
        advice = [*self._suspects(status, state), *advice, *on_empty_children(status.uncovered), *changed]
        if status.standby:
            advice = [each._replace(text=for_the_primary(each.text)) for each in advice]
        return Check(status, tuple(advice))

    def plan(self, direction: str = "up", to: str | None = None, sizes: bool = False, forecasts: bool = False) -> Plan:
        """Return what ``up`` or ``down`` would do now. Changes nothing and takes no lock.

        Args:
            to: the revision to stop at; the head, or the one before the last, by default.
            sizes: whether to read the sizes of tables and indexes as well.
            forecasts: whether to predict what builds will take.

        Raises:
            UsageError: there is no such revision.
            PreflightFailed: what is recorded cannot be read.
        """
        state = self._read(sizes, Command(direction))
        lacks_all = direction == "up" and not self._has_tables(state)
        is_empty = lacks_all and self.migrator.catalog.is_empty()
        if lacks_all and not is_empty:  # another run may have created the tables between the two reads
            state = self._read(sizes, Command(direction))
        revision_plans, due, end = self._due(direction, to, state, sizes)
        base_tables = _tables_of(self.models()) if is_empty else {}
        plan = Plan(
            direction=direction,
            start=self._current(revision_plans, state),
            end=end,
            revisions=tuple(due),
            base_tables=tuple(base_tables),
            state=state,
            options=self.options,
            to=to,
        )
        plan = plan if plan.is_empty else self._completed(plan, base_tables, state)
        plan = plan._replace(forecast=self._forecast(plan) if forecasts else None)
        concerned = [each.revision for each in (revision_plans if direction == "up" else due)]
        server = self.migrator.server
        following = server.replication() if sizes and not plan.is_empty else None
        plan = plan._replace(standby=server.standby(), replication=following)
        return plan._replace(warnings=tuple(self._warnings(plan, state, concerned)))

    def plan_again(self, plan: Plan) -> Plan:
        """Return a plan that was made a moment ago, right before the run lock was taken, or a new one if need be.

        The lock keeps other runs from changing records and indexes, so both are read again. It keeps nobody from
        changing the rest, such as rights and columns: that is not read again.
        """
        state = self._read(command=Command(plan.direction))
        if state == plan.state and not plan.base_tables:
            duplicates = self.options.adopt_renamed
            _, due, _ = self._due(plan.direction, plan.to, state, sizes=False, duplicates=duplicates)
            if _decisions(due) == _decisions(plan.revisions):
                return plan
        return self.plan(plan.direction, plan.to)

    def plan_stamp(self, target: str) -> StampPlan:
        """Return what ``stamp`` would record now. Changes nothing and takes no lock.

        Raises:
            PreflightFailed: what is recorded cannot be read.
        """
        state = self._read(command=Command("stamp", target))
        problems = [*self.migrator.catalog.problems(), *self.migrator.server.missing_rights(state.tables)]
        problems += self._alembic_rights(problems, state)
        published, _ = self._published(state.tables)
        revision_plans = self._revision_plans("up", self.chain, state)
        position = self.chain.position(target)
        forward, back = revision_plans[:position], revision_plans[position:][::-1]
        left_alone = [
            *self.alembic.left_alone(state.alembic, [each.revision for each in forward], "up"),
            *self.alembic.left_alone(state.alembic, [each.revision for each in back], "down"),
        ]
        return StampPlan(
            revision=target,
            forward=forward,
            back=back,
            missing_tables=tuple(name for name in self.chain.tables if name not in state.tables),
            problems=(*problems, *published),
            options=self.options._replace(published=self.options.published or bool(published)),
            alembic=state.alembic,
            base_is_recorded=self.chain.base in state.records,
            warnings=(*self._unknown(state), *left_alone, *self.closed_log()),
        )

    def entries(self) -> list[Entry]:
        """Return what was done to this database, the last first."""
        return self.log.read(self._read().tables)

    def entries_if_readable(self, state: State) -> list[Entry]:
        """Return what was done to this database, the last first; nothing where the log cannot be read."""
        with suppress(IndexerError, PeeweeException):
            return self.log.read(state.tables)
        return []

    def records(self) -> dict[str, Record]:
        """Return what is recorded of each revision, read now."""
        return self._read().records

    # Reading --------------------------------------------------------------------------------------------------------

    def state(self, command: Command, indexed: Collection[str]) -> State:
        """Return what is recorded, for a command that rebuilds indexes of these tables.

        Raises:
            PreflightFailed: it cannot be read; with all rights that the command lacks.
        """
        return self._read(command=command, indexed=indexed)

    def _read(
        self, sizes: bool = False, command: Command | None = None, indexed: Collection[str] | None = None
    ) -> State:
        """Read all that is recorded; what a command that changes something cannot read is refused with all it needs."""
        tables = self.migrator.catalog.tables([*self.chain.tables, *META_TABLES, *self.alembic.names], sizes)
        self.revisions.find(tables)
        self.log.find(tables)
        if command and self.revisions.is_closed:
            # All that it may need: which of the rights it does need, only the records would tell.
            missing = self.alembic.missing_rights(tables) if indexed is None else []
            if indexed is None:
                indexed = () if command[0] == "stamp" else self.chain.tables
            missing = self.migrator.server.missing_rights(tables, indexed, creating=command[0] == "up") + missing
            raise PreflightFailed(missing, Hint("Fix this, then run: ", command))
        return State(tables, self.revisions.read(tables), self.alembic.read(tables))

    def _status(self, state: State) -> Status:
        revision_plans = self._revision_plans("up", self.chain, state, sizes=True)
        applied = [each.revision for each in revision_plans if each.is_applied]
        standby, problems = self.migrator.server.standby(), self._table_problems(state)
        warnings = (
            *([standby.remark] if standby else []),
            *self._unknown(state),
            *self.alembic.left_alone(state.alembic, self.chain.revisions, "up"),
            *(f"{problem}." for problem in problems),
            *parts_of_others_in_words([step for each in revision_plans for step in each.steps]),
            *self.migrator.server.unseen(self.chain.tables),
            *self.migrator.server.remarks(state.tables),
        )
        return Status(
            place=self.migrator.place,
            current=self._current(revision_plans, state),
            chain=self.chain,
            base=state.records.get(self.chain.base),
            revisions=revision_plans,
            warnings=warnings,
            uncovered=tuple(self.migrator.server.uncovered(_indexes_of(applied), state.tables)),
            standby=standby,
            problems=tuple(problems),
        )

    # Plans ----------------------------------------------------------------------------------------------------------

    def _revision_plans(
        self, direction: str, revisions: Iterable[Revision], state: State, sizes: bool = False, duplicates: bool = True
    ) -> tuple[RevisionPlan, ...]:
        planner, revision_plans = self.planner(state.replaced), []
        for revision in revisions:
            record, alembic = state.records.get(revision.id), state.alembic.place(revision)
            if direction == "up":
                steps = planner.up(revision.indexes, sizes, duplicates)
            else:
                steps = planner.down(revision.indexes[::-1], revert_context(record, alembic), sizes, duplicates)
            revision_plans.append(RevisionPlan(revision, steps, record, alembic))
        return tuple(revision_plans)

    def _due(self, direction: str, to: str | None, state: State, sizes: bool, duplicates: bool = True) -> Due:
        position = self.chain.position
        if direction == "up":
            end = self.chain.resolve("head" if to is None else to)
            revisions = self.chain.revisions[: position(end)]
            revision_plans = self._revision_plans(direction, revisions, state, duplicates=duplicates)
            return revision_plans, [each for each in revision_plans if each.is_due], end
        revision_plans = self._revision_plans(direction, self.chain, state, sizes, duplicates)
        undoable = [each for each in revision_plans if each.state.is_undoable]
        parent = undoable[-1].revision.down_revision if undoable else None
        end = parent or self.chain.base if to is None else self.chain.resolve(to)
        return revision_plans, [each for each in undoable[::-1] if position(each.revision.id) > position(end)], end

    def _completed(self, plan: Plan, base_tables: dict[str, Table], state: State) -> Plan:
        """Return the plan with what would stop it, what it would wait for, and what its command needs to allow."""
        steps = [step for step in plan.steps if plan.direction == "up" or step.changes]
        problems = preflight.problems(self.migrator, steps, state.tables, base_tables)
        problems += self.migrator.uncreatable(self.models()) if base_tables else []
        if any(revision_plan.alembic.position for revision_plan in plan.revisions):
            problems += self._alembic_rights(problems, state)
        published, refreshes = self._published(state.tables, plan.base_tables)
        later = () if plan.direction == "up" else self._later_ones(plan.revisions, state)
        needed = self.options._replace(
            below_later=self.options.below_later or bool(later), published=self.options.published or bool(published)
        )
        return plan._replace(
            problems=(*problems, *published),
            later=tuple(later),
            blockers=() if base_tables else self.migrator.server.expected_blockers(steps),
            warnings=tuple(refreshes),
            options=needed,
        )

    def _forecast(self, plan: Plan) -> Forecast | None:
        """Return what the builds of a plan of ``up`` are expected to take; None if there is none, or it is not known.

        A prediction that fails ends no run.
        """
        steps = [step for step in plan.steps if step.action in CREATIONS and step.index.table in plan.state.tables]
        if plan.direction != "up" or plan.problems or not steps:
            return None
        from indexer.pace.rate import MATTERS, Rate, rate_of
        from indexer.predict.forecast import forecast_of

        predictor = self.migrator.predictor
        with suppress(IndexerError, PeeweeException):
            needs = predictor.needs(steps)
            tables = {step.index.name: needs[step.index.name].table_bytes for step in steps}
            is_large = max(need.work for need in needs.values()) >= MATTERS  # else no rate was measured that matters
            rate = rate_of(self.entries_if_readable(plan.state), tables) if is_large else Rate()
            return forecast_of(needs, rate, self.options.jobs, predictor.disks())
        return None

    def _alembic_rights(self, problems: Sequence[str], state: State) -> list[Problem]:
        """Return the rights that our role lacks on Alembic's table, if it lacks any other right."""
        lacks_rights = any(isinstance(problem, Problem) for problem in problems)
        return self.alembic.missing_rights(state.tables) if lacks_rights else []

    def _published(self, tables: dict[str, Table], base_tables: Sequence[str] = ()) -> tuple[list[Problem], list[Hint]]:
        """Return why the tables that a run creates must not be published yet, and what to do on subscribers after it.

        The problem has the statements that prepare a subscriber; it is none where the user allows it.
        """
        made = [table for table in (self.revisions, self.log) if table.name not in tables]
        records = ", ".join(table.name for table in made)
        names = ", ".join(filter(None, (*base_tables, records)))
        server = self.migrator.server
        publications = server.publications() if names else []
        if not publications:
            return [], []
        subscriptions = server.subscriptions() or ["NAME"]
        refresh = "; ".join(f"ALTER SUBSCRIPTION {identifier(name)} REFRESH PUBLICATION" for name in subscriptions)
        warnings = []
        if base_tables:
            tables_made = ", ".join(base_tables)
            warnings.append(Hint(f"{tables_made} are published. After the run, execute on each subscriber: {refresh}"))
        if made:  # a subscription ignores them until it is refreshed, and then copies rows that would meet its own
            warnings.append(
                Hint(
                    f"{records} are published, but each database records its own runs: refresh no subscription for"
                    " them. No index is replicated. To build the indexes there, too, run on each subscriber: ",
                    Command("up"),
                )
            )
        base = self.migrator.dialect.table_statements(self.models()) if base_tables else []
        statements = (*base, *(table.creation for table in made))
        sentence = (
            f"{names} would be published at once by {', '.join(publications)}, "
            "and a subscriber without these tables stops replicating"
        )
        problem = Problem(sentence, "Create the same tables, empty, on each subscriber first:", statements)
        return [] if self.options.published else [problem], warnings

    def _current(self, revision_plans: Iterable[RevisionPlan], state: State) -> str | None:
        applied = [each.revision.id for each in takewhile(lambda each: each.is_applied, revision_plans)]
        if applied:
            return applied[-1]
        return self.chain.base if self._has_tables(state) or self.chain.base in state.records else None

    def _has_tables(self, state: State) -> bool:
        return any(name in state.tables for name in self.chain.tables)

    # Warnings -------------------------------------------------------------------------------------------------------

    def _warnings(self, plan: Plan, state: State, concerned: Sequence[Revision]) -> Iterator[str | Hint]:
        server = self.migrator.server
        if plan.standby:
            yield plan.standby.remark
        yield from (*plan.warnings, *self._unknown(state))
        yield from plan.forecast.warnings if plan.forecast else ()
        yield from self.alembic.left_alone(state.alembic, concerned, plan.direction)
        if plan.direction == "up":
            yield from on_children_with_rows(server.uncovered(_indexes_of(concerned), state.tables))
            yield from _attached(plan)
        else:
            dropped = [step.index for step in plan.steps if step.action is Action.DROP]
            yield from on_indexes_of_children(server.left_on_children(dropped, state.tables))
            yield from kept_in_words(plan.steps)
            yield from parts_of_others_in_words(plan.steps)
            yield from dropped_with_in_words(plan.steps)
        yield from drops_in_words(plan.steps)
        for name, step in ((step.index.name, step) for step in plan.steps if step.other_name):
            if step.action is Action.CREATE:
                rename = Command("up", "--adopt-renamed")
                yield Hint(f"{name} already exists under the name {step.other_name}. Rename that instead: ", rename)
            elif step.action is Action.ABSENT:
                yield f"{step.other_name} is the same as {name} under another name, and is not dropped."
        yield from duplicates_in_words(plan.steps)
        yield from (*server.unseen(self.chain.tables), *server.hidden(plan.blockers))
        if not plan.is_empty:
            yield from (*server.delays(), *(plan.replication.warnings() if plan.replication else ()))
            yield from self.closed_log()

    def closed_log(self) -> list[str]:
        """Return a warning if our role may not write to the log, which stops no run."""
        return [] if self.log.is_writable else [f"{self.log.label} is not written, because {self.log.obstacle}."]

    def _unknown(self, state: State) -> list[str]:
        """Return a warning for each recorded revision that a later version of this tool has applied."""
        name = self.migrator.qualified(META_TABLE)
        return [
            f"{name} holds {revision} ({state.records[revision].description}), which is unknown to this version."
            for revision in state.unknown(self.chain)
        ]

    def _suspects(self, status: Status, state: State) -> list[Advice]:
        """Return the advice about the valid indexes whose collation has changed since they were known to be right."""
        catalog = self.migrator.catalog
        collations = catalog.collations([step.index.name for step in status.steps if step.is_valid])
        if not collations:
            return []
        from indexer.care.suspect import suspects

        return suspects(status.steps, collations, state.records.values())

    def _later_ones(self, revision_plans: Sequence[RevisionPlan], state: State) -> list[str]:
        """Return a problem for each later revision that ``down`` would go below, unless that is allowed."""
        if self.options.below_later or not revision_plans:
            return []
        revisions = [revision_plan.revision for revision_plan in revision_plans]
        unknown = [
            f"{META_TABLE} holds {later}, which {assumed_later(revisions[0].id)}" for later in state.unknown(self.chain)
        ]
        return [*state.alembic.later_than(revisions), *unknown]

    def _table_problems(self, state: State) -> list[str]:
        """Return why the tables cannot have the indexes, unless the database is empty."""
        if not self._has_tables(state) and self.migrator.catalog.is_empty():
            return []
        return preflight.table_problems(self.migrator, self.declared, state.tables)


def _attached(plan: Plan) -> Iterator[Hint]:
    """Yield which indexes of others ``up`` attaches to those of partitioned tables."""
    for each in plan.revisions:
        for step in each.steps:
            if of_others := attached_by(step, each.state):
                labels = [part.as_found for part in step.parts if part.label in of_others]
                yield attached_in_words(step.index.name, labels)


def _decisions(revision_plans: Iterable[RevisionPlan]) -> list[object]:
    """Return what these plans decide, to be compared."""
    return [
        (each.revision.id, step.index.name, step.action, step.statements, step.found)
        for each in revision_plans
        for step in each.steps
    ]


def _indexes_of(revisions: Iterable[Revision]) -> list[Index]:
    return [index for revision in revisions for index in revision.indexes]


def _tables_of(models: Sequence[type[Model]]) -> dict[str, Table]:
    """Return the tables that these models create, by name."""
    described = (model._meta for model in models)
    return {each.table_name: Table(each.table_name, ORDINARY, frozenset(each.columns)) for each in described}
