"""Filling and measuring while they go on: bars on a terminal, plain lines in a log.

    tell = drawn(reporters.reporter(as_json=False), sys.stdout)

Events of ``up`` are passed on to whoever draws them elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from indexer.bench import units
from indexer.bench.events import Filled, Filling, Measuring, NoPicture, RoundStarted, Told, Written
from indexer.text import visible

if TYPE_CHECKING:
    from indexer.events import Report

OURS = (Filled, Filling, Measuring, NoPicture, RoundStarted, Written)


def drawn(report: Report, stream: TextIO) -> Lines:
    """Bars if the stream is a terminal, else lines.

    Args:
        report: is told the events of ``up``.
        stream: where to draw.
    """
    return (Bars if stream.isatty() else Lines)(report, stream)


class Lines:
    """A line for each thing that begins or is done; nothing in between."""

    def __init__(self, report: Report, stream: TextIO) -> None:
        self._report = report
        self._stream = stream
        self._phase = ""

    def __call__(self, event: Told) -> None:
        """Tell one event."""
        if not isinstance(event, OURS):
            self._report(event)
        elif not isinstance(event, Filling | Measuring):
            self._print(in_a_line(event))
        elif isinstance(event, Measuring) and event.done == 0:
            self._print(f"  timing {event.phase}")

    def close(self) -> None:
        """Nothing stays open."""

    def _print(self, line: str) -> None:
        print(visible(line), file=self._stream, flush=True)


class Bars(Lines):
    """A bar for what is going on, and lines above it for what is done."""

    def __init__(self, report: Report, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        super().__init__(report, stream)
        columns = (
            *(TextColumn("  {task.description:<23}"), BarColumn(bar_width=16)),
            *(
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[subject]}"),
            ),
        )
        self._progress = Progress(*columns, console=Console(file=stream, highlight=False), transient=True)
        self._task: Any = None

    def __call__(self, event: Told) -> None:
        """Draw one event."""
        match event:
            case Filling():
                self._draw("making rows", event.table, event.done, event.total)
            case Measuring():
                name, *_ = event.subject.split("(")  # all of it would not fit on a narrow terminal
                self._draw(event.phase, name, event.done, event.total)
            case _:
                self.close()
                super().__call__(event)

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._progress.stop()
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._phase, self._task = "", None

    def _draw(self, phase: str, subject: str, done: int, total: int) -> None:
        if phase != self._phase:
            self.close()
            self._phase, self._task = phase, self._progress.add_task(phase, total=total, subject="")
            self._progress.start()
        self._progress.update(self._task, completed=done, total=total, subject=subject)


def in_a_line(event: Told) -> str:
    """An event of ours in one line."""
    match event:
        case RoundStarted():
            return f"{event.activities:,} activities on {event.product}"
        case Filled():
            return f"  made and wrote {event.rows:,} rows in {units.seconds(event.seconds)}"
        case Written():
            return f"Wrote {event.path}"
        case NoPicture():
            return f"There is no picture, because matplotlib is not installed. Draw it: {event.remedy}"
        case _:
            return str(event)
