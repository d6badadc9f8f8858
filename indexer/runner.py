"""Forward and back along the chain: plan, check, and only then change."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from peewee import Model, PeeweeException

from indexer.decide import Action, Step
from indexer.errors import Hint, IndexerError, Interrupted, PreflightFailed, Problem, StatementFailed
from indexer.events import (
    BaseCreated,
    BlockersFound,
    Report,
    RevisionFinished,
    RevisionStarted,
    SafeReport,
    Warned,
    silent,
)
from indexer.inspector import Reader, State
from indexer.migrator import CatalogMigrator, IndexOperation
from indexer.options import DEFAULTS, Options
from indexer.plans import Outcome, Plan, RevisionPlan, Stamp, refuse_different
from indexer.records.log import Entry, new_entry
from indexer.records.provenance import Provenance, revert_context
from indexer.records.revisions import APPLIED, REVERTED, Record, applied, new_record, reverted, reverting
from indexer.records.table import written_by
from indexer.revisions.chain import Chain, Revision
from indexer.revisions.functions import collect
from indexer.script import BASE_DESCRIPTION, script_of
from indexer.signals import Stop
from indexer.spec import Index
from indexer.text import are, reason, shell


class Runner(Reader):
    """Moves one database along the chain of revisions.

    Args:
        migrator: the open database.
        chain: the revisions there are.
        models: gives the tables of the base schema; asked only about an empty database.
        options: what the user asks of a run.
        report: called with each event of a run.
        stop: asks the run to end.
    """

    def __init__(
        self,
        migrator: CatalogMigrator,
        chain: Chain,
        models: Callable[[], Sequence[type[Model]]] = tuple,
        options: Options = DEFAULTS,
        report: Report = silent,
        stop: Stop | None = None,
    ) -> None:
        super().__init__(migrator, chain, models, options)
        self._safe_report = SafeReport(report)
        self.report: Report = self._safe_report
        migrator.report = self._safe_report
        migrator.stop = self.stop = stop or migrator.stop
        self._uncommitted: list[RevisionFinished] = []
        self._unlogged: list[str] = []

    def up(self, to: str | None = None) -> Outcome:
        """Apply what is pending up to a revision (the head), and repair what is broken of what was applied.

        Raises:
            UsageError: there is no such revision.
            PreflightFailed, Different: the run must not start; nothing was changed.
            StatementFailed: the database refused a statement; running the same command again goes on from there.
        """
        return self._run("up", to)

    def down(self, to: str | None = None) -> Outcome:
        """Revert the last revision, or all of them after a given one; what stood there before ``up`` stays.

        Raises: as ``up``.
        """
        return self._run("down", to)

    def stamp(self, to: str) -> Stamp:
        """Record a revision without building, once the database has proved to be what that revision says.

        Raises:
            UsageError: there is no such revision.
            Different: an index that should be there is not as declared, or one stands that should not.
        """
        target = self.chain.resolve(to)
        self._stamping(target)
        self.migrator.name_run(f"stamp {target}")
        with self.migrator.migration_context():
            statements, entry, warnings = self._stamping(target)
            self._share()
            self._write(statements)
            if statements:
                self._log(entry)
        return Stamp(target, bool(statements), (*warnings, *self._unlogged))

    def _stamping(self, target: str) -> tuple[list[Any], Entry, list[str]]:
        """What records this revision, its entry in the log, and what to tell; raises Different where it differs."""
        state = self._read(command=f"stamp {target}")
        self._refuse_stamp(target, state)
        moves = [self._move_up(revision, state) for revision in self.chain]
        position = self.chain.position(target)
        forward, back = moves[:position], moves[position:][::-1]
        refuse_different(target, [name for name in self.indexed_tables if name not in state.tables], forward, back)
        statements: list[Any] = []
        if position == 0 and target not in state.records:
            statements += self._standing_at_base(0)
        for move in forward:
            record = move.record if move.record and move.record.state == APPLIED else None
            if not record or state.alembic.moves(move.revision, "up"):
                statements += self._standing_at(move, "up", record or self.begun(move, "up"), 0)
        for move in back:
            recorded = move.record is not None and move.record.state != REVERTED
            if recorded or state.alembic.moves(move.revision, "down"):
                statements += self._standing_at(move, "down", self.begun(move, "down"), 0)
        entry = new_entry(target, "stamp", [step for move in forward for step in move.steps], 0)
        left = [
            *self.alembic.left_alone(state.alembic, [move.revision for move in forward], "up"),
            *self.alembic.left_alone(state.alembic, [move.revision for move in back], "down"),
        ]
        return statements, entry, [*self._unknown(state), *left, *self._closed_log()]

    def _refuse_stamp(self, target: str, state: State) -> None:
        problems = [*self.migrator.catalog.problems(), *self.migrator.missing_rights(state.tables)]
        if any(isinstance(problem, Problem) for problem in problems):
            problems += self.alembic.missing_rights(state.tables)
        published = [] if self.options.published else self._publishing(state.tables).problems
        if problems or published:
            needed = self.options._replace(published=self.options.published or bool(published))
            command = " ".join([f"python cli.py stamp {target}", *map(shell, needed.words("stamp"))])
            raise PreflightFailed([*problems, *published], f"Correct this, then: {command}")

    def script(self, plan: Plan) -> str:
        """The plan as a script for the database's own shell; it records the revisions as a run would."""
        return script_of(plan, self)

    def _run(self, direction: str, to: str | None) -> Outcome:
        seconds = _stopwatch()
        with self.stop.ending_at_once():  # nothing has been changed yet
            plan = self.plan(direction, to)
        plan.check()
        if plan.is_empty:
            self._warn(plan.warnings)
            end = plan.start or plan.end
            return Outcome(direction, end, end, (), (), seconds(), plan.warnings)
        asked = self._asked(plan)  # what a migration file must not do is found before a lock or a file is taken
        self.migrator.name_run(f"{direction} {plan.moves[0].revision.id if plan.moves else plan.end}")
        try:
            with self.migrator.migration_context():
                plan = self.plan(direction, to)  # again, now that nobody else is at it
                steps = self._carry_out(plan, {**self._asked(plan, asked), **asked})
            self._tell_committed()
            self._warn(self._unlogged)
        except Interrupted as interruption:
            raise Interrupted(interruption.number, self._standing()) from None
        except (IndexerError, PeeweeException) as error:
            if self.stop.asked:  # what was cancelled, or cut off, has failed because of the signal
                raise Interrupted(self.stop.interruption().number, self._standing()) from error
            if isinstance(error, IndexerError):
                raise
            raise StatementFailed(
                f"The run ended in the middle: {self.migrator.said(error)}",
                f"{self.migrator.remedy(error)} The command is: {plan.command}",
            ) from error
        warnings = (*plan.warnings, *self._unlogged, *self._untold())
        return Outcome(direction, plan.start, plan.end, steps, plan.base_tables, seconds(), warnings)

    def _untold(self) -> list[str]:
        """What to say in the end if the run could not be reported while it went on."""
        failure = self._safe_report.failure
        return [f"The progress of the run could not be reported: {reason(failure)}."] if failure else []

    def _asked(self, plan: Plan, known: Collection[str] = ()) -> dict[str, tuple[Index, ...]]:
        """Run the functions of a plan's revisions, each once in a run; return the indexes they ask for."""
        revisions = [move.revision for move in plan.moves if move.revision.id not in known]
        return {revision.id: collect(revision, plan.direction) for revision in revisions}

    def _carry_out(self, plan: Plan, asked: Mapping[str, Sequence[Index]]) -> tuple[Step, ...]:
        """Carry out a plan and return the steps that were taken; the catalog may have changed since it was made."""
        plan.check()
        self.migrator.reserve(plan.steps)
        self._warn(plan.warnings)
        self._share()
        if plan.blockers:
            self.report(BlockersFound(plan.blockers))
        if plan.base_tables:
            self._create_base(plan.base_tables)
        carry_out = self._apply if plan.direction == "up" else self._revert
        return tuple(step for move in plan.moves for step in carry_out(move, asked[move.revision.id]).steps)

    def _standing(self) -> str:
        """What an interrupted run leaves, for people; silent when the database cannot be asked any more."""
        with suppress(PeeweeException):
            steps = [step for indexes in self.indexes.values() for step in self.migrator.steps_up(indexes)]
            valid = sum(step.action is Action.KEEP for step in steps)
            broken = [step.index.name for step in steps if step.action is Action.REBUILD]
            unfinished = f"{', '.join(broken)} {are(broken)} unfinished and will be rebuilt"
            left = f", {unfinished if broken else 'none is unfinished'}"
            return f": {valid} of {len(steps)} indexes stand{left}"
        return ""

    def _create_base(self, tables: tuple[str, ...]) -> None:
        seconds = _stopwatch()
        self.migrator.create_tables(self.models())
        self._write(self._standing_at_base(seconds()))
        self._log(self._entry_of_base(seconds()))
        self.report(BaseCreated(self.chain.base, tables, seconds()))

    def _apply(self, move: RevisionPlan, indexes: Sequence[Index]) -> RevisionPlan:
        """Apply a revision and return the move as it was made."""
        revision = move.revision
        self.report(RevisionStarted(revision.id, revision.description, "up", len(move.steps)))
        seconds = _stopwatch()
        record = self.begun(move, "up")
        self._write(self.history.replace(record))
        operations = [self.migrator.add_index(index) for index in indexes]
        made, record = self._made(move, record, operations)
        self._confirm(revision)
        self._record(made, "up", record, seconds())
        self._finished(RevisionFinished(revision.id, "up", seconds()))
        return made

    def _revert(self, move: RevisionPlan, indexes: Sequence[Index]) -> RevisionPlan:
        """Revert a revision and return the move as it was made."""
        revision = move.revision
        self.report(RevisionStarted(revision.id, revision.description, "down", len(move.steps)))
        seconds = _stopwatch()
        record = self.begun(move, "down")
        self._write(self.history.replace(record))
        self.migrator.past = revert_context(move.record, move.alembic)
        operations = [self.migrator.drop_index(index) for index in indexes]
        made, record = self._made(move, record, operations)
        self._record(made, "down", record, seconds())
        self._finished(RevisionFinished(revision.id, "down", seconds()))
        return made

    def _made(
        self, move: RevisionPlan, record: Record, operations: Sequence[IndexOperation]
    ) -> tuple[RevisionPlan, Record]:
        """Carry out operations; return the move with the steps that were taken, and the record with what they made."""
        provenance = Provenance(record, self._save)
        steps = self.migrator.carry_out(operations, provenance)
        order = [step.index for step in move.steps]
        taken = tuple(sorted(steps, key=lambda step: order.index(step.index)))
        return move._replace(steps=taken), record._replace(existed_before=provenance.existed_before, made={})

    def _save(self, record: Record) -> None:
        """Record whose the indexes are at this moment of a run, unless all of the run is one transaction."""
        self.migrator.replaced_names = {*self.migrator.replaced_names, *record.existed_before}
        if not self.migrator.transactional_ddl:
            self._write([self.history.update(record)])

    def _write(self, statements: Sequence[Any]) -> None:
        """Record something, all of it or nothing."""
        with self.migrator.database.atomic():
            self.migrator.hold(written_by(statements))
            for statement in statements:
                self.migrator.database.execute(statement)

    def _record(self, move: RevisionPlan, direction: str, record: Record, seconds: float) -> None:
        """Record a move that has ended: in our table and in Alembic's, and then in the log."""
        self._write(self._standing_at(move, direction, record, seconds))
        self._log(_entry(move, direction, seconds))

    def _log(self, entry: Entry) -> None:
        """Add an entry to the log, apart from the record: what keeps it out is a warning and fails no run."""
        if not self.journal.is_writable:
            return  # which the plan has said
        try:
            self._write(self.journal.insert(entry))
        except (PeeweeException, StatementFailed) as error:
            self.journal.rolled_back()
            self._unlogged.append(
                f"{self.journal.label} was not written, and history does not show this: {reason(error)}."
            )

    def _share(self) -> None:
        """Let the owner of the tables work with what another role has made; a table that is in use stays as it is."""
        for table in (self.history, self.journal):
            if sharing := table.share():
                with suppress(PeeweeException):
                    self._write(sharing)

    def _standing_at(self, move: RevisionPlan, direction: str, record: Record, seconds: float) -> list[Any]:
        """The statements that record where a move has ended: in our table and in Alembic's."""
        revision = move.revision
        theirs = self.following(move, direction)
        if direction == "up":
            done = record if record.state == APPLIED else applied(record, seconds)
            return [*theirs, *self.history.replace(self.without_what_was_replaced(move, done))]
        if move.alembic.stays:
            return self.history.replace(reverted(record, move.left))
        return [*theirs, self.history.delete(revision.id)]

    def following(self, move: RevisionPlan, direction: str) -> list[Any]:
        """Return what moves Alembic along with a move, if it is to be moved."""
        return [self.alembic.move(move.revision, direction)] if move.alembic.follows else []

    def without_what_was_replaced(self, move: RevisionPlan, record: Record) -> Record:
        """The record without the indexes whose places were taken: a run that replaces has dropped all of them."""
        if not self.options.replace:
            return record
        replaced = {step.index.replaced for step in move.steps}
        before = {name: former for name, former in record.existed_before.items() if name not in replaced}
        return record._replace(existed_before=before)

    def _entry_of_base(self, seconds: float) -> Entry:
        return new_entry(self.chain.base, "up", (), seconds)

    def _standing_at_base(self, seconds: float) -> list[Any]:
        return self.history.replace(applied(new_record(self.chain.base, None, BASE_DESCRIPTION), seconds))

    def _warn(self, warnings: Sequence[str | Hint]) -> None:
        for warning in warnings:
            self.report(Warned(warning))

    def _finished(self, event: RevisionFinished) -> None:
        """Say so now, or, if all of the run is one transaction, once that is committed."""
        self._uncommitted.append(event)
        if not self.migrator.transactional_ddl:
            self._tell_committed()

    def _tell_committed(self) -> None:
        for event in self._uncommitted:
            self.report(event)
        self._uncommitted.clear()

    def begun(self, move: RevisionPlan, direction: str) -> Record:
        """The record of a move that begins or is resumed."""
        revision = move.revision
        before = move.existed_before() if direction == "up" else {}
        made = move.record.made if move.record else {}
        new = new_record(revision.id, revision.down_revision, revision.description, revision.indexes, before, made)
        return new if direction == "up" else reverting(move.record or new, move.left)

    def _confirm(self, revision: Revision) -> None:
        steps = self.migrator.steps_up(self.indexes[revision.id])
        broken = ", ".join(step.index.name for step in steps if step.action is not Action.KEEP)
        if broken:
            raise StatementFailed(
                f"Revision {revision.id} does not stand: {broken}.", "Run the same command again: python cli.py up"
            )


def _entry(move: RevisionPlan, direction: str, seconds: float) -> Entry:
    return new_entry(move.revision.id, direction, move.steps, seconds)


def _stopwatch() -> Callable[[], float]:
    """Seconds since now, by a clock that cannot jump."""
    started = time.monotonic()
    return lambda: time.monotonic() - started
