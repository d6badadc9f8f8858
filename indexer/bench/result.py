"""What ``bench`` has measured: seconds, bytes, and what follows from them. Nothing here measures or draws."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any, NamedTuple

VERSION = 1  # of the document


class Timing(NamedTuple):
    """How long a question took.

    Attributes:
        median: seconds.
        p95: seconds; 95 of 100 answers came sooner.
        asked: how many times it was asked.
        answer: how many rows the median answer had.
    """

    median: float
    p95: float
    asked: int
    answer: float


class QueryTiming(NamedTuple):
    """A question before and after its index was there."""

    index_name: str
    query: str
    claim: str
    before: Timing
    after: Timing

    @property
    def speed_up(self) -> float:
        """How many times as fast it has become."""
        return self.before.median / self.after.median


class Build(NamedTuple):
    """The building of one index; others may have been built at the same time."""

    index_name: str
    table: str
    seconds: float
    bytes: int | None


class Writes(NamedTuple):
    """Rows inserted into a table in a second, many a statement, without the indexes and with them."""

    table: str
    before: float
    after: float

    @property
    def change(self) -> float:
        """How many rows more there are in a second: -0.25 is a quarter less."""
        return self.after / self.before - 1


class Round(NamedTuple):
    """All that was measured at one size.

    Attributes:
        activities: the size.
        rows: the rows of each table.
        fill_seconds: making and writing them.
        up_seconds: the whole of ``up``.
        bytes_before, bytes_after: tables and indexes, without and with the ten.
    """

    activities: int
    rows: dict[str, int]
    fill_seconds: float
    up_seconds: float
    bytes_before: int
    bytes_after: int
    queries: tuple[QueryTiming, ...]
    builds: tuple[Build, ...]
    writes: tuple[Writes, ...]


class Growth(NamedTuple):
    """How the time of a question grows with the number n of activities: as n to this power. None for one size."""

    query: str
    claim: str
    before: float | None
    after: float | None


class Result(NamedTuple):
    """One run of ``bench``, the smallest round first.

    Attributes:
        product: the database and its version.
        machine: what it ran on, for people.
        settings: those of the database that matter to speed.
        measured_at: UTC, in ISO 8601.
        seed: of the generator.
    """

    product: str
    machine: str
    settings: dict[str, str]
    measured_at: str
    seed: int
    rounds: tuple[Round, ...]

    @property
    def growths(self) -> tuple[Growth, ...]:
        """How each question grows."""
        return tuple(
            Growth(
                query=query.query,
                claim=query.claim,
                before=exponent([(each.activities, each.queries[place].before.median) for each in self.rounds]),
                after=exponent([(each.activities, each.queries[place].after.median) for each in self.rounds]),
            )
            for place, query in enumerate(self.rounds[0].queries)
        )


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """The power of n by which times grow: the slope of the least squares line through the logarithms.

    Args:
        points: pairs of n and seconds. With fewer than two different n there is no line.
    """
    if len({n for n, _ in points}) < 2:
        return None
    logs = [(log(n), log(seconds)) for n, seconds in points]
    mean_n, mean_t = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    slope: float = sum((n - mean_n) * (t - mean_t) for n, t in logs) / sum((n - mean_n) ** 2 for n, _ in logs)
    return slope


# As a document -------------------------------------------------------------------------------------------------------


def document(result: Result) -> dict[str, Any]:
    """The result for machines, with what follows from it; ``read`` makes a result of it again."""
    return {
        "version": VERSION,
        **result._asdict(),
        "rounds": [_round(each) for each in result.rounds],
        **_derived(result),
    }


def _round(each: Round) -> dict[str, Any]:
    parts = {name: [part._asdict() for part in getattr(each, name)] for name in ("builds", "writes")}
    queries = [
        {
            **query._asdict(),
            "before": query.before._asdict(),
            "after": query.after._asdict(),
            "speed_up": query.speed_up,
        }
        for query in each.queries
    ]
    return {**each._asdict(), **parts, "queries": queries}


def _derived(result: Result) -> dict[str, Any]:
    return {"growths": [growth._asdict() for growth in result.growths]}


def read(content: dict[str, Any]) -> Result:
    """The result that a document holds.

    Raises:
        ValueError: it is of another version.
    """
    if content.get("version") != VERSION:
        raise ValueError(f"the document is of version {content.get('version')}, not {VERSION}")
    rounds = tuple(_read_round(each) for each in content["rounds"])
    return Result(**{name: content[name] for name in Result._fields if name != "rounds"}, rounds=rounds)


def _read_round(content: dict[str, Any]) -> Round:
    return Round(
        **{
            **content,
            "queries": tuple(_read_query(query) for query in content["queries"]),
            "builds": tuple(Build(**build) for build in content["builds"]),
            "writes": tuple(Writes(**writes) for writes in content["writes"]),
        }
    )


def _read_query(content: dict[str, Any]) -> QueryTiming:
    timings = {phase: Timing(**content[phase]) for phase in ("before", "after")}
    return QueryTiming(content["index_name"], content["query"], content["claim"], **timings)
