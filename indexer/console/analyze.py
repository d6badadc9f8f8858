"""The answer of analyze: which tables were analyzed and why, and which were left out and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from indexer.console.output import Answer, Line
from indexer.errors import Command, Hint
from indexer.text import counted, duration, visible

if TYPE_CHECKING:
    from indexer.care.analyze import Analyzed
    from indexer.catalog import Place


def of_run(done: Analyzed, place: Place) -> Answer:
    """Return what a run did."""
    document = {
        **place._asdict(),
        "analyzed": [{**each._asdict(), "seconds": round(each.seconds, 3)} for each in done.tables],
        "left_out": [{"table": each.table, "why": each.why} for each in done.left_out],
        "learned": done.learned,
        "seconds": round(done.seconds, 3),
        "warnings": done.warnings,
    }
    return Answer(document, _summary(done, place), lines=_shown(done, place))


def _summary(done: Analyzed, place: Place) -> Line:
    if done.has_no_tables:
        none = f"{place} has none of the tables, so there is nothing to analyze."
        return Hint(f"{none} See what would be built: ", Command("plan"))
    left_out = f", {len(done.left_out)} left out" if done.left_out else ""
    if not done.tables:
        return f"Nothing to analyze{left_out}: {place}."
    return f"Done in {duration(done.seconds)}: {counted(len(done.tables), 'table')} analyzed{left_out}. {place}"


def _shown(done: Analyzed, place: Place) -> Iterator[Line]:
    for each in () if done.has_no_tables else done.left_out:
        yield visible(f"  {each.table} left out: {each.why}")
    if done.learned:
        yield f"  recorded as the least size known so far: {', '.join(done.learned)}"
    yield _summary(done, place)
