"""What verify found out about each query: for the program, for machines and for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from indexer.catalog import Place
from indexer.console import tables as tabular
from indexer.errors import NotServed
from indexer.text import few, visible


@dataclass(frozen=True)
class Verdict:
    """Whether one query is served by the index it has.

    Attributes:
        index: the index that the query has in revision 10992629d68e.
        query: the call that sends the query, for people.
        usable: the planner uses the index where it must use one, and no condition on its columns is left over; or it
            uses another one of the table throughout, and ours stands as declared.
        chosen: it does so now, for arguments as they occur.
        generic: it does so in a prepared statement whose plan is made for any parameters. None if it is not usable.
        generic_as_parameter: the same where a parameter stands for what the index's predicate speaks of. None if there
            is no predicate.
        served_by: another index that serves the query as well.
        cost_with: what the planner expects the query to cost with the index, in its own unit.
        cost_without: the same with no index at all. Both are None where the planner tells no costs.
        milliseconds: how long the query took, if that was asked for and did not take too long.
        fits: do the tables have what the query reads? If not, the planner was not asked.
        notes: what else a reader should know, one sentence each.
        sql: the query.
    """

    index: str
    query: str
    usable: bool = False
    chosen: bool = False
    generic: bool | None = None
    generic_as_parameter: bool | None = None
    served_by: str | None = None
    cost_with: float | None = None
    cost_without: float | None = None
    milliseconds: float | None = None
    fits: bool = True
    notes: tuple[str, ...] = ()
    sql: str | None = None

    @property
    def served(self) -> bool:
        """Is there an index for the query, ours or another?"""
        return self.usable or self.served_by is not None


@dataclass(frozen=True)
class Report:
    """The verdicts about one database, in the order of the migration.

    ``preamble`` is what has to be said in the database's own shell before the queries. About the indexes
    ``without_query`` nothing is proved, because no query is declared for them.
    """

    place: Place
    verdicts: tuple[Verdict, ...]
    preamble: str = ""
    without_query: tuple[str, ...] = ()

    @property
    def unserved(self) -> tuple[str, ...]:
        """The indexes whose queries nothing serves, each once."""
        return tuple(dict.fromkeys(verdict.index for verdict in self.verdicts if not verdict.served))

    @property
    def exit_code(self) -> int:
        """4 when a query is not served."""
        return NotServed.exit_code if self.unserved else 0

    def conclusion(self, where: str = "") -> str:
        """The sum of it, and what to do where something is wrong; ``where`` are words about the place."""
        table_problems = [verdict.query for verdict in self.verdicts if not verdict.fits]
        fitting = {verdict.index for verdict in self.verdicts if verdict.fits}
        unserved = [name for name in self.unserved if name in fitting]
        said = []
        if unserved:
            said.append(f"Not served{where}: {', '.join(unserved)}. See what stands there: python cli.py check")
        if table_problems:
            said.append(f"The tables{where} are not those that {', '.join(few(table_problems))} would read.")
        said = said or [f"All {len(self.verdicts)} queries are served{where}."]
        if self.without_query:
            said.append(f"Not proved: {', '.join(self.without_query)}, as queries.py declares no query.")
        return "\n".join(said)


def document(report: Report) -> dict[str, Any]:
    """The report for machines."""
    return {
        **report.place._asdict(),
        "exit_code": report.exit_code,
        "not_served": list(report.unserved),
        "without_query": list(report.without_query),
        "queries": [{**asdict(verdict), "served": verdict.served} for verdict in report.verdicts],
    }


def queries(report: Report) -> str:
    """The queries themselves, each under a comment that names its index."""
    asked = [verdict for verdict in report.verdicts if verdict.sql]
    texts = (f"-- {verdict.index}: {verdict.query}\n{verdict.sql};" for verdict in asked)
    return "\n\n".join(filter(None, (report.preamble, *texts)))


def show(report: Report) -> str:
    """The report for people: a table, what there is to say about its rows, and the sum of it."""
    notes = dict.fromkeys(f"- {visible(note)}" for verdict in report.verdicts for note in verdict.notes)
    table = tabular.drawn(TITLES, list(map(_row, report.verdicts)), right=NUMBERS, less_needed=LESS_NEEDED)
    return "\n\n".join(filter(None, (table, "\n".join(notes), report.conclusion(f" on {report.place}"))))


NUMBERS = ("cost with", "cost without", "ms")
TITLES = ("query", "index", "usable", "chosen", "generic", *NUMBERS)
LESS_NEEDED = ("cost without", "cost with", "ms", "index", "generic")
STYLES = {"yes": "green", "no": "red", "served": "yellow"}


def _row(verdict: Verdict) -> list[Any]:
    from rich.text import Text

    without = verdict.served_by is not None and not verdict.usable
    texts = (
        verdict.query,
        verdict.index,
        "served" if without else _answer(verdict.usable),
        _answer(verdict.chosen) if verdict.usable else "",
        "literal" if verdict.generic_as_parameter is False else _answer(verdict.generic),
        _number(verdict.cost_with),
        _number(verdict.cost_without),
        _number(verdict.milliseconds),
    )
    return [Text(text, STYLES.get(text, "")) for text in texts]


def _answer(answer: bool | None) -> str:
    return "" if answer is None else "yes" if answer else "no"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"
