"""Drawing: what a person reads, and the documents of --json. The telling of a run is in reporters.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from indexer.console import documents
from indexer.console import tables as tabular
from indexer.console.hints import Write
from indexer.console.output import BOLD, Answer, of_failure, styled
from indexer.console.progress import DONE, listed
from indexer.decide import CREATIONS, Action
from indexer.errors import Command, Hint, NotServed
from indexer.text import counted, duration, few, in_bytes, visible

if TYPE_CHECKING:
    from indexer.bench.result import Result
    from indexer.catalog import Place
    from indexer.decide import Step
    from indexer.inheritance import Uncovered
    from indexer.plans import Check, Outcome, Plan, RevisionPlan, Stamp, Status
    from indexer.records.log import Entry
    from indexer.records.revisions import Record
    from indexer.revisions.scaffold import Written
    from indexer.verify.result import Report
    from proof.seed import Seeded

COUNTED = {**DONE, Action.KEEP: "kept", Action.LEAVE: "left, having stood there before up"}
FOLDING = ("for", "declared", "found", "indexes")
# Left out on a narrow terminal, the first one first.
LESS_NEEDED = ("for", "method", "by", "origin", "took", "table", "size", "revision")
ALL_RIGHT = Hint("All is as it should be.")
COLOURS = {"valid": "green", "missing": "yellow", "invalid": "red", "different": "red"}


# Runs ---------------------------------------------------------------------------------------------------------------


def of_outcome(outcome: Outcome, place: Place) -> Answer:
    """What a run did, or that there was nothing to do."""
    line = _summary(outcome, place)
    return Answer(documents.of_outcome(outcome, place), lambda write: line, line)


def _summary(outcome: Outcome, place: Place) -> str:
    if not outcome.changed:
        return _nothing_to_do(outcome.direction, outcome.end, place)
    actions = Counter(step.action for step in outcome.steps)
    counts = ", ".join(f"{count} {COUNTED[action]}" for action, count in actions.items())
    return f"Done in {duration(outcome.seconds)}: {counts or 'no index to touch'}. {place} is at {outcome.end}."


def _nothing_to_do(direction: str, revision: str, place: Place) -> str:
    return f"Nothing to {'roll back' if direction == 'down' else 'do'}: {place} is at {revision}."


def of_stamp(stamp: Stamp, place: Place) -> Answer:
    """What was recorded."""
    line = f"{place} is at {stamp.revision}" + ("." if stamp.changed else ", as was recorded already.")
    return Answer(
        documents.of_stamp(stamp, place), lambda write: "\n".join((*_notes(stamp.warnings, write), line)), line
    )


def of_new(written: Written) -> Answer:
    """Which file was written."""
    line = Hint(f"Wrote {written.file}. It holds an example: edit it, then review it with: ", Command("plan"))
    return Answer(written._asdict(), lambda write: write(line), line)


def of_wait(place: Place, is_there: bool) -> Answer:
    """That a database answers, or that it is a file still to be made."""
    missing = Hint(f"{place} is a file that does not exist yet. Make it: ", Command("up"))
    line = f"{place} answers." if is_there else missing
    return Answer({**place._asdict(), "reachable": True}, lambda write: write(line), line)


# What is ------------------------------------------------------------------------------------------------------------


def of_status(status: Status) -> Answer:
    """The chain and every index of it."""
    verdict = _verdict(status)
    line = Hint(f"{_position(status)}.", " " if verdict else "", verdict)
    return Answer(
        documents.of_status(status), lambda write: "\n".join(_shown_status(status, write)), line, status.exit_code
    )


def _shown_status(status: Status, write: Write) -> Iterator[str]:
    yield f"{status.place} {_position(status)}\n"
    yield f"  {status.chain.base}  base schema{visible(_when(status.base))}"
    for move in status.moves:
        yield f"  {move.revision.id}  {visible(f'{move.revision.description} ({move.revision.date}){_by(move)}')}"
    yield ""
    yield _table(
        ("index", "table", "method", "state", "origin", "size", "for"),
        [_index_row(move, step) for move in status.moves for step in move.steps],
    )
    yield from _end(_verdict(status), status.warnings, write)


def _end(verdict: Hint, warnings: Iterable[str | Hint], write: Write) -> Iterator[str]:
    if verdict or warnings:
        yield ""
    yield from _notes(warnings, write)
    if verdict:
        yield write(verdict)


def _notes(warnings: Iterable[str | Hint], write: Write) -> Iterator[str]:
    return (f"Note: {visible(write(warning))}" for warning in warnings)


def _verdict(status: Status) -> Hint:
    """Return what is wrong and what to type; nothing where all is right."""
    from indexer.plans import way_out  # here, because --help need not wait for peewee

    names = ", ".join(step.index.name for step in status.drifted)
    if not names and status.unindexed:
        return _on_children(status)
    if not names and not status.pending:
        return Hint()
    pending = f"{counted(len(status.pending), 'revision')} pending"
    wrong = f"Not what the revision says: {names}" if names else pending
    if not status.refused:
        return Hint(f"{wrong}. {'Repair' if names else 'Build'} it: ", Command("up"))
    conflict = "" if names else ", but something else stands under a name of ours"
    return Hint(f"{wrong}{conflict}. ", way_out(status.refused))


def _on_children(status: Status) -> Hint:
    tables = list(dict.fromkeys(each.table for each in status.unindexed))
    return Hint(
        f"Not indexed like the table that they inherit from: {', '.join(few(tables))}. Build what is missing there: ",
        Command("check"),
        " shows the statements",
    )


def _position(status: Status) -> str:
    if status.current is None:
        return "is empty"
    return f"is at {status.current}" + (" (head)" if status.current == status.chain.head else "")


def _by(move: RevisionPlan) -> str:
    record = move.record
    if record is None or (move.is_applied and record.state != "applied"):
        return ", applied by Alembic" if move.is_applied else ""
    return _when(record) + (", reverted by Alembic" if record.state == "applied" and not move.is_applied else "")


def _when(record: Record | None) -> str:
    if record is None:
        return ""
    if record.state == "reverted":
        return f", reverted {_time(record.started_at)} by {record.applied_by}"
    if record.applied_at is None or record.state != "applied":
        return f", {record.state} since {_time(record.started_at)} by {record.applied_by}: interrupted or still running"
    return f", applied {_time(record.applied_at)} by {record.applied_by}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _index_row(move: RevisionPlan, step: Step) -> tuple[Any, ...]:
    definition = step.found.definition if step.found and step.found.definition else step.declared
    return (
        step.index.name,
        definition.table,
        definition.method,
        _coloured(step.state),
        _origin(move, step),
        in_bytes(step.found.bytes) if step.found and step.found.bytes is not None else "",
        _dim(step.index.purpose),
    )


def _origin(move: RevisionPlan, step: Step) -> str:
    former = move.renamed_from(step)
    return (move.origin(step) or "") + (f" from {former}" if former and step.found else "")


def of_check(check: Check) -> Answer:
    """Whether the database is what its revisions say, index by index."""
    status = check.status
    line = Hint(f"{_position(status)}. ", _verdict(status) or ALL_RIGHT)
    return Answer(
        documents.of_check(check), lambda write: "\n".join(_shown_check(check, write)), line, status.exit_code
    )


def _shown_check(check: Check, write: Write) -> Iterator[str]:
    status = check.status
    yield f"{status.place} {_position(status)}\n"
    yield _table(
        ("index", "table", "finding", "origin", "part", "declared", "found"),
        [row for move in status.moves for step in move.steps for row in _check_rows(move, step)],
    )
    if status.unindexed:
        yield "\nIndexes are not inherited. These are missing on tables with rows; build them:"
        yield from (f"  {visible(line)}" for each in status.unindexed for line in _to_type(each))
    if check.advice:
        yield "\nAdvice (does not change the exit code):"
    for advice in check.advice:
        yield f"  {visible(write(advice.text))}"
    yield from _end(_verdict(status) or ALL_RIGHT, status.warnings, write)


def _to_type(missing: Uncovered) -> list[str]:
    """The statements, and whose they are if not ours."""
    if not missing.statements:
        return [f"-- {missing.target.name} is being built on {missing.table} right now"]
    owner = [] if missing.child.owned else [f"-- as {missing.child.owner}, who owns {missing.table}:"]
    return [*owner, *(f"{statement};" for statement in missing.statements)]


def _check_rows(move: RevisionPlan, step: Step) -> list[tuple[Any, ...]]:
    """A row for the index, and one for each further part in which it differs."""
    first, *more = step.differences or (None,)
    name = (step.index.name, step.index.table, _coloured(step.finding, step.state), _origin(move, step))
    rows = [(*name, *(first or ("", "", "")))]
    return [*rows, *(("", "", "", "", *difference) for difference in more if difference)]


def of_history(entries: Sequence[Entry], place: Place) -> Answer:
    """What was done to the database."""
    line = counted(len(entries), "entry", "entries") + (f", last of all {_did(entries[0])}" if entries else "")
    return Answer(documents.of_history(entries, place), lambda write: _shown_history(entries, place), line)


def _shown_history(entries: Sequence[Entry], place: Place) -> str:
    if not entries:
        return f"Nothing is recorded for {place}."
    return _table(
        ("when", "what", "revision", "took", "by", "indexes"),
        [
            (
                _time(entry.finished_at),
                entry.direction,
                entry.revision,
                duration(entry.duration_ms / 1000),
                entry.by,
                _counted(entry),
            )
            for entry in entries
        ],
    )


def _did(entry: Entry) -> str:
    return f"{entry.direction} {entry.revision}, {_time(entry.finished_at)} by {entry.by}"


def _counted(entry: Entry) -> str:
    """How many indexes of each action; their names where there are few."""
    names: dict[str, list[str]] = {}
    for name, action in entry.indexes.items():
        names.setdefault(_past_tense(action), []).append(name)
    few = 3
    return "; ".join(
        f"{len(each)} {done}" + (f" ({', '.join(each)})" if len(each) <= few else "") for done, each in names.items()
    )


def _past_tense(action: str) -> str:
    """What was done; an action of a later version by its own name."""
    known = action in {each.value for each in Action}
    return COUNTED[Action(action)].partition(",")[0] if known else action


# Proof --------------------------------------------------------------------------------------------------------------


def of_verify(report: Report, as_sql: bool) -> Answer:
    """Whether each query is served; or the queries themselves."""
    from indexer.verify.verify import document, queries, show

    line = " ".join(report.conclusion().splitlines())
    answer = Answer(document(report), lambda write: write(show(report)), line, report.exit_code)
    if not as_sql:
        return answer
    unproven = (
        NotServed(report.conclusion(f" on {report.place}"), Hint("See why: ", Command("verify")))
        if report.unserved
        else None
    )
    return answer._replace(script=queries(report), error=unproven)


def of_bench(result: Result) -> Answer:
    """What was measured."""
    from dataclasses import asdict

    from indexer.bench.tables import show

    return Answer(asdict(result), lambda write: show(result), result.product)


def of_seed(seeded: Seeded) -> Answer:
    """Which rows were written."""
    document = {**seeded.place._asdict(), "rows": seeded.rows}
    return Answer(document, lambda write: str(seeded), str(seeded))


# What would be ------------------------------------------------------------------------------------------------------


def of_plan(plan: Plan, place: Place) -> Answer:
    """Each statement with what it is for, and what would stop the run."""
    document, error = documents.of_plan(plan, place), plan.refusal
    line = Hint(_plan_line(plan, place)) if error is None else of_failure(error).line
    return Answer(document, lambda write: "\n".join(_shown_plan(plan, place, write)), line, plan.exit_code, error)


def _plan_line(plan: Plan, place: Place) -> str:
    if plan.is_empty:
        return _nothing_to_do(plan.direction, plan.start or plan.end, place)
    if plan.unrecorded:
        return f"{place} is at {plan.end} already, and only the record of {', '.join(plan.unrecorded)} is missing."
    actions = Counter(step.action.value for step in plan.steps)
    return f"{plan.direction} would go from {plan.start or 'empty'} to {plan.end}: " + ", ".join(
        f"{action} {count}" for action, count in actions.items()
    )


def _shown_plan(plan: Plan, place: Place, write: Write) -> Iterator[str]:
    if plan.is_empty:
        yield from (*_notes(plan.warnings, write), _plan_line(plan, place))
        return
    if plan.unrecorded:
        yield f"{_plan_line(plan, place)}\n"
    else:
        yield f"{plan.direction}: {plan.start or 'empty'} -> {plan.end} on {place}\n"
        yield from _shown_steps(plan)
    if plan.blockers:
        yield f"  would wait for, unless they end first:{listed(plan.blockers)}\n"
    yield from _notes(plan.warnings, write)
    if plan.exit_code == 0:
        yield write(Hint(f"Nothing was changed. {'Write' if plan.unrecorded else 'Do'} it: ", plan.command))


def _shown_steps(plan: Plan) -> Iterator[str]:
    if plan.base_tables:
        yield f"  create the tables {', '.join(plan.base_tables)} (all columns: --sql)\n"
    for step in plan.steps:
        where = _on_table(step, plan) if step.action in CREATIONS else _of_size(step)
        yield f"  {styled(step.action.value, BOLD)} {step.index.name}{where}"
        yield f"    {step.index.purpose}"
        if step.action is Action.REPLACE:
            yield from (f"    {part.part}: {visible(part.found)}, to be {part.declared}" for part in step.differences)
        for statement in step.statements:
            yield f"    {visible(statement)};"
        yield ""


def _of_size(step: Step) -> str:
    """Return the table of an index that is there, and how large the index is."""
    size = step.found.bytes if step.found else None
    return f" on {step.index.table}" + (f" ({in_bytes(size)})" if size is not None else "")


def _on_table(step: Step, plan: Plan) -> str:
    table = plan.tables.get(step.index.table)
    if table is None:
        return f" on {step.index.table}"
    rows = (
        "rows unknown until ANALYZE"
        if table.rows is None
        else f"about {counted(table.rows, 'row')}"
        if table.rows
        else "no rows"
    )
    size = f", {in_bytes(table.bytes)}" if table.bytes is not None else ""
    return f" on {table.name} ({rows}{size})"


# Drawing ------------------------------------------------------------------------------------------------------------


def _coloured(text: str, state: str | None = None) -> Any:
    from rich.text import Text

    return Text(text, style=COLOURS.get(state or text, "yellow"))


def _dim(text: str) -> Any:
    from rich.text import Text

    return Text(text, style="dim")


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return tabular.drawn(titles, rows, right=("size",), folding=FOLDING, less_needed=LESS_NEEDED)
