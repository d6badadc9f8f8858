"""The tables of a result, as text for a terminal or a log, and as data for the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from indexer.bench.result import Result
from indexer.console import tables
from indexer.console.output import Answer
from indexer.text import counted, duration, in_bytes
from indexer.tuples import NamedTuple

TEXTS = ("query", "claim", "index", "table", "")  # the titles of the columns that hold no numbers
Row = Sequence[str]


class Table(NamedTuple):
    """A table with its heading and a sentence about it. An empty first cell repeats the one above."""

    title: str
    about: str
    columns: Row
    rows: Sequence[Row]


def answer(result: Result) -> Answer:
    """Return what was measured, for the console."""
    return Answer(asdict(result), result.product, lines=[show(result)])


def show(result: Result) -> str:
    """Return the whole result as text."""
    return "\n\n\n".join((conditions(result), *map(_drawn, tables_of(result))))


def conditions(result: Result) -> str:
    """Return what the result was measured on."""
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.items())
    return f"{result.product} ({settings}) on {result.machine}"


def tables_of(result: Result) -> list[Table]:
    """Return the tables of a result: queries, their growth, indexes, inserts and totals, without the empty ones."""
    sizes = [short(each.activities) for each in result.rounds]
    tables = (
        Table(
            "Before and after",
            "Median and 95th percentile of the time of a call, and the number of rows that it returns.",
            ("query", "activities", "before", "p95", "after", "p95", "speed-up", "rows"),
            list(_queries(result)),
        ),
        Table(
            "Growth",
            "The time of a call grows with this power of n, the number of activities.",
            ("query", "before", "after", "claim"),
            list(_growths(result)),
        ),
        Table(
            "Building",
            "Time and size of each index. Several can be built at the same time.",
            ("index", *sizes),
            list(_builds(result)),
        ),
        Table(
            "Writing",
            "Rows inserted per second, before and after, measured in alternation: 100 rows per statement, five "
            "statements per table in a transaction.",
            ("table", *sizes),
            list(_writes(result)),
        ),
        Table(
            "Totals",
            f"{counted(len(result.rounds[0].rows), 'table')} and their indexes.",
            ("", *sizes),
            list(_totals(result)),
        ),
    )
    return [table for table in tables if table.rows]


def _queries(result: Result) -> Iterator[Row]:
    for place, query in enumerate(result.rounds[0].queries):
        for each in result.rounds:
            now = each.queries[place]
            yield (
                query.query if each is result.rounds[0] else "",
                short(each.activities),
                duration(now.before.median),
                duration(now.before.p95),
                duration(now.after.median),
                duration(now.after.p95),
                times(now.speed_up),
                f"{now.after.answer:,.0f}",
            )


def _growths(result: Result) -> Iterator[Row]:
    for growth in result.growths if len(result.rounds) > 1 else ():
        yield growth.query, power(growth.before), power(growth.after), growth.claim


def _builds(result: Result) -> Iterator[Row]:
    builds = [{build.index_name: build for build in each.builds} for each in result.rounds]
    first = result.rounds[0]
    queried, built = (query.index_name for query in first.queries), (build.index_name for build in first.builds)
    for name in dict.fromkeys([*queried, *built]):
        found = [each[name] for each in builds]
        yield name, *(f"{duration(build.seconds)}, {in_bytes(build.bytes or 0)}" for build in found)


def _writes(result: Result) -> Iterator[Row]:
    for place, table in enumerate(result.rounds[0].writes):
        found = [each.writes[place] for each in result.rounds]
        yield table.table, *(f"{each.before:,.0f} → {each.after:,.0f}, {each.change:+.0%}" for each in found)


def _totals(result: Result) -> Iterator[Row]:
    rounds = result.rounds
    yield "rows", *(f"{sum(each.rows.values()):,}" for each in rounds)
    yield "created and written in", *(duration(each.fill_seconds) for each in rounds)
    yield "up took", *(duration(each.up_seconds) for each in rounds)
    yield "size", *(f"{in_bytes(each.bytes_before)} → {in_bytes(each.bytes_after)}" for each in rounds)


def _drawn(table: Table) -> str:
    numbers = [column for column in table.columns if column not in TEXTS]
    return f"{table.title}. {table.about}\n\n{tables.drawn(table.columns, table.rows, right=numbers)}"


def short(count: int) -> str:
    """Return a round number as a label: 10k, 1M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size:
            return f"{count / size:g}{unit}"
    return str(count)


def times(factor: float) -> str:
    """Return a speed-up in three figures."""
    return f"{factor:,.0f}×" if factor >= 999.5 else f"{factor:.3g}×"  # noqa: RUF001


def power(exponent: float | None) -> str:
    """Return n to a measured power; empty if only one size was measured."""
    return "" if exponent is None else f"n^{round(exponent, 2) + 0.0:.2f}"
