"""The progress of filling and measuring: a bar on a terminal, lines in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from indexer.bench.events import Filled, Filling, Measuring, RoundStarted, Tell, Told, Written
from indexer.console.hints import Write
from indexer.console.output import draws, echo
from indexer.console.progress import reporter
from indexer.events import silent
from indexer.text import duration

if TYPE_CHECKING:
    from indexer.events import Report


@contextmanager
def reporting(as_json: bool, write: Write = str, report: Report | None = None) -> Iterator[Tell]:
    """Yield what reports the progress of seed and bench; it is silent with --json.

    Args:
        as_json: stdout is for a document.
        write: returns a hint as the user types it.
        report: called with the events of ``up``; by default the reporter of ``up`` itself.
    """
    if as_json:
        yield silent
        return
    progress = Progress(report or reporter(as_json, write))
    try:
        yield progress
    finally:
        progress.close()


class Progress:
    """Shows what goes on as a bar on a terminal, and prints what is done."""

    def __init__(self, report: Report) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._report = report
        self._phase = ""
        self._bar = Bar(
            "  {task.description:<30}",
            BarColumn(bar_width=16),
            "{task.percentage:>3.0f}%",
            TimeElapsedColumn(),
            "{task.fields[subject]}",
            console=Console(),
            transient=True,
            disable=not draws(),
        )

    def __call__(self, event: Told) -> None:
        """Report one event."""
        match event:
            case Filling():
                self._draw("creating rows", event.table, event.done, event.total)
            case Measuring():
                self._draw(f"timing {event.phase}", event.subject, event.done, event.total)
            case RoundStarted():
                self._print(f"{event.activities:,} activities on {event.product}")
            case Filled():
                self._print(f"  created and wrote {event.rows:,} rows in {duration(event.seconds)}")
            case Written():
                self._print(f"Wrote {event.path}")
            case _:
                self.close()
                self._report(event)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        self._phase = ""
        with suppress(OSError):  # the terminal is gone
            self._bar.stop()
        for task in self._bar.task_ids:
            self._bar.remove_task(task)

    def _print(self, line: str) -> None:
        self.close()
        echo(line)

    def _draw(self, phase: str, subject: str, done: int, total: int) -> None:
        if phase != self._phase:
            self.close()
            self._phase = phase
            self._bar.add_task(phase, subject="")
            self._bar.start()
            if self._bar.disable:
                echo(f"  {phase}")
        name = subject.partition("(")[0]  # a whole call has no room on a narrow terminal
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, subject=name)
