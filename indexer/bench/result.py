"""The result of ``bench``: what was measured, and what follows from it. ``asdict`` makes its JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from math import log
from statistics import linear_regression
from typing import Any, get_args, get_origin, get_type_hints

VERSION = 1  # of the document


@dataclass
class Timing:
    """The time of a call.

    Attributes:
        median: seconds.
        p95: the 95th percentile, in seconds.
        asked: the number of calls.
        answer: the number of rows in the median answer.
    """

    median: float
    p95: float
    asked: int
    answer: float


@dataclass
class QueryTiming:
    """A query without its index and with it; ``speed_up`` is the quotient of the two medians."""

    index_name: str
    query: str
    claim: str
    before: Timing
    after: Timing
    speed_up: float = field(init=False)

    def __post_init__(self) -> None:
        self.speed_up = self.before.median / self.after.median


@dataclass
class Build:
    """The build of one index. Others may have been built at the same time."""

    index_name: str
    table: str
    seconds: float
    bytes: int | None


@dataclass
class Writes:
    """Rows inserted into a table in a second, without the indexes and with them."""

    table: str
    before: float
    after: float

    @property
    def change(self) -> float:
        """The relative change: -0.25 is a quarter fewer."""
        return self.after / self.before - 1


@dataclass
class Round:
    """All measurements of one size.

    Attributes:
        activities: the size.
        rows: the number of rows of each table.
        fill_seconds: making and writing the rows.
        up_seconds: the whole of ``up``.
        bytes_before, bytes_after: tables and indexes, without the indexes of the revisions and with them.
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


@dataclass
class Growth:
    """The power of n, the number of activities, with which the time of a query grows; None if there is one n alone."""

    query: str
    claim: str
    before: float | None
    after: float | None


@dataclass
class Result:
    """One run of ``bench``, the smallest round first.

    Attributes:
        product: the database and its version.
        machine: processor cores, system and Python.
        settings: the settings of the database that affect speed.
        measured_at: UTC, in ISO 8601.
        seed: of the made-up rows.
    """

    version: int = field(init=False, default=VERSION)
    product: str
    machine: str
    settings: dict[str, str]
    measured_at: str
    seed: int
    rounds: tuple[Round, ...]
    growths: tuple[Growth, ...] = field(init=False)

    def __post_init__(self) -> None:
        sizes = [each.activities for each in self.rounds]
        self.growths = tuple(
            Growth(
                timings[0].query,
                timings[0].claim,
                before=exponent(sizes, [timing.before.median for timing in timings]),
                after=exponent(sizes, [timing.after.median for timing in timings]),
            )
            for timings in zip(*(each.queries for each in self.rounds), strict=True)
        )


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float | None:
    """Return the power of the size with which the time grows: the slope of the line through the logarithms.

    Returns None if there are fewer than two different sizes.
    """
    if len(set(sizes)) < 2:
        return None
    return linear_regression([log(size) for size in sizes], [log(each) for each in seconds]).slope


def read(content: dict[str, Any]) -> Result:
    """Return the result that a document holds.

    Raises:
        ValueError: the document has another version.
    """
    if content.get("version") != VERSION:
        raise ValueError(f"the document has version {content.get('version')}, not {VERSION}")
    result: Result = _made(Result, content)
    return result


def _made(kind: Any, content: Any) -> Any:
    """Return the value of this type from which ``asdict`` made the content."""
    if get_origin(kind) is tuple:
        return tuple(_made(get_args(kind)[0], each) for each in content)
    if not is_dataclass(kind):
        return content
    types = get_type_hints(kind)
    given = {each.name: _made(types[each.name], content[each.name]) for each in fields(kind) if each.init}
    return kind(**given)  # type: ignore[operator]
