"""Gathers the statistics of the tables of the declared indexes: of those that need it, one table a statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from peewee import PeeweeException

from indexer.care.evidence import learn
from indexer.care.statistics import Statistics, lacking
from indexer.catalog import META_TABLES, ORDINARY, PARTITIONED, Table
from indexer.decide import Action
from indexer.errors import Command, Hint, IndexerError, PreflightFailed, UsageError
from indexer.events import AnalyzeStarted, TableAnalyzed
from indexer.records.journal import Journal
from indexer.records.revisions import Record
from indexer.runner import Runner, stopwatch
from indexer.spec import Index
from indexer.steps import Step
from indexer.text import are, counted
from indexer.tuples import NamedTuple

ASKED_FOR = "asked for"
MISSING = "there is no such table"
UNREADABLE = "its statistics cannot be read, because a node does not answer"


class Need(NamedTuple):
    """A table of declared indexes, and why its statistics are to be gathered or need not be.

    Attributes:
        target: one of its indexes.
        is_due: whether they are to be gathered.
        why: a sentence without its full stop.
    """

    table: str
    target: Index
    is_due: bool
    why: str


class AnalyzePlan(NamedTuple):
    """What ``analyze`` would do now, and what would stop it.

    Attributes:
        command: the command of the run.
        needs: all tables that are concerned, in the order of the chain.
        records: what is recorded of each revision, as far as our role may read it.
        problems: why it must not run, one sentence each.
    """

    command: Command
    needs: tuple[Need, ...]
    records: Mapping[str, Record]
    problems: tuple[str, ...]
    warnings: tuple[str | Hint, ...]

    @property
    def due(self) -> list[Need]:
        """The tables to be analyzed."""
        return [need for need in self.needs if need.is_due]

    @property
    def left_out(self) -> tuple[Need, ...]:
        """The tables whose statistics need not be gathered."""
        return tuple(need for need in self.needs if not need.is_due)


class Gathered(NamedTuple):
    """A table whose statistics were gathered, and why; ``seconds`` includes all waits."""

    table: str
    why: str
    seconds: float


class Analyzed(NamedTuple):
    """What a run of ``analyze`` did.

    Attributes:
        learned: the indexes of which it recorded a better baseline than was known.
    """

    tables: tuple[Gathered, ...]
    left_out: tuple[Need, ...]
    learned: tuple[str, ...]
    seconds: float
    warnings: tuple[str | Hint, ...] = ()

    @property
    def has_no_tables(self) -> bool:
        """Whether the database has none of the tables."""
        return not self.tables and all(need.why == MISSING for need in self.left_out)


class Analyzer:
    """Analyzes the tables of one database, on the session and with the options of a runner."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.migrator = runner.migrator
        self.inspector = runner.inspector
        self.journal = Journal(self.migrator, self.inspector.revisions, self.inspector.log)
        self._done: list[Gathered] = []

    # What would be done ---------------------------------------------------------------------------------------------

    def plan(self, names: Sequence[str] = (), everything: bool = False) -> AnalyzePlan:
        """Return what a run would do now. Changes nothing and takes no lock.

        Args:
            names: of tables, or of indexes whose tables are meant; these are analyzed in any case.
            everything: whether to analyze all tables in any case.

        Raises:
            UsageError: no revision declares an index of such a name, or one on such a table.
        """
        indexes = self._asked(names)
        tables = self.migrator.catalog.tables([*indexes, *META_TABLES], sizes=True)
        needs = tuple(self._needs(indexes, tables, forced=everything or bool(names)))
        due = [need.table for need in needs if need.is_due]
        problems = [f"table {self.migrator.qualified(name)} is missing" for name in due if name not in tables]
        warnings: list[str] = []
        if due or any(need.why == UNREADABLE for need in needs):
            problems += self.migrator.catalog.problems()
        if due:
            problems += self.migrator.server.missing_rights_to_analyze(tables, due)
            warnings += self.migrator.server.delays()
        command = Command("analyze", *names, *(["--all"] if everything else []))
        return AnalyzePlan(command, needs, self._records(tables), tuple(problems), tuple(warnings))

    def _asked(self, names: Sequence[str]) -> dict[str, Index]:
        """Return the first declared index of each table that is meant, by the name of the table."""
        declared = self.inspector.declared
        unknown = [name for name in names if not any(name in (index.name, index.table) for index in declared)]
        if unknown:
            tables = list(dict.fromkeys(index.table for index in declared))
            raise UsageError(
                f"No revision declares {', '.join(unknown)}, or an index on it.",
                f"Name a table with declared indexes, or one of the indexes: {', '.join(tables)}.",
            )
        meant = {index.table for index in declared if not names or index.name in names or index.table in names}
        return {index.table: index for index in reversed(declared) if index.table in meant}

    def _needs(self, indexes: Mapping[str, Index], tables: Mapping[str, Table], forced: bool) -> Iterator[Need]:
        existing = [name for name in indexes if name in tables and tables[name].kind in (ORDINARY, PARTITIONED)]
        statistics = self.migrator.care.statistics(existing)
        without = self.migrator.care.expressions_without_statistics(existing)
        for name in self.inspector.chain.tables:
            if name not in indexes:
                continue
            if forced:
                yield Need(name, indexes[name], True, ASKED_FOR)
            elif name not in statistics:
                yield Need(name, indexes[name], False, UNREADABLE if name in existing else MISSING)
            else:
                flaw = statistics[name].flaw or statistics[name].loss or lacking(without.get(name, ()))
                yield Need(name, indexes[name], flaw is not None, flaw or _why_not(statistics[name]))

    def _records(self, tables: Mapping[str, Table]) -> dict[str, Record]:
        """Return what is recorded; nothing where our role may not read it, because a run goes on without."""
        with suppress(IndexerError, PeeweeException):
            return self.inspector.revisions.read(tables)
        return {}

    # The run --------------------------------------------------------------------------------------------------------

    def run(self, names: Sequence[str] = (), everything: bool = False) -> Analyzed:
        """Gather the statistics of the tables that need it, or of those that are named.

        Raises:
            UsageError: no revision declares an index of such a name, or one on such a table.
            PreflightFailed: the run must not start; nothing was changed.
            StatementFailed: the database refused a statement.
        """
        seconds, learned = stopwatch(), list[str]()
        self.migrator.refuse_own_transaction()
        with self.runner.stop.ending_at_once():
            plan = self.plan(names, everything)
        _check(plan)
        self.runner.warn(plan.warnings)
        if plan.due:
            self.migrator.name_run("analyze")
            with self.runner.explaining_failures(self._progress), self.migrator.migration_context():
                plan = self.plan(names, everything)  # again, now that no other run changes anything
                _check(plan)
                self._analyze(plan.due)
                learned = self._learn(plan)
        warnings = (*plan.warnings, *self.runner.unreported())
        return Analyzed(tuple(self._done), plan.left_out, tuple(learned), seconds(), warnings)

    def _analyze(self, due: Sequence[Need]) -> None:
        if due:
            self.runner.report(AnalyzeStarted(tuple(need.table for need in due)))
        for need in due:
            seconds = stopwatch()
            self.migrator.analyze(Step(Action.ANALYZE, need.target, self.migrator.dialect.declared(need.target)))
            self._done.append(Gathered(need.table, need.why, seconds()))
            self.runner.report(TableAnalyzed(*self._done[-1]))

    def _learn(self, plan: AnalyzePlan) -> list[str]:
        """Record what new statistics tell of the least size of indexes; return the names of the indexes."""
        analyzed = {need.table for need in plan.due}
        learned: list[str] = []
        for revision in self.inspector.chain:
            record = plan.records.get(revision.id)
            if record is None or not self.inspector.revisions.is_writable:
                continue
            names = [index.name for index in revision.indexes if index.table in analyzed]
            if found := learn(self.migrator, names, record.baselines):
                changed = record._replace(baselines={**record.baselines, **found})
                self.journal.write([self.inspector.revisions.update(changed)])
                learned += found
        return learned

    def _progress(self) -> str:
        """Return how far an interrupted run has come, for its message."""
        done = [each.table for each in self._done]
        if done and not self.migrator.transactional_ddl:
            return f": {', '.join(done)} {are(done)} analyzed"
        return ": no table is analyzed"


def _check(plan: AnalyzePlan) -> None:
    """Raise PreflightFailed if the run must not start."""
    if plan.problems:
        raise PreflightFailed(plan.problems, Hint("Fix this, then run: ", plan.command))


def _why_not(statistics: Statistics) -> str:
    """Return why the statistics of a table need not be gathered."""
    if not statistics.rows and not statistics.modified:
        return "it holds no rows"
    if statistics.modified is None:
        return "how much has changed since its statistics were gathered is not known"
    rows = counted(statistics.rows or 0, "row")
    if statistics.rows_then is not None:  # SQLite counts no changes
        return f"it has {rows}, and its statistics were gathered at {statistics.rows_then:,}"
    return f"{statistics.modified:,} of {rows} changed since its statistics were gathered"
