"""The answers of the commands: the text that a person reads, beside the document that --json prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from indexer.console import documents, forecast
from indexer.console.output import BOLD, Answer, Line, in_a_line, of_failure, styled
from indexer.console.progress import DONE, listed
from indexer.decide import CREATIONS, Action
from indexer.errors import Command, Hint, NotServed, lines_of
from indexer.options import DEFAULTS
from indexer.partitions import leaves
from indexer.preflight import conflict_hint, refusal
from indexer.replication import for_the_primary
from indexer.text import counted, duration, few, in_bytes, visible

if TYPE_CHECKING:
    from indexer.care.deep import Deep
    from indexer.catalog import Place
    from indexer.console.documents import Document
    from indexer.plans import Check, Outcome, Plan, Rest, RevisionPlan, Stamp, Status
    from indexer.records.log import Entry
    from indexer.records.revisions import Record
    from indexer.replication import Replication, Standby
    from indexer.revisions.scaffold import Written
    from indexer.server import Uncovered
    from indexer.steps import Step
    from indexer.verify.declared import Calls
    from indexer.verify.result import Report

FOLDING = ("for", "declared", "found", "indexes")
# Left out on a narrow terminal, the first one first.
LESS_NEEDED = ("for", "method", "by", "origin", "took", "table", "partitions", "size", "revision")
FOR_THE_PRIMARY = ", to be followed on the primary"
ALL_RIGHT = Hint("Everything is as declared.")
COLOURS = {"valid": "green", "invalid": "red", "different": "red", "corrupt": "red"}  # the others are yellow
PAST = {action.value: done for action, done in DONE.items()}  # without the actions of a later version
MOST_PARTITIONS, SHOWN_PARTITIONS = 4, 2  # of an index whose statements a plan shows
MOST_NAMED = 3  # indexes of one action in a line of history


# Runs ---------------------------------------------------------------------------------------------------------------


def of_outcome(outcome: Outcome, place: Place) -> Answer:
    """Return what a run did, or that there was nothing to do."""
    document, rest = documents.of_outcome(outcome, place), outcome.rest
    line = _unfinished(outcome, rest, place) if rest else _summary(outcome, place)
    return Answer(document, line, outcome.exit_code)


def _summary(outcome: Outcome, place: Place) -> str:
    if not outcome.changed:
        return _nothing_to_do(outcome.direction, outcome.end, place)
    return f"{_did_in_all(outcome)}. {place} is at {outcome.end}."


def _did_in_all(outcome: Outcome) -> str:
    actions = Counter(step.action for step in outcome.steps)
    counts = ", ".join(f"{count} {DONE[action]}" for action, count in actions.items())
    return f"Done in {duration(outcome.seconds)}: {counts or 'no index changed'}{forecast.of_builds(outcome.builds)}"


def _unfinished(outcome: Outcome, rest: Rest, place: Place) -> Hint:
    """Return what a run did and left, when its window opens next, and the command that continues."""
    done = _did_in_all(outcome) if outcome.steps else f"Nothing was changed on {place}, because the window is closed"
    return Hint(f"{done}; ", left(rest))


def left(rest: Rest) -> Hint:
    """Return what a window has left, when it opens next, and the command that continues."""
    names = ", ".join(few(list(rest.left)))
    number = counted(len(rest.left), "index is", "indexes are")
    what = f"{number} left ({names})" if names else "only the record is left"
    return Hint(f"{what}. The window opens next on {rest.shown}. Then run: ", rest.command)


def _nothing_to_do(direction: str, revision: str | None, place: Place) -> str:
    position = f"is at {revision}" if revision else "has none of the tables"
    return f"Nothing to {'roll back' if direction == 'down' else 'do'}: {place} {position}."


def of_stamp(stamp: Stamp, place: Place) -> Answer:
    """Return what was recorded."""
    line = f"{place} is at {stamp.revision}" + ("." if stamp.changed else " (already recorded).")
    return Answer({**place._asdict(), **stamp._asdict()}, line, lines=(*_notes(stamp.warnings), line))


def of_new(written: Written) -> Answer:
    """Return which file was written, and the query to add to queries.py."""
    from textwrap import indent

    from indexer.revisions.example import PLACEHOLDER

    is_placeholder = written.index_name == PLACEHOLDER.name
    edit = "Replace my_table, my_column and the model MyTable with yours." if is_placeholder else "Edit it."
    wrote = f"Wrote {written.file} with an example, {written.index_name}."
    declare = "Create queries.py with its query:" if written.is_first_query else "Add its query to queries.py:"
    lines = (f"{wrote} {edit} {declare}\n", indent(written.query, "    "), Hint("Then review it: ", Command("plan")))
    return Answer(written._asdict(), wrote, lines=lines)


def of_completion(shell: str, script: str) -> Answer:
    """Return the script for a shell."""
    return Answer({"shell": shell, "script": script}, "", script=script)


def of_wait(place: Place, exists: bool) -> Answer:
    """Return that a database accepts connections, or that it is a file that does not exist yet."""
    missing = Hint(f"The file of {place} does not exist yet. To create it, run: ", Command("up"))
    return Answer({**place._asdict(), "reachable": True}, f"{place} accepts connections." if exists else missing)


def of_gate(status: Status) -> Answer:
    """Return that the gate of a database is open."""
    document = documents.of_gate(status)
    return Answer(document, f"{status.place} {_position(status)}, and its indexes are as declared.")


# The present state --------------------------------------------------------------------------------------------------


def of_status(status: Status, calls: Calls) -> Answer:
    """Return the revisions, the state of every index, and the queries it is for."""
    status = status._replace(warnings=(*status.warnings, *calls.warnings))
    document, verdict = documents.of_status(status, calls), _verdict(status)
    verdict = for_the_primary(verdict) if status.standby else verdict
    line = Hint(f"{_position(status)}{_as_standby(status)}.", " " if verdict else "", verdict)
    return Answer(document, line, status.exit_code, _shown_status(status, document, verdict, bool(calls.by_index)))


def _shown_status(status: Status, document: Document, verdict: Hint, has_queries: bool) -> Iterator[Line]:
    yield f"{status.place} {_position(status)}\n"
    yield f"  {status.chain.base}  base schema{visible(_when(status.base))}"
    for revision_plan in status.revisions:
        revision = revision_plan.revision
        dated = f" ({revision.date})" if revision.date else ""
        yield f"  {revision.id}  {visible(f'{revision.description}{dated}{_by(revision_plan)}')}"
    yield ""
    titles = ("index", "table", "partitions", "method", "state", "origin", "size", "for")
    yield _table(titles, [_status_row(index, has_queries) for index in document["indexes"]])
    yield from _end(verdict, status.warnings)


def _status_row(index: Document, has_queries: bool) -> tuple[Any, ...]:
    size = "" if index["bytes"] is None else in_bytes(index["bytes"])
    state, use = _coloured(index["state"], index["state"]), (_use(index, has_queries), "dim")
    return index["name"], index["table"], _partitions(index), index["method"], state, _origin(index), size, use


def _partitions(index: Document) -> str:
    """Return how many partitions the table of an index has; nothing if it is not partitioned."""
    return str(index["partitions"]["count"]) if index["partitions"] else ""


def _use(index: Document, has_queries: bool) -> str:
    """Return the queries that an index is for; its purpose if there is none."""
    return ", ".join(index["queries"]) or f"{index['purpose']}{' (no query)' if has_queries else ''}".strip()


def _coloured(text: str, state: str) -> tuple[str, str]:
    return text, COLOURS.get(state, "yellow")


def _origin(index: Document) -> str:
    former = index["renamed_from"]
    return (index["origin"] or "") + (f" from {former}" if former else "")


def of_check(check: Check) -> Answer:
    """Return whether the database is what its revisions declare, index by index."""
    document, verdict = documents.of_check(check), _verdict(check.status, lists_statements=True)
    deep = [_of_corrupt(check), _of_failed(check), _of_stopped(check)]
    verdict = lines_of(filter(None, (verdict, *deep))) or ALL_RIGHT
    verdict = for_the_primary(verdict) if check.status.standby else verdict
    line = Hint(f"{_position(check.status)}{_as_standby(check.status)}. ", verdict.with_texts(in_a_line))
    return Answer(document, line, check.exit_code, _shown_check(check, document, verdict))


def _of_corrupt(check: Check) -> Hint:
    """Return how to repair the indexes that are corrupt; nothing where none is."""
    names = check.deep.to_rebuild if check.deep else ()
    it = "it" if len(names) == 1 else "them"
    return Hint(f"Corrupt: {', '.join(names)}. To rebuild {it}, run: ", Command("reindex", *names)) if names else Hint()


def _of_failed(check: Check) -> Hint:
    """Return which indexes could not be checked; nothing where all were."""
    names = check.deep.failed if check.deep else ()
    return Hint(f"Not checked: {', '.join(names)}. The reasons are above.") if names else Hint()


def _of_stopped(check: Check) -> Hint:
    """Return why not all indexes were checked; nothing where all were."""
    stopped = check.deep.stopped if check.deep else None
    return Hint(f"{stopped.message} ", stopped.hint) if stopped else Hint()


def _shown_check(check: Check, document: Document, verdict: Hint) -> Iterator[Line]:
    status = check.status
    yield f"{status.place} {_position(status)}\n"
    titles = ("index", "table", "partitions", "finding", "origin", "part", "declared", "found")
    yield _table(titles, [row for index in document["indexes"] for row in _check_rows(index)])
    if status.unindexed:
        where = " (on the primary)" if status.standby else ""
        yield f"\nIndexes are not inherited. Build these on the tables that have rows{where}:"
        yield from (f"  {visible(line)}" for each in status.unindexed for line in _to_type(each))
    if check.deep:
        yield from _shown_deep(check.deep)
    if check.advice:
        yield f"\nAdvice{FOR_THE_PRIMARY if status.standby else ''} (does not change the exit code):"
    for advice in check.advice:
        yield Hint("  ", advice.text).with_texts(visible)
    yield from _end(verdict, (*status.warnings, *(check.deep.warnings if check.deep else ())))


def _shown_deep(deep: Deep) -> Iterator[Line]:
    yield "\nDeep check:"
    width = max((len(finding.name) for finding in deep.findings), default=0)
    for finding in deep.findings:
        by = f" ({finding.by})" if finding.by else ""
        text = Hint(f"  {finding.name:<{width}}  {finding.result}{by}", ": " if finding.text else "", finding.text)
        yield text.with_texts(visible)
    if not deep.findings:
        yield "  No index was checked."
    if deep.others:
        yield f"  Not covered: {counted(deep.others, 'other text index', 'other text indexes')} of the database."


def _severity(index: Document) -> str:
    """Return the word by which a finding is coloured."""
    return str(index["finding"] if index["finding"] == "corrupt" else index["state"])


def _check_rows(index: Document) -> Iterator[tuple[Any, ...]]:
    """Yield a row for the index, and one for each further part in which it differs."""
    first, *more = (
        tuple(each.values()) for each in index["differences"] or [{"part": "", "declared": "", "found": ""}]
    )
    finding = _coloured(index["finding"], _severity(index))
    yield (index["name"], index["table"], _partitions(index), finding, _origin(index), *first)
    for difference in more:
        yield ("", "", "", "", "", *difference)


def _to_type(missing: Uncovered) -> list[str]:
    """Return the statements that build an index on a child, and the role that can execute them if ours cannot."""
    if not missing.statements:
        return [f"-- {missing.target.name} is being built on {missing.table} right now"]
    owner = [] if missing.child.owned else [f"-- as {missing.child.owner}, who owns {missing.table}:"]
    return [*owner, *(f"{statement};" for statement in missing.statements)]


def _end(verdict: Hint, warnings: Sequence[Line]) -> Iterator[Line]:
    if verdict or warnings:
        yield ""
    yield from _notes(warnings)
    if verdict:
        yield verdict


def _notes(warnings: Iterable[Line]) -> Iterator[Line]:
    return (Hint("Note: ", warning).with_texts(visible) for warning in warnings)


def _verdict(status: Status, lists_statements: bool = False) -> Hint:
    """Return what is wrong and what to type; nothing where all is right.

    Args:
        lists_statements: whether the statements that index the tables that inherit are shown above.
    """
    names = ", ".join(map(_named, status.drifted))
    if status.unknown and not names:
        return cannot_tell(status.unknown)
    if not names and status.unindexed:
        children = few(list(dict.fromkeys(each.table for each in status.unindexed)))
        missing = f"Indexes are missing on tables that inherit: {', '.join(children)}."
        if lists_statements:
            return Hint(missing, " To build them, execute the statements above.")
        return Hint(missing, " To see the statements that build them, run: ", Command("check"))
    if not names and not status.pending:
        return Hint()
    wrong = f"Missing or different: {names}" if names else f"{counted(len(status.pending), 'revision')} pending"
    if status.unfit:
        return Hint(f"{wrong}. {status.unfit} Fix this, then run: ", Command("up"))
    if not status.refused:
        return Hint(f"{wrong}. To {'repair' if names else 'build'} it, run: ", Command("up"))
    conflict = "" if names else ", but another object has the name of an index"
    return Hint(f"{wrong}{conflict}. ", conflict_hint(status.refused, "up", DEFAULTS))


def _named(step: Step) -> str:
    """Return the name of an index, with the placements that are wrong."""
    found = step.found
    if found is None or (found.placements is None and not found.flaws):
        return step.index.name
    return f"{step.index.name} ({', '.join(few([str(flaw) for flaw in found.flaws]) or [found.flaw])})"


def cannot_tell(steps: Sequence[Step], command: str = "check") -> Hint:
    """Return which nodes of a cluster do not answer, and what is not known of these indexes for that.

    Args:
        command: the one to repeat when they do.
    """
    unknown = [flaw for step in steps if step.found for flaw in step.found.flaws if flaw.reason]
    nodes = dict.fromkeys(f"{flaw.node} does not answer ({flaw.reason})" for flaw in unknown)
    names = ", ".join(few([step.index.name for step in steps]))
    which = f"{names}. {'; '.join(nodes)}"
    return Hint(f"Cannot tell whether these indexes are valid: {which}. When all nodes answer, run: ", Command(command))


def _position(status: Status) -> str:
    if status.current is None:
        return "has none of the tables"
    return f"is at {status.current}" + (" (head)" if status.current == status.chain.head else "")


def _as_standby(status: Status) -> str:
    """Return that a server is a standby, and how far it is behind, for the one line of a schema or a database."""
    return f", as a standby: {status.standby.lag}" if status.standby else ""


def _by(revision_plan: RevisionPlan) -> str:
    record = revision_plan.record
    if record is None or (revision_plan.is_applied and record.state != "applied"):
        return ", applied by Alembic" if revision_plan.is_applied else ""
    return _when(record) + (
        ", reverted by Alembic" if record.state == "applied" and not revision_plan.is_applied else ""
    )


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


# The past -----------------------------------------------------------------------------------------------------------


def of_history(entries: Sequence[Entry], place: Place, standby: Standby | None = None) -> Answer:
    """Return what was done to the database; what its primary did later, a standby does not know yet."""
    line = counted(len(entries), "entry", "entries") + (f", the last: {_did(entries[0])}" if entries else "")
    history = list(map(documents.of_entry, entries))
    document = {**place._asdict(), "standby": documents.of_standby(standby), "history": history}
    return Answer(document, line, lines=_shown_history(entries, place, standby))


def _shown_history(entries: Sequence[Entry], place: Place, standby: Standby | None) -> Iterator[Line]:
    if entries:
        yield _table(("when", "what", "revision", "took", "by", "indexes"), list(map(_history_row, entries)))
    else:
        yield f"Nothing is recorded for {place}."
    yield from _end(Hint(), [str(standby)] if standby else [])


def _history_row(entry: Entry) -> tuple[str, ...]:
    took = duration(entry.duration_ms / 1000)
    return _time(entry.finished_at), entry.direction, entry.revision, took, entry.by, _counted(entry)


def _did(entry: Entry) -> str:
    return f"{entry.direction} {entry.revision}, {_time(entry.finished_at)} by {entry.by}"


def _counted(entry: Entry) -> str:
    """Return how many indexes there are of each action, with their names where there are few."""
    names: dict[str, list[str]] = {}
    for name, action in entry.indexes.items():
        sizes = " -> ".join(map(in_bytes, entry.sizes.get(name, ())))
        names.setdefault(PAST.get(action, action), []).append(f"{name} {sizes}".strip())
    counts = "; ".join(
        f"{len(each)} {done}" + (f" ({', '.join(each)})" if len(each) <= MOST_NAMED else "")
        for done, each in names.items()
    )
    return counts + forecast.of_builds(entry.builds)


# Proof --------------------------------------------------------------------------------------------------------------


def of_verify(report: Report, as_sql: bool) -> Answer:
    """Return whether each query is served, or the queries themselves."""
    from indexer.console import verify

    line = verify.conclusion_of(report, between=" ")
    answer = Answer(verify.document(report), line, report.exit_code, verify.lines(report))
    if not as_sql:
        return answer
    error = None
    if report.unserved:
        conclusion = "\n".join(verify.sentences_of(report, f" on {report.place}"))
        error = NotServed(conclusion, Hint("See why: ", Command("verify")))
    return answer._replace(script=verify.script(report), error=error)


def of_seed(place: Place, rows: Mapping[str, int]) -> Answer:
    """Return how many rows were written to each table."""
    each = ", ".join(f"{count:,} in {table}" for table, count in rows.items())
    line = f"{sum(rows.values()):,} rows on {place}: {each}."
    return Answer({**place._asdict(), "rows": dict(rows)}, line)


# The future ------------------------------------------------------------------------------------------------------


def of_plan(plan: Plan, place: Place, calls: Calls) -> Answer:
    """Return each statement with what it is for, and what would stop the run."""
    plan = plan._replace(warnings=(*plan.warnings, *calls.warnings))
    document, error = documents.of_plan(plan, place, calls), refusal(plan, f"{plan.direction} would be refused")
    line = _plan_line(plan, place) if error is None else of_failure(error).line
    return Answer(document, line, plan.exit_code, _shown_plan(plan, place, calls), error)


def _plan_line(plan: Plan, place: Place) -> str:
    if plan.is_empty:
        return _nothing_to_do(plan.direction, plan.start, place)
    if plan.unrecorded:
        return f"{place} is already at {plan.end}; only the record of {', '.join(plan.unrecorded)} is missing."
    actions = Counter(step.action.value for step in plan.steps)
    return f"{plan.direction} would go from {plan.start or 'empty'} to {plan.end}: " + ", ".join(
        f"{action} {count}" for action, count in actions.items()
    )


def _shown_plan(plan: Plan, place: Place, calls: Calls) -> Iterator[Line]:
    if plan.is_empty:
        yield from (*_notes(plan.warnings), _plan_line(plan, place))
        return
    if plan.unrecorded:
        yield f"{_plan_line(plan, place)}\n"
    else:
        yield f"{plan.direction}: {plan.start or 'empty'} -> {plan.end} on {place}\n"
        yield from _shown_steps(plan, calls)
    if plan.blockers:
        yield f"  would wait for these sessions, unless they end first:{listed(plan.blockers)}\n"
    if plan.replication and (plan.replication.standbys or plan.replication.slots):
        yield f"  replication:{_followers(plan.replication)}\n"
    yield from _notes(plan.warnings)
    if plan.exit_code == 0:
        yield Hint(f"Nothing was changed. To {'record' if plan.unrecorded else 'do'} it, run: ", plan.command)


def _followers(replication: Replication) -> str:
    """Return a line for each standby and slot, and one with the statement that drops a slot which nothing uses."""
    lines = [str(each) for each in replication.standbys]
    for slot in replication.slots:
        lines += [str(slot), *([f"  drop it: {slot.drop}"] if slot.is_abandoned else [])]
    if replication.standbys:
        lines.append("standbys of these standbys are not visible here")
    return "".join(f"\n    {visible(line)}" for line in lines)


def _shown_steps(plan: Plan, calls: Calls) -> Iterator[str]:
    if plan.base_tables:
        yield f"  create the tables {', '.join(plan.base_tables)} (all columns: --sql)\n"
    for step in plan.steps:
        where = _on_table(step, plan) if step.action in CREATIONS else _of_size(step)
        yield f"  {styled(step.action.value, BOLD)} {step.index.name}{where}"
        if step.index.purpose:
            yield f"    {visible(step.index.purpose)}"
        if calls.by_index:
            yield f"    query: {', '.join(calls.of(step.index.name)) or 'none in queries.py'}"
        if step.action is Action.REPLACE:
            yield from (f"    {part.part}: {visible(part.found)}, to be {part.declared}" for part in step.differences)
        if plan.forecast and step.index.name in plan.forecast.predictions:
            yield f"    {visible(forecast.of_index(plan.forecast.predictions[step.index.name]))}"
        yield from (f"    {visible(statement)}" for statement in _shown_statements(step))
        yield ""
    if plan.forecast:
        yield f"  {visible(forecast.of_run(plan.forecast))}\n"


def _shown_statements(step: Step) -> list[str]:
    """Return the statements of a step, of many partitions those of the first few."""
    undone = [part for part in leaves(step.parts) if not part.is_done]
    if len(undone) <= MOST_PARTITIONS or step.action not in (Action.CREATE, Action.COMPLETE):
        return [f"{statement};" for statement in step.statements]
    left_out = {statement for part in undone[SHOWN_PARTITIONS:] for statement in part.step.statements}
    more = f"... and the same for {len(undone) - SHOWN_PARTITIONS} more partitions: plan --sql prints all"
    return [*(f"{statement};" for statement in step.statements if statement not in left_out), more]


def _of_size(step: Step) -> str:
    """Return the table of an existing index and the size of the index."""
    size = step.found.bytes if step.found else None
    return f" on {step.index.table}" + (f" ({in_bytes(size)})" if size is not None else "")


def _on_table(step: Step, plan: Plan) -> str:
    table = plan.state.tables.get(step.index.table)
    if table is None:
        return f" on {step.index.table}"
    rows = f"about {counted(table.rows, 'row')}" if table.rows else "no rows"
    if table.rows is None:
        rows = "rows unknown until ANALYZE"
    size = f", {in_bytes(table.bytes)}" if table.bytes is not None else ""
    return f" on {table.name} ({rows}{size})"


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    from indexer.console import tables

    return tables.drawn(titles, rows, right=("size", "partitions"), folding=FOLDING, less_needed=LESS_NEEDED)
