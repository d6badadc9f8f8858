"""Drawing: what a person reads on a terminal or in a log, and the documents of --json."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from indexer import documents
from indexer.events import (
    BaseCreated,
    Blocker,
    BlockersFound,
    Event,
    IndexFinished,
    Joined,
    LockWaited,
    Progress,
    Retrying,
    RevisionFinished,
    RevisionStarted,
    ServerAwaited,
    StatementStarted,
    Waiting,
)
from indexer.plan import Action

if TYPE_CHECKING:
    from indexer.history import Record
    from indexer.plan import Step
    from indexer.runner import Outcome, Plan, Runner, Status
    from indexer.spec import Index

DONE = {
    Action.CREATE: "created",
    Action.REBUILD: "rebuilt",
    Action.KEEP: "kept: it stood there already",
    Action.DROP: "dropped",
    Action.LEAVE: "left: it stood there before up",
    Action.ABSENT: "gone already",
    Action.JOIN: "built by another session",
}
COUNTED = {**DONE, Action.KEEP: "kept", Action.LEAVE: "left, because they stood there before up"}
NARROWEST, WIDE = 110, 500  # columns
LOG_INTERVAL = 10.0  # seconds between two lines that say the same
COLOURS = {"valid": "green", "missing": "yellow", "invalid": "red", "different": "red"}


class Lines:
    """A run told in lines: each statement before it is sent, what came of it, and every ten seconds how far it is."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> None:
        """Tell one event, if it is not the same again too soon."""
        if not self._is_repeated(event):
            tell(in_a_line(event))

    def close(self) -> None:
        """Nothing stays open."""

    def _is_repeated(self, event: Event) -> bool:
        if not isinstance(event, Progress | Waiting):
            return False
        subject = (event.target.name, type(event).__name__ + ("".join(map(_name, _blockers(event)))))
        silent_until = self._told.setdefault(subject, time.monotonic() + (LOG_INTERVAL if not _blockers(event) else 0))
        if time.monotonic() < silent_until:
            return True
        self._told[subject] = time.monotonic() + LOG_INTERVAL
        return False


class JsonLines:
    """A run told to a machine: one event a line."""

    def __call__(self, event: Event) -> None:
        """Print the event as one JSON object."""
        tell(json.dumps(documents.of_event(event)))

    def close(self) -> None:
        """Nothing stays open."""


class Bars:
    """A run drawn on a terminal: a bar for each index being built, the finished ones above, a total below."""

    def __init__(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:<40}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[phase]}"),
        )
        self._bars, self._sum = Progress(*columns), Progress(*columns)
        self._live = Live(Group(self._bars, self._sum), console=Console(highlight=False), transient=True)
        self._tasks: dict[str, Any] = {}
        self._total: Any = None

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case RevisionStarted():
                self._print(event)
                self._live.start()
                self._total = self._sum.add_task("  total", total=event.indexes, phase="")
            case StatementStarted():
                self._print(event, style="dim")
                self._bars.update(self._task(event.target), phase="starting")
            case Joined():
                self._bars.update(self._task(event.target), phase=f"built by pid {event.worker}")
            case Progress():
                self._bars.update(self._task(event.target), completed=event.fraction, phase=event.phase + _rate(event))
            case Waiting():
                names = ", ".join(map(_name, event.blockers))
                self._bars.update(self._task(event.target), phase=f"{event.phase}: {names}")
            case IndexFinished():
                self._forget(event.target)
                self._print(event)
                self._sum.advance(self._total)
            case RevisionFinished():
                self.close()
                self._print(event)
            case _:
                self._print(event)

    def close(self) -> None:
        """Take the bars off the terminal."""
        self._live.stop()

    def _print(self, event: Event, style: str | None = None) -> None:
        self._live.console.print(in_a_line(event), style=style, soft_wrap=True, markup=False)

    def _task(self, index: Index) -> Any:
        if index.name not in self._tasks:
            self._tasks[index.name] = self._bars.add_task(f"  {index.name}", total=1.0, phase="")
        return self._tasks[index.name]

    def _forget(self, index: Index) -> None:
        if index.name in self._tasks:
            self._bars.remove_task(self._tasks.pop(index.name))


def tell(line: str) -> None:
    """Print a line of a run. A reader who has gone away, such as head, does not stop what the run is doing."""
    try:
        click.echo(line)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def reporter(as_json: bool) -> Lines | Bars | JsonLines:
    """Whoever tells about a run: to a machine, on a terminal, or into a log."""
    if as_json:
        return JsonLines()
    return Bars() if sys.stdout.isatty() else Lines()


def in_a_line(event: Event) -> str:
    """An event in one line, or a line for each blocker."""
    match event:
        case BaseCreated():
            tables = ", ".join(event.tables)
            return f"{event.revision}  created {len(event.tables)} tables in {duration(event.seconds)}: {tables}"
        case RevisionStarted():
            return f"{event.revision}  {event.description}"
        case RevisionFinished():
            verb = "applied" if event.direction == "up" else "reverted"
            return f"{event.revision}  {verb} in {duration(event.seconds)}"
        case ServerAwaited():
            return f"{event.reason} Trying again."
        case BlockersFound():
            return f"  {len(event.blockers)} sessions that builds may have to wait for:{_listed(event.blockers)}"
        case LockWaited():
            return f"Waiting for another run: {event.holder}"
        case _:
            return f"  {_of_index(event)}"


def _of_index(event: Any) -> str:
    """An event about one index in one line, or a line for each blocker."""
    name = event.target.name
    match event:
        case StatementStarted():
            return str(event.statement)
        case IndexFinished() if event.action in (Action.KEEP, Action.LEAVE, Action.ABSENT):
            return f"{name} {DONE[event.action]}"
        case IndexFinished():
            size = f", {in_bytes(event.bytes)}" if event.bytes is not None else ""
            return f"{name} {DONE[event.action]} in {duration(event.seconds)}{size}"
        case Progress():
            counted = "" if event.fraction is None else f" {event.fraction:.0%}{_remaining(event)}"
            return f"{name}{counted}: {event.phase}, {duration(event.seconds)} so far{_rate(event)}"
        case Waiting():
            return f"{name} {event.phase}, {duration(event.seconds)} so far:{_listed(event.blockers)}"
        case Retrying():
            tries = f"try {event.attempt} of {event.retries + 1}"
            return f"{name} {event.reason}: {tries} given up, next one in {duration(event.pause)}"
        case _:
            return f"{name} is in the hands of pid {event.worker}: waiting for it to finish"


def _remaining(event: Progress) -> str:
    if not event.fraction or event.seconds < 1:
        return ""
    return f", about {duration(event.seconds * (1 - event.fraction) / event.fraction)} to go"


def _rate(event: Progress) -> str:
    return "" if event.rate is None else f", {event.rate:,.0f} {event.unit}/s"


def _blockers(event: Progress | Waiting) -> tuple[Blocker, ...]:
    return event.blockers if isinstance(event, Waiting) else ()


def _listed(blockers: Iterable[Blocker]) -> str:
    return "".join(f"\n    {blocker}\n      end it: {blocker.ending}" for blocker in blockers)


def _name(blocker: Blocker) -> str:
    return f"pid {blocker.pid}" if blocker.pid else blocker.reason


# For people ----------------------------------------------------------------------------------------------------------


def show_outcome(outcome: Outcome, runner: Runner, as_json: bool) -> None:
    """Say in one line what a run did, or that there was nothing to do."""
    if as_json:
        tell(json.dumps(documents.of_outcome(outcome, runner.migrator.address)))
    elif not outcome.changed:
        tell(_nothing_to_do(outcome.direction, outcome.end, runner))
    else:
        counted = Counter(step.action for step in outcome.steps)
        counts = ", ".join(f"{count} {COUNTED[action]}" for action, count in counted.items())
        done = f"Done in {duration(outcome.seconds)}: {counts or 'no index to touch'}."
        tell(f"{done} {runner.migrator.address} is at {outcome.end}.")


def _nothing_to_do(direction: str, revision: str, runner: Runner) -> str:
    verb = "roll back" if direction == "down" else "do"
    return f"Nothing to {verb}: {runner.migrator.address} is at {revision}."


def show_status(status: Status, as_json: bool) -> None:
    """Show the chain and every index of it."""
    if as_json:
        print_document(documents.of_status(status))
        return
    click.echo(f"{status.address} {_place(status)}\n")
    click.echo(f"  {status.chain.base}  base schema{_when(status.base)}")
    for move in status.moves:
        click.echo(f"  {move.revision.id}  {move.revision.description} ({move.revision.date}){_when(move.record)}")
    click.echo()
    _table(
        ("index", "table", "method", "state", "size", "for"),
        [_index_row(step, move.existed_before(step)) for move in status.moves for step in move.steps],
    )
    if status.pending:
        click.echo(f"\n{len(status.pending)} revision pending. Build it: python cli.py up")
    elif status.drifted:
        names = ", ".join(step.index.name for step in status.drifted)
        click.echo(f"\nNot what the revision says: {names}. Mend it: python cli.py up")


def _place(status: Status) -> str:
    if status.current is None:
        return "is empty"
    return f"is at {status.current}" + (" (head)" if status.current == status.chain.head else "")


def _when(record: Record | None) -> str:
    if record is None:
        return ""
    if record.applied_at is None or record.state != "applied":
        return f", {record.state} since {_time(record.started_at)} by {record.applied_by}: interrupted or still running"
    return f", applied {_time(record.applied_at)} by {record.applied_by}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _index_row(step: Step, existed_before: bool) -> tuple[Any, ...]:
    from rich.text import Text

    state = step.state
    definition = step.found.definition if step.found and step.found.definition else step.declared
    return (
        step.index.name,
        definition.table,
        definition.method,
        Text(state, style=COLOURS.get(state, "yellow")).append(", from before" if existed_before else "", style="dim"),
        in_bytes(step.found.bytes) if step.found and step.found.bytes is not None else "",
        Text(step.index.purpose, style="dim"),
    )


def show_plan(plan: Plan, runner: Runner, as_json: bool) -> None:
    """Show each statement with what it is for, and what would stop the run."""
    if as_json:
        print_document(documents.of_plan(plan, runner.migrator.address))
        return
    if plan.is_empty:
        click.echo(_nothing_to_do(plan.direction, plan.start or plan.end, runner))
        return
    click.echo(f"{plan.direction}: {plan.start or 'empty'} -> {plan.end} on {runner.migrator.address}\n")
    if plan.base_tables:
        click.echo(f"  create the tables {', '.join(plan.base_tables)} (all columns: --sql)\n")
    for step in plan.steps:
        click.echo(f"  {click.style(step.action.value, bold=True)} {step.index.name}{_on_table(step, plan)}")
        click.echo(f"    {step.index.purpose}")
        for statement in step.statements:
            click.echo(f"    {statement};")
        click.echo()
    if plan.blockers:
        click.echo(f"  would wait for, unless they end first:{_listed(plan.blockers)}\n")
    if plan.exit_code == 0:
        click.echo(f"Nothing was changed. Do it: python cli.py {plan.direction}")


def _on_table(step: Step, plan: Plan) -> str:
    table = plan.tables.get(step.index.table)
    if table is None:
        return f" on {step.index.table}"
    rows = (
        "rows unknown until ANALYZE"
        if table.rows is None
        else f"about {table.rows:,} rows"
        if table.rows
        else "no rows"
    )
    size = f", {in_bytes(table.bytes)}" if table.bytes is not None else ""
    return f" on {table.name} ({rows}{size})"


def _table(header: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """A table that never cuts a name: on a narrow terminal the last column folds, in a log nothing does."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in header:
        table.add_column(title, no_wrap=title != "for", justify="right" if title == "size" else "left")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    console.width = max(console.width, NARROWEST) if console.is_terminal else WIDE
    with console.capture() as drawn:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f} min {rest:.0f} s" if minutes else f"{rest:.1f} s"


def in_bytes(count: int) -> str:
    """Bytes for people."""
    from rich.filesize import decimal

    return decimal(count)


def traceback_of(error: BaseException) -> str:
    """The traceback for --verbose."""
    return "".join(traceback.format_exception(error))


def print_document(content: dict[str, Any]) -> None:
    """Print one JSON document on one line of stdout."""
    click.echo(json.dumps(content))
