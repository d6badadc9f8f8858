"""Drawing: what a person reads on a terminal or in a log, and the documents of --json."""

from __future__ import annotations

import json
import traceback
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from indexer import documents
from indexer.events import (
    BaseCreated,
    Event,
    IndexFinished,
    Joined,
    LockWaited,
    RevisionFinished,
    RevisionStarted,
    StatementStarted,
)
from indexer.plan import Action

if TYPE_CHECKING:
    from indexer.history import Record
    from indexer.plan import Step
    from indexer.runner import Outcome, Plan, Runner, Status

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
NARROWEST, WIDE = 110, 500
COLOURS = {"valid": "green", "missing": "yellow", "invalid": "red", "different": "red"}


class Lines:
    """A run told in plain lines: each statement before it is sent, and what came of it."""

    def __init__(self, to_stderr: bool = False) -> None:
        self.to_stderr = to_stderr

    def __call__(self, event: Event) -> None:
        """Tell one event."""
        click.echo(in_a_line(event), err=self.to_stderr)


def in_a_line(event: Event) -> str:
    """An event in one line."""
    match event:
        case BaseCreated():
            tables = ", ".join(event.tables)
            return f"{event.revision}  created {len(event.tables)} tables in {duration(event.seconds)}: {tables}"
        case RevisionStarted():
            return f"{event.revision}  {event.description}"
        case RevisionFinished():
            verb = "applied" if event.direction == "up" else "reverted"
            return f"{event.revision}  {verb} in {duration(event.seconds)}"
        case StatementStarted():
            return f"  {event.statement}"
        case IndexFinished() if event.action in (Action.KEEP, Action.LEAVE, Action.ABSENT):
            return f"  {event.index.name} {DONE[event.action]}"
        case IndexFinished():
            size = f", {in_bytes(event.bytes)}" if event.bytes is not None else ""
            return f"    {DONE[event.action]} in {duration(event.seconds)}{size}"
        case Joined():
            return f"  {event.index.name} is in the hands of pid {event.worker}: waiting for it to finish"
        case LockWaited():
            return f"  waiting for another run: {event.holder}"


# For people ----------------------------------------------------------------------------------------------------------


def show_outcome(outcome: Outcome, runner: Runner, as_json: bool) -> None:
    """Say in one line what a run did, or that there was nothing to do."""
    if as_json:
        print_document(documents.of_outcome(outcome, runner.migrator.address))
    elif not outcome.changed:
        click.echo(_nothing_to_do(outcome.direction, outcome.end, runner))
    else:
        counted = Counter(step.action for step in outcome.steps)
        counts = ", ".join(f"{count} {COUNTED[action]}" for action, count in counted.items())
        done = f"Done in {duration(outcome.seconds)}: {counts or 'no index to touch'}."
        click.echo(f"{done} {runner.migrator.address} is at {outcome.end}.")


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
        click.echo(f"{len(status.pending)} revision pending. Build it: python cli.py up")
    elif status.drifted:
        names = ", ".join(step.index.name for step in status.drifted)
        click.echo(f"Not what the revision says: {names}. Mend it: python cli.py up")


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
    if plan.exit_code == 0:
        click.echo(f"Nothing was changed. Do it: python cli.py {plan.direction}")


def _on_table(step: Step, plan: Plan) -> str:
    table = plan.tables.get(step.index.table)
    if table is None:
        return f" on {step.index.table}"
    rows = "rows unknown until ANALYZE" if table.rows is None else f"about {table.rows:,} rows"
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
    console.print(table)
    click.echo()


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
    """Print one JSON document on stdout."""
    click.echo(json.dumps(content, indent=2))
