"""A result of ``bench`` as one HTML file that needs nothing besides itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from string import Template

from indexer.bench import tables as table
from indexer.bench import units
from indexer.bench.report import REMEDY, can_draw
from indexer.bench.result import Growth, QueryTiming, Result
from indexer.text import in_bytes

LEGEND = """\
<p>The line is the median of a call over the number of activities, on logarithmic axes; the whisker ends at the 95th
percentile.</p>
<div class="key"><span class="before">without the indexes</span><span class="after">with them</span></div>"""
MISSING = f"<p>There are no charts, because matplotlib is not installed. Get it: <code>{REMEDY}</code></p>"
MARKED = ("before", "after", "claim")  # titles of columns that look different
AGAIN = "\0"  # before a name that stands in the row above as well
TEMPLATE = os.path.join(os.path.dirname(__file__), "page.html")


def html(result: Result) -> str:
    """The page: a card for each query with its chart, then all tables. Without matplotlib the cards have no charts."""
    charts, dark = _charts(result)
    with open(TEMPLATE, encoding="utf-8") as file:
        template = Template(file.read())
    return template.substitute(
        title=escape(f"Ten indexes on {result.product}"),
        about=escape(_about(result)),
        dark_charts=dark,
        legend=LEGEND if charts else MISSING,
        cards="\n".join(
            _card(query, growth, charts.get(query.query, ""), result)
            for query, growth in zip(result.rounds[-1].queries, result.growths, strict=True)
        ),
        tables="\n".join(_section(*part) for part in table.parts(result)),
        conditions=escape(f"{table.conditions(result)}. Measured {result.measured_at}, seed {result.seed}."),
    )


def _charts(result: Result) -> tuple[dict[str, str], str]:
    if not can_draw():
        return {}, ""
    from indexer.bench import chart

    return chart.panels(result), chart.DARK_STYLE


def _about(result: Result) -> str:
    last = result.rounds[-1]
    return (
        f"Revision 10992629d68e, measured on made-up rows: up to {last.activities:,} activities, "
        f"{sum(last.rows.values()):,} rows in seven tables. There, up built the ten indexes in "
        f"{units.seconds(last.up_seconds)}, and the tables grew from {in_bytes(last.bytes_before)} to "
        f"{in_bytes(last.bytes_after)}."
    )


def _card(query: QueryTiming, growth: Growth, svg: str, result: Result) -> str:
    described = f"{query.query}: {units.seconds(query.before.median)} before, {units.seconds(query.after.median)} after"
    size = units.count(result.rounds[-1].activities)
    facts = {
        f"speed-up at {size}": f"<b>{units.faster(query.speed_up)}</b>",
        "a call takes": f"{units.seconds(query.before.median)} → {units.seconds(query.after.median)}",
        "claimed": escape(query.claim),
        "measured": f"{_power(growth.before)} → {_power(growth.after)}" if growth.after is not None else "",
    }
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    picture = svg.replace("<svg", f'<svg role="img" aria-label="{escape(described)}"', 1)
    caption = f"<figcaption><code>{escape(query.query)}</code><dl>{listed}</dl></figcaption>"
    return f"<figure>{caption}{picture}</figure>"


def _power(value: float | None) -> str:
    base, _, exponent = units.power(value).partition("^")
    return f"{base}<sup>{exponent}</sup>"


def _section(title: str, about: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th class="{each}">{escape(each)}</th>' for each in titles)
    body = "\n".join(f"<tr>{''.join(map(_cell, titles, row))}</tr>" for row in _named(rows))
    scrolled = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    return f"<h2>{escape(title)}</h2>\n<p>{escape(about)}</p>\n{scrolled}"


def _named(rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Each row with its name: read on a phone, it may be all that is left of the rows above."""
    name = ""
    for row in rows:
        yield row if row[0] else (AGAIN + name, *row[1:])
        name = row[0] or name


def _cell(title: str, text: str) -> str:
    kind = "again" if text.startswith(AGAIN) else title if title in MARKED else ""
    content = re.sub("(_|(?=[(]))", r"\1<wbr>", escape(text.removeprefix(AGAIN)))
    return f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>"
