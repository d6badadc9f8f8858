"""A result of ``bench`` for people, as tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from indexer.bench import units
from indexer.bench.result import Result, Writes
from indexer.console import tables as tabular
from indexer.text import in_bytes

TEXTS = ("query", "claim", "index", "table", "")
Cells = Sequence[str]


class Part(NamedTuple):
    """A table with what there is to know about it."""

    title: str
    about: str
    titles: Sequence[str]
    rows: Sequence[Cells]


def show(result: Result) -> str:
    """Everything that was measured, as text: in a terminal as wide as that, in a log without a cut."""
    drawn = (f"{part.title}. {part.about}\n\n{_drawn(part)}" for part in parts(result))
    return "\n\n\n".join((conditions(result), *drawn))


def parts(result: Result) -> tuple[Part, ...]:
    """The queries, how they grow, the indexes, what they cost a writer, and the sum of it."""
    sizes = [units.count(each.activities) for each in result.rounds]
    found = (
        Part(
            "Before and after",
            "Median and 95th percentile of a call, and the rows of its answer. Of activities_of_type, voicemails and "
            "emails are asked for: most activities are messages, and no index makes most of a table come sooner.",
            ("query", "activities", "before", "p95", "after", "p95", "speed-up", "rows"),
            list(_queries(result)),
        ),
        Part(
            "Growth",
            "The power of n by which the time of a call grows; n is the number of activities.",
            ("query", "before", "after", "claim"),
            list(_growths(result)),
        ),
        Part(
            "Building",
            "Time and size of each index. Several can be built at once.",
            ("index", *sizes),
            list(_builds(result)),
        ),
        Part(
            "Writing",
            "Rows inserted in a second, before and after, measured in turns: a hundred a statement, five statements for"
            " each table in a transaction.",
            ("table", *sizes),
            list(_writes(result)),
        ),
        Part("In all", "Seven tables and their indexes.", ("", *sizes), list(_totals(result))),
    )
    return tuple(part for part in found if part.rows)


def conditions(result: Result) -> str:
    """What it was measured on."""
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.items())
    return f"{result.product} ({settings}) on {result.machine}"


def _queries(result: Result) -> Iterable[Cells]:
    for place, query in enumerate(result.rounds[0].queries):
        for each in result.rounds:
            now = each.queries[place]
            yield (
                query.query if each is result.rounds[0] else "",
                units.count(each.activities),
                *(units.seconds(value) for value in (now.before.median, now.before.p95)),
                *(units.seconds(value) for value in (now.after.median, now.after.p95)),
                units.faster(now.speed_up),
                f"{now.after.answer:,.0f}",
            )


def _growths(result: Result) -> Iterable[Cells]:
    for growth in result.growths if len(result.rounds) > 1 else ():
        yield growth.query, units.power(growth.before), units.power(growth.after), growth.claim


def _builds(result: Result) -> Iterable[Cells]:
    builds = [{build.index_name: build for build in each.builds} for each in result.rounds]
    for query in dict.fromkeys(query.index_name for query in result.rounds[0].queries):
        found = [each[query] for each in builds]
        yield query, *(f"{units.seconds(build.seconds)}, {in_bytes(build.bytes or 0)}" for build in found)


def _writes(result: Result) -> Iterable[Cells]:
    for place, writes in enumerate(result.rounds[0].writes):
        found = [each.writes[place] for each in result.rounds]
        yield writes.table, *(_rates(now) for now in found)


def _rates(writes: Writes) -> str:
    return f"{units.figures(writes.before)} → {units.figures(writes.after)}, {units.percent(writes.change)}"


def _totals(result: Result) -> Iterable[Cells]:
    told = (
        ("rows", lambda each: f"{sum(each.rows.values()):,}"),
        ("made and written in", lambda each: units.seconds(each.fill_seconds)),
        ("up took", lambda each: units.seconds(each.up_seconds)),
        ("size", lambda each: f"{in_bytes(each.bytes_before)} → {in_bytes(each.bytes_after)}"),
    )
    for name, tell in told:
        yield name, *map(tell, result.rounds)


def _drawn(part: Part) -> str:
    return tabular.drawn(part.titles, part.rows, right=[title for title in part.titles if title not in TEXTS])
