"""Ask the planner of a database whether the queries that the indexes exist for are served.

migrator = indexer.connection.connect(url, schema, read_only=True)
report = verify(migrator, queries.QUERIES, models.TABLES, migration.INDEXES)
sys.exit(report.exit_code)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from peewee import Model, PeeweeException

from indexer.care.hashes import limits
from indexer.catalog import Table
from indexer.errors import GRANTED, NotReadable
from indexer.preflight import table_problems
from indexer.query_planner import LONGEST_RUN, Refused
from indexer.spec import Index
from indexer.text import identifier
from indexer.verify.declared import refuse_unknown
from indexer.verify.notes import Note, notes
from indexer.verify.query import Query
from indexer.verify.result import QueryResult, Report
from indexer.verify.usage import Usages

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator
    from indexer.steps import Step

VIEWS = ("view", "materialized view")


def verify(
    migrator: CatalogMigrator,
    queries: Sequence[Query],
    models: Sequence[type[Model]],
    declared: Sequence[Index],
    analyze: bool = False,
) -> Report:
    """Ask the planner about each query; change nothing, and take no lock that a writer would wait for.

    Args:
        migrator: connected, best read-only.
        models: all that the queries read.
        declared: the indexes of all revisions.
        analyze: also run each query, read-only, and measure how long it takes. PostgreSQL only.

    Raises:
        NotReadable: our role may not read a table.
        IndexerError: the server is a worker of Citus.
        StatementFailed: the database does not answer, or not in time.
        UsageError: there is no such schema, or no EXPLAIN ANALYZE, or a query names no declared index.
    """
    indexes = _queried(queries, declared)
    names = [model._meta.table_name for model in models]
    migrator.settle(sorted({index.table for index in indexes}))
    planner = migrator.query_planner(models)
    try:
        tables = planner.tables(names)
        _check_readable(tables, migrator.qualified)
        steps = {step.index.name: step for step in migrator.planner().up(indexes)}
        problems = {index.name: table_problems(migrator, [index], tables) for index in indexes}
        usages = Usages(planner, tables, {name: step.declared for name, step in steps.items()})
        with planner.session(), migrator.database.bind_ctx(models):
            results = tuple(
                _result(usages, query, steps[query.index], problems[query.index], analyze) for query in queries
            )
            without_query = tuple(index.name for index in declared if index not in indexes)
            results, standby = tuple(_limited(results, steps)), migrator.server.standby()
            return Report(migrator.place, results, planner.preamble(), without_query, standby)
    except PeeweeException as error:
        raise planner.translate_error(error) from error


def _limited(results: Sequence[QueryResult], steps: Mapping[str, Step]) -> Iterator[QueryResult]:
    """Yield the results, for the first usable one of each hash index with what such an index cannot do."""
    said = set()
    for result in results:
        found = steps[result.index].found
        if result.usable and result.index not in said and found and found.definition:
            said.add(result.index)
            result = replace(result, notes=(*limits(result.index, found.definition), *result.notes))
        yield result


def _queried(queries: Sequence[Query], declared: Sequence[Index]) -> list[Index]:
    """Return the declared indexes that have a query."""
    refuse_unknown(queries, declared)
    names = {query.index for query in queries}
    return [index for index in declared if index.name in names]


def _check_readable(tables: Mapping[str, Table], qualified: Callable[[str], str]) -> None:
    """Raise NotReadable if our role may not read one of the tables, a right that EXPLAIN needs."""
    closed = [table for table in tables.values() if not table.readable]
    if closed:
        names, role = ", ".join(qualified(table.name) for table in closed), closed[0].role
        raise NotReadable(
            f"Role {role} may not read {names}.", f"{GRANTED} GRANT SELECT ON {names} TO {identifier(role)};"
        )


def _result(usages: Usages, query: Query, step: Step, problems: Sequence[str], analyze: bool) -> QueryResult:
    """Return the result of one query, inside the planner's session; ``problems`` are those of the index's table."""
    problems, fits = [*problems, *_views(query, usages.tables)], False
    if not problems:
        try:
            return _planned(usages, query, step, analyze)
        except Refused as refusal:
            problems, fits = [f"{query.call} cannot be planned: {refusal}"], refusal.is_unsupported
    return QueryResult(query.index, query.call, fits=fits, notes=tuple(problems))


def _views(query: Query, tables: Mapping[str, Table]) -> list[str]:
    """Return which other tables of a query are views: planning it could run functions of their owner."""
    others = [tables.get(model._meta.table_name) for model in query.also_reads]
    return [f"{table.name} is a {table.kind}, not a table" for table in others if table and table.kind in VIEWS]


def _planned(usages: Usages, query: Query, step: Step, analyze: bool) -> QueryResult:
    usage, planner = usages.of(query, step), usages.planner
    statement = usage.case.statement
    milliseconds = planner.milliseconds(statement) if analyze else None
    remarks: list[Note] = list(notes(usage, query.call, step, usages.tables[step.index.table]))
    if analyze and milliseconds is None:
        remarks.append(f"{query.call} was stopped after {LONGEST_RUN} seconds")
    return QueryResult(
        query.index,
        query.call,
        usable=usage.usable,
        chosen=usage.chosen,
        generic=usage.generic,
        generic_as_parameter=usage.generic_as_parameter,
        served_by=usage.served_by,
        cost_with=usage.cost,
        cost_without=planner.cost_without_indexes(statement),
        milliseconds=milliseconds,
        notes=tuple(remarks),
        sql=planner.literal(statement),
    )
