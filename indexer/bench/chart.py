"""The picture: a small chart for each query, its latency over the size of the tables, without and with the indexes.

The colours are those of Okabe and Ito, which the colour-blind can tell apart. An SVG follows its reader's light or
dark setting; a program that knows no such setting shows the light colours.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.bench import units
from indexer.bench.result import Result, Timing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
CELL = (3.1, 2.4)  # inches
MARGIN = 1.35  # beyond the outermost points, as a factor
LABEL, ASIDE = 0.17, 0.006  # widths of a label and of the step beside a point, as parts of an axis


class Theme(NamedTuple):
    """Colours by what they are for."""

    ink: str
    faint: str
    grid: str
    before: str
    after: str


LIGHT = Theme(ink="#1f2328", faint="#59636e", grid="#d8dee4", before="#d55e00", after="#0072b2")
DARK = Theme(ink="#e6edf3", faint="#9ea7b1", grid="#363d46", before="#ff8c42", after="#56b4e9")

LINES: tuple[Any, ...] = ("-", (0, (4, 2)))  # one for each database
MARKERS = ("o", "s")
PHASES = (("before", "without the indexes"), ("after", "with them"))

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": LIGHT.ink,
    "axes.edgecolor": LIGHT.grid,
    "axes.labelcolor": LIGHT.faint,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LIGHT.grid,
    "grid.linewidth": 0.6,
    "xtick.color": LIGHT.grid,
    "ytick.color": LIGHT.grid,
    "xtick.labelcolor": LIGHT.faint,
    "ytick.labelcolor": LIGHT.faint,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "figure.constrained_layout.hspace": 0.06,
    "figure.constrained_layout.wspace": 0.03,
    "svg.fonttype": "none",
}


def png(results: Sequence[Result]) -> bytes:
    """The picture of one result, or of one for each database, on white.

    Raises:
        ImportError: matplotlib is not installed.
    """
    with _drawn(results, "picture") as figure:
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=130, facecolor="white")
        return content.getvalue()


def svg(results: Sequence[Result]) -> str:
    """The same picture as an SVG file without a background.

    Raises:
        ImportError: matplotlib is not installed.
    """
    with _drawn(results, "picture") as figure:
        return _svg(figure).replace("<defs>", f"<style>{DARK_STYLE}</style>\n <defs>", 1)


def panels(result: Result) -> dict[str, str]:
    """A chart for each question, to be put into a page that holds DARK_STYLE.

    Raises:
        ImportError: matplotlib is not installed.
    """
    drawn = {}
    for place, query in enumerate(result.rounds[0].queries):
        with _figure(query.query, CELL) as figure:
            _draw_lines(figure.subplots(), [result], place)
            drawn[query.query] = _svg(figure)
    return drawn


DARK_STYLE = "@media (prefers-color-scheme: dark) {{{}}}".format(
    "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark}!important}}'
        for light, dark in zip(LIGHT, DARK, strict=True)
        for part in ("fill", "stroke")
    )
)


@contextmanager
def _figure(salt: str, inches: tuple[float, float]) -> Iterator[Figure]:
    """An empty figure; the salt keeps the identifiers in two SVGs of one page apart."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({**SETTINGS, "svg.hashsalt": salt}):
        yield Figure(figsize=inches, layout="constrained")


@contextmanager
def _drawn(results: Sequence[Result], salt: str) -> Iterator[Figure]:
    queries = results[0].rounds[0].queries
    rows = ceil((len(queries) + 1) / COLUMNS)
    with _figure(salt, (CELL[0] * COLUMNS, CELL[1] * rows)) as figure:
        grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True)
        for place, query in enumerate(queries):
            axes = grid.flat[place]
            _draw_lines(axes, results, place)
            axes.set_title(query.query, loc="left", fontsize=8.5, fontweight="bold", pad=18)
            axes.text(0, 1.04, _told(results, place), transform=axes.transAxes, fontsize=8, color=LIGHT.faint)
            axes.tick_params(labelbottom=place + COLUMNS >= len(queries))
        for axes in grid.flat[len(queries) :]:
            axes.set_axis_off()
        _draw_legend(grid.flat[-1], results)
        yield figure


def _draw_lines(axes: Axes, results: Sequence[Result], place: int) -> None:
    sizes = sorted({each.activities for result in results for each in result.rounds})
    axes.set_xscale("log")
    axes.set_yscale("log")
    left, right = sizes[0] / MARGIN, sizes[-1] * MARGIN
    axes.set_xlim(left, right)
    axes.set_ylim(*_decades(results))
    for result, line, marker in zip(results, LINES, MARKERS, strict=False):
        n = [each.activities for each in result.rounds]
        for (phase, _), aside in zip(PHASES, (-ASIDE, ASIDE), strict=True):
            timings: list[Timing] = [getattr(each.queries[place], phase) for each in result.rounds]
            medians, colour = [timing.median for timing in timings], getattr(LIGHT, phase)
            if len(results) == 1:
                beside = [size * (right / left) ** aside for size in n]
                axes.vlines(beside, medians, [timing.p95 for timing in timings], colors=colour, linewidth=1, alpha=0.6)
            axes.plot(n, medians, color=colour, linestyle=line, marker=marker)
    labelled = _apart(sizes, right / left)
    axes.set_xticks(labelled, [units.count(size) for size in labelled])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: units.seconds(value).replace(".00", "").replace(".0", ""))


def _apart(sizes: Sequence[int], span: float) -> list[int]:
    """Those of the sizes that have room for a label on an axis of this span, the largest among them."""
    kept: list[int] = []
    for size in reversed(sizes):
        if not kept or log10(kept[-1] / size) >= LABEL * log10(span):
            kept.append(size)
    return kept


def _decades(results: Sequence[Result]) -> tuple[float, float]:
    """The whole decades between which all times lie: the same in every chart, so that charts can be compared."""
    queries = [query for result in results for each in result.rounds for query in each.queries]
    fastest = min(timing.median for query in queries for timing in (query.before, query.after))
    slowest = max(timing.p95 for query in queries for timing in (query.before, query.after))
    return float(10 ** floor(log10(fastest / MARGIN))), float(10 ** ceil(log10(slowest * MARGIN)))


def _draw_legend(axes: Axes, results: Sequence[Result]) -> None:
    from matplotlib.lines import Line2D

    phases = [Line2D([], [], color=getattr(LIGHT, phase), label=told) for phase, told in PHASES]
    databases = [
        Line2D([], [], color=LIGHT.faint, linestyle=line, marker=marker, label=result.product)
        for result, line, marker in zip(results, LINES, MARKERS, strict=False)
    ]
    axes.legend(handles=[*phases, *databases], loc="upper left", frameon=False, fontsize=9, borderpad=0)
    whisker = ", and a whisker up to\nthe 95th percentile" if len(results) == 1 else ""
    explained = f"Time of a call over the number of\nactivities: the median{whisker}."
    axes.text(0, 0.02, explained, transform=axes.transAxes, fontsize=8, color=LIGHT.faint)


def _told(results: Sequence[Result], place: int) -> str:
    """How many times as fast the question has become at the largest size."""
    names = [f"{result.product.split(' ')[0]} " if len(results) > 1 else "" for result in results]
    factors = [units.faster(result.rounds[-1].queries[place].speed_up) for result in results]
    told = ", ".join(name + factor for name, factor in zip(names, factors, strict=True))
    return f"{told} at {units.count(results[0].rounds[-1].activities)}"


def _svg(figure: Figure) -> str:
    """The figure as one SVG element, without what only a file needs, and without names that nothing refers to."""
    content = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(content, format="svg", transparent=True, metadata=nothing)
    element = content.getvalue()[content.getvalue().index("<svg") :]
    return re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", element)
