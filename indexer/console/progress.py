"""The progress of a run: lines in a log, bars on a terminal, or JSON with one event a line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from indexer.console import documents
from indexer.console.forecast import compared, of_run
from indexer.console.hints import Write
from indexer.console.output import INFO, WARNING, draws, echo, echo_document, is_log_json
from indexer.decide import Action
from indexer.events import (
    AnalyzeStarted,
    AnswerAwaited,
    BaseCreated,
    Blocker,
    BlockersFound,
    BuildPredicted,
    DatabaseReadable,
    Event,
    GateAwaited,
    IndexChecked,
    IndexFinished,
    Joined,
    Laggard,
    LockWaited,
    PartitionFinished,
    Postponed,
    Progress,
    ReplicaAwaited,
    Retrying,
    RevisionFinished,
    RevisionPaused,
    RevisionStarted,
    RunPredicted,
    ServerAwaited,
    ServiceEnded,
    ServiceStarted,
    StatementStarted,
    TableAnalyzed,
    Waiting,
    Warned,
    WindowClosed,
)
from indexer.text import are, counted, duration, in_bytes, shown, visible

if TYPE_CHECKING:
    from rich.progress import Progress as Tasks

    from indexer.spec import Index

DONE = {
    Action.CREATE: "created",
    Action.REBUILD: "rebuilt",
    Action.RENAME: "renamed",
    Action.REPLACE: "replaced",
    Action.REINDEX: "rebuilt",
    Action.KEEP: "kept",
    Action.DROP: "dropped",
    Action.LEAVE: "left",
    Action.RENAME_BACK: "renamed back",
    Action.ABSENT: "already gone",
    Action.WAIT: "built by another session",
    Action.COMPLETE: "completed",
    Action.ATTACH: "attached",
}
UNCHANGED = {
    Action.KEEP: "kept (already exists)",
    Action.LEAVE: "left (existed before up)",
    Action.ABSENT: "already gone",
}
ENDED = {"up": "applied", "down": "reverted", "reindex": "reindexed"}
NOTEWORTHY = (
    *(Warned, Waiting, Retrying, Joined, LockWaited, BlockersFound, ServerAwaited, AnswerAwaited),
    *(GateAwaited, ReplicaAwaited, Postponed, WindowClosed),
)
ENDING = "end it: "
LOG_INTERVAL = 10.0  # seconds between two lines that say the same


class Lines:
    """Reports a run in lines: each statement before it is sent, its outcome, and every ten seconds its progress."""

    at_once = False  # whether to report the first progress of a phase, too; in a log that is only noise

    def __init__(self, write: Write = str, err: bool = False) -> None:
        self.write = write
        self._err = err
        self._due: dict[tuple[str, ...], float] = {}

    def __call__(self, event: Event) -> None:
        """Report an event, unless it repeats one too soon."""
        if not (isinstance(event, Progress | Waiting | ReplicaAwaited) and self._is_repeated(event)):
            self.print(event)

    def print(self, event: Event) -> None:
        """Print an event."""
        self._echo(in_a_line(event, self.write), event, {})

    def _echo(self, line: str, event: Event, keys: Mapping[str, str]) -> None:
        level = WARNING if isinstance(event, NOTEWORTHY) else INFO
        facts = {**documents.of_event(event), **keys} if is_log_json() else None
        echo(line, self._err, level, facts, self.write)

    def close(self) -> None:
        """Do nothing: no line stays open."""

    def _is_repeated(self, event: Progress | Waiting | ReplicaAwaited) -> bool:
        """Return whether an event comes too soon after one that says the same: another phase or blocker is news."""
        if isinstance(event, Waiting):
            subject = (event.target.name, event.phase, *map(_name, event.blockers))
        elif isinstance(event, ReplicaAwaited):
            subject = (event.target.name, *(each.name for each in event.replicas))
        else:
            detail = (event.phase, str(event.placements_done)) if self.at_once else ()
            subject = (event.target.name, *detail)
        now = time.monotonic()
        first = now + LOG_INTERVAL if isinstance(event, Progress) and not self.at_once else now
        if now < self._due.setdefault(subject, first):
            return True
        self._due[subject] = now + LOG_INTERVAL
        return False


class NamedLines(Lines):
    """Reports the warnings and the waits of a run on one of several databases or schemas, after its name."""

    def __init__(self, write: Write, err: bool, name: str, keys: Mapping[str, str] | None = None) -> None:
        super().__init__(write, err)
        self.name = name
        self.keys = keys or {}

    def print(self, event: Event) -> None:
        """Print an event, if it is a warning or a wait."""
        if isinstance(event, NOTEWORTHY):
            self._echo(f"{self.name}: {in_a_line(event, self.write).strip()}", event, self.keys)


class JsonLines(Lines):
    """Reports a run in JSON, one event a line.

    Args:
        keys: what each event has besides, such as the schema where there are several.
    """

    at_once = True

    def __init__(self, write: Write, keys: Mapping[str, str] | None = None) -> None:
        super().__init__(write)
        self.keys = keys or {}

    def print(self, event: Event) -> None:
        """Print an event as one JSON object."""
        echo_document(json.dumps({**documents.of_event(event), **self.keys}, default=self.write))


WITH_TIMES, WITH_BAR, BAR = 100, 130, 24  # columns of a terminal from which there is room, and those of a bar
FOR_PHASE = 30  # columns that are kept for the phase and the blocker


def _drawn(tasks: Tasks, width: int) -> Iterator[Any]:
    """Yield a line for each index: first what matters most, then what there is room for."""
    from rich.text import Text

    longest = max((len(task.description) for task in tasks.tasks), default=0)
    for task in tasks.tasks:
        name = f"{task.description:<{min(longest, max(width - FOR_PHASE, FOR_PHASE))}}"
        line = Text(f"{task.percentage:>3.0f}% {name} ", no_wrap=True, overflow="ellipsis")
        if width >= WITH_TIMES:
            line.append(f"{_clock(task.elapsed)} {_clock(task.time_remaining)} ")
        if width >= WITH_BAR:
            done = round(BAR * task.percentage / 100)
            line.append("━" * done, "green").append("━" * (BAR - done) + " ", "dim")
        yield line.append(task.fields["phase"])


def _clock(seconds: float | None) -> str:
    """Return minutes and seconds, in six columns."""
    return "  -:--" if seconds is None else f"{int(seconds) // 60:>3}:{int(seconds) % 60:02}"


class Bars:
    """Draws a run on a terminal: a line for each index being built, the finished ones above, a total below."""

    def __init__(self, write: Write = str) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import Progress

        console = Console(highlight=False)
        self.write = write
        self._bars, self._sum = Progress(console=console), Progress(console=console)

        def draw() -> Group:
            return Group(*(line for each in (self._bars, self._sum) for line in _drawn(each, console.width)))

        self._live = Live(get_renderable=draw, console=console, transient=True)
        self._tasks: dict[str, Any] = {}
        self._total: Any = None
        self._told: set[tuple[str, ...]] = set()

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case StatementStarted():
                self._live.console.print(in_a_line(event, self.write), style="dim", soft_wrap=True, markup=False)
                self._draw(event.target, phase="starting")
            case Joined():
                self._draw(event.target, phase=f"built by pid {event.worker}")
            case Progress():
                placements = _placements(event.placements, event.placements_done)
                phase = f"{event.phase}{placements}{_rate(event.rate, event.unit)}"
                self._draw(event.target, completed=event.fraction, phase=phase)
            case Waiting() | ReplicaAwaited():
                self._wait(event)
            case RevisionStarted() | AnalyzeStarted():
                self._start(event)
            case IndexFinished():
                self._finish(event.target.name, event)
            case PartitionFinished():
                self._count(event)
            case TableAnalyzed():
                self._finish(event.table, event)
            case RevisionFinished() | RevisionPaused():
                self.close()
                self._sum.remove_task(self._total)
                self._print(event)
            case _:
                self._print(event)

    def _count(self, event: PartitionFinished) -> None:
        """Remove the bar of a partition, and draw how many are finished."""
        self._remove(event.part)
        of_all = f"{event.done} of {event.partitions} partitions"
        self._draw(event.target, completed=event.done / event.partitions, phase=of_all)

    def _finish(self, name: str, event: Event) -> None:
        """Remove the bar of what is finished, and print how it has ended."""
        self._remove(name)
        self._print(event)
        self._sum.advance(self._total)

    def _remove(self, name: str) -> None:
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))

    def close(self) -> None:
        """Remove the bars from the terminal, unless the terminal is gone."""
        with suppress(OSError):
            self._live.stop()

    def _start(self, event: RevisionStarted | AnalyzeStarted) -> None:
        """Print what begins, and draw the total."""
        self._print(event)
        self._live.start()
        total = event.indexes if isinstance(event, RevisionStarted) else len(event.tables)
        self._total = self._sum.add_task("total", total=total, phase="")

    def _wait(self, event: Waiting | ReplicaAwaited) -> None:
        """Draw a wait; print its blockers or replicas whole, once, because the line has no room for them."""
        if isinstance(event, Waiting):
            names, phase = tuple(map(_name, event.blockers)), event.phase
        else:
            names, phase = tuple(visible(each.name) for each in event.replicas), "replication"
        self._draw(event.target, phase=f"waits for {', '.join(names)} ({phase})" if names else phase)
        if names and (event.target.name, *names) not in self._told:
            self._told.add((event.target.name, *names))
            self._print(event)

    def _draw(self, index: Index, **state: Any) -> None:
        if index.name not in self._tasks:
            self._tasks[index.name] = self._bars.add_task(index.name, total=1.0, phase="")
        self._bars.update(self._tasks[index.name], **state)

    def _print(self, event: Event) -> None:
        """Print an event above the bars, broken between words."""
        for line in in_a_line(event, self.write).splitlines():
            is_to_type = line.lstrip().startswith(ENDING)  # copied from two lines it would be two statements
            text = line if is_to_type else _wrapped(line, self._live.console.width)
            self._live.console.print(text, soft_wrap=True, markup=False)


def _wrapped(line: str, width: int) -> str:
    """Return a line broken between words, with the later parts indented deeper."""
    indent = line[: len(line) - len(line.lstrip())]
    from textwrap import fill

    return fill(line, width, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False, tabsize=1)


Reporter = Lines | Bars


def reporter(as_json: bool, write: Write = str) -> Reporter:
    """Return the progress reporter of a run: for a machine, for a terminal, or for a log."""
    if as_json:
        return JsonLines(write)
    return Bars(write) if draws() else Lines(write)


def in_a_line(event: Event, write: Write = str) -> str:
    """Return an event in one line, or a line for each blocker."""
    line = f"Note: {write(event.text)}" if isinstance(event, Warned) else LINES[type(event)](*event)
    return (shown if isinstance(event, BlockersFound | Waiting | ReplicaAwaited) else visible)(line)


def _in_progress(
    target: Index,
    phase: str,
    fraction: float | None,
    seconds: float,
    rate: float | None,
    unit: str,
    placements: int | None,
    placements_done: int | None,
) -> str:
    done = "" if fraction is None else f" {fraction:.0%}"
    if fraction and seconds >= 1:
        done += f", about {duration(seconds * (1 - fraction) / fraction)} to go"
    of_all = _placements(placements, placements_done)
    return f"  {target.name}{done}: {phase}{of_all}, {duration(seconds)} so far{_rate(rate, unit)}"


def _placements(placements: int | None, done: int | None) -> str:
    return "" if placements is None else f", {done} of {counted(placements, 'placement')}"


def _rate(rate: float | None, unit: str) -> str:
    return "" if rate is None else f", {rate:,.0f} {unit}/s"


def _waiting(target: Index, phase: str, blockers: Sequence[Blocker], seconds: float) -> str:
    so_far = f", {duration(seconds)} so far" if seconds >= 1 else ""
    return f"  {target.name} {phase}{so_far}" + (f":{listed(blockers)}" if blockers else "")


def _awaiting_replicas(target: Index, replicas: Sequence[Laggard], seconds: float) -> str:
    return f"  {target.name} waits for replication, {duration(seconds)} so far:" + "".join(map(_laggard, replicas))


def _laggard(replica: Laggard) -> str:
    ending = f"\n      {ENDING}{visible(replica.ending)}" if replica.ending else ""
    return f"\n    {replica}{ending}"


def _predicted(target: Index, seconds: float, size: int, source: str, closes: datetime) -> str:
    expected = f"about {duration(seconds)} expected for {in_bytes(size)} of {target.table} ({source})"
    return f"  {target.name}: {expected}; the window closes at {closes:%H:%M %Z}"


def _finished(
    target: Index,
    action: Action,
    seconds: float,
    size: int | None,
    other_name: str | None,
    before: int | None,
    predicted_bytes: int | None,
    predicted_seconds: float | None,
    partitions: int | None,
    part_of: str | None,
) -> str:
    if part_of:
        return f"  {target.name} left: it is a part of {visible(part_of)}"
    if action in UNCHANGED:
        return f"  {target.name} {UNCHANGED[action]}"
    if action is Action.RENAME_BACK:
        done = f"renamed back to {other_name}" if other_name else "restored as it was before up"
        return f"  {target.name} {done} in {duration(seconds)}"
    done = DONE[action] + (f" from {other_name}" if action is Action.RENAME else "")
    gain = "" if before is None else f"{in_bytes(before)} -> "
    where = "" if partitions is None else f" on {counted(partitions, 'partition')}"
    took = f"  {target.name} {done}{where} in {duration(seconds)}"
    took += f", {gain}{in_bytes(size)}" if size is not None else ""
    return took + compared(size, predicted_bytes, seconds, predicted_seconds)


def _partition_finished(
    target: Index, table: str, part: str, action: Action, done: int, partitions: int, seconds: float
) -> str:
    what = "already gone" if action is Action.ABSENT else f"{DONE[action]} in {duration(seconds)}"
    return f"  {target.name} {done} of {counted(partitions, 'partition')}: {table} {what}"


def _checked(target: Index, result: str, by: str | None, seconds: float) -> str:
    return f"  {target.name}: {result}" + (f" ({by}, {duration(seconds)})" if by else "")


def listed(blockers: Iterable[Blocker]) -> str:
    """Return a line for each blocker, and one for the statement that ends it."""
    return "".join(f"\n    {blocker}\n      {ENDING}{visible(blocker.ending)}" for blocker in blockers)


def _name(blocker: Blocker) -> str:
    return f"pid {blocker.pid}" if blocker.pid else visible(blocker.reason)


# The line of each event, made of its fields in their order.
LINES: dict[type[Event], Callable[..., str]] = {
    BaseCreated: lambda revision, tables, seconds: (
        f"{revision}  created {counted(len(tables), 'table')} in {duration(seconds)}: {', '.join(tables)}"
    ),
    RevisionStarted: lambda revision, description, *_: f"{revision}  {description}",
    RevisionFinished: lambda revision, direction, seconds: (
        f"{revision}  {ENDED.get(direction, direction)} in {duration(seconds)}"
    ),
    ServerAwaited: lambda reason: f"{reason} Retrying.",
    GateAwaited: lambda reason: f"{reason} Waiting.",
    AnswerAwaited: lambda reason, seconds: f"No answer from the server for {duration(seconds)}: {reason}",
    LockWaited: lambda holder: f"Waiting for another run: {holder}",
    BlockersFound: lambda blockers: (
        f"  {counted(len(blockers), 'session')} that builds may have to wait for:{listed(blockers)}"
    ),
    StatementStarted: lambda target, statement: f"  {statement}",
    Progress: _in_progress,
    Waiting: _waiting,
    AnalyzeStarted: lambda tables: f"Analyzing {counted(len(tables), 'table')}: {', '.join(tables)}",
    TableAnalyzed: lambda table, why, seconds: f"  {table} analyzed in {duration(seconds)}: {why}",
    ReplicaAwaited: _awaiting_replicas,
    RunPredicted: lambda *event: f"  {of_run(RunPredicted(*event))}",
    BuildPredicted: _predicted,
    Postponed: lambda target, reason: f"  {target.name} left: {reason}",
    WindowClosed: lambda indexes: (
        f"The window has closed; {', '.join(indexes)} {are(indexes)} built to the end, and nothing else begins."
    ),
    RevisionPaused: lambda revision, left, seconds: (
        f"{revision}  not complete after {duration(seconds)}: {counted(len(left), 'index', 'indexes')} left"
    ),
    Retrying: lambda target, reason, attempt, retries, pause: (
        f"  {target.name} {reason}: attempt {attempt} of {retries + 1} was cancelled, "
        f"the next one starts in {duration(pause)}"
    ),
    IndexFinished: _finished,
    PartitionFinished: _partition_finished,
    IndexChecked: _checked,
    Joined: lambda target, worker: f"  {target.name} is being built by another session (pid {worker}); waiting for it",
    ServiceStarted: lambda url: f"Serving on {url}",
    DatabaseReadable: lambda seconds: f"The database can be read again, after {duration(seconds)}.",
    ServiceEnded: lambda signal: f"Stopped by {signal}.",
}
