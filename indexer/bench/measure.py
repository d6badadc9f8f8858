"""One size of the benchmark: fill a scratch database, time the queries, build the indexes, time the queries again.

A scratch database is a temporary SQLite file, or a schema of its own on the PostgreSQL server. However the measurement
ends, it is removed; the user's own tables are not read. What a killed process left is removed by the next one, which
knows by a lock, held by each process, that no process works in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import cycle
from math import ceil
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

from peewee import PeeweeException

from indexer.bench.events import Filled, Measuring, Tell, Told
from indexer.bench.inserts import inserts_a_second
from indexer.bench.result import Build, QueryTiming, Round, Timing
from indexer.bench.sample import sample_of
from indexer.errors import StatementFailed
from indexer.events import IndexFinished
from indexer.project import Project
from indexer.revisions.chain import Chain
from indexer.runner import Runner
from indexer.signals import Stop

if TYPE_CHECKING:
    from peewee import Database

    from indexer.bench.postgres import Schema
    from indexer.bench.sqlite import File
    from indexer.verify.query import Arguments, Query

PREFIX = "indexer_bench_"
WITHOUT, WITH = "queries without indexes", "queries with indexes"
ARGUMENTS = 200  # different ones for a query
FEWEST, MOST = 5, 300  # calls of a query
PATIENCE = 1.5  # seconds for a query, unless it was called fewer than FEWEST times


def measure(url: str, activities: int, project: Project, chain: Chain, tell: Tell, stop: Stop, seed: int) -> Round:
    """Measure one size in a scratch database, which is removed afterwards; tell each event, those of ``up`` included.

    Raises:
        IndexerError: as ``scratch``, ``fill`` and ``Runner.up``.
        Interrupted: the process was asked to stop.
    """
    models, queries, sample = list(project.models()), list(project.queries()), sample_of(project.sample)
    tables = [model._meta.table_name for model in models]
    indexes = chain.indexes
    told: list[Told] = []

    def note(event: Told) -> None:
        told.append(event)
        tell(event)

    with scratch(url, stop) as database, _translated(database, stop):
        runner = Runner(database.migrator, chain, project.models, report=note, stop=stop)
        migrator = runner.migrator
        with migrator.migration_context():  # ``up`` would refuse if the user's tables exist in another schema
            migrator.create_tables(models)
        sample.fill(migrator, activities, True, note, seed)
        bytes_before = database.bytes(tables)
        with _application(database, models):
            arguments = [arguments_for(query) for query in queries]
            before = _timings(WITHOUT, queries, arguments, tell, stop)
        up_seconds = runner.up().seconds
        bytes_after = database.bytes(tables)
        with _application(database, models) as connection:
            after = _timings(WITH, queries, arguments, tell, stop)
            writes = inserts_a_second(connection, migrator, models, indexes, tell, stop)
    builds = [event for event in told if isinstance(event, IndexFinished)]
    return Round(
        activities=activities,
        rows=dict(sample.counts(activities)),
        fill_seconds=next(event.seconds for event in told if isinstance(event, Filled)),
        up_seconds=up_seconds,
        bytes_before=bytes_before,
        bytes_after=bytes_after,
        queries=tuple(
            QueryTiming(query.index, query.call, query.claim, *timings)
            for query, *timings in zip(queries, before, after, strict=True)
        ),
        builds=tuple(Build(each.target.name, each.target.table, each.seconds, each.bytes) for each in builds),
        writes=writes,
    )


@contextmanager
def scratch(url: str, stop: Stop) -> Iterator[File | Schema]:
    """Create an empty database that exists during the block.

    Args:
        url: the server on which a schema may be created; any SQLite URL stands for a temporary file.
        stop: asks for an end, and learns how to remove what is left if the process ends without cleaning up.

    Raises:
        UsageError, Unreachable: as ``connect``.
        StatementFailed: the role may not create a schema, or the schema cannot be dropped.
    """
    create: Callable[[str, str, Stop], AbstractContextManager[Any]]
    if url.startswith("sqlite:"):
        from indexer.bench.sqlite import file as create
    else:
        from indexer.bench.postgres import schema as create
    with create(url, PREFIX, stop) as database:
        try:
            database.migrator.settle(())
            yield database
        finally:
            database.migrator.database.close()


@contextmanager
def _translated(database: File | Schema, stop: Stop) -> Iterator[None]:
    """Raise StatementFailed for an error of the database, and Interrupted if a statement was cancelled."""
    try:
        yield
    except Exception as error:
        stop.check()
        if not isinstance(error, PeeweeException):
            raise
        said, remedy = database.migrator.said(error), database.migrator.remedy(error)
        raise StatementFailed(f"The database refused a statement: {said}", remedy) from error


@contextmanager
def _application(database: File | Schema, models: Sequence[Any]) -> Iterator[Database]:
    """Bind the models to a connection as an application opens it."""
    with database.application() as connection, connection.bind_ctx(models):
        yield connection


def arguments_for(query: Query) -> list[Arguments]:
    """Return the arguments of a query in a random order that is the same each time.

    PostgreSQL begins to scan a large table where the scan before has ended (manual, synchronize_seqscans): in the order
    of the table each call would find its row at once.
    """
    arguments = list(query.measured) or query.sample(ARGUMENTS)
    return Random(query.call).sample(arguments, len(arguments))


def _timings(
    phase: str, queries: Sequence[Query], arguments: Sequence[Sequence[Arguments]], tell: Tell, stop: Stop
) -> list[Timing]:
    """Return the time of each query."""
    timings = []
    for done, query in enumerate(queries):
        tell(Measuring(phase, query.call, done, len(queries)))
        timings.append(_timing(query, arguments[done], stop))
    return timings


def _timing(query: Query, arguments: Sequence[Arguments], stop: Stop) -> Timing:
    """Call a query again and again. The first calls are not counted: they bring into memory what is on disk."""
    _calls(query, arguments, stop, PATIENCE / 3, fewest=1, most=MOST // 10)
    calls = sorted(_calls(query, arguments, stop, PATIENCE, FEWEST, MOST))
    seconds = [each for each, _ in calls]
    return Timing(
        median=median(seconds),
        p95=seconds[ceil(len(seconds) * 0.95) - 1],
        asked=len(seconds),
        answer=median(rows for _, rows in calls),
    )


def _calls(
    query: Query, arguments: Sequence[Arguments], stop: Stop, patience: float, fewest: int, most: int
) -> list[tuple[float, int]]:
    """Return the seconds and the rows of each call: at most ``most``, and after ``patience`` seconds ``fewest``."""
    calls: list[tuple[float, int]] = []
    deadline = time.perf_counter() + patience
    for each in cycle(arguments):
        stop.check()
        started = time.perf_counter()
        answer = query.ask(*each)
        ended = time.perf_counter()
        calls.append((ended - started, len(answer) if hasattr(answer, "__len__") else 1))
        if len(calls) >= most or (ended > deadline and len(calls) >= fewest):
            break
    return calls
