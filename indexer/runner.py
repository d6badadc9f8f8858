"""Forward and back along the chain: read what is, plan, check, and only then change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from peewee import Model, PeeweeException

from indexer.catalog import Table
from indexer.chain import Chain, Revision
from indexer.errors import Different, Interrupted, PreflightFailed, StatementFailed
from indexer.events import BaseCreated, Blocker, BlockersFound, Report, RevisionFinished, RevisionStarted, silent
from indexer.history import APPLIED, REVERTING, History, Record, begun, completed
from indexer.migrator import CatalogMigrator
from indexer.patience import Patience
from indexer.plan import Action, Step
from indexer.spec import Index
from indexer.stop import Stop

BASE_DESCRIPTION = "base schema"
PENDING = 3  # exit code
PATIENT = Patience()


class Move(NamedTuple):
    """One revision to be applied or reverted, with a step for each of its indexes."""

    revision: Revision
    steps: tuple[Step, ...]
    record: Record | None

    def existed_before(self, step: Step) -> bool:
        """Did this index stand there before ``up``?"""
        return self.record is not None and step.index.name in self.record.existed_before


class Plan(NamedTuple):
    """All that a run would do, and all that would stop it.

    ``start`` is None on an empty database. ``base_tables`` are the tables that an empty database is given first,
    ``blockers`` the sessions that the steps would have to wait for if they began now.
    """

    direction: str
    start: str | None
    end: str
    moves: tuple[Move, ...]
    base_tables: tuple[str, ...]
    tables: dict[str, Table]
    complaints: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all moves in order."""
        return tuple(step for move in self.moves for step in move.steps)

    @property
    def refused(self) -> tuple[Step, ...]:
        """The steps that stop the run, because something else stands under the name."""
        return tuple(step for step in self.steps if step.action is Action.REFUSE)

    @property
    def is_empty(self) -> bool:
        """Is there nothing to do?"""
        return not self.moves and not self.base_tables

    @property
    def exit_code(self) -> int:
        """What the run itself would exit with."""
        return PreflightFailed.exit_code if self.complaints else Different.exit_code if self.refused else 0

    def check(self) -> None:
        """Raises PreflightFailed or Different when the run must not start."""
        if self.complaints:
            raise PreflightFailed(self.complaints, f"Mend this, then: python cli.py {self.direction}")
        if self.refused:
            names = ", ".join(step.index.name for step in self.refused)
            raise Different(
                "Nothing was changed, because something else stands under a name of ours:",
                f"Rename or drop it if nobody needs it ({names}), then: python cli.py {self.direction}",
                {step.index.name: step.differences for step in self.refused},
            )


class Outcome(NamedTuple):
    """What a run did."""

    direction: str
    start: str | None
    end: str
    steps: tuple[Step, ...]
    base_tables: tuple[str, ...]
    seconds: float

    @property
    def changed(self) -> bool:
        """Was there anything to do?"""
        return self.start != self.end or any(step.changes for step in self.steps)


class Status(NamedTuple):
    """Where the database stands: the chain, its records, and every index of every revision.

    ``current`` is None on an empty database.
    """

    address: str
    current: str | None
    chain: Chain
    base: Record | None
    moves: tuple[Move, ...]

    @property
    def pending(self) -> tuple[Revision, ...]:
        """The revisions that are not recorded as applied."""
        return tuple(move.revision for move in self.moves if not _is_applied(move.record))

    @property
    def drifted(self) -> tuple[Step, ...]:
        """The steps of applied revisions that ``up`` would have to mend."""
        applied = (move for move in self.moves if _is_applied(move.record))
        return tuple(step for move in applied for step in move.steps if step.action is not Action.KEEP)

    @property
    def exit_code(self) -> int:
        """0 when all stands, 3 when a revision is pending, 4 when an index of an applied one does not stand."""
        return PENDING if self.pending else Different.exit_code if self.drifted else 0


class Runner:
    """Moves one database along the chain of revisions.

    Args:
        migrator: the open database.
        chain: the revisions there are.
        models: gives the tables of the base schema; asked only about an empty database.
        report: called with each event of a run.
        patience: how long to wait, how often to try.
        stop: asks the run to end.
    """

    def __init__(
        self,
        migrator: CatalogMigrator,
        chain: Chain,
        models: Callable[[], Sequence[type[Model]]] = tuple,
        report: Report = silent,
        patience: Patience = PATIENT,
        stop: Stop | None = None,
    ) -> None:
        self.migrator = migrator
        self.chain = chain
        self.models = models
        self.report = migrator.report = report
        migrator.patience = patience
        migrator.stop = self.stop = stop or migrator.stop
        self.history = History(migrator)
        self._uncommitted: list[RevisionFinished] = []
        self.indexes: dict[str, tuple[Index, ...]] = {
            revision.id: migrator.indexes_of(revision.upgrade) for revision in chain
        }
        self.indexed_tables = sorted({index.table for indexes in self.indexes.values() for index in indexes})
        migrator.settle(self.indexed_tables)

    # Reading -------------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Where the database stands; changes nothing and takes no lock."""
        records = self.history.read()
        moves = tuple(self._move_up(revision, records, sizes=True) for revision in self.chain)
        current = self._current(records, self.migrator.catalog.tables(self.indexed_tables))
        return Status(self.migrator.address, current, self.chain, records.get(self.chain.base), moves)

    def plan(self, direction: str = "up", to: str | None = None, sizes: bool = False) -> Plan:
        """What ``up`` or ``down`` would do now, with table sizes if wanted; changes nothing and takes no lock."""
        tables = self.migrator.catalog.tables(self.indexed_tables, sizes)
        return self._plan_up(to, tables) if direction == "up" else self._plan_down(to, tables)

    def script(self, plan: Plan) -> str:
        """The plan as a script for the database's own shell; it records the revisions as a run would."""
        tables = self.migrator.table_statements(self.models()) if plan.base_tables else []
        records = [completed(begun(self.chain.base, None, BASE_DESCRIPTION), 0)] if plan.base_tables else []
        statements = [statement for step in plan.steps for statement in step.statements]
        if plan.direction == "up":
            records += [completed(self._begun(move), 0) for move in plan.moves]
        removed = [move.revision.id for move in plan.moves] if plan.direction == "down" else []
        return self.migrator.script(tables, [*statements, *self.history.script(records, removed)])

    def _plan_up(self, to: str | None, tables: dict[str, Table]) -> Plan:
        target = self.chain.resolve(to or "head")
        records = self.history.read()
        creating = not tables and self.migrator.catalog.is_empty()
        wanted = self.chain.revisions[: self.chain.position(target)]
        moves = tuple(move for move in (self._move_up(revision, records) for revision in wanted) if _is_due(move))
        base_tables = tuple(model._meta.table_name for model in self.models()) if creating else ()
        return self._planned("up", self._current(records, tables), target, moves, base_tables, tables)

    def _plan_down(self, to: str | None, tables: dict[str, Table]) -> Plan:
        records = self.history.read()
        recorded = [revision for revision in self.chain if revision.id in records]
        parent = recorded[-1].down_revision if recorded else self.chain.base
        target = self.chain.resolve(to) if to else parent
        undone = [revision for revision in recorded if self.chain.position(revision.id) > self.chain.position(target)]
        moves = tuple(self._move_down(revision, records[revision.id]) for revision in reversed(undone))
        return self._planned("down", self._current(records, tables), target, moves, (), tables)

    def _planned(
        self,
        direction: str,
        start: str | None,
        end: str,
        moves: tuple[Move, ...],
        base_tables: tuple[str, ...],
        tables: dict[str, Table],
    ) -> Plan:
        steps = [step for move in moves for step in move.steps if direction == "up" or step.changes]
        plan = Plan(direction, start, end, moves, base_tables, tables)
        if plan.is_empty:
            return plan
        complaints = tuple(self.migrator.complaints(steps, bool(base_tables)))
        blockers = () if base_tables else self.migrator.expected_blockers(steps)
        return plan._replace(complaints=complaints, blockers=blockers)

    def _move_up(self, revision: Revision, records: dict[str, Record], sizes: bool = False) -> Move:
        return Move(revision, self.migrator.steps_up(self.indexes[revision.id], sizes), records.get(revision.id))

    def _move_down(self, revision: Revision, record: Record) -> Move:
        self.migrator.existed_before = record.existed_before
        return Move(revision, self.migrator.steps_down(self.migrator.indexes_of(revision.downgrade)), record)

    def _current(self, records: dict[str, Record], tables: dict[str, Table]) -> str | None:
        applied = [revision for revision in self.chain.ids if _is_applied(records.get(revision))]
        return applied[-1] if applied else self.chain.base if tables else None

    # Changing ------------------------------------------------------------------------------------------------------

    def up(self, to: str | None = None) -> Outcome:
        """Apply what is pending up to a revision (the head), and mend what is broken of what was applied.

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

    def _run(self, direction: str, to: str | None) -> Outcome:
        seconds = _stopwatch()
        plan = self.plan(direction, to)
        plan.check()
        if plan.is_empty:
            end = plan.start or plan.end
            return Outcome(direction, end, end, (), (), seconds())
        self.migrator.name_run(f"{direction} {plan.moves[0].revision.id if plan.moves else plan.end}")
        try:
            with self.migrator.migration_context():
                plan = self.plan(direction, to)  # again, now that nobody else is at it
                self._carry_out(plan)
            self._tell_committed()
        except Interrupted as interruption:
            raise Interrupted(interruption.number, self._standing()) from None
        except PeeweeException as error:
            raise StatementFailed(
                f"The run ended in the middle: {_first_line(error)}.",
                f"Run the same command again, it goes on from here: python cli.py {direction}",
            ) from error
        return Outcome(direction, plan.start, plan.end, plan.steps, plan.base_tables, seconds())

    def _carry_out(self, plan: Plan) -> None:
        plan.check()
        if plan.blockers:
            self.report(BlockersFound(plan.blockers))
        if plan.base_tables:
            self._create_base(plan.base_tables)
        for move in plan.moves:
            self._apply(move) if plan.direction == "up" else self._revert(move)

    def _standing(self) -> str:
        """What an interrupted run leaves, for people; silent when the database cannot be asked any more."""
        with suppress(PeeweeException):
            steps = [step for indexes in self.indexes.values() for step in self.migrator.steps_up(indexes)]
            valid = sum(step.action is Action.KEEP for step in steps)
            broken = [step.index.name for step in steps if step.action is Action.REBUILD]
            left = f", {', '.join(broken)} is unfinished and will be rebuilt" if broken else ", none is unfinished"
            return f": {valid} of {len(steps)} indexes stand{left}"
        return ""

    def _create_base(self, tables: tuple[str, ...]) -> None:
        seconds = _stopwatch()
        record = begun(self.chain.base, None, BASE_DESCRIPTION)
        self.migrator.create_tables(self.models())
        self.history.write(completed(record, seconds()))
        self.report(BaseCreated(self.chain.base, tables, seconds()))

    def _apply(self, move: Move) -> None:
        revision = move.revision
        self.report(RevisionStarted(revision.id, revision.description, "up", len(move.steps)))
        seconds = _stopwatch()
        record = self._begun(move)
        self.history.write(record)
        revision.upgrade(self.migrator)
        self._confirm(revision)
        self.history.write(completed(record, seconds()))
        self._finished(RevisionFinished(revision.id, "up", seconds()))

    def _revert(self, move: Move) -> None:
        revision, record = move.revision, move.record
        assert record
        self.report(RevisionStarted(revision.id, revision.description, "down", len(move.steps)))
        seconds = _stopwatch()
        self.history.write(record._replace(state=REVERTING))
        self.migrator.existed_before = record.existed_before
        revision.downgrade(self.migrator)
        self.history.remove(revision.id)
        self._finished(RevisionFinished(revision.id, "down", seconds()))

    def _finished(self, event: RevisionFinished) -> None:
        """Say so now, or, if all of the run is one transaction, once that is committed."""
        self._uncommitted.append(event)
        if not self.migrator.transactional_ddl:
            self._tell_committed()

    def _tell_committed(self) -> None:
        for event in self._uncommitted:
            self.report(event)
        self._uncommitted.clear()

    def _begun(self, move: Move) -> Record:
        """The record of a run that begins or is resumed: what stood there first is not forgotten by a second try."""
        kept = {step.index.name for step in move.steps if step.action in (Action.KEEP, Action.JOIN)}
        if move.record:
            kept &= set(move.record.existed_before)
        revision = move.revision
        return begun(revision.id, revision.down_revision, revision.description, self.indexes[revision.id], kept)

    def _confirm(self, revision: Revision) -> None:
        steps = self.migrator.steps_up(self.indexes[revision.id])
        broken = ", ".join(step.index.name for step in steps if step.action is not Action.KEEP)
        if broken:
            raise StatementFailed(
                f"Revision {revision.id} does not stand: {broken}.", "Run the same command again: python cli.py up"
            )


def _stopwatch() -> Callable[[], float]:
    """Seconds since now, by a clock that cannot jump."""
    started = time.monotonic()
    return lambda: time.monotonic() - started


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _is_applied(record: Record | None) -> bool:
    return record is not None and record.state == APPLIED


def _is_due(move: Move) -> bool:
    return not _is_applied(move.record) or any(step.action is not Action.KEEP for step in move.steps)
