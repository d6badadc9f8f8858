"""Rebuilds indexes while the application goes on working, one after another, and records what each is like then."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from peewee import PeeweeException

from indexer.care.choice import Candidate, Criteria, excluded_by, is_to_be_analyzed, not_bloated
from indexer.care.deep import CLEAN, Finding, checked, deep_check
from indexer.care.evidence import evidence_of, learn
from indexer.care.rebuilds import LeftOut, Leftover, Rebuilt, Reindexed, ReindexPlan, Remains, check, room_needed
from indexer.catalog import IndexFile, Table
from indexer.decide import Action
from indexer.errors import Command, Hint, IndexerError, IndexFailed, Interrupted, UsageError, together
from indexer.events import BlockersFound, IndexChecked, RevisionFinished, RevisionPaused, RevisionStarted
from indexer.migrator import IndexOperation
from indexer.pace.pace import CLOSED, Pace, pace_of
from indexer.plans import Rest
from indexer.records.baseline import LEARNED, REINDEX, Baseline, Checked, baseline_of
from indexer.records.journal import Journal
from indexer.records.log import Entry, new_entry
from indexer.records.provenance import Provenance
from indexer.records.revisions import Record
from indexer.records.table import now
from indexer.revisions.revision import Revision
from indexer.runner import Runner, stopwatch
from indexer.spec import Index
from indexer.steps import Step, StepPlanner
from indexer.text import few, may_be

NO_CHECKS: Mapping[str, Checked] = {}
SHOWN_IN, AGAIN = 2.0, 0.2  # seconds


class Reindexer:
    """Rebuilds the declared indexes of one database, on the session and with the options of a runner."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.migrator = runner.migrator
        self.inspector = runner.inspector
        self.report = runner.report
        self.journal = Journal(self.migrator, self.inspector.revisions, self.inspector.log)
        self._rebuilt: list[Rebuilt] = []
        self._dropped: list[str] = []
        self._analyzed: list[str] = []
        self._has_begun = False
        self._failures: list[IndexFailed] = []

    # What would be done ---------------------------------------------------------------------------------------------

    def plan(self, criteria: Criteria) -> ReindexPlan:
        """Return what a run would do now. Changes nothing and takes no lock.

        Raises:
            UsageError: no revision declares an index of that name.
            PreflightFailed: what is recorded cannot be read.
        """
        plan = self._plan(criteria)
        blockers = self.migrator.server.expected_blockers(plan.steps)
        return plan._replace(blockers=blockers, warnings=(*plan.warnings, *self.migrator.server.hidden(blockers)))

    def _plan(self, criteria: Criteria) -> ReindexPlan:
        """Return the plan without the sessions that a run would have to wait for: to look for them takes a second."""
        self._refuse_unknown(criteria.names)
        state = self.inspector.state(self._command(criteria), self._tables(criteria.names))
        planner = self.inspector.planner(state.replaced)
        asked = [
            Candidate(revision, step, state.records.get(revision.id))
            for revision in self.inspector.chain
            for step in planner.up(revision.indexes, duplicates=False)
            if not criteria.names or step.index.name in criteria.names
        ]
        possible = self._judged([each for each in asked if not each.obstacle])
        at = now()
        excluded = {each.name: excluded_by(each, criteria, at) or not_bloated(each, criteria, at) for each in possible}
        plan = ReindexPlan(
            criteria=criteria,
            at=at,
            command=self._command(criteria),
            planner=planner,
            chosen=tuple(each for each in possible if not excluded[each.name]),
            left_out=tuple(_left_out(asked, possible, excluded)),
            leftovers=tuple(self._leftovers(asked, planner)),
            stale=tuple(each for each in possible if is_to_be_analyzed(each, criteria, at)),
            learned=self._learned([each for each in possible if excluded[each.name]]),
        )
        return self._completed(plan, state.tables)

    def _command(self, criteria: Criteria) -> Command:
        return Command("reindex", *criteria.words(), *self.inspector.options.words("reindex"))

    def _tables(self, names: Sequence[str]) -> list[str]:
        """Return the tables of the indexes of these names; of all indexes if there are no names."""
        return [index.table for index in self.inspector.declared if not names or index.name in names]

    def _refuse_unknown(self, names: Sequence[str]) -> None:
        declared = [index.name for index in self.inspector.declared]
        unknown = [name for name in names if name not in declared]
        if not unknown:
            return
        found = self.migrator.catalog.find(unknown).values()  # SQLite finds names in upper or lower case
        others = [each.name for each in found if each.definition and each.name not in declared]
        statements = [f"{self.migrator.dialect.reindex_statement(name)};" for name in others]
        by_hand = f" To rebuild one that is not declared, execute: {' '.join(statements)}" if statements else ""
        raise UsageError(
            f"No revision declares {', '.join(unknown)}{may_be(unknown[0], declared)}.",
            f"Name indexes among these: {', '.join(declared)}.{by_hand}",
        )

    def _judged(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        baselines = {each.name: each.baseline for each in candidates if each.baseline}
        evidence = evidence_of(self.migrator, [each.name for each in candidates], baselines)
        return [each._replace(evidence=evidence.get(each.name)) for each in candidates]

    def _leftovers(self, asked: Sequence[Candidate], planner: StepPlanner) -> Iterator[Leftover]:
        candidates = {each.name: each for each in asked}
        indexes = [each.step.index for each in asked]
        entries = self.migrator.catalog.indexes_on({index.table for index in indexes})
        for name, of in planner.reindex_leftovers(indexes, entries).items():
            index = candidates[of].step.index
            yield Leftover(planner.next_drop(index.renamed(name), index), candidates[of])

    def _learned(self, candidates: Sequence[Candidate]) -> dict[str, dict[str, Baseline]]:
        learned: dict[str, dict[str, Baseline]] = {}
        baselines = {each.name: each.baseline for each in candidates if each.baseline}
        found = learn(self.migrator, [each.name for each in candidates], baselines)
        for each in candidates:
            if each.name in found and self._is_recorded(each.record):
                learned.setdefault(each.revision.id, {})[each.name] = found[each.name]
        return learned

    def _is_recorded(self, record: Record | None) -> bool:
        return record is not None and self.inspector.revisions.is_writable

    def _completed(self, plan: ReindexPlan, tables: Mapping[str, Table]) -> ReindexPlan:
        """Return a plan with what would stop it and what the user should know."""
        server, steps = self.migrator.server, plan.steps
        if plan.is_empty:
            return plan._replace(warnings=tuple(server.unseen(self.inspector.chain.tables)))
        changed = dict.fromkeys(step.index.table for step in steps)
        unrecorded = [each for each in plan.chosen if not self._is_recorded(each.record)]
        warnings: list[str | Hint] = [
            *server.unseen(self.inspector.chain.tables),
            *server.remarks({name: tables[name] for name in changed if name in tables}),
            *server.delays(),
            *self.inspector.closed_log(),
            *self._unrecorded(unrecorded),
        ]
        problems = [*self.migrator.catalog.problems(), *server.missing_rights_to_rebuild(tables, changed)]
        return plan._replace(problems=tuple(problems), warnings=tuple(warnings))

    def _unrecorded(self, candidates: Sequence[Candidate]) -> list[str | Hint]:
        """Return why it cannot be recorded what these indexes will be like, if there are any."""
        if not candidates:
            return []
        what = f"What {', '.join(few([each.name for each in candidates]))} will be like is not recorded, because"
        if self.inspector.revisions.is_writable:
            return [Hint(f"{what} its revision is not. Record that: ", Command("up"))]
        revisions = self.inspector.revisions
        return [f"{what} {revisions.label} cannot be written: {revisions.obstacle}."]

    # The run --------------------------------------------------------------------------------------------------------

    def run(self, criteria: Criteria) -> Reindexed:
        """Rebuild the indexes that a user has named, or those that a rebuild would make much smaller.

        Raises:
            UsageError: no revision declares an index of that name.
            PreflightFailed, Different: the run must not start; nothing was changed.
            StatementFailed: the database refused a statement.
        """
        seconds, stop = stopwatch(), self.runner.stop
        self.migrator.refuse_own_transaction()
        with stop.ending_at_once():
            plan = self.plan(criteria)
        check(plan)
        pace, refreshes = self._pace(plan), list[str]()
        if plan.is_empty or pace.is_closed():
            self.runner.warn(plan.warnings)
        else:
            self.migrator.name_run(f"reindex {' '.join(criteria.names)}".strip())
            with (
                self._continuing_with_the_others(criteria),
                self.runner.explaining_failures(self._progress, plan.command),
                self.migrator.migration_context(),
            ):
                plan = self._planned_again(plan)
                self._carry_out(plan, pace)
                refreshes = self._refreshes()
            self.runner.report_committed()
        self.runner.warn([*refreshes, *self.journal.unlogged])
        return Reindexed(
            rebuilt=tuple(self._rebuilt),
            left_out=plan.left_out,
            dropped=tuple(self._dropped),
            analyzed=tuple(self._analyzed),
            room=plan.room,
            seconds=seconds(),
            warnings=(*plan.warnings, *refreshes, *self.journal.unlogged, *self.runner.unreported()),
            rest=self._rest(plan, pace),
        )

    def _pace(self, plan: ReindexPlan) -> Pace:
        def entries() -> list[Entry]:
            with suppress(IndexerError, PeeweeException):
                return self.inspector.entries()
            return []

        return pace_of(self.migrator, plan.concerned, entries)

    def _planned_again(self, before: ReindexPlan) -> ReindexPlan:
        """Return the plan now that no other run changes anything, and that no statistics are old."""
        plan = self._plan(before.criteria)
        check(plan)
        if plan.stale:
            of_table = {each.step.index.table: each.step for each in plan.stale}
            for step in of_table.values():
                self.migrator.analyze(step)
            self._analyzed += of_table
            plan = self._judged_again(before.criteria)
        plan = _without_rebuilt(plan, before)
        hidden = [warning for warning in before.warnings if warning not in plan.warnings]
        return plan._replace(blockers=before.blockers, warnings=(*plan.warnings, *hidden))

    def _judged_again(self, criteria: Criteria) -> ReindexPlan:
        """Return the plan by the new statistics, which PostgreSQL shows with a delay before version 15."""
        until = time.monotonic() + SHOWN_IN
        while (plan := self._plan(criteria)).stale and time.monotonic() < until:
            self.runner.stop.sleep(AGAIN)
        return plan

    def _rest(self, plan: ReindexPlan, pace: Pace) -> Rest | None:
        """Return what the window has left; None if that is nothing."""
        left = list(pace.left) if self._has_begun else plan.concerned
        if pace.window is None or not left:
            return None
        opens = pace.window.opens(pace.now())
        reasons = {index.name: pace.left.get(index, CLOSED) for index in left}
        return Rest(reasons, opens, pace.window.shown(opens), self._command(self._others(plan.criteria)))

    @contextmanager
    def _continuing_with_the_others(self, criteria: Criteria) -> Iterator[None]:
        """Let the next step after an interruption name only the indexes that are not rebuilt yet."""
        try:
            yield
        except Interrupted as interruption:
            others = self._others(criteria)
            if others != criteria:
                interruption.hint = Hint("To continue, run: ", self._command(others))
            raise

    def _others(self, criteria: Criteria) -> Criteria:
        """Return the criteria with the names that this run has not rebuilt, which another run would rebuild again."""
        done = [] if self.migrator.transactional_ddl else [each.target.name for each in self._rebuilt]
        names = tuple(name for name in criteria.names if name not in done)
        return criteria._replace(names=names) if names else criteria

    def _carry_out(self, plan: ReindexPlan, pace: Pace) -> None:
        if pace.is_closed():  # since the run began to wait for the lock
            return
        self._has_begun = True
        self.migrator.reserve(plan.steps)
        self.runner.warn([*plan.warnings, *room_needed(plan)])
        self.journal.share()
        if plan.blockers:
            self.report(BlockersFound(plan.blockers))
        for revision in self.inspector.chain:
            chosen = [each for each in plan.chosen if each.revision is revision]
            leftovers = [each for each in plan.leftovers if each.of.revision is revision]
            if chosen or leftovers:
                self._reindex(revision, [*leftovers, *chosen], plan.planner, pace)
            if revision.id in plan.learned:
                self._record(revision.id, plan.learned[revision.id])
        if self._failures:
            raise together(self._failures)

    def _reindex(
        self, revision: Revision, work: Sequence[Leftover | Candidate], planner: StepPlanner, pace: Pace
    ) -> None:
        """Drop the leftovers of a revision and rebuild its indexes; log what was done, also if the run ends early."""
        seconds, steps = stopwatch(), list[Step]()
        self.report(RevisionStarted(revision.id, revision.description, "reindex", len(work)))
        try:
            for each in work:
                if isinstance(each, Leftover):
                    steps += self._drop(each, planner, pace)
                else:
                    self._rebuild(each, planner, pace, steps)
        except BaseException:
            if not self.migrator.transactional_ddl:  # otherwise nothing was done
                self._log(revision, steps, seconds())
            raise
        self._log(revision, steps, seconds())
        if pace.left:
            self.runner.finished(RevisionPaused(revision.id, tuple(index.name for index in pace.left), seconds()))
        else:
            self.runner.finished(RevisionFinished(revision.id, "reindex", seconds()))

    def _drop(self, leftover: Leftover, planner: StepPlanner, pace: Pace) -> Sequence[Step]:
        target, of = leftover.step.index, leftover.of.step.index
        operation = IndexOperation(self.migrator, target, lambda: planner.next_drop(target, of), is_drop=True)
        steps = self.migrator.carry_out([operation], pace=pace)
        self._dropped += [step.index.name for step in steps if step.action is Action.DROP]
        return steps

    def _rebuild(self, candidate: Candidate, planner: StepPlanner, pace: Pace, steps: list[Step]) -> None:
        """Rebuild an index, or wait for another session that does; record what it is like then.

        Args:
            steps: gets the steps that were taken, also if the run ends.
        """
        seconds, rebuild = stopwatch(), _Rebuild(planner, candidate, self.migrator.catalog.file_of(candidate.name))
        operation = IndexOperation(self.migrator, candidate.step.index, rebuild.decide)
        try:
            taken = self.migrator.carry_out([operation], rebuild, pace)
        except (IndexerError, PeeweeException) as error:
            remains = self._remains([candidate.step.index], rebuild)
            steps += self._record_rebuilt(candidate, planner, remains, seconds())
            if isinstance(error, IndexerError):
                error.hint = Hint(remains.sentence, error.hint)
            if not isinstance(error, IndexFailed):
                raise
            self._failures.append(error)  # the others can be rebuilt
            return
        steps += taken
        done = [step for step in taken if step.action in (Action.REINDEX, Action.WAIT)]
        for step in done:
            self._finish(candidate, step, seconds())
        if not done:  # the window may have closed before the old index could be dropped
            remains = self._remains([candidate.step.index], rebuild)
            steps += self._record_rebuilt(candidate, planner, remains, seconds())

    def _remains(self, indexes: Sequence[Index], rebuild: _Rebuild | None = None) -> Remains:
        """Return what is left of rebuilds that did not end well.

        Args:
            rebuild: that of the only index.
        """
        catalog = self.migrator.catalog
        with suppress(IndexerError, PeeweeException):
            entries = catalog.indexes_on({index.table for index in indexes})
            left = self.inspector.planner().reindex_leftovers(indexes, entries)
            tables = [index.table for index in indexes if index.name in left.values()]
            rebuilt = [rebuild.name] if rebuild and rebuild.is_done(catalog.file_of(rebuild.name)) else []
            return Remains(tuple(rebuilt), tuple(left), self.migrator.server.lasting_holders(tables) if left else ())
        return Remains((), None if rebuild and rebuild.has_begun else ())

    def _record_rebuilt(
        self, candidate: Candidate, planner: StepPlanner, remains: Remains, seconds: float
    ) -> Sequence[Step]:
        """Record an index that is rebuilt, although its statement did not end well; return the step that was taken."""
        if candidate.name not in remains.rebuilt:
            return ()
        size = None
        with suppress(IndexerError, PeeweeException):
            size = self._measure(candidate)
        self._rebuilt.append(Rebuilt(candidate.step.index, candidate.size, size, seconds))
        return (planner.reindex(candidate.step),)

    def _finish(self, candidate: Candidate, step: Step, seconds: float) -> None:
        """Check an index that has just been rebuilt, and record what it is like."""
        rebuilt = Rebuilt(
            step.index, candidate.size, self._measure(candidate), seconds, by_another=step.action is Action.WAIT
        )
        self._rebuilt.append(rebuilt)  # also if a signal ends the check
        began, earlier = now(), candidate.record.checks.get(candidate.name) if candidate.record else None
        finding = self._check_deeply(step.index)
        if finding.state == CLEAN:
            self._record(candidate.revision.id, {}, {candidate.name: checked(finding, began, earlier)})
        self._rebuilt[-1] = rebuilt._replace(finding=finding)

    def _measure(self, candidate: Candidate) -> int | None:
        """Record the baseline of an index that has just been rebuilt; return its bytes."""
        name, baseline = candidate.name, candidate.baseline
        measured = self.migrator.catalog.measured([name]).get(name)
        fresh = baseline_of(measured, REINDEX, now(), baseline.built_at if baseline else None) if measured else None
        self._record(candidate.revision.id, {name: fresh} if fresh else {})
        return measured.bytes if measured else None

    def _check_deeply(self, index: Index) -> Finding:
        (finding,) = deep_check(self.migrator, [index.name])
        self.report(IndexChecked(index, finding.result, finding.by, finding.seconds))
        return finding

    def _record(
        self, revision: str, baselines: Mapping[str, Baseline], checks: Mapping[str, Checked] = NO_CHECKS
    ) -> None:
        """Add baselines and checks to the record of a revision, as it is now; nothing where that cannot be written."""
        record = self.inspector.records().get(revision)
        if record and self._is_recorded(record) and (baselines or checks):
            kept = {name: each for name, each in record.checks.items() if name not in baselines}
            changed = record._replace(baselines={**record.baselines, **baselines}, checks={**kept, **checks})
            self.journal.write([self.inspector.revisions.update(changed)])

    def _refreshes(self) -> list[str]:
        """Return how to record the present versions of the collations of the indexes that were rebuilt.

        The other indexes that were built or found clean under these versions need no rebuild before that.
        """
        names = [each.target.name for each in self._rebuilt]
        if not self.migrator.care.refreshes(names):
            return []
        measured = self.migrator.catalog.measured([index.name for index in self.inspector.declared])
        for record in self.inspector.records().values():
            built = {name: each.collation_version for name, each in record.baselines.items() if each.by != LEARNED}
            checked = {name: each.collation_version for name, each in record.checks.items()}
            for name, version in (*built.items(), *checked.items()):
                if name in measured and measured[name].collation_version == version:
                    names.append(name)
        return self.migrator.care.refreshes(list(dict.fromkeys(names)))

    def _log(self, revision: Revision, steps: Sequence[Step], seconds: float) -> None:
        names = {step.index.name for step in steps}
        sizes = {
            each.target.name: (each.bytes_before, each.bytes)
            for each in self._rebuilt
            if each.target.name in names and each.bytes_before is not None and each.bytes is not None
        }
        if steps:
            self.journal.log(new_entry(revision.id, "reindex", steps, seconds, sizes))

    def _progress(self) -> str:
        """Return how far an interrupted run has come, for its message."""
        done = [] if self.migrator.transactional_ddl else [each.target.name for each in self._rebuilt]
        remains = self._remains(self.inspector.declared)._replace(rebuilt=tuple(done))
        return f": {remains}" if done else f": {'; '.join(filter(None, ('no index is rebuilt', str(remains))))}"


class _Rebuild(Provenance):
    """One rebuild: it decides what is left to do, and who made the index stays as it is recorded."""

    def __init__(self, planner: StepPlanner, candidate: Candidate, file: IndexFile | None) -> None:
        super().__init__()
        self._planner, self._candidate, self._file = planner, candidate, file
        self.name = candidate.name
        self.has_begun = False

    def begin(self, step: Step, statement: str) -> None:
        """Note that the statement is about to be sent: a new file of the index is then that of this run."""
        self.has_begun = True

    def is_done(self, file: IndexFile | None) -> bool:
        """Return whether this run has put this file in the place of the one that the index had."""
        before = self._file
        return self.has_begun and file is not None and before is not None and file.number != before.number

    def decide(self) -> Step:
        """Return the step to take now; the index that it found has the size that it was judged by."""
        step = self._planner.next_reindex(self._candidate.step.index, self._file, self.has_begun)
        if step.found:
            step.found = step.found._replace(bytes=self._candidate.size)
        return step


def _without_rebuilt(plan: ReindexPlan, before: ReindexPlan) -> ReindexPlan:
    """Return a plan without the indexes that another run has rebuilt while this one waited for it."""
    earlier = {each.name: each.baseline for each in before.chosen}
    rebuilt = [
        each
        for each in plan.chosen
        if each.baseline and each.baseline.by == REINDEX and earlier.get(each.name, each.baseline) != each.baseline
    ]
    left_out = [LeftOut(each, Hint("has just been rebuilt by another run")) for each in rebuilt]
    chosen = tuple(each for each in plan.chosen if each not in rebuilt)
    return plan._replace(chosen=chosen, left_out=(*plan.left_out, *left_out))


def _left_out(
    asked: Sequence[Candidate], possible: Sequence[Candidate], excluded: Mapping[str, str]
) -> Iterator[LeftOut]:
    judged = {each.name: each for each in possible}
    for each in asked:
        if each.obstacle:
            yield LeftOut(each, Hint(each.obstacle, "; run: ", each.remedy))
        elif excluded[each.name]:
            yield LeftOut(judged[each.name], Hint(excluded[each.name]))
