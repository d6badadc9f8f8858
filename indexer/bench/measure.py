"""One size of the benchmark: fill a scratch database, take the times, build the ten indexes, take the times again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from math import ceil
from random import Random
from signal import SIGINT
from statistics import median
from typing import TYPE_CHECKING, Any

import models
from indexer.bench.events import Filled, Measuring, Tell, Told
from indexer.bench.inserts import inserts_a_second
from indexer.bench.result import Build, QueryTiming, Round, Timing, Writes
from indexer.bench.scratch import scratch
from indexer.events import IndexFinished
from indexer.revisions.chain import Chain
from indexer.runner import Runner
from indexer.signals import Stop
from indexer.verify.query import Arguments, Query
from migrate_10992629d68e import INDEXES
from proof.fill import TABLES, fill, heard
from proof.generator import Crm
from proof.store import store_of
from queries import QUERIES

if TYPE_CHECKING:
    from peewee import Database

WITHOUT, WITH = "queries without indexes", "queries with indexes"
ARGUMENTS = 200  # different ones for a question
FEWEST, MOST = 5, 300  # times that a question is asked
PATIENCE = 1.5  # seconds for a question, unless it has been asked fewer than FEWEST times

# Three quarters of all activities are messages: no index makes those come faster, and they do not fit into memory.
RARE = {"activities_of_type(activity_type)": [("voicemail",), ("email",)]}


def measure(url: str, crm: Crm, chain: Chain, tell: Tell, stop: Stop) -> Round:
    """Measure one size in a scratch database, which is gone afterwards.

    Args:
        url: says which kind of database, and on which server.
        crm: the rows to measure with.
        chain: the revisions there are.
        tell: called with each event, those of ``up`` included.
        stop: asks for an end.

    Raises:
        IndexerError: see ``scratch``, ``fill`` and ``Runner.up``.
        Interrupted: somebody asked to stop.
    """
    with scratch(url, stop) as migrator, relayed(stop) as ours:
        return _Bench(Runner(migrator, chain, lambda: models.TABLES, stop=ours), crm, tell).round()


@contextmanager
def relayed(stop: Stop) -> Iterator[Stop]:
    """A stop that is asked when another one is, until the block ends: databases that listen to it are closed then."""
    ours = Stop()
    listening = True

    def pass_on() -> None:
        if listening:
            ours.ask(stop.signal or SIGINT)

    stop.on_ask(pass_on)
    stop.check()
    try:
        yield ours
    finally:
        listening = False
        ours.close()


class _Bench:
    """One scratch database on its way through the measurement."""

    def __init__(self, runner: Runner, crm: Crm, tell: Tell) -> None:
        self.runner = runner
        self.store = store_of(runner.migrator)
        self.crm = crm
        self.tell = tell
        self.told: list[Told] = []
        self.arguments: list[list[Arguments]] = []

    def round(self) -> Round:
        """The whole way, once."""
        with heard(self.store, self.runner.migrator.database, self.runner.stop):
            return self._round()

    def _round(self) -> Round:
        self._fill()
        bytes_before = self.store.bytes(TABLES)
        before = self._timings(WITHOUT)
        up_seconds = self._up()
        bytes_after = self.store.bytes(TABLES)
        after = self._timings(WITH)
        return Round(
            activities=self.crm.activities,
            rows=self.crm.counts,
            fill_seconds=next(event.seconds for event in self.told if isinstance(event, Filled)),
            up_seconds=up_seconds,
            bytes_before=bytes_before,
            bytes_after=bytes_after,
            queries=tuple(map(_query, QUERIES, before, after)),
            builds=tuple(_build(event) for event in self.told if isinstance(event, IndexFinished)),
            writes=self._writes(),
        )

    def _tell(self, event: Told) -> None:
        self.told.append(event)
        self.tell(event)

    def _fill(self) -> None:
        migrator = self.runner.migrator
        with migrator.migration_context():  # up would refuse to: the user's tables may stand in another schema
            migrator.create_tables(models.TABLES)
        with self.store.hurrying():
            fill(migrator, self.crm, True, self._tell)
            self.store.analyze(TABLES)  # statistics as on a table that has been there for a while

    def _up(self) -> float:
        self.runner.report = self.runner.migrator.report = self._tell
        return self.runner.up().seconds

    def _timings(self, phase: str) -> list[Timing]:
        """How long each question takes, in the order of the queries."""
        with self._application():
            self.arguments = self.arguments or [arguments_for(query) for query in QUERIES]
            timings = []
            for done, (query, arguments) in enumerate(zip(QUERIES, self.arguments, strict=True)):
                self.tell(Measuring(phase, query.call, done, len(QUERIES)))
                timings.append(timing(query.ask, arguments, self.runner.stop))
            return timings

    def _writes(self) -> tuple[Writes, ...]:
        """What the indexes cost a writer."""
        drops = [self.runner.migrator.drop_index_statement(index.name) for index in INDEXES]
        with self._application() as database:
            return inserts_a_second(database, drops, self.tell, self.runner.stop)

    @contextmanager
    def _application(self) -> Iterator[Database]:
        """The models on a connection as an application opens it."""
        with (
            self.store.application() as database,
            heard(self.store, database, self.runner.stop),
            database.bind_ctx(models.TABLES),
        ):
            yield database


def timing(ask: Callable[..., Any], arguments: Sequence[Arguments], stop: Stop) -> Timing:
    """Ask again and again, with one argument after the other, until it has been often or long enough.

    Before that it is asked a tenth as often, and once at least: what lies on disk comes into memory.
    """
    _ask(ask, arguments, stop, PATIENCE / 3, fewest=1, most=MOST // 10)
    taken = sorted(_ask(ask, arguments, stop, PATIENCE, FEWEST, MOST))
    seconds = [each for each, _ in taken]
    return Timing(
        median=median(seconds),
        p95=seconds[ceil(len(seconds) * 0.95) - 1],
        asked=len(seconds),
        answer=median(size for _, size in taken),
    )


def _ask(
    ask: Callable[..., Any], arguments: Sequence[Arguments], stop: Stop, patience: float, fewest: int, most: int
) -> list[tuple[float, int]]:
    """Seconds and rows of each answer."""
    taken: list[tuple[float, int]] = []
    deadline = time.perf_counter() + patience
    for each in cycle(arguments):
        stop.check()
        started = time.perf_counter()
        answer = ask(*each)
        ended = time.perf_counter()
        taken.append((ended - started, len(answer) if hasattr(answer, "__len__") else 1))
        if len(taken) >= most or (ended > deadline and len(taken) >= fewest):
            break
    return taken


def arguments_for(query: Query) -> list[Arguments]:
    """Arguments in no order: PostgreSQL begins to scan a large table where the scan before has ended (manual,
    synchronize_seqscans), and in the order of the table each question would find its row at once.
    """
    arguments = RARE.get(query.call) or query.sample(ARGUMENTS)
    return Random(query.call).sample(arguments, len(arguments))


def _query(query: Query, before: Timing, after: Timing) -> QueryTiming:
    return QueryTiming(query.index, query.call, query.claim, before, after)


def _build(event: IndexFinished) -> Build:
    return Build(event.target.name, event.target.table, event.seconds, event.bytes)
