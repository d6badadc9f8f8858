"""Moves a database along the chain of revisions: it plans, checks the plan, and only then changes anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from peewee import Model, PeeweeException

from indexer import preflight
from indexer.catalog import MOMENT
from indexer.decide import CREATIONS, Action
from indexer.errors import Command, Hint, IndexerError, Interrupted, StatementFailed
from indexer.events import (
    BaseCreated,
    BlockersFound,
    Report,
    RevisionFinished,
    RevisionPaused,
    RevisionStarted,
    SafeReport,
    Warned,
    silent,
)
from indexer.inspector import Inspector
from indexer.migrator import CatalogMigrator
from indexer.options import DEFAULTS, Options
from indexer.pace.pace import Pace, pace_of
from indexer.plans import Outcome, Plan, RevisionPlan, Stamp, StampPlan, rest_of
from indexer.predict.compared import Compared, predicted_run
from indexer.recorder import Recorder
from indexer.records.baseline import Baseline, baselines_of
from indexer.records.journal import Journal
from indexer.records.log import Build, new_entry
from indexer.records.provenance import Provenance, revert_context
from indexer.records.revisions import APPLIED, APPLYING, REVERTED, Record
from indexer.revisions.chain import Chain
from indexer.revisions.revision import Revision
from indexer.signals import Stop
from indexer.spec import Index
from indexer.steps import StepPlanner
from indexer.text import are, qualified, reason


class Runner:
    """Applies and reverts the revisions of one database.

    Args:
        migrator: of the database, from ``connect``.
        chain: the revisions, from ``load``.
        models: the models of the base schema, whose tables an empty database is given first, referenced ones first; or
            a function that returns them.
        options: what is asked of a run.
        report: called with each event of the run.
        stop: asks the run to end.
    """

    def __init__(
        self,
        migrator: CatalogMigrator,
        chain: Chain,
        models: Callable[[], Sequence[type[Model]]] | Sequence[type[Model]] = (),
        options: Options = DEFAULTS,
        report: Report = silent,
        stop: Stop | None = None,
    ) -> None:
        self.chain = chain
        self.models = models if callable(models) else lambda: models
        self.stop = stop or Stop()
        self._compared = Compared(report)
        self.report = SafeReport(self._compared)
        context = migrator.context._replace(options=options, report=self.report, stop=self.stop)
        self.migrator = migrator.within(context, chain.tables)
        self.inspector = Inspector(self.migrator, chain, self.models)
        self._revisions = self.inspector.revisions
        self._journal = Journal(self.migrator, self._revisions, self.inspector.log)
        self._recorder = Recorder(self._revisions, self.inspector.log, self.inspector.alembic, options)
        self._replaced: set[str] = set()
        self._uncommitted: list[RevisionFinished | RevisionPaused] = []

    def reporting(self, report: Report) -> Runner:
        """Return a runner like this one that reports the events of a run elsewhere."""
        return Runner(self.migrator, self.chain, self.models, self.migrator.context.options, report, self.stop)

    def plan(self, direction: str = "up", to: str | None = None, sizes: bool = False, forecasts: bool = False) -> Plan:
        """Return what ``up`` or ``down`` would do now, as the inspector's; its problems and conflicts are part of it.

        Raises:
            UsageError, PreflightFailed: as for the inspector.
            RevisionRefused: a run would be refused, because a function of a revision file does more than it may.
        """
        plan = self.inspector.plan(direction, to, sizes, forecasts)
        if not preflight.refusal(plan):
            _asked(plan)
        return plan

    def up(self, to: str | None = None) -> Outcome:
        """Apply what is pending up to a revision (the head), and repair what is broken of what was applied.

        Raises:
            UsageError: there is no such revision.
            PreflightFailed, Different: the run must not start; nothing was changed.
            StatementFailed: the database refused a statement; running the same command again goes on from there.
        """
        return self._run("up", to)

    def down(self, to: str | None = None) -> Outcome:
        """Revert the last revision, or all after a given one; indexes that existed before ``up`` stay.

        Raises: as ``up``.
        """
        return self._run("down", to)

    def script(self, plan: Plan) -> str:
        """Return the plan as a script for the database's own shell; it records the revisions as a run would."""
        from indexer.script import script_of

        return script_of(plan, self.migrator, self._recorder, self.chain.base, self.models)

    # Stamp ----------------------------------------------------------------------------------------------------------

    def stamp(self, to: str) -> Stamp:
        """Record a revision without building anything, if the database is what that revision says.

        Raises:
            UsageError: there is no such revision.
            PreflightFailed: something that stamping needs is missing.
            Different: an index of the revision is missing or different, or one of a later revision exists.
        """
        target = self.chain.resolve(to)
        self.migrator.refuse_own_transaction()
        preflight.check_stamp(self.inspector.plan_stamp(target))
        self.migrator.name_run(f"stamp {target}")
        with self.migrator.migration_context():
            plan = self.inspector.plan_stamp(target)  # again, now that no other run changes anything
            preflight.check_stamp(plan)
            statements = self._stamping(plan)
            self._journal.share()
            self._journal.write(statements)
            if statements:
                steps = [step for revision_plan in plan.forward for step in revision_plan.steps]
                self._journal.log(new_entry(target, "stamp", steps, 0))
        return Stamp(target, bool(statements), (*plan.warnings, *self._journal.unlogged))

    def _stamping(self, plan: StampPlan) -> list[Any]:
        """Return the statements that record the revision, and that later ones are not applied; none if that is so."""
        statements: list[Any] = []
        if not plan.forward and not plan.base_is_recorded:
            statements += self._recorder.base(self.chain.base, 0)
        for each in plan.forward:
            record = each.record if each.record and each.record.state == APPLIED else None
            if not record or plan.alembic.moves(each.revision, "up"):
                statements += self._recorder.ending(each, "up", record or self._recorder.begun(each, "up"), 0)
        for each in plan.back:
            is_recorded = each.record is not None and each.record.state != REVERTED
            if is_recorded or plan.alembic.moves(each.revision, "down"):
                statements += self._recorder.ending(each, "down", self._recorder.begun(each, "down"), 0)
        return statements

    # Runs -----------------------------------------------------------------------------------------------------------

    def _run(self, direction: str, to: str | None) -> Outcome:
        seconds = stopwatch()
        self.migrator.refuse_own_transaction()
        with self.stop.ending_at_once():  # nothing has been changed yet
            plan = self.inspector.plan(direction, to, forecasts=True)
        since_plan = stopwatch()
        preflight.check(plan)
        if plan.is_empty:
            self.warn(plan.warnings)
            return Outcome(direction, plan.start, plan.start, (), (), seconds(), plan.warnings)
        forecast = plan.forecast
        self._compared.expect(forecast)
        indexes, state = [step.index for step in plan.steps], plan.state
        pace = pace_of(self.migrator, indexes, lambda: self.inspector.entries_if_readable(state), forecast)
        if pace.is_closed():
            self.warn(plan.warnings)
            return self._outcome(plan, (), pace, seconds())
        asked = _asked(plan)  # what a revision file must not do is found before a lock is taken or a file created
        self.migrator.name_run(f"{direction} {plan.revisions[0].revision.id if plan.revisions else plan.end}")
        with self.explaining_failures(self._progress), self.migrator.migration_context():
            # again, now that no other run changes anything
            plan = self.inspector.plan_again(plan) if since_plan() < MOMENT else self.inspector.plan(direction, to)
            preflight.check(plan)
            plan = plan._replace(forecast=forecast)
            done = self._carry_out(plan, {**_asked(plan, asked), **asked}, pace)
        self.report_committed()
        self.warn(self._journal.unlogged)
        return self._outcome(plan, done, pace, seconds())

    @contextmanager
    def explaining_failures(self, progress: Callable[[], str]) -> Iterator[None]:
        """Raise what ends a run as an error for the user.

        Args:
            progress: returns how far the run has come, for the message of an interruption.
        """
        try:
            yield
        except Interrupted as interruption:
            raise Interrupted(interruption.number, progress()) from None
        except (IndexerError, PeeweeException) as error:
            if self.stop.asked:  # a cancelled statement fails because of the signal
                raise Interrupted(self.stop.interruption().number, progress()) from error
            if isinstance(error, IndexerError):
                raise
            raise StatementFailed(
                f"The run failed: {self.migrator.said(error)}",
                self.migrator.remedy(error),
            ) from error

    def unreported(self) -> list[str]:
        """Return a warning if the progress of the run could not be reported."""
        failure = self.report.failure
        return [f"The progress of the run could not be reported: {reason(failure)}."] if failure else []

    def _outcome(self, plan: Plan, done: Sequence[RevisionPlan], pace: Pace, seconds: float) -> Outcome:
        """Return what a run did, and what it leaves to a later one.

        Args:
            done: the revisions that it has begun, with the steps that were taken; the last one may be incomplete.
        """
        rest, steps = rest_of(plan, done, pace), tuple(step for each in done for step in each.steps)
        end: str | None = plan.end
        if rest:
            complete = [each.revision.id for each in (done[:-1] if pace.left else done)]
            end = complete[-1] if complete else plan.start or (self.chain.base if done else None)
        warnings = (*plan.warnings, *self._journal.unlogged, *self.unreported())
        base_tables = plan.base_tables if done else ()
        builds, forecast = self._compared.builds(pace.taken), plan.forecast
        return Outcome(plan.direction, plan.start, end, steps, base_tables, seconds, warnings, rest, builds, forecast)

    def _carry_out(self, plan: Plan, asked: Mapping[str, Sequence[Index]], pace: Pace) -> list[RevisionPlan]:
        """Carry out a plan, whose catalog may have changed since; return the revisions with the steps that were taken.

        Once the window is closed, no other revision begins; one that has left an index is the last.
        """
        if pace.is_closed():  # since the run began to wait for the lock
            return []
        self._replaced = set(plan.state.replaced)
        self.migrator.reserve(plan.steps)
        self.warn(plan.warnings)
        self._journal.share()
        if plan.forecast and plan.forecast.matters:
            self.report(predicted_run(plan.forecast))
        if plan.blockers:
            self.report(BlockersFound(plan.blockers))
        if plan.base_tables:
            self._create_base(plan.base_tables)
        done: list[RevisionPlan] = []
        for revision_plan in plan.revisions:
            if pace.left or (done and pace.is_closed()):
                break
            done.append(self._move(revision_plan, plan.direction, asked, pace))
        return done

    def _create_base(self, tables: tuple[str, ...]) -> None:
        seconds = stopwatch()
        self.migrator.create_tables(self.models())
        self._journal.write(self._recorder.base(self.chain.base, seconds()))
        self._journal.log(new_entry(self.chain.base, "up", (), seconds()))
        self.report(BaseCreated(self.chain.base, tables, seconds()))

    def _move(
        self, revision_plan: RevisionPlan, direction: str, asked: Mapping[str, Sequence[Index]], pace: Pace
    ) -> RevisionPlan:
        """Apply or revert one revision: record its start, build or drop its indexes, record its end.

        A revision with an index that must not be built any more is not recorded as applied.
        """
        revision, seconds = revision_plan.revision, stopwatch()
        self.report(RevisionStarted(revision.id, revision.description, direction, len(revision_plan.steps)))
        record = self._recorder.begun(revision_plan, direction)
        self._journal.write(self._revisions.replace(record))
        done, record = self._executed(revision_plan, direction, record, asked[revision.id], pace)
        if pace.left:
            self._pause(revision_plan, done, record, seconds(), pace)
            return done
        if direction == "up":
            self._confirm(revision)
        self._journal.write(self._recorder.ending(done, direction, record, seconds()))
        builds = self._builds(done, pace)
        self._journal.log(new_entry(revision.id, direction, done.steps, seconds(), builds=builds))
        self.finished(RevisionFinished(revision.id, direction, seconds()))
        return done

    def _pause(self, planned: RevisionPlan, done: RevisionPlan, record: Record, seconds: float, pace: Pace) -> None:
        """Record what was done about a revision that is not complete; one of which nothing was done is as before."""
        revision, has_changed = done.revision, any(step.changes for step in done.steps)
        is_begun = record.existed_before != self._recorder.begun(planned, "up").existed_before  # on some partitions
        has_changed |= is_begun
        if has_changed or planned.record is None:
            self._journal.write([self._revisions.update(record)])
        else:
            self._journal.write(self._revisions.replace(planned.record))
        if has_changed:
            self._journal.log(new_entry(revision.id, "up", done.steps, seconds, builds=self._builds(done, pace)))
        self.finished(RevisionPaused(revision.id, tuple(index.name for index in pace.left), seconds))

    def _builds(self, done: RevisionPlan, pace: Pace) -> dict[str, Build]:
        """Return what the builds of a revision have taken, by the name of the index."""
        names = {step.index.name for step in done.steps}
        return {name: each for name, each in self._compared.builds(pace.taken).items() if name in names}

    def _executed(
        self, revision_plan: RevisionPlan, direction: str, record: Record, indexes: Sequence[Index], pace: Pace
    ) -> tuple[RevisionPlan, Record]:
        """Carry out a revision; return its plan with the steps that were taken, and the record of what they made."""
        existing = {part.label for step in revision_plan.steps for part in step.parts if part.step.found}
        provenance = Provenance(record, self._save, existing)
        planned = {step.index: step for step in revision_plan.steps if step.action is Action.CREATE}
        if direction == "up":
            operations = [self.migrator.add_index(index, self._planner, planned.get(index)) for index in indexes]
        else:
            context = revert_context(revision_plan.record, revision_plan.alembic)
            operations = [self.migrator.drop_index(index, self._planner, context) for index in indexes]
        steps = self.migrator.carry_out(operations, provenance, pace)
        order = [step.index for step in revision_plan.steps]
        done = revision_plan._replace(steps=tuple(sorted(steps, key=lambda step: order.index(step.index))))
        record = record._replace(existed_before=provenance.existed_before, made={})
        if direction == "up":
            record = record._replace(baselines={**record.baselines, **self._baselines(done, record, provenance)})
        return done, record

    def _baselines(self, done: RevisionPlan, record: Record, provenance: Provenance) -> dict[str, Baseline]:
        """Return the baselines of the indexes that this run has built, or a killed one right before it."""
        names = [step.index.name for step in done.steps if step.action in CREATIONS]
        if done.record and done.record.state == APPLYING:
            known = {*names, *record.existed_before, *record.baselines}
            names += [step.index.name for step in done.steps if step.index.name not in known]
        try:
            measured = self.migrator.catalog.measured(names)
            if any(step.parts for step in done.steps):
                for name in self._not_fresh(names, record):
                    measured.pop(name, None)
            return baselines_of(measured, provenance.built)
        except PeeweeException as error:  # a run goes on without them
            self.warn([f"The sizes of the new indexes were not recorded: {reason(error)}."])
            return {}

    def _not_fresh(self, names: Sequence[str], record: Record) -> Iterator[str]:
        """Yield which indexes of partitions existed before the run, and which of these indexes have such a part."""
        for name, stored in self.migrator.catalog.physical(names).items():
            old = [each.label for each in stored if qualified(each.schema, each.name) in record.existed_before]
            yield from (*old, *([name] if old else []))

    def _planner(self) -> StepPlanner:
        """Return a planner that knows of all names that this run has put on record as replaced, too."""
        return self.inspector.planner(frozenset(self._replaced))

    def _confirm(self, revision: Revision) -> None:
        steps = self._planner().up(revision.indexes)
        broken = [step.index.name for step in steps if step.action is not Action.KEEP]
        if broken:
            raise StatementFailed(
                f"Revision {revision.id} is not in place: {', '.join(broken)} {are(broken)} missing or invalid.",
                Hint("Run the same command again: ", Command("up")),
            )

    def _progress(self) -> str:
        """Return what an interrupted run leaves, for its message; nothing if the database can no longer be asked."""
        with suppress(PeeweeException):
            steps = self._planner().up(self.inspector.declared)
            valid = sum(step.action is Action.KEEP for step in steps)
            broken = [step.index.name for step in steps if step.action is Action.REBUILD]
            begun = [step.index.name for step in steps if step.action is Action.COMPLETE]
            rest = [f"{', '.join(broken)} {are(broken)} incomplete and will be rebuilt"] if broken else []
            rest += [f"{', '.join(begun)} {are(begun)} built on some partitions"] if begun else []
            built = f": {valid} of {len(steps)} indexes are built"
            return f"{built}; {'; '.join(rest) or 'none is incomplete'}"
        return ""

    # Records --------------------------------------------------------------------------------------------------------

    def _save(self, record: Record) -> None:
        """Record who makes the indexes at this moment of a run, unless all of the run is one transaction."""
        self._replaced.update(record.existed_before)
        if not self.migrator.transactional_ddl:
            self._journal.write([self._revisions.update(record)])

    # Reports --------------------------------------------------------------------------------------------------------

    def warn(self, warnings: Sequence[str | Hint]) -> None:
        """Report warnings."""
        for warning in warnings:
            self.report(Warned(warning))

    def finished(self, event: RevisionFinished | RevisionPaused) -> None:
        """Report the event now or, if all of the run is one transaction, once that is committed."""
        self._uncommitted.append(event)
        if not self.migrator.transactional_ddl:
            self.report_committed()

    def report_committed(self) -> None:
        """Report what was held back until the transaction was committed."""
        for event in self._uncommitted:
            self.report(event)
        self._uncommitted.clear()


def _asked(plan: Plan, known: Collection[str] = ()) -> dict[str, tuple[Index, ...]]:
    """Call the functions of a plan's revisions, each once in a run; return the indexes they ask for."""
    from indexer.revisions.functions import collect

    revisions = [revision_plan.revision for revision_plan in plan.revisions if revision_plan.revision.id not in known]
    return {revision.id: collect(revision, plan.direction) for revision in revisions}


def stopwatch() -> Callable[[], float]:
    """Return a function that returns the seconds since now, by a clock that cannot jump."""
    started = time.monotonic()
    return lambda: time.monotonic() - started
