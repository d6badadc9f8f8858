"""Rebuilds indexes while the application goes on working, one after another, and records what each is like then."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from peewee import PeeweeException

from indexer import preflight
from indexer.care.choice import Candidate, Criteria, OfLeaf, excluded_by, is_to_be_analyzed, not_bloated
from indexer.care.deep import CLEAN, Finding, checked, deep_check, of_leaves
from indexer.care.evidence import evidence_of_leaves, learn
from indexer.care.rebuilds import LeftOut, Leftover, Rebuilt, Reindexed, ReindexPlan, Remains, check, room_needed
from indexer.catalog import ORDINARY, IndexFile, Table
from indexer.decide import Action
from indexer.errors import Command, Hint, IndexerError, IndexFailed, Interrupted, UsageError, together
from indexer.events import BlockersFound, IndexChecked, RevisionFinished, RevisionPaused, RevisionStarted
from indexer.migrator import CatalogMigrator, IndexOperation
from indexer.pace.pace import CLOSED, Pace, pace_of
from indexer.partitions import leaves
from indexer.plans import Rest
from indexer.records.baseline import LEARNED, REINDEX, Baseline, Checked, baseline_of
from indexer.records.journal import Journal
from indexer.records.log import Entry, new_entry
from indexer.records.provenance import Provenance
from indexer.records.revisions import Record
from indexer.records.table import now
from indexer.revisions.revision import Revision
from indexer.runner import Runner, stopwatch
from indexer.steps import Step, StepPlanner
from indexer.text import few, may_be

NO_CHECKS: Mapping[str, Checked] = {}
SHOWN_IN, AGAIN = 2.0, 0.2  # seconds
MOST_NAMES = 5  # of leaf indexes in a command that continues a run


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
        self._asked: list[Candidate] = []
        self._leaves: dict[str, list[str]] = {}

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
        state = self.inspector.state(self._command(criteria), self._tables(criteria.names))
        planner = self.inspector.planner(state.replaced)
        physical = [
            each
            for revision in self.inspector.chain
            for step in planner.up(revision.indexes, duplicates=False)
            for each in self._physical(Candidate(revision, step, state.records.get(revision.id), planner))
        ]
        self._refuse_unknown(criteria.names, physical)
        names = set(criteria.names)
        asked = [each for each in physical if not names or {each.name, each.declared} & names]
        self._asked = asked
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
            leftovers=tuple(self._leftovers(asked)),
            stale=tuple(each for each in possible if is_to_be_analyzed(each, criteria, at)),
            learned=self._learned([each for each in possible if excluded[each.name]]),
        )
        return self._completed(plan, state.tables)

    def _physical(self, whole: Candidate) -> Iterator[Candidate]:
        """Yield what there is to rebuild of an index: itself, or the index of each leaf of a partitioned table."""
        if not whole.step.parts or whole.obstacle:
            yield whole
            return
        self._leaves[whole.name] = []
        for part in leaves(whole.step.parts):
            partition, index = part.partition, part.step.index
            there = self.migrator.dialect.beside(partition.schema, partition.namespace)
            planner = whole.planner._replace(catalog=there.catalog, dialect=there)
            leaf = OfLeaf(
                of=whole.name,
                label=partition.shown(index.name, self.migrator.schema or ""),
                table=partition.shown(index.table, self.migrator.schema or ""),
                schema=partition.schema,
                namespace=partition.namespace,
                owner=partition.owner,
                owned=partition.owned,
            )
            self._leaves[whole.name].append(leaf.label)
            yield whole._replace(step=part.step, planner=planner, leaf=leaf)

    def _migrator_of(self, candidate: Candidate) -> CatalogMigrator:
        """Return the migrator of the schema that an index is in."""
        leaf = candidate.leaf
        return self.migrator.beside(leaf.schema, leaf.namespace) if leaf else self.migrator

    def _command(self, criteria: Criteria) -> Command:
        return Command("reindex", *criteria.words(), *self.inspector.options.words("reindex"))

    def _tables(self, names: Sequence[str]) -> list[str]:
        """Return the tables of the indexes of these names; of all indexes if there are no names."""
        return [index.table for index in self.inspector.declared if not names or index.name in names]

    def _refuse_unknown(self, names: Sequence[str], physical: Sequence[Candidate]) -> None:
        declared = [index.name for index in self.inspector.declared]
        known = list(dict.fromkeys((*declared, *(each.name for each in physical))))
        unknown = [name for name in names if name not in known]
        if not unknown:
            return
        found = self.migrator.catalog.find(unknown).values()  # SQLite finds names in upper or lower case
        others = [each.name for each in found if each.definition and each.name not in declared]
        statements = [f"{self.migrator.dialect.reindex_statement(name)};" for name in others]
        by_hand = f" To rebuild one that is not declared, execute: {' '.join(statements)}" if statements else ""
        raise UsageError(
            f"No revision declares {', '.join(unknown)}{may_be(unknown[0], known)}.",
            f"Name indexes among these: {', '.join(declared)}.{by_hand}",
        )

    def _judged(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        baselines = {each.name: each.baseline for each in candidates if each.baseline}
        names = list(dict.fromkeys(each.declared for each in candidates))
        evidence = evidence_of_leaves(self.migrator, names, baselines)
        return [each._replace(evidence=evidence.get(each.declared, {}).get(each.name)) for each in candidates]

    def _leftovers(self, asked: Sequence[Candidate]) -> Iterator[Leftover]:
        for there, group in _by_schema(asked):
            candidates = {each.step.index.name: each for each in group}
            indexes = [each.step.index for each in group]
            entries = there.catalog.indexes_on({index.table for index in indexes})
            for name, of in there.reindex_leftovers(indexes, entries).items():
                index = candidates[of].step.index
                yield Leftover(there.next_drop(index.renamed(name), index), candidates[of])

    def _learned(self, candidates: Sequence[Candidate]) -> dict[str, dict[str, Baseline]]:
        learned: dict[str, dict[str, Baseline]] = {}
        baselines = {each.name: each.baseline for each in candidates if each.baseline}
        found = learn(self.migrator, list(dict.fromkeys(each.declared for each in candidates)), baselines)
        for each in candidates:
            if each.name in found and self._is_recorded(each.record):
                learned.setdefault(each.revision.id, {})[each.name] = found[each.name]
        return learned

    def _is_recorded(self, record: Record | None) -> bool:
        return record is not None and self.inspector.revisions.is_writable

    def _completed(self, plan: ReindexPlan, tables: Mapping[str, Table]) -> ReindexPlan:
        """Return a plan with what would stop it and what the user should know."""
        server = self.migrator.server
        if plan.is_empty:
            has_tables = any(index.table in tables for index in self.inspector.declared)
            problems = [] if has_tables else preflight.elsewhere(server)
            if any(each.step.is_unknown for each in self._asked):
                problems = self.migrator.catalog.problems()
            return plan._replace(problems=tuple(problems), warnings=tuple(server.unseen(self.inspector.chain.tables)))
        work = [*(each.of for each in plan.leftovers), *plan.chosen]
        changed = dict.fromkeys(each.table for each in work)
        unrecorded = [each for each in plan.chosen if not self._is_recorded(each.record)]
        warnings: list[str | Hint] = [
            *server.unseen(self.inspector.chain.tables),
            *server.remarks({name: tables[name] for name in changed if name in tables}),
            *server.delays(),
            *self.inspector.closed_log(),
            *self._unrecorded(unrecorded),
        ]
        problems = [*self.migrator.catalog.problems(), *self._missing_rights(work, tables)]
        return plan._replace(problems=tuple(dict.fromkeys(problems)), warnings=tuple(warnings))

    def _missing_rights(self, work: Sequence[Candidate], tables: Mapping[str, Table]) -> Iterator[str]:
        """Yield the rights that are missing on the schemas and on the tables, also those of partitions."""
        for _, group in _by_schema(work):
            on_leaves = {each.step.index.table: _as_table(each) for each in group if each.leaf}
            names = dict.fromkeys(each.step.index.table for each in group)
            yield from self._migrator_of(group[0]).server.missing_rights_to_rebuild({**tables, **on_leaves}, names)

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
                self.runner.explaining_failures(self._progress),
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
            of_table = {each.table: each for each in plan.stale}
            for each in of_table.values():
                self._migrator_of(each).analyze(each.step)
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
        done = [] if self.migrator.transactional_ddl else [each.name for each in self._rebuilt]
        names = tuple(dict.fromkeys(left for name in criteria.names for left in self._left_of(name, done)))
        if len(names) > max(MOST_NAMES, len(criteria.names)):
            by_age = criteria._replace(min_age=max(criteria.min_age or 0, 1))
            if self._is_all_of(names, by_age):
                return by_age
        return criteria._replace(names=names) if names else criteria

    def _is_all_of(self, names: Collection[str], criteria: Criteria) -> bool:
        """Return whether the criteria, by their age, ask for all of these indexes and for none that is rebuilt."""
        left = [each for each in self._asked if {each.name, each.declared} & set(names)]
        is_recorded = all(self._is_recorded(each.record) for each in left)
        return is_recorded and not any(excluded_by(each, criteria, now()) for each in left)

    def _left_of(self, name: str, done: Sequence[str]) -> list[str]:
        """Return what is left to rebuild of an index that was named: the name, or those of its other leaf indexes."""
        physical = [each.name for each in self._asked if name in (each.name, each.declared)]
        return [each for each in physical if each not in done] if set(physical) & set(done) else [name]

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
                self._reindex(revision, [*leftovers, *chosen], pace)
            self._record_wholes(revision)
            if revision.id in plan.learned:
                self._record(revision.id, plan.learned[revision.id])
        if self._failures:
            raise together(self._failures)

    def _reindex(self, revision: Revision, work: Sequence[Leftover | Candidate], pace: Pace) -> None:
        """Drop the leftovers of a revision and rebuild its indexes; log what was done, also if the run ends early."""
        seconds, steps = stopwatch(), list[Step]()
        self.report(RevisionStarted(revision.id, revision.description, "reindex", len(work)))
        try:
            for each in work:
                if isinstance(each, Leftover):
                    steps += self._drop(each, pace)
                else:
                    self._rebuild(each, pace, steps)
        except BaseException:
            if not self.migrator.transactional_ddl:  # otherwise nothing was done
                self._log(revision, steps, seconds())
            raise
        self._log(revision, steps, seconds())
        if pace.left:
            self.runner.finished(RevisionPaused(revision.id, tuple(index.name for index in pace.left), seconds()))
        else:
            self.runner.finished(RevisionFinished(revision.id, "reindex", seconds()))

    def _drop(self, leftover: Leftover, pace: Pace) -> Sequence[Step]:
        target, of, planner = leftover.step.index, leftover.of.step.index, leftover.of.planner
        migrator = self._migrator_of(leftover.of)
        operation = IndexOperation(migrator, target, lambda: planner.next_drop(target, of), is_drop=True)
        steps = migrator.carry_out([operation], pace=pace)
        self._dropped += [step.index.name for step in steps if step.action is Action.DROP]
        return steps

    def _rebuild(self, candidate: Candidate, pace: Pace, steps: list[Step]) -> None:
        """Rebuild an index, or wait for another session that does; record what it is like then.

        Args:
            steps: gets the steps that were taken, also if the run ends.
        """
        migrator = self._migrator_of(candidate)
        seconds, rebuild = stopwatch(), _Rebuild(candidate, migrator.catalog.file_of(candidate.step.index.name))
        operation = IndexOperation(migrator, candidate.step.index, rebuild.decide)
        try:
            taken = migrator.carry_out([operation], rebuild, pace)
        except (IndexerError, PeeweeException) as error:
            remains = self._remains([candidate], rebuild)
            steps += self._record_rebuilt(candidate, remains, seconds())
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
            remains = self._remains([candidate], rebuild)
            steps += self._record_rebuilt(candidate, remains, seconds())

    def _remains(self, candidates: Sequence[Candidate], rebuild: _Rebuild | None = None) -> Remains:
        """Return what is left of rebuilds that did not end well.

        Args:
            rebuild: that of the only index.
        """
        with suppress(IndexerError, PeeweeException):
            left = list(self._leftovers(candidates))
            tables = [each.step.index.table for each in left]
            rebuilt = [rebuild.name] if rebuild and rebuild.is_done_now() else []
            holders = self.migrator.server.lasting_holders(tables) if left else ()
            return Remains(tuple(rebuilt), tuple(each.step.index.name for each in left), holders)
        return Remains((), None if rebuild and rebuild.has_begun else ())

    def _record_rebuilt(self, candidate: Candidate, remains: Remains, seconds: float) -> Sequence[Step]:
        """Record an index that is rebuilt, although its statement did not end well; return the step that was taken."""
        if candidate.name not in remains.rebuilt:
            return ()
        size = None
        with suppress(IndexerError, PeeweeException):
            size = self._measure(candidate)
        self._rebuilt.append(Rebuilt(candidate.step.index, candidate.size, size, seconds, leaf=candidate.leaf))
        return (candidate.planner.reindex(candidate.step),)

    def _finish(self, candidate: Candidate, step: Step, seconds: float) -> None:
        """Check an index that has just been rebuilt, and record what it is like."""
        by_another = step.action is Action.WAIT
        rebuilt = Rebuilt(
            step.index, candidate.size, self._measure(candidate), seconds, by_another, leaf=candidate.leaf
        )
        self._rebuilt.append(rebuilt)  # also if a signal ends the check
        began, earlier = now(), candidate.record.checks.get(candidate.name) if candidate.record else None
        finding = self._check_deeply(candidate)
        if finding.state == CLEAN:
            self._record(candidate.revision.id, {}, {candidate.name: checked(finding, began, earlier)})
        self._rebuilt[-1] = rebuilt._replace(finding=finding)

    def _measure(self, candidate: Candidate) -> int | None:
        """Record the baseline of an index that has just been rebuilt; return its bytes."""
        name, baseline, index = candidate.name, candidate.baseline, candidate.step.index.name
        measured = self._migrator_of(candidate).catalog.measured([index]).get(index)
        fresh = baseline_of(measured, REINDEX, now(), baseline.built_at if baseline else None) if measured else None
        self._record(candidate.revision.id, {name: fresh} if fresh else {})
        return measured.bytes if measured else None

    def _record_wholes(self, revision: Revision) -> None:
        """Record the baselines of partitioned indexes of which this run has rebuilt the index of each leaf.

        The lookups in each leaf are on record with the leaf, so that the whole keeps those of check --deep alone.
        """
        rebuilt = {each.name: each.finding for each in self._rebuilt}
        for name in (index.name for index in revision.indexes):
            labels = self._leaves.get(name, ())
            measured = self.migrator.catalog.measured([name]) if labels and set(rebuilt) >= set(labels) else {}
            if name in measured and (record := self.inspector.records().get(revision.id)):
                before = record.baselines.get(name)
                fresh = baseline_of(measured[name], REINDEX, now(), before.built_at if before else None)
                checks = self._checks_of_whole(name, [rebuilt[label] for label in labels], record.checks.get(name))
                self._record(revision.id, {name: fresh} if fresh else {}, checks)

    def _checks_of_whole(
        self, name: str, findings: Sequence[Finding | None], earlier: Checked | None
    ) -> dict[str, Checked]:
        clean = [each for each in findings if each and each.state == CLEAN]
        if len(clean) < len(findings):
            return {}
        return {name: checked(of_leaves(name, clean)._replace(looked_up=None), now(), earlier)}

    def _check_deeply(self, candidate: Candidate) -> Finding:
        index = candidate.step.index
        (finding,) = deep_check(self._migrator_of(candidate), [index.name])
        self.report(IndexChecked(index.renamed(candidate.name), finding.result, finding.by, finding.seconds))
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
        names = [each.name for each in self._rebuilt]
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
        done = [] if self.migrator.transactional_ddl else [each.name for each in self._rebuilt]
        remains = self._remains(self._asked)._replace(rebuilt=tuple(done))
        return f": {remains}" if done else f": {'; '.join(filter(None, ('no index is rebuilt', str(remains))))}"


class _Rebuild(Provenance):
    """One rebuild: it decides what is left to do, and who made the index stays as it is recorded."""

    def __init__(self, candidate: Candidate, file: IndexFile | None) -> None:
        super().__init__()
        self._planner, self._candidate, self._file = candidate.planner, candidate, file
        self.name = candidate.name
        self.has_begun = False

    def begin(self, step: Step, statement: str) -> None:
        """Note that the statement is about to be sent: a new file of the index is then that of this run."""
        self.has_begun = True

    def is_done(self, file: IndexFile | None) -> bool:
        """Return whether this run has put this file in the place of the one that the index had."""
        before = self._file
        return self.has_begun and file is not None and before is not None and file.has_replaced(before)

    def is_done_now(self) -> bool:
        """Return whether the index has a file that this run has made."""
        return self.is_done(self._planner.catalog.file_of(self._candidate.step.index.name))

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


def _as_table(candidate: Candidate) -> Table:
    leaf = candidate.leaf
    assert leaf
    return Table(candidate.step.index.table, ORDINARY, frozenset(), owner=leaf.owner, owned=leaf.owned)


def _by_schema(candidates: Iterable[Candidate]) -> list[tuple[StepPlanner, list[Candidate]]]:
    """Return the indexes of each schema, with the planner of the steps there."""
    found: dict[int | None, list[Candidate]] = {}
    for each in candidates:
        found.setdefault(each.leaf.namespace if each.leaf else None, []).append(each)
    return [(group[0].planner, group) for group in found.values()]


def _left_out(
    asked: Sequence[Candidate], possible: Sequence[Candidate], excluded: Mapping[str, str]
) -> Iterator[LeftOut]:
    judged = {each.name: each for each in possible}
    for each in asked:
        if each.obstacle:
            yield LeftOut(each, Hint(each.obstacle, "; run: ", each.remedy))
        elif excluded[each.name]:
            yield LeftOut(judged[each.name], Hint(excluded[each.name]))
