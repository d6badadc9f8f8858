"""What an operator reads first: whether all is well and, if not, what to do. Pure: no database here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from indexer.text import counted, few
from indexer.tuples import NamedTuple

Document = Mapping[str, Any]

GOOD, PENDING, BUSY, WARNING, BAD, UNKNOWN = "good", "pending", "busy", "warning", "bad", "unknown"
URGENCY = (BAD, UNKNOWN, WARNING, BUSY, PENDING, GOOD)
SHORTEST_LATE, MISSED = 30, 4  # a snapshot is late after so many seconds, and after so many intervals
TONES = {"valid": GOOD, "in progress": BUSY, "unknown": UNKNOWN}  # those of all other states are BAD


class Verdict(NamedTuple):
    """What is to be said first.

    Attributes:
        tone: how it is meant: good, busy, warning, bad, or unknown.
        text: one or two sentences; empty where the title says all.
        hint: what to do, with the commands in it as they are to be typed; empty where nothing is to be done.
        commands: these commands alone.
        is_old: whether all else that the page shows may have changed since it was read.
    """

    tone: str
    title: str
    text: str = ""
    hint: str = ""
    commands: tuple[str, ...] = ()
    is_old: bool = False


def verdict(document: Document) -> Verdict:
    """Return the most urgent of all that a snapshot says.

    Args:
        document: as ``/status.json`` has it.
    """
    judges = (_unread, _late, _corrupt, _blocked, _building, _closed, _unserved, _suspect)
    found = next(filter(None, (judge(document) for judge in judges)), None)
    return found or Verdict(GOOD, "All is well", _in_place(document))


def tone_of(index: Document, pending: Sequence[str]) -> str:
    """Return how the state of an index is meant; one of a pending revision may be missing."""
    if index["finding"] == "corrupt":
        return BAD
    if index["state"] == "missing" and index["revision"] in pending:
        return PENDING
    return TONES.get(index["state"] or "unknown", BAD)


def broken(document: Document) -> list[str]:
    """Return the names of the indexes that need repair."""
    return [each["index"] for each in document["indexes"] if tone_of(each, document["pending"]) == BAD]


def percent(build: Document) -> int | None:
    """Return how much of its phase a build has done; None where the server gives no number."""
    return None if build["progress"] is None else min(max(int(100 * build["progress"]), 0), 100)


def age(seconds: float) -> str:
    """Return a duration in its largest unit: 12 s, 4 min, 3 h, 5 days."""
    whole = max(round(seconds), 0)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h" if whole < 172_800 else f"{whole // 86_400} days"


def _unread(document: Document) -> Verdict | None:
    """Return that the database cannot be read, or has not been read yet."""
    snapshot = document["snapshot"]
    if snapshot["up"]:
        return None
    if snapshot["up"] is None:
        return Verdict(UNKNOWN, "Reading the database", "This is the first time since the service started.")
    since = "It has not been read since the service started."
    if snapshot["taken_at"]:
        since = f"What follows was read {age(snapshot['age_seconds'])} ago, and may have changed."
    return Verdict(BAD, "The database cannot be read", f"{snapshot['error'] or ''} {since}".strip(), is_old=True)


def _late(document: Document) -> Verdict | None:
    snapshot = document["snapshot"]
    seconds, interval = snapshot["age_seconds"], snapshot["interval_seconds"]
    if seconds is None or seconds <= max(SHORTEST_LATE, MISSED * interval):
        return None
    text = f"The database was read {age(seconds)} ago, instead of every {age(interval)}. What follows may have changed."
    return Verdict(UNKNOWN, "This page is out of date", text, is_old=True)


def _corrupt(document: Document) -> Verdict | None:
    names = [each["index"] for each in document["indexes"] if each["finding"] == "corrupt"]
    return _of_gate(document, BAD, f"{_indexes(names)} corrupt", _named(names)) if names else None


def _blocked(document: Document) -> Verdict | None:
    """Return which build another session holds up."""
    blocked = [build for build in document["builds"] if build["blockers"]]
    if not blocked:
        return None
    first, *others = blocked
    waiting = "" if first["waiting_seconds"] is None else f" for {age(first['waiting_seconds'])}"
    ends = "it ends its transaction" if len(first["blockers"]) == 1 else "they end their transactions"
    text = f"{first['index']} has been blocked{waiting} by {counted(len(first['blockers']), 'session')}, until {ends}."
    more = f" {counted(len(others), 'other build')} {'is' if len(others) == 1 else 'are'} blocked, too." * bool(others)
    title = "A drop is waiting for another session" if first["dropping"] else "A build is waiting for another session"
    return Verdict(WARNING, title, text + more)


def _building(document: Document) -> Verdict | None:
    builds = document["builds"]
    if not builds:
        return None
    names = [each["index"] for each in builds]
    first = f"{names[0]} is at {percent(builds[0])}%. " if percent(builds[0]) is not None else ""
    what = "dropped" if all(each["dropping"] for each in builds) else "built"
    return Verdict(BUSY, f"{_indexes(names)} being {what}", f"{first}{_in_place(document)}")


def _closed(document: Document) -> Verdict | None:
    """Return why the gate is closed."""
    if document["gate"]["open"]:
        return None
    if document["snapshot"]["taken_at"] and document["revision"] is None:
        return _of_gate(document, WARNING, "No tables yet")
    names, pending = broken(document), document["pending"]
    if names:
        need = "needs" if len(names) == 1 else "need"
        return _of_gate(document, BAD, f"{len(names)} of {_all_indexes(document)} {need} repair", _named(names))
    if pending:
        return _of_gate(document, WARNING, f"{counted(len(pending), 'revision')} pending", _named(pending))
    unknown = any(tone_of(each, pending) == UNKNOWN for each in document["indexes"])
    title = "Cannot tell whether all is well" if unknown else "The gate is closed"
    return _of_gate(document, UNKNOWN if unknown else BAD, title)


def _unserved(document: Document) -> Verdict | None:
    calls = [each["query"] for each in document["queries"] if each["served"] is False]
    if not calls:
        return None
    are = "query is" if len(calls) == 1 else "queries are"
    return Verdict(WARNING, f"{len(calls)} {are} not served", f"No index serves {', '.join(few(calls))}.")


def _suspect(document: Document) -> Verdict | None:
    names = [each["index"] for each in document["indexes"] if each["collation_suspect"]]
    if not names:
        return None
    title = f"{_indexes(names)} suspect"
    advice = next((each for each in document["advice"] if each["kind"] == "suspect"), None)
    if advice:
        return Verdict(WARNING, title, "Lookups may miss rows.", advice["text"], tuple(advice["commands"]))
    text = f"The collation has changed since the build of {', '.join(few(names))}: lookups may miss rows."
    return Verdict(WARNING, title, text)


def _of_gate(document: Document, tone: str, title: str, otherwise: str = "") -> Verdict:
    """Return a verdict that the gate gives the reason of, and what to do."""
    gate = document["gate"]
    return Verdict(tone, title, gate["reason"] or otherwise, gate["hint"] or "", tuple(gate["commands"]))


def _in_place(document: Document) -> str:
    valid = sum(each["state"] == "valid" for each in document["indexes"])
    return f"{valid} of {_all_indexes(document)} {'is' if valid == 1 else 'are'} valid{_served(document)}."


def _served(document: Document) -> str:
    """Return how many queries are served, as the end of a sentence; nothing where that is not known."""
    known = [each for each in document["queries"] if each["served"] is not None]
    served = sum(each["served"] for each in known)
    return f"; {served} of {counted(len(known), 'query', 'queries')} {'is' if served == 1 else 'are'} served" * bool(
        known
    )


def _all_indexes(document: Document) -> str:
    return counted(len(document["indexes"]), "index", "indexes")


def _indexes(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'index', 'indexes')} {'is' if len(names) == 1 else 'are'}"


def _named(names: Sequence[str]) -> str:
    return f"{', '.join(few(names))}."
