"""Are the queries that the ten indexes exist for served on this database? Asks the planner, and runs none of them.

What cli.py does, in four lines:

    migrator = indexer.connect.connect(url, schema, read_only=True)
    report = verify(migrator)
    print(show(report))
    sys.exit(report.exit_code)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from peewee import PeeweeException

import models
from indexer.catalog import Table
from indexer.errors import Hint, IndexerError, StatementFailed
from indexer.spec import Index
from indexer.text import identifier
from indexer.verify.notes import notes
from indexer.verify.planner import LONGEST_RUN, Refused, planner_of
from indexer.verify.query import Query
from indexer.verify.result import Report, Verdict, document, queries, show
from indexer.verify.usage import Inquiry
from migrate_10992629d68e import INDEXES
from queries import QUERIES

if TYPE_CHECKING:
    from indexer.decide import Step
    from indexer.migrator import CatalogMigrator

__all__ = ["document", "queries", "show", "verify"]

VIEWS = ("view", "materialized view")
UNSTEADY = "Run the same command again, and not through a pooler by statement."
SAID = ("42501", "55P03")  # a right that is missing, a lock that is held: of these the hint says more
TABLES = tuple(model._meta.table_name for model in models.TABLES)


def verify(migrator: CatalogMigrator, analyze: bool = False, declared: Iterable[Index] = INDEXES) -> Report:
    """Ask the planner about each query; changes nothing, and takes no lock that a writer would wait for.

    Args:
        migrator: connected, best read-only.
        analyze: also run each query, read-only, and tell how long it took. PostgreSQL only.
        declared: the indexes of all revisions; the report names those for which no query is declared.

    Raises:
        IndexerError: our role may not read a table.
        StatementFailed: the database does not answer, or not in time.
        UsageError: SQLite is to analyze, or there is no such schema.
    """
    migrator.settle(sorted({index.table for index in INDEXES}))
    if migrator.unseen(TABLES):
        raise IndexerError(
            "verify cannot read yet what Citus plans for distributed tables.",
            "Look at a query by hand: SET citus.explain_all_tasks = on; EXPLAIN SELECT ...;",
        )
    try:
        hearing = _Hearing(migrator)
        with hearing.planner.asking(), migrator.database.bind_ctx(models.TABLES):
            verdicts = tuple(hearing.verdict(query, analyze) for query in QUERIES)
            asked = {query.index for query in QUERIES}
            without_query = tuple(index.name for index in declared if index.name not in asked)
            return Report(migrator.place, verdicts, hearing.planner.preamble(), without_query)
    except PeeweeException as error:
        ours = migrator.translate_error(error)
        code = getattr(getattr(error, "orig", None), "pgcode", None)
        if isinstance(ours, StatementFailed) and code not in SAID:
            ours.hint = Hint(UNSTEADY)
        raise ours from error


class _Hearing:
    """What is known of the database before the first query is looked into, and the verdicts that follow."""

    def __init__(self, migrator: CatalogMigrator) -> None:
        self.table_problems = migrator.table_problems
        self.planner = planner_of(migrator)
        self.planner.check_rights()
        self.tables = migrator.catalog.tables(TABLES)
        _check_readable(self.tables, migrator.qualified)
        self.steps = {step.index.name: step for step in migrator.steps_up(INDEXES)}
        self.inquiry = Inquiry(migrator.database, self.planner, self.tables)

    def verdict(self, query: Query, analyze: bool) -> Verdict:
        """The verdict about one query."""
        step = self.steps[query.index]
        obstacles = [*self.table_problems([step.index], self.tables), *self._views(query)]
        if obstacles:
            return Verdict(query.index, query.call, fits=False, notes=tuple(obstacles))
        try:
            return self._verdict(query, step, analyze)
        except Refused as refusal:
            reason = f"{query.call} cannot be planned: {refusal}"
            return Verdict(query.index, query.call, fits=False, notes=(reason,))

    def _views(self, query: Query) -> list[str]:
        """Return which other tables of a query are views: to plan one may run functions of its author."""
        names = [model._meta.table_name for model in query.also_reads]
        others = [self.tables[name] for name in names if name in self.tables]
        return [f"{table.name} is a {table.kind}, not a table" for table in others if table.kind in VIEWS]

    def _verdict(self, query: Query, step: Step, analyze: bool) -> Verdict:
        evidence = self.inquiry.look_into(query, step.index, step.stands)
        serves_now = self.inquiry.serving(evidence.now, step.index) & evidence.others
        used = evidence.plan or (evidence.now if serves_now else None)
        milliseconds = self.planner.milliseconds(evidence.statement) if analyze else None
        table = self.tables[step.index.table]
        remarks = [*notes(evidence, query, step, table), *_about_policies(table)]
        if analyze and milliseconds is None:
            remarks.append(f"{query.call} was stopped after {LONGEST_RUN} seconds")
        return Verdict(
            query.index,
            query.call,
            usable=evidence.usable,
            chosen=evidence.plan is evidence.now,
            generic=evidence.generic,
            generic_as_parameter=evidence.as_parameter,
            served_by=min(evidence.others, default=None),
            cost_with=used.cost if used else None,
            cost_without=self.planner.cost_of_scanning(evidence.statement),
            milliseconds=milliseconds,
            notes=tuple(remarks),
            sql=self.planner.written_out(evidence.statement),
        )


def _about_policies(table: Table) -> Iterator[str]:
    """Yield what row-level security means for the proof: the queries are planned as this role's would be."""
    if table.trust.unhiding:
        yield f"row-level security may hide rows of {table.name} from role {table.role}: this is what that role gets"


def _check_readable(tables: dict[str, Table], qualified: Callable[[str], str]) -> None:
    """EXPLAIN needs the right to read, as the query itself does."""
    closed = [table for table in tables.values() if not table.readable]
    if closed:
        names, role = ", ".join(qualified(table.name) for table in closed), closed[0].role
        raise IndexerError(f"Role {role} may not read {names}.", f"GRANT SELECT ON {names} TO {identifier(role)}")
