"""When a run may begin its next change: only inside its window, and only what is expected to end inside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from indexer.decide import Action
from indexer.events import BuildPredicted, Postponed, Report, Warned, WindowClosed, silent
from indexer.pace.rate import AT_LEAST, BUILT, MATTERS, Rate, rate_of
from indexer.spec import Index
from indexer.steps import Step
from indexer.text import duration

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator
    from indexer.pace.window import Window
    from indexer.predict.forecast import Forecast
    from indexer.records.log import Entry

CLOSED = "the window is closed"


class Left(Exception):
    """A step must not begin any more in this run."""


class Pace:
    """The window of one run, and what its builds take.

    Args:
        window: None allows everything.
        clock: returns the time now, with a time zone.
        rate: what earlier builds have taken.
        sizes: the bytes of each table, by name.
        report: called with each prediction, and with what is left.
        work: the work of the build of each index, by name, where it is known better.

    Attributes:
        now: returns the time now.
        taken: the seconds that each index has taken to build, without those of waits, by its name.
        left: why each index is left that must not begin any more.
    """

    def __init__(
        self,
        window: Window | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        rate: Rate = Rate(),  # noqa: B008  an immutable record
        sizes: Mapping[str, int] | None = None,
        report: Report = silent,
        work: Mapping[str, int] | None = None,
    ) -> None:
        self.window = window
        self.now = clock
        self.left: dict[Index, str] = {}
        self.taken: dict[str, float] = {}
        self._rate, self._sizes, self._report, self._work = rate, sizes or {}, report, work or {}
        self._closes: float | None = None  # by the monotonic clock
        self._announced: set[Index] = set()

    @property
    def is_guessing(self) -> bool:
        """Whether predictions matter, and no build was measured yet: until then, one is built after the other."""
        return self.window is not None and self._rate.bytes is None

    def probe(self, tables: Collection[str]) -> str | None:
        """Return the table to build on first, to measure what is only guessed: the smallest of these that can tell."""
        large_enough = {name: size for name, size in self._sizes.items() if name in tables and size >= MATTERS}
        return min(large_enough, key=large_enough.__getitem__) if self.is_guessing and large_enough else None

    def learn(self, sizes: Mapping[str, int]) -> None:
        """Note the bytes of more tables, by name."""
        if self.window:
            self._sizes = {**self._sizes, **sizes}

    def is_closed(self) -> bool:
        """Return whether nothing may begin now."""
        return self.window is not None and not self.window.is_open(self.now())

    def opens(self) -> datetime | None:
        """Return when the window opens next, after now; None without one."""
        return self.window.opens(self.now()) if self.window else None

    def check(self, step: Step) -> None:
        """Let a step begin now, and say how long it is expected to take.

        Raises:
            Left: the window is closed, or would close before the step is expected to end.
        """
        if self.window is None or not step.changes or step.action is Action.WAIT:
            return
        now = self.now()
        opening = self.window.opening(now)
        if opening.begins > now:
            raise self._leave(step, CLOSED)
        remaining = (opening.ends - now).total_seconds()
        self._closes = time.monotonic() + remaining
        if step.action.value not in BUILT:
            return
        predicted = self._rate.predict(self._work_of(step))
        if predicted.seconds > remaining:
            whole = (opening.ends - opening.begins).total_seconds()
            self._warn_if_too_long(step.index, predicted.seconds, whole)
            closes = f"the window closes in {duration(remaining)}"
            raise self._leave(step, f"about {duration(predicted.seconds)} expected ({predicted.source}), and {closes}")
        if predicted.seconds > AT_LEAST and step.index not in self._announced:
            self._announced.add(step.index)
            end, size = opening.ends.astimezone(self.window.zone), self._sizes.get(step.index.table, 0)
            self._report(BuildPredicted(step.index, predicted.seconds, size, predicted.source, end))

    def built(self, step: Step, seconds: float) -> None:
        """Note what a step has taken, if it was a build."""
        if step.action.value in BUILT:
            self.taken[step.index.name] = seconds
            self._rate = self._rate.measured(seconds, self._work_of(step))

    def look(self, building: Collection[Index]) -> None:
        """Report once that the window has closed while these indexes are being built."""
        if self._closes is not None and time.monotonic() >= self._closes:
            self._closes = None
            if self.window and building:
                self._report(WindowClosed(tuple(index.name for index in building)))

    def _work_of(self, step: Step) -> int:
        return self._work.get(step.index.name) or self._sizes.get(step.index.table, 0)

    def _leave(self, step: Step, why: str) -> Left:
        self.left[step.index] = why
        self._report(Postponed(step.index, why))
        return Left(why)

    def _warn_if_too_long(self, index: Index, seconds: float, longest: float) -> None:
        if seconds > longest:
            open_for = f"the window is open for {duration(longest)}"
            text = (
                f"{index.name} is expected to take about {duration(seconds)}, and {open_for}: give a longer --window."
            )
            self._report(Warned(text))


UNLIMITED = Pace()


def pace_of(
    migrator: CatalogMigrator,
    indexes: Sequence[Index],
    entries: Callable[[], Sequence[Entry]],
    forecast: Forecast | None = None,
) -> Pace:
    """Return the pace that the options of a run ask for.

    Args:
        indexes: those that the run may build.
        entries: returns the log, the last entry first; called only with a window.
        forecast: what is known of them.
    """
    options, report, *_ = migrator.context
    work, leaves = (forecast.work, forecast.leaves) if forecast else ({}, {})
    if options.window is None:
        return Pace(work=work)
    sizes = migrator.table_bytes({index.table for index in indexes})
    of_indexes = {index.name: sizes.get(index.table, 0) for index in indexes}
    return Pace(options.window, migrator.server.now, rate_of(entries(), of_indexes), {**sizes, **leaves}, report, work)
