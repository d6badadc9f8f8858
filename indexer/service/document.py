"""The document of ``/status.json``, which the page shows, made of a snapshot. Pure: no database here.

Keys and words are those of ``status``, ``check``, ``health`` and ``verify`` with --json. null stands for what is not
known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from indexer import __version__
from indexer.advice import SUSPECT
from indexer.console import documents
from indexer.console.health import document as document_of_health
from indexer.console.hints import HintWriter
from indexer.definition import Definition
from indexer.errors import Command, Hint, without_details
from indexer.gate import Gate, gate_of
from indexer.records.revisions import REVERTING
from indexer.server import RunningBuild
from indexer.service.snapshot import Care, Failure, Snapshot, State
from indexer.verify.declared import NO_CALLS
from indexer.verify.result import QueryResult

Document = dict[str, Any]

UNREAD = "The database has not been read yet."
UNSEEN = "The database cannot be read."
LATE = "The database has not been read in time."
OF_HEALTH = (
    *("bytes_after_rebuild", "evidence", "measured_at", "why"),
    *("scans", "since", "since_event", "last_scan"),
)
NOT_LISTED = ("queries", "existed_before", "renamed_from", "placements", "flaws")  # of status and check


class Details:
    """How much a document says: without details no SQL, and no name of a server, a role or a database.

    Args:
        write: writes hints.
        shown: whether to say all.
    """

    def __init__(self, write: HintWriter, shown: bool) -> None:
        self.write = write
        self.shown = shown

    def of(self, failure: Failure | None) -> str | None:
        """Return why something failed."""
        if failure is None:
            return None
        return failure.message if self.shown else failure.brief

    def hint(self, hint: str | Hint, hosts: Sequence[str]) -> Document:
        """Return a text with its commands in their places, and the commands alone."""
        shown = Hint(hint) if self.shown else without_details(hint)
        commands = [self.write(Hint(part)) for part in shown.parts if isinstance(part, Command)]
        return {"text": self.text(shown, hosts), "commands": list(dict.fromkeys(commands))}

    def text(self, text: str | Hint, hosts: Sequence[str]) -> str:
        """Return a text; without details, without SQL and without the names of roles and servers."""
        if self.shown:
            return self.write(text)
        written = self.write(without_details(text))
        if not hosts:
            return written
        return re.sub(rf"(?<![\w.-])({'|'.join(map(re.escape, hosts))})(:\d+)?(?![\w-]|\.\w)", "(a server)", written)


def gate_at(snapshot: Snapshot, now: datetime) -> Gate:
    """Return the gate as a snapshot shows it; closed as long as the database cannot be read."""
    up, state = snapshot.is_up(now), snapshot.state
    if up and state is not None:
        return gate_of(state.check)
    if up is None:
        return Gate(is_open=False, reason=UNREAD)
    return Gate(is_open=False, reason=UNSEEN if snapshot.failure else LATE)


def document_of(snapshot: Snapshot, now: datetime, details: Details) -> Document:
    """Return a snapshot as a document.

    Args:
        now: the time, in UTC.
    """
    state, care = snapshot.state, snapshot.care
    hosts = state.hosts if state else ()
    return {
        "snapshot": {
            "up": snapshot.is_up(now),
            **_taken(state.taken_at if state else None, now),
            "interval_seconds": snapshot.interval,
            "error": details.of(snapshot.failure),
        },
        "health": {
            **_taken(care.taken_at if care else None, now),
            "error": details.of(snapshot.care_failure),
        },
        "version": __version__,
        "gate": gate_document(gate_at(snapshot, now), hosts, details),
        **(_of_state(state, care, details) if state else NOTHING),
        "queries": _queries(care, hosts, details),
        "advice": _advice(state, care, details),
    }


def gate_document(gate: Gate, hosts: Sequence[str], details: Details) -> Document:
    """Return whether the gate is open, why not, and what opens it."""
    hint = details.hint(gate.hint, hosts)
    reason = details.text(gate.reason, hosts) or None
    return {"open": gate.is_open, "reason": reason, "hint": hint["text"] or None, "commands": hint["commands"]}


def _taken(moment: datetime | None, now: datetime) -> Document:
    if moment is None:
        return {"taken_at": None, "age_seconds": None}
    age = max((now - moment).total_seconds(), 0.0)
    return {"taken_at": documents.utc(moment), "age_seconds": round(age, 1)}


NOTHING: Mapping[str, Any] = {
    "database": None,
    "revision": None,
    "head": None,
    "pending": [],
    "revisions": [],
    "indexes": [],
    "builds": [],
    "warnings": [],
}


def _of_state(state: State, care: Care | None, details: Details) -> Document:
    check = state.check
    status, checked = documents.of_status(check.status, NO_CALLS), documents.of_check(check)
    reverted = [
        step.index.name
        for plan in check.status.revisions
        if plan.record and plan.record.state == REVERTING
        for step in plan.steps
    ]
    builds = [_build(each, state, reverted, details) for each in state.builds]
    return {
        "database": _database(state, details),
        "revision": status["revision"],
        "head": status["head"],
        "pending": status["pending"],
        "revisions": [_revision(each, details) for each in status["revisions"]],
        "indexes": _indexes(state, care, checked, details, [each["index"] for each in builds if each["dropping"]]),
        "builds": builds,
        "warnings": _warnings(state, care, details),
    }


def _database(state: State, details: Details) -> Document:
    status = state.check.status
    standby = documents.of_standby(status.standby)
    if standby is not None and not details.shown:
        standby = {**standby, "sender": None}
    named = {"name": status.place.database} if details.shown else {}
    return {"engine": state.engine.name, "version": state.engine.version, "standby": standby, **named}


def _revision(revision: Document, details: Details) -> Document:
    return {
        "down_revision": None,
        "date": None,
        **{name: value for name, value in revision.items() if name != "applied_by" or details.shown},
    }


def _indexes(
    state: State, care: Care | None, checked: Document, details: Details, dropped: Sequence[str]
) -> list[Document]:
    """Return what is known of each declared index, from check, health and the records of deep checks.

    Args:
        dropped: those that are being dropped.
    """
    status = state.check.status
    health = {each["index"]: each for each in document_of_health(care.health)["indexes"]} if care else {}
    checks = {name: each for plan in status.revisions if plan.record for name, each in plan.record.checks.items()}
    suspect = {advice.about for advice in state.check.advice if advice.kind == SUSPECT}
    declared = {step.index.name: step.declared for step in status.steps}
    found = []
    for each in checked["indexes"]:
        name = each["name"]
        of_health = health.get(name, {})
        found.append(
            {
                "index": name,
                "schema": status.place.schema,
                **{key: value for key, value in each.items() if key not in ("name", *NOT_LISTED)},
                **{key: of_health.get(key) for key in OF_HEALTH},
                **({"bytes": None} if each["state"] == "in progress" else {}),
                **({"finding": "being dropped"} if name in dropped else {}),
                **({} if details.shown else _as_declared(each, declared[name])),
                "collation_suspect": name in suspect,
                "deep_checked_at": documents.utc(checks[name].at) if name in checks else None,
            }
        )
    return found


def _as_declared(index: Document, declared: Definition) -> Document:
    """Return the definition of an index without what only the database says, in which there may be values of rows."""
    return {
        "method": declared.method,
        "columns": list(map(str, declared.key)),
        "predicate": declared.predicate,
        "differences": [{**each, "found": None} for each in index["differences"]],
    }


def _build(build: RunningBuild, state: State, reverted: Sequence[str], details: Details) -> Document:
    """Return a running build or drop; a session that works on an index of a revision that is reverted drops it."""
    waiting = state.waiting.get(build.pid)
    return {
        "index": build.name,
        "table": build.table,
        "dropping": build.is_drop or build.name in reverted,
        "phase": build.phase or None,
        "progress": None if build.fraction is None else round(build.fraction, 4),
        "seconds": _rounded(build.seconds),
        "waiting_seconds": _rounded(waiting),
        "blockers": [_blocker(each._asdict(), state.hosts, details) for each in build.blockers],
    }


def _blocker(blocker: Document, hosts: Sequence[str], details: Details) -> Document:
    """Return a session that a build waits for; without details only its number, its age and what it holds."""
    shown = ("pid", "reason", "seconds") if not details.shown else tuple(blocker)
    return {**{name: blocker[name] for name in shown}, "reason": details.text(blocker["reason"], hosts)}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _warnings(state: State, care: Care | None, details: Details) -> list[str]:
    """Return the warnings of ``status``, and which servers did not say what they have counted."""
    failures = care.health.failures if care else ()
    said = [*state.check.status.warnings, *failures]
    return [details.text(each, state.hosts) for each in said]


def _queries(care: Care | None, hosts: Sequence[str], details: Details) -> list[Document]:
    results = care.report.results if care and care.report else ()
    return [_query(each, hosts, details) for each in results]


def _query(result: QueryResult, hosts: Sequence[str], details: Details) -> Document:
    served_by = result.served_by or (result.index if result.usable else None)
    return {
        "query": result.query,
        "index": result.index,
        "served": result.served if result.fits else None,
        "served_by": served_by,
        "reason": _reason(result, hosts, details),
    }


def _reason(result: QueryResult, hosts: Sequence[str], details: Details) -> str | None:
    """Return what else is known of a query; the notes name values that were sampled, such as a telephone number."""
    if details.shown:
        return " ".join(details.text(note, hosts) for note in result.notes) or None
    if not result.fits:
        return "The planner cannot plan it."
    return None if result.served else "No index serves it."


def _advice(state: State | None, care: Care | None, details: Details) -> list[Document]:
    """Return the advice of ``health``, or that of ``check`` as long as health is not known."""
    if state is None:
        return []
    given = care.health.advice if care else state.check.advice
    return [{"kind": each.kind, "index": each.other, **details.hint(each.text, state.hosts)} for each in given]
