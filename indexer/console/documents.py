"""The documents that --json prints, as plain dictionaries. Times are UTC in ISO 8601, with a Z."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from indexer.console import forecast
from indexer.errors import Different, IndexerError, PreflightFailed

if TYPE_CHECKING:
    from indexer.care.deep import Deep
    from indexer.catalog import Flaw, Place, Table
    from indexer.events import Event
    from indexer.plans import Check, Outcome, Plan, RevisionPlan, Status
    from indexer.records.log import Entry
    from indexer.records.revisions import Record
    from indexer.replication import Replication, Standby
    from indexer.steps import Step
    from indexer.verify.declared import Calls

Document = dict[str, Any]


def of_status(status: Status, calls: Calls) -> Document:
    """Return the revisions, the state of every index, and the queries it is for."""
    return {
        **_position(status),
        "revisions": [
            {"revision": status.chain.base, "description": "base schema", **_record(status.base)},
            *(_revision(revision_plan) for revision_plan in status.revisions),
        ],
        "indexes": [
            {**_standing(revision_plan, step), "queries": calls.of(step.index.name)}
            for revision_plan in status.revisions
            for step in revision_plan.steps
        ],
        **_remarks(status),
    }


def of_check(check: Check) -> Document:
    """Return whether the database is what its revisions declare."""
    status = check.status
    return {
        **_position(status),
        "exit_code": check.exit_code,
        "indexes": [
            {**_standing(revision_plan, step), "revision": revision_plan.revision.id, "finding": check.finding(step)}
            for revision_plan in status.revisions
            for step in revision_plan.steps
        ],
        **_remarks(status),
        "advice": [
            {"kind": each.kind, "index": each.other, "about": each.about, "text": each.text} for each in check.advice
        ],
        **(_deep(check.deep) if check.deep else {}),
    }


def of_gate(status: Status) -> Document:
    """Return that the gate of a database is open, and at which revision the database is."""
    return {**_position(status), "gate": {"open": True, "reason": None}}


def _deep(deep: Deep) -> Document:
    """Return what the deep checks found, and what they did not cover."""
    findings = [
        {
            "index": each.name,
            "result": each.state,
            "by": each.by,
            "text": each.text,
            "looked_up": each.looked_up,
            "found": each.found,
            "failed": each.is_failed,
            "seconds": round(each.seconds, 3),
        }
        for each in deep.findings
    ]
    stopped = deep.stopped.message if deep.stopped else None
    content = {"deep": findings, "deep_stopped": stopped, "deep_warnings": deep.warnings}
    return {**content, "other_text_indexes": deep.others}


def _remarks(status: Status) -> Document:
    """Return the indexes that are missing on tables that inherit, and the warnings."""
    uncovered = [
        {"table": each.table, "index": each.target.name, "has_rows": each.child.has_rows, "statements": each.statements}
        for each in status.uncovered
    ]
    return {"uncovered": uncovered, "warnings": status.warnings}


def _position(status: Status) -> Document:
    return {
        **status.place._asdict(),
        "standby": of_standby(status.standby),
        "revision": status.current,
        "head": status.chain.head,
        "pending": [revision.id for revision in status.pending],
        "exit_code": status.exit_code,
    }


def of_standby(standby: Standby | None) -> Document | None:
    """Return how far a standby is behind; None for another server."""
    if standby is None:
        return None
    seconds = None if standby.seconds is None else round(standby.seconds, 3)
    return {**standby._asdict(), "seconds": seconds, "delay": standby.delay or None}


def _replication(replication: Replication) -> Document:
    """Return which standbys and slots follow a server; null stands for what our role cannot see."""
    return {
        "standbys": [each._asdict() for each in replication.standbys],
        "slots": [each._asdict() for each in replication.slots],
        "commits_wait": replication.commit or None,
        "hidden_from": replication.hidden_from or None,
        "readable": replication.is_readable,
    }


def of_plan(plan: Plan, place: Place, calls: Calls) -> Document:
    """Return what a run would do, and what would stop it."""
    return {
        **place._asdict(),
        "standby": of_standby(plan.standby),
        "direction": plan.direction,
        "from": plan.start,
        "to": plan.end,
        "exit_code": plan.exit_code,
        "problems": [*plan.problems, *plan.later],
        "blockers": [blocker._asdict() for blocker in plan.blockers],
        "replication": _replication(plan.replication) if plan.replication else None,
        "creates_tables": plan.base_tables,
        "steps": [
            {**_step(step, plan.state.tables.get(step.index.table), calls), "prediction": _predicted(step, plan)}
            for step in plan.steps
        ],
        "prediction": forecast.document_of_run(plan.forecast),
        "warnings": plan.warnings,
    }


def _step(step: Step, table: Table | None, calls: Calls) -> Document:
    return {
        **_index(step),
        "queries": calls.of(step.index.name),
        "action": step.action.value,
        "other_name": step.other_name,
        "statements": step.statements,
        "table_rows": table.rows if table else None,
        "table_bytes": table.bytes if table else None,
    }


def _predicted(step: Step, plan: Plan) -> Document | None:
    predictions = plan.forecast.predictions if plan.forecast else {}
    return forecast.document_of_index(predictions.get(step.index.name))


def of_outcome(outcome: Outcome, place: Place) -> Document:
    """Return what a run did, and what it left."""
    rest = outcome.rest
    return {
        **place._asdict(),
        "direction": outcome.direction,
        "from": outcome.start,
        "to": outcome.end,
        "changed": outcome.changed,
        "created_tables": outcome.base_tables,
        "indexes": {step.index.name: step.action.value for step in outcome.steps},
        "left": dict(rest.left) if rest else {},
        "opens": utc(rest.opens) if rest else None,
        "exit_code": outcome.exit_code,
        "seconds": round(outcome.seconds, 3),
        "builds": forecast.document_of_builds(outcome.builds),
        "prediction": forecast.document_of_run(outcome.forecast),
        "warnings": outcome.warnings,
    }


def of_entry(entry: Entry) -> Document:
    """Return what was done in the past."""
    builds = forecast.document_of_builds(entry.builds)
    return {**entry._asdict(), "finished_at": utc(entry.finished_at), "builds": builds}


def of_event(event: Event) -> Document:
    """Return an event of a run; an index is given by its name, and so is a table that is analyzed.

    No index has the name of its table, neither on PostgreSQL nor on SQLite.
    """
    content: Document = event._asdict()
    content.update((name, round(value, 3)) for name, value in content.items() if isinstance(value, float))
    content.update((name, _in_utc(value)) for name, value in content.items() if isinstance(value, datetime))
    if "target" in content:
        target = content.pop("target")
        content = {"table" if target.name == target.table else "index": target.name, **content}
    if "blockers" in content:
        content["blockers"] = [blocker._asdict() for blocker in content["blockers"]]
    if "replicas" in content:
        content["replicas"] = [replica._asdict() for replica in content["replicas"]]
    return {"event": type(event).__name__, "time": utc(datetime.now(timezone.utc), "milliseconds"), **content}


def utc(moment: datetime, timespec: str = "seconds") -> str:
    """Return a moment in UTC, with its timezone or without one, as ISO 8601."""
    return moment.replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


def _in_utc(moment: datetime) -> str:
    return utc(moment.astimezone(timezone.utc))


def of_failure(error: IndexerError) -> Document:
    """Return why a command ended with an error."""
    content: Document = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
    if isinstance(error, PreflightFailed):
        content["problems"] = list(error.problems)
    if isinstance(error, Different):
        content["differences"] = {name: [part._asdict() for part in parts] for name, parts in error.found.items()}
    return content


def _revision(revision_plan: RevisionPlan) -> Document:
    revision = revision_plan.revision
    header = {"revision": revision.id, "down_revision": revision.down_revision, "date": revision.date}
    return {**header, "description": revision.description, **_record(revision_plan.record)}


def _record(record: Record | None) -> Document:
    if record is None:
        return {"state": None}
    return {
        "state": record.state,
        "started_at": utc(record.started_at),
        "applied_at": utc(record.applied_at) if record.applied_at else None,
        "duration_ms": record.duration_ms,
        "applied_by": record.applied_by,
        "tool_version": record.tool_version,
    }


def _standing(revision_plan: RevisionPlan, step: Step) -> Document:
    from indexer.records.provenance import ADOPTED, RENAMED  # here, because --help need not wait for peewee

    origin = revision_plan.origin(step)
    return {
        **_index(step),
        "existed_before": origin in (ADOPTED, RENAMED),
        "origin": origin,
        "renamed_from": revision_plan.renamed_from(step),
    }


def _flaw(flaw: Flaw) -> Document:
    return {"node": flaw.node, "shard": flaw.shard, "state": flaw.state, "index": flaw.name, "reason": flaw.reason}


def _index(step: Step) -> Document:
    index, found = step.index, step.found
    definition = found.definition if found and found.definition else step.declared
    return {
        "name": index.name,
        "table": definition.table,
        "method": definition.method,
        "columns": list(map(str, definition.key)),
        "predicate": definition.predicate,
        "purpose": index.purpose,
        "state": step.state,
        "bytes": found.bytes if found else None,
        "placements": found.placements if found else None,
        "flaws": [_flaw(flaw) for flaw in found.flaws] if found else [],
        "differences": [part._asdict() for part in step.differences],
        "partitions": _partitions(step),
    }


def _partitions(step: Step) -> Document | None:
    """Return how many partitions hold rows, and which of all lack the index; None without partitions."""
    if step.partitions is None:
        return None
    undone = [
        {**part.partition._asdict(), "index": part.step.index.name, "state": part.state}
        for part in step.parts
        if not part.is_done
    ]
    shown = ("schema", "table", "index", "state")
    return {"count": step.partitions, "undone": [{name: part[name] for name in shown} for part in undone]}
