"""The report of ``verify`` as text, as a document of --json, and as a script of the queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from indexer.console.documents import Document, of_standby
from indexer.console.output import Line
from indexer.console.tables import drawn
from indexer.errors import Command, Hint
from indexer.replication import for_the_primary
from indexer.text import few, visible
from indexer.verify.result import QueryResult, Report

NUMBERS = ("cost with", "cost without", "ms")
TITLES = ("query", "index", "usable", "chosen", "generic", *NUMBERS)
LESS_NEEDED = ("cost without", "cost with", "ms", "index", "generic")
ANSWERS = {None: "", True: "yes", False: "no"}
ADD = (
    "Add what is missing with the application's own migrations, or correct queries.py."
    " In an empty database, create the tables: "
)
STYLES = {"yes": "green", "no": "red", "served": "yellow"}


def document(report: Report) -> Document:
    """Return the report as a document."""
    return {
        **report.place._asdict(),
        "standby": of_standby(report.standby),
        "exit_code": report.exit_code,
        "not_served": list(report.unserved),
        "without_query": list(report.without_query),
        "queries": [
            {**asdict(result), "notes": _noted(report, result), "served": result.served} for result in report.results
        ],
    }


def lines(report: Report) -> Iterator[Line]:
    """Yield the report as a table, the notes about its rows, and the conclusion."""
    if report.results:
        yield drawn(TITLES, list(map(_row, report.results)), right=NUMBERS, less_needed=LESS_NEEDED) + "\n"
    notes = dict.fromkeys(Hint("- ", note).with_texts(visible) for note in _notes(report))
    yield from notes
    if notes:
        yield ""
    yield conclusion_of(report, f" on {report.place}")


def _notes(report: Report) -> Iterator[str | Hint]:
    if report.standby:
        yield str(report.standby)
    yield from (note for result in report.results for note in _noted(report, result))


def _noted(report: Report, result: QueryResult) -> list[str | Hint]:
    """Return the notes on a result; on a standby, what to do is to be done on the primary."""
    return [for_the_primary(note) if report.standby else note for note in result.notes]


def script(report: Report) -> str:
    """Return the queries, each under a comment that names its index."""
    queries = (f"-- {each.index}: {each.query}\n{each.sql};" for each in report.results if each.sql)
    return "\n\n".join(filter(None, (report.preamble, *queries)))


def conclusion_of(report: Report, where: str = "", between: str = "\n") -> Hint:
    """Return whether all queries are served and, if not, what to run.

    Args:
        report: what verify found out.
        where: words about the place, after the subject of a sentence.
        between: separates the sentences.
    """
    sentences = between.join(sentences_of(report, where))
    if not all(result.fits for result in report.results):
        missing = Hint(f"{sentences}{between}{ADD}", Command("up"))
        return for_the_primary(missing) if report.standby else missing
    if not report.fitting_unserved:
        return Hint(sentences)
    return Hint(f"{sentences}{between}Compare the indexes with the revision: ", Command("check"))


def sentences_of(report: Report, where: str = "") -> list[str]:
    """Return the sentences of the conclusion that name no command."""
    misfits = [result.query for result in report.results if not result.fits]
    sentences = []
    if report.fitting_unserved:
        sentences.append(f"Not served{where}: {', '.join(report.fitting_unserved)}.")
    if misfits:
        sentences.append(f"The tables{where} lack what these queries read: {', '.join(few(misfits))}.")
    if report.results and not sentences:
        served = "The query is" if len(report.results) == 1 else f"All {len(report.results)} queries are"
        sentences.append(f"{served} served{where}.")
    if report.without_query:
        first = report.without_query[0]
        sentences.append(f"{', '.join(report.without_query)}: no query declared in queries.py.")
        sentences.append(f'Add one to QUERIES there: Query("{first}", function=..., sample=rows_of(...)).')
    return sentences or [f"No revision declares an index, so there is nothing to verify{where}."]


def _row(result: QueryResult) -> list[tuple[str, str]]:
    by_another = result.served_by is not None and not result.usable
    cells = (
        result.query,
        result.index,
        "served" if by_another else ANSWERS[result.usable],
        ANSWERS[result.chosen] if result.usable else "",
        "literal" if result.generic_as_parameter is False else ANSWERS[result.generic],
        _number(result.cost_with),
        _number(result.cost_without),
        _number(result.milliseconds),
    )
    return [(cell, STYLES.get(cell, "")) for cell in cells]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"
