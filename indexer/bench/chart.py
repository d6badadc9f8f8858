"""The picture: for each query a chart of its time over the number of activities, without and with the indexes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from indexer.bench.result import Result
from indexer.bench.tables import short, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
CELL = (3.1, 2.4)  # inches
MARGIN = 1.35  # beyond the outermost points, as a factor
LABEL, ASIDE = 0.17, 0.006  # width of a label, and distance of a whisker from its point, as parts of an axis

INK, FAINT, GRID = "#1f2328", "#59636e", "#d8dee4"
BEFORE, AFTER = "#d55e00", "#0072b2"  # from the palette of Okabe and Ito, for colour-blind readers
LINES: tuple[Any, ...] = ("-", (0, (4, 2)))  # one for each database
MARKERS = ("o", "s")

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    **dict.fromkeys(("xtick.color", "ytick.color"), GRID),
    **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), FAINT),
    "figure.constrained_layout.hspace": 0.06,
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",  # the same result makes the same file
}


def picture(results: Sequence[Result], form: str) -> bytes:
    """Return the picture of one result, or of one result for each database.

    Args:
        results: in the order of the legend.
        form: png or svg.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    content = io.BytesIO()
    rows = ceil((len(results[0].growths) + 1) / COLUMNS)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(CELL[0] * COLUMNS, CELL[1] * rows), layout="constrained")
        _draw(figure, rows, results)
        figure.savefig(content, format=form, facecolor="white", dpi=130, metadata={"Date": None})
    return content.getvalue()


def _draw(figure: Figure, rows: int, results: Sequence[Result]) -> None:
    """Draw a chart for each query, and the legend in the last cell."""
    queries = results[0].rounds[0].queries
    grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True)
    for place, query in enumerate(queries):
        axes = grid.flat[place]
        _draw_lines(axes, results, place)
        axes.set_title(query.query, loc="left", fontsize=8.5, fontweight="bold", pad=18)
        axes.text(0, 1.04, _speed_ups(results, place), transform=axes.transAxes, fontsize=8, color=FAINT)
        axes.tick_params(labelbottom=place + COLUMNS >= len(queries))
    for axes in grid.flat[len(queries) :]:
        axes.set_axis_off()
    _draw_legend(grid.flat[-1], results)


def _draw_lines(axes: Axes, results: Sequence[Result], place: int) -> None:
    from matplotlib.ticker import EngFormatter

    sizes = sorted({each.activities for result in results for each in result.rounds})
    left, right = sizes[0] / MARGIN, sizes[-1] * MARGIN
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=_decades(results))
    for result, line, marker in zip(results, LINES, MARKERS, strict=False):
        n = [each.activities for each in result.rounds]
        queries = [each.queries[place] for each in result.rounds]
        before, after = [query.before for query in queries], [query.after for query in queries]
        for timings, colour, aside in ((before, BEFORE, -ASIDE), (after, AFTER, ASIDE)):
            medians = [timing.median for timing in timings]
            axes.plot(n, medians, color=colour, linestyle=line, marker=marker, linewidth=1.8, markersize=5)
            if len(results) == 1:
                beside = [size * (right / left) ** aside for size in n]
                axes.vlines(beside, medians, [timing.p95 for timing in timings], colors=colour, linewidth=1, alpha=0.6)
    labelled = _apart(sizes, right / left)
    axes.set_xticks(labelled, [short(size) for size in labelled])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(EngFormatter("s"))


def _apart(sizes: Sequence[int], span: float) -> list[int]:
    """Return the sizes that have room for a label on an axis of this span, the largest among them."""
    kept: list[int] = []
    for size in reversed(sizes):
        if not kept or log10(kept[-1] / size) >= LABEL * log10(span):
            kept.append(size)
    return kept


def _decades(results: Sequence[Result]) -> tuple[float, float]:
    """Return the whole decades that hold all times: the same in every chart, so that charts can be compared."""
    queries = [query for result in results for each in result.rounds for query in each.queries]
    timings = [timing for query in queries for timing in (query.before, query.after)]
    fastest, slowest = min(each.median for each in timings), max(each.p95 for each in timings)
    return 10.0 ** floor(log10(fastest / MARGIN)), 10.0 ** ceil(log10(slowest * MARGIN))


def _draw_legend(axes: Axes, results: Sequence[Result]) -> None:
    from matplotlib.lines import Line2D

    phases = [Line2D([], [], color=BEFORE, label="without the indexes"), Line2D([], [], color=AFTER, label="with them")]
    databases = [
        Line2D([], [], color=FAINT, linestyle=line, marker=marker, label=result.product)
        for result, line, marker in zip(results, LINES, MARKERS, strict=False)
    ]
    axes.legend(handles=[*phases, *databases], loc="upper left", frameon=False, fontsize=9, borderpad=0)
    whisker = ", and a whisker up to\nthe 95th percentile" if len(results) == 1 else ""
    explained = f"Time of a call over the number of\nactivities: the median{whisker}."
    axes.text(0, 0.02, explained, transform=axes.transAxes, fontsize=8, color=FAINT)


def _speed_ups(results: Sequence[Result], place: int) -> str:
    """Return the speed-up of a query at the largest size, on each database."""
    names = [f"{result.product.split(' ')[0]} " if len(results) > 1 else "" for result in results]
    factors = [times(result.rounds[-1].queries[place].speed_up) for result in results]
    shown = ", ".join(name + factor for name, factor in zip(names, factors, strict=True))
    return f"{shown} at {short(results[0].rounds[-1].activities)}"
