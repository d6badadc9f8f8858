"""Documents of /status.json, made up for the tests of the page: of a database where all is well, and of others."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]

BASE, HEAD = "2792ed2d7978", "10992629d68e"
UP = "python cli.py up"
INDEXES = {
    "ix_activity_openphone_id": ("activity", ["openphone_id"], "activity_seen(openphone_id)"),
    "ix_webhook_event_processed": ("webhook_event", ["processed", "event_type"], "pending_events(event_type)"),
    "ix_campaign_membership_campaign_status": (
        "campaign_membership",
        ["campaign_id", "status"],
        "members_by_status(campaign_id, status)",
    ),
    "ix_contact_phone_hash": ("contact", ["phone"], "contact_by_phone(phone)"),
    "ix_activity_conversation_created": (
        "activity",
        ["conversation_id", "created_at DESC"],
        "latest_activities(conversation_id)",
    ),
    "ix_contact_flag_opted_out": ("contact_flag", ["flag_type", "contact_id"], "opted_out(contact_id)"),
    "ix_conversation_contact_id": ("conversation", ["contact_id"], "conversations_of(contact_id)"),
    "ix_activity_type": ("activity", ["activity_type"], "activities_of_type(activity_type)"),
    "ix_campaign_membership_contact_id": ("campaign_membership", ["contact_id"], "campaigns_of(contact_id)"),
    "ix_webhook_event_event_type": ("webhook_event", ["event_type"], "events_of_type(event_type)"),
}
MB = 1024 * 1024


def well() -> Document:
    """Return the document of a database where all is well."""
    return {
        "snapshot": {
            "up": True,
            "taken_at": "2026-11-26T10:31:02Z",
            "age_seconds": 2.1,
            "interval_seconds": 5,
            "error": None,
        },
        "health": {"taken_at": "2026-11-26T10:30:40Z", "age_seconds": 24.0, "error": None},
        "version": "0.1.0",
        "gate": {"open": True, "reason": None, "hint": None, "commands": []},
        "database": {"engine": "postgresql", "version": "15.10", "standby": None},
        "revision": HEAD,
        "head": HEAD,
        "pending": [],
        "revisions": [
            {
                "revision": BASE,
                "down_revision": None,
                "date": None,
                "description": "base schema",
                "state": "applied",
                "started_at": "2026-05-03T21:04:11Z",
                "applied_at": "2026-05-03T21:04:11Z",
            },
            {
                "revision": HEAD,
                "down_revision": BASE,
                "date": "2025-08-21",
                "description": "Performance indexes for webhook, campaign and opt-out processing",
                "state": "applied",
                "started_at": "2026-05-03T21:04:11Z",
                "applied_at": "2026-05-03T21:52:47Z",
            },
        ],
        "indexes": [index(name, number) for number, name in enumerate(INDEXES)],
        "builds": [],
        "queries": [
            {"query": call, "index": name, "served": True, "served_by": name, "reason": None}
            for name, (_, _, call) in INDEXES.items()
        ],
        "advice": [],
        "warnings": [],
    }


def closed(reason: str, before: str = "", command: str | None = None) -> Document:
    """Return a closed gate with the command that opens it."""
    hint = f"{before}{command}" if command else None
    return {"open": False, "reason": reason, "hint": hint, "commands": [command] if command else []}


def index(name: str, number: int = 0, **changed: Any) -> Document:
    """Return the document of a valid index."""
    table, columns, _ = INDEXES.get(name, ("activity", ["activity_type"], ""))
    size = (38 + 41 * number) * MB
    is_partial = name == "ix_contact_flag_opted_out"
    return {
        "index": name,
        "schema": "public",
        "table": table,
        "revision": HEAD,
        "method": "hash" if name.endswith("hash") else "btree",
        "columns": columns,
        "predicate": "flag_type = 'opted_out'" if is_partial else None,
        "purpose": "",
        "state": "valid",
        "finding": "valid",
        "origin": "created",
        "differences": [],
        "partitions": None,
        "bytes": size,
        "bytes_after_rebuild": int(size / 1.1),
        "evidence": "baseline",
        "measured_at": "2026-05-03T21:52:47Z",
        "why": None,
        "scans": 1_204_311 * (number + 1) % 7_000_003,
        "since": "2026-05-03T21:52:47Z",
        "since_event": "built",
        "last_scan": "2026-11-26T10:30:41Z",
        "collation_suspect": False,
        "deep_checked_at": None,
        **changed,
    }


def changed(document: Document, name: str, **parts: Any) -> Document:
    """Return the document after a change of one of its indexes."""
    for each in document["indexes"]:
        if each["index"] == name:
            each.update(parts)
    return document


ABSENT = {
    "bytes": None,
    "bytes_after_rebuild": None,
    "evidence": None,
    "measured_at": None,
    "scans": None,
    "since": None,
    "last_scan": None,
}


def drifted() -> Document:
    """Return the document of a database with a missing, an invalid and a different index."""
    document = well()
    changed(document, "ix_activity_type", state="missing", finding="missing", **ABSENT)
    changed(document, "ix_contact_phone_hash", state="invalid", finding="not valid")
    difference = {"part": "key", "declared": "conversation_id, created_at DESC", "found": "conversation_id, created_at"}
    changed(
        document,
        "ix_activity_conversation_created",
        state="different",
        finding="different definition",
        differences=[difference],
    )
    states = {"ix_contact_phone_hash": "invalid", "ix_activity_conversation_created": "different"}
    states["ix_activity_type"] = "missing"
    names = ", ".join(f"{name} ({state})" for name, state in states.items())
    reason = f"These indexes are not as declared: {names}."
    document["gate"] = closed(reason, "To repair it, run: ", UP)
    for query in document["queries"]:
        if query["index"] in names:
            query.update(served=False, served_by=None, reason="the index is missing or not valid")
    return document


def pending(building: bool = True) -> Document:
    """Return the document of a database that the revision is being applied to, while a session blocks a build."""
    document = well()
    document["gate"] = closed(f"Revision {HEAD} is pending (3 of its 10 indexes are valid).", "To build it, run: ", UP)
    document.update(revision=BASE, pending=[HEAD])
    document["revisions"][1].update(state="applying", applied_at=None, started_at="2026-11-26T10:02:11Z")
    for number, name in enumerate(INDEXES):
        if number > 3:
            changed(document, name, state="missing", finding="missing", **ABSENT)
    for query in document["queries"][3:]:
        query.update(served=False, served_by=None, reason="its index is missing")
    if building:
        building_index = {"state": "in progress", "finding": "being built"}
        changed(document, "ix_contact_phone_hash", **{**ABSENT, **building_index})
        changed(document, "ix_activity_conversation_created", **{**ABSENT, **building_index})
        document["builds"] = [
            {
                "index": "ix_contact_phone_hash",
                "table": "contact",
                "dropping": False,
                "phase": "building index: loading tuples in tree",
                "progress": 0.42,
                "seconds": 183.4,
                "waiting_seconds": None,
                "blockers": [],
            },
            {
                "index": "ix_activity_conversation_created",
                "table": "activity",
                "dropping": False,
                "phase": "waiting for writers before build",
                "progress": None,
                "seconds": 251.0,
                "waiting_seconds": 244.0,
                "blockers": [
                    {"pid": 47_110, "reason": "idle in transaction, holds a lock on activity", "seconds": 1_912.0},
                    {"pid": None, "reason": "holds a lock on activity", "seconds": None},
                ],
            },
        ]
    return document


def away() -> Document:
    """Return the document of a database that has gone away four minutes ago."""
    document = well()
    document["snapshot"].update(up=False, age_seconds=252.0, error="The server closed the connection.")
    document["gate"] = closed("The database cannot be read.")
    return document


def unread(up: bool | None = None) -> Document:
    """Return the document of a service that has read nothing yet."""
    document = well()
    error = None if up is None else "Connection refused."
    document["snapshot"].update(up=up, taken_at=None, age_seconds=None, error=error)
    document["health"] = {"taken_at": None, "age_seconds": None, "error": None}
    document["gate"] = closed("The database has not been read yet.")
    empty: Document = {"database": None, "revision": None, "pending": [], "revisions": [], "indexes": []}
    return {**document, **empty, "queries": []}


def empty() -> Document:
    """Return the document of a database without any table."""
    document = pending(building=False)
    document["gate"] = closed("The database has none of the tables.", "To build it, run: ", UP)
    document.update(revision=None, pending=[BASE, HEAD])
    for each in document["revisions"]:
        each.update(state=None, started_at=None, applied_at=None)
    for name in INDEXES:
        changed(document, name, state="missing", finding="missing", **ABSENT)
    for query in document["queries"]:
        query.update(served=None, served_by=None, reason="its table does not exist")
    return document


def advised() -> Document:
    """Return the document of a healthy database with advice."""
    document = well()
    changed(document, "ix_activity_type", bytes=2_900 * MB, bytes_after_rebuild=1_130 * MB)
    changed(document, "ix_webhook_event_event_type", collation_suspect=True, deep_checked_at="2026-11-20T02:00:00Z")
    why = "the table has too few rows"
    changed(document, "ix_conversation_contact_id", bytes_after_rebuild=None, evidence=None, why=why)
    reindex, check = "python cli.py reindex ix_activity_type", "python cli.py check --deep ix_webhook_event_event_type"
    document["advice"] = [
        {
            "kind": "suspect",
            "index": "ix_webhook_event_event_type",
            "text": f"The collation of ix_webhook_event_event_type has changed from 2.36 to 2.41. Check it: {check}",
            "commands": [check],
        },
        {
            "kind": "bloated",
            "index": "ix_activity_type",
            "text": "ix_activity_type: 2900 MB; a rebuild would leave about 1130 MB, measured against the build of"
            f" 3 May. Rebuild it: {reindex}",
            "commands": [reindex],
        },
    ]
    document["warnings"] = [
        "Scans are an upper bound: EXPLAIN, and so verify, can count as one, and each lookup of check --deep does."
    ]
    return document


def hostile() -> Document:
    """Return a document with names, texts and commands that a browser must not obey."""
    script = '<script>document.title = "obeyed"</script>'
    document = drifted()
    document["database"].update(version=script, name=f"crm{script}")
    document["gate"] = closed(f"Missing: {script}", f"{script}: ", f"{UP} '{script}'")
    changed(document, "ix_activity_type", table=script, columns=[script], predicate='"><img src=x onerror=alert(1)>')
    document["indexes"][0]["index"] = f"ix_{script}\u202egnp.exe\x1b[2J"
    document["queries"][0].update(query=f"{script}(a)", reason='" onload="x')
    document["revisions"][1]["description"] = script
    advice = {"kind": "bloated", "index": script, "text": f"{script}: run up {script}", "commands": [f"up {script}"]}
    document["advice"] = [advice]
    document["warnings"] = [script]
    blocker = {"pid": 1, "reason": script, "seconds": 1.0, "query": script, "role": script}
    build = {"index": script, "table": script, "dropping": False, "phase": script, "progress": 0.5, "seconds": 1.0}
    document["builds"] = [{**build, "waiting_seconds": 1.0, "blockers": [blocker]}]
    return document


def many(count: int = 60) -> Document:
    """Return the document of a database with many indexes, whose names have 63 characters, on SQLite without counts."""
    document = well()
    document["database"].update(engine="sqlite", version="3.40.1")
    names = [f"ix_{number:02}_{'a_table_with_a_long_name_and_its_columns_' * 2}"[:63] for number in range(count)]
    document["indexes"] = [
        index(name, number, scans=None, since=None, last_scan=None, since_event=None)
        for number, name in enumerate(names)
    ]
    document["queries"] = [
        {"query": f"rows_of_{number}(first, second, third)", "index": name, "served": True, "served_by": name}
        | {"reason": None}
        for number, name in enumerate(names)
    ]
    return document
