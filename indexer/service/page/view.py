"""What the page shows, in words: the facts, a row for each index, build and query. Pure: no database here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from indexer.service.page.cell import NOT_KNOWN, Cell, day_of, moment, now_of
from indexer.service.page.indexes import freed, index_table
from indexer.service.page.verdict import (
    BAD,
    BUSY,
    GOOD,
    PENDING,
    UNKNOWN,
    URGENCY,
    WARNING,
    Document,
    Verdict,
    age,
    percent,
    tone_of,
)
from indexer.text import in_bytes
from indexer.tuples import NamedTuple

ENGINES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
REVISION_TONES = {"applied": GOOD, "applying": BUSY, "reverting": BUSY, "reverted": PENDING}


class Build(NamedTuple):
    """A running build; ``percent`` is None where the server gives no number."""

    name: str
    table: str
    phase: str
    percent: int | None
    times: str
    blockers: tuple[tuple[str, str, str], ...]


def product(document: Document) -> str:
    """Return the database with its version, and its name where that may be shown."""
    database = document["database"] or {}
    engine = database.get("engine") or ""
    words = (ENGINES.get(engine, engine), database.get("version"))
    name = f", {database['name']}" if database.get("name") else ""
    return " ".join(filter(None, words)) + name + _standby(database.get("standby"))


def _standby(standby: Document | None) -> str:
    if not standby:
        return ""
    return ", a standby" if standby["seconds"] is None else f", a standby {age(standby['seconds'])} behind"


def facts(document: Document) -> list[tuple[str, Cell]]:
    """Return what sums the snapshot up: the gate, the indexes, the queries, the size and the revision."""
    return [
        ("Gate", _gate(document)),
        ("Indexes", _valid(document)),
        ("Queries", _served(document)),
        ("Size", _size(document["indexes"])),
        ("Revision", _revision(document)),
    ]


def _gate(document: Document) -> Cell:
    if document["gate"]["open"]:
        return Cell("open", "applications may start", tone=GOOD)
    return Cell("closed", "applications wait", tone=BAD)


def _valid(document: Document) -> Cell:
    indexes = document["indexes"]
    if not indexes:
        return NOT_KNOWN
    valid = sum(each["state"] == "valid" for each in indexes)
    return Cell(f"{valid} of {len(indexes)}", "valid", tone=GOOD if valid == len(indexes) else WARNING)


def _served(document: Document) -> Cell:
    queries = document["queries"]
    known = [each["served"] for each in queries if each["served"] is not None]
    if not known:
        return NOT_KNOWN
    left = len(queries) - len(known)
    note = f"served; {left} not known" if left else "served"
    return Cell(f"{sum(known)} of {len(queries)}", note, tone=GOOD if all(known) and not left else WARNING)


def _size(indexes: Sequence[Document]) -> Cell:
    sizes = [each["bytes"] for each in indexes if each["bytes"] is not None]
    if not sizes:
        return NOT_KNOWN
    gain = sum(map(freed, indexes))
    return Cell(in_bytes(sum(sizes)), f"a rebuild would free {in_bytes(gain)}" if gain else "all indexes together")


def _revision(document: Document) -> Cell:
    pending, known = document["pending"], document["snapshot"]["taken_at"] is not None
    note = f"{len(pending)} pending" if pending else "the latest"
    if document["revision"] is None:
        return Cell("none", note, tone=WARNING) if known else NOT_KNOWN
    if not pending and document["revision"] != document["head"]:
        note = "unknown to this version"
    return Cell(document["revision"], note, tone=WARNING if pending else GOOD)


# Builds, queries, revisions, advice -----------------------------------------------------------------------------------


def builds(document: Document) -> list[Build]:
    """Return the running builds with the sessions that they wait for."""
    return [_build(each) for each in document["builds"]]


def _build(build: Document) -> Build:
    times = [f"running for {age(build['seconds'])}"] if build["seconds"] is not None else []
    times += [f"waiting for {age(build['waiting_seconds'])}"] if build["waiting_seconds"] else []
    blockers = tuple(map(_blocker, build["blockers"]))
    phase = build["phase"] or "phase not known"
    return Build(build["index"], build["table"], phase, percent(build), ", ".join(times), blockers)


def _blocker(blocker: Document) -> tuple[str, str, str]:
    """Return a session, for how long its transaction is open, and what it holds and does."""
    pid = f"pid {blocker['pid']}" if blocker["pid"] else "a prepared transaction"
    who = ", ".join(filter(None, (blocker.get(key) for key in ("role", "application", "client"))))
    for_long = NOT_KNOWN.text if blocker["seconds"] is None else age(blocker["seconds"])
    query = f": {blocker['query']}" if blocker.get("query") else ""
    return (f"{pid} ({who})" if who else pid), for_long, f"{blocker['reason'] or NOT_KNOWN.text}{query}"


def query_rows(document: Document) -> list[tuple[str, str, Cell]]:
    """Return the call of each query, its index, and whether it is served; those that are not come first."""
    tones = {each["index"]: tone_of(each, document["pending"]) for each in document["indexes"]}
    rows = [(each["query"], each["index"], _is_served(each, tones.get(each["index"]))) for each in document["queries"]]
    return sorted(rows, key=lambda row: URGENCY.index(row[2].tone))


def _is_served(query: Document, tone_of_index: str | None) -> Cell:
    note, other = query["reason"] or "", query["served_by"]
    if query["served"] is None:
        return Cell(NOT_KNOWN.text, note, known=False, tone=UNKNOWN)
    if not query["served"]:
        is_awaited = tone_of_index in (PENDING, BUSY)
        return Cell("not served yet" if is_awaited else "not served", note, tone=PENDING if is_awaited else BAD)
    return Cell("served", f"by {other}" if other and other != query["index"] else "", tone=GOOD)


def revisions(document: Document) -> list[tuple[str, str, Cell]]:
    """Return each revision of the chain with its description and what has become of it, the latest first."""
    now, latest_first = now_of(document), reversed(document["revisions"])
    return [(each["revision"], each["description"] or "", _became(each, document, now)) for each in latest_first]


def _became(revision: Document, document: Document, now: datetime | None) -> Cell:
    state, is_pending = revision["state"], revision["revision"] in document["pending"]
    if state in (None, "applied") and is_pending:
        return Cell("pending", tone=WARNING)
    if state is None:
        return Cell("in place", ", but not recorded", tone=GOOD)
    at = revision["applied_at"] or revision["started_at"]
    by = f" by {revision['applied_by']}" if revision.get("applied_by") else ""
    tone = REVISION_TONES.get(state, WARNING)
    when = f" {'since' if tone == BUSY else 'on'} {day_of(at, now)}, {moment(at):%H:%M} UTC" if at else ""
    running = ": interrupted or still running" if tone == BUSY else ""
    return Cell(f"{state}{when}", f"{by}{running}", tone=tone)


def split(text: str, commands: Sequence[str]) -> list[tuple[bool, str]]:
    """Return the parts of a text with whether each is a command; commands that it does not have come last.

    A part after a command loses the full stop of the sentence before, which would begin its line.
    """
    absent = [(True, command) for command in commands if command not in text]
    present = sorted({command for command in commands if command in text}, key=len, reverse=True)
    if not present:
        return [(False, text), *absent]
    parts = [part.strip(" ") for part in re.split(f"({'|'.join(map(re.escape, present))})", text)]
    told = [(part in present, part if part in present else part.lstrip(".,; ")) for part in parts]
    return [*((is_command, part) for is_command, part in told if part), *absent]


def context(document: Document, verdict: Verdict) -> dict[str, Any]:
    """Return all that the page shows beside its verdict."""
    return {
        "product": product(document),
        "hint": split(verdict.hint, verdict.commands) if verdict.hint else [],
        "facts": facts(document),
        "builds": builds(document),
        "builds_drop": all(each["dropping"] for each in document["builds"]),
        "advice": [split(each["text"], each["commands"]) for each in document["advice"]],
        "indexes": index_table(document),
        "queries": query_rows(document),
        "revisions": revisions(document),
        "warnings": document["warnings"],
    }
