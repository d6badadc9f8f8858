"""Drawing: what a person reads, and the documents of --json. The telling of a run is in reporters.py."""

from __future__ import annotations

import json
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.console import documents
from indexer.console import tables as tabular
from indexer.console.progress import DONE, duration, listed, styled, tell, tell_script
from indexer.decide import CREATIONS, Action
from indexer.errors import NotServed
from indexer.text import counted, few, in_bytes, shell, shown, visible

if TYPE_CHECKING:
    from indexer.catalog import Place
    from indexer.decide import Step
    from indexer.errors import IndexerError
    from indexer.inheritance import Uncovered
    from indexer.plans import Check, Outcome, Plan, RevisionPlan, Stamp, Status
    from indexer.records.log import Entry
    from indexer.records.revisions import Record
    from indexer.revisions.scaffold import Written
    from indexer.verify.result import Report
    from proof.result import Result
    from proof.seed import Seeded

COUNTED = {**DONE, Action.KEEP: "kept", Action.LEAVE: "left, having stood there before up"}
MOST_NAMES = 10
FOLDING = ("for", "declared", "found", "indexes")
# Left out on a narrow terminal, the first one first.
LESS_NEEDED = ("for", "method", "by", "origin", "took", "table", "size", "revision")
COMMAND = re.compile(r"python cli\.py (?!new\b)\w+\b(?! --database-url)")  # that works on the database at hand
COLOURS = {"valid": "green", "missing": "yellow", "invalid": "red", "different": "red"}


class Answer(NamedTuple):
    """What a command has to say: to a machine, to a person, and in one line where it is one of several schemas.

    ``error`` is what the command ends with once the rest is said; ``script`` is said instead of the rest.
    """

    document: documents.Document
    show: Callable[[], str]
    line: str
    exit_code: int = 0
    error: IndexerError | None = None
    script: str | None = None


# One schema, or several ---------------------------------------------------------------------------------------------


def say(answer: Answer, as_json: bool, again: str = "") -> None:
    """Say it all; ``again`` are the options that were typed and that a command to type next needs as well."""
    if as_json:
        tell(json.dumps(repeating(again, answer.document)))
    else:
        tell(repeating(again, answer.show())) if answer.script is None else tell_script(answer.script)


def say_line(schema: str, answer: Answer, again: str = "") -> None:
    """Say it in one line, as one of several schemas."""
    tell(visible(f"{schema}: {repeating(again + _of(schema), answer.line)}"))


def say_script(schema: str, answer: Answer, again: str = "") -> None:
    """Say it as a part of a script for several schemas: what is no SQL goes to stderr, or into a comment."""
    if answer.script is not None:
        tell_script(f"-- schema {visible(schema)}\n{answer.script}")
    if answer.error:
        tell(visible(f"{schema}: {repeating(again + _of(schema), of_failure(answer.error).line)}"), err=True)


def say_total(
    answers: dict[str, Answer], schemas: int, as_json: bool, as_script: bool = False, again: str = ""
) -> None:
    """Sum up what several schemas have said; an interrupted run has not come to all of them."""
    worst = max((answer.exit_code for answer in answers.values()), default=0)
    if as_json:
        each = (
            {"schema": schema, "exit_code": one.exit_code, **repeating(again + _of(schema), one.document)}
            for schema, one in answers.items()
        )
        tell(json.dumps(documents.of_schemas(each, worst)))
        return
    by_code: dict[int, list[str]] = {}
    for schema, answer in answers.items():
        by_code.setdefault(answer.exit_code, []).append(schema)
    done = len(by_code.pop(0, []))
    failed = "".join(
        f", {len(names)} with exit code {code} ({', '.join(few(names, MOST_NAMES))})"
        for code, names in sorted(by_code.items())
    )
    some = f"{len(answers)} of " if len(answers) < schemas else ""
    total = visible(f"{some}{counted(schemas, 'schema')}: {done} with exit code 0{failed}.")
    tell(total, err=as_script)


def repeating(again: str, said: Any) -> Any:
    """A text or a document, whose commands to type next repeat what the user has typed."""
    if not again:
        return said
    if isinstance(said, str):
        return COMMAND.sub(lambda command: command[0] + again, said)
    if isinstance(said, dict):
        return {key: repeating(again, value) for key, value in said.items()}
    return [repeating(again, each) for each in said] if isinstance(said, list) else said


def _of(schema: str) -> str:
    return f" --schema {shell(schema)}"


def of_failure(error: IndexerError) -> Answer:
    """What is to be said about a schema on which a command failed."""
    line = " ".join(filter(None, ("Error:", error.summary, *map(str.strip, error.hint.splitlines()))))
    return Answer(documents.of_failure(error), lambda: line, line, error.exit_code, error)


# Runs ---------------------------------------------------------------------------------------------------------------


def of_outcome(outcome: Outcome, place: Place) -> Answer:
    """What a run did, or that there was nothing to do."""
    line = _summary(outcome, place)
    return Answer(documents.of_outcome(outcome, place), lambda: line, line)


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
    return Answer(documents.of_stamp(stamp, place), lambda: "\n".join((*_notes(stamp.warnings), line)), line)


def of_new(written: Written) -> Answer:
    """Which file was written."""
    line = f"Wrote {written.file}: change its example, then look at it: python cli.py plan"
    return Answer(written._asdict(), lambda: line, line)


def of_wait(place: Place, is_there: bool) -> Answer:
    """That a database answers, or that it is a file still to be made."""
    line = f"{place} answers." if is_there else f"{place} is a file that does not exist yet. Make it: python cli.py up"
    return Answer({**place._asdict(), "reachable": True}, lambda: line, line)


# What is ------------------------------------------------------------------------------------------------------------


def of_status(status: Status) -> Answer:
    """The chain and every index of it."""
    line = " ".join(filter(None, (f"{_position(status)}.", _verdict(status))))
    return Answer(documents.of_status(status), lambda: "\n".join(_shown_status(status)), line, status.exit_code)


def _shown_status(status: Status) -> Iterator[str]:
    yield f"{status.place} {_position(status)}\n"
    yield f"  {status.chain.base}  base schema{visible(_when(status.base))}"
    for move in status.moves:
        yield f"  {move.revision.id}  {visible(f'{move.revision.description} ({move.revision.date}){_by(move)}')}"
    yield ""
    yield _table(
        ("index", "table", "method", "state", "origin", "size", "for"),
        [_index_row(move, step) for move in status.moves for step in move.steps],
    )
    yield from _end(_verdict(status), status.warnings)


def _end(verdict: str, warnings: Iterable[str]) -> Iterator[str]:
    if verdict or warnings:
        yield ""
    yield from _notes(warnings)
    if verdict:
        yield verdict


def _notes(warnings: Iterable[str]) -> Iterator[str]:
    return (f"Note: {visible(warning)}" for warning in warnings)


def _verdict(status: Status) -> str:
    """What is not as it should be, and what to type."""
    from indexer.plans import way_out  # here, because --help need not wait for peewee

    names = ", ".join(step.index.name for step in status.drifted)
    if not names and status.unindexed:
        return _on_children(status)
    if not names and not status.pending:
        return ""
    pending = f"{counted(len(status.pending), 'revision')} pending"
    wrong = f"Not what the revision says: {names}" if names else pending
    if not status.refused:
        return f"{wrong}. {'Repair' if names else 'Build'} it: python cli.py up"
    return f"{wrong}{'' if names else ', but something else stands under a name of ours'}. {way_out(status.refused)}"


def _on_children(status: Status) -> str:
    tables = list(dict.fromkeys(each.table for each in status.unindexed))
    return (
        f"Not indexed like the table that they inherit from: {', '.join(few(tables))}."
        " Build what is missing there: python cli.py check shows the statements"
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
    line = " ".join(filter(None, (f"{_position(status)}.", _verdict(status) or "All is as it should be.")))
    return Answer(documents.of_check(check), lambda: "\n".join(_shown_check(check)), line, status.exit_code)


def _shown_check(check: Check) -> Iterator[str]:
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
        yield "\nAdvice, which fails no check:"
    for advice in check.advice:
        yield f"  {visible(advice.text)}"
    yield from _end(_verdict(status) or "All is as it should be.", status.warnings)


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
    return Answer(documents.of_history(entries, place), lambda: _shown_history(entries, place), line)


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
    answer = Answer(document(report), lambda: show(report), line, report.exit_code)
    if not as_sql:
        return answer
    unproven = (
        NotServed(report.conclusion(f" on {report.place}"), "See why: python cli.py verify")
        if report.unserved
        else None
    )
    return answer._replace(script=queries(report), error=unproven)


def of_bench(result: Result) -> Answer:
    """What was measured."""
    from proof import result as results
    from proof import table

    return Answer(results.document(result), lambda: table.show(result), str(result.product))


def of_seed(seeded: Seeded) -> Answer:
    """Which rows were written."""
    document = {**seeded.place._asdict(), "rows": seeded.rows}
    return Answer(document, lambda: str(seeded), str(seeded))


# What would be ------------------------------------------------------------------------------------------------------


def of_plan(plan: Plan, place: Place) -> Answer:
    """Each statement with what it is for, and what would stop the run."""
    document, error = documents.of_plan(plan, place), plan.refusal
    line = _plan_line(plan, place) if error is None else of_failure(error).line
    return Answer(document, lambda: "\n".join(_shown_plan(plan, place)), line, plan.exit_code, error)


def _plan_line(plan: Plan, place: Place) -> str:
    if plan.is_empty:
        return _nothing_to_do(plan.direction, plan.start or plan.end, place)
    if plan.unrecorded:
        return f"{place} is at {plan.end} already, and only the record of {', '.join(plan.unrecorded)} is missing."
    actions = Counter(step.action.value for step in plan.steps)
    return f"{plan.direction} would go from {plan.start or 'empty'} to {plan.end}: " + ", ".join(
        f"{action} {count}" for action, count in actions.items()
    )


def _shown_plan(plan: Plan, place: Place) -> Iterator[str]:
    if plan.is_empty:
        yield from (*_notes(plan.warnings), _plan_line(plan, place))
        return
    if plan.unrecorded:
        yield f"{_plan_line(plan, place)}\n"
    else:
        yield f"{plan.direction}: {plan.start or 'empty'} -> {plan.end} on {place}\n"
        yield from _shown_steps(plan)
    if plan.blockers:
        yield f"  would wait for, unless they end first:{listed(plan.blockers)}\n"
    yield from _notes(plan.warnings)
    if plan.exit_code == 0:
        yield f"Nothing was changed. {'Write' if plan.unrecorded else 'Do'} it: {plan.command}"


def _shown_steps(plan: Plan) -> Iterator[str]:
    if plan.base_tables:
        yield f"  create the tables {', '.join(plan.base_tables)} (all columns: --sql)\n"
    for step in plan.steps:
        where = _on_table(step, plan) if step.action in CREATIONS else _of_size(step)
        yield f"  {styled(step.action.value, bold=True)} {step.index.name}{where}"
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


def traceback_of(error: BaseException) -> str:
    """The traceback for --verbose."""
    return shown("".join(traceback.format_exception(error)))
