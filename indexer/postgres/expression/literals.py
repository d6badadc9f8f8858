"""The literals of an expression that mean something else on another day or in another session."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone

from indexer.postgres.expression.meaning import Expressions
from indexer.postgres.expression.tokens import tokens

SPECIAL = re.compile(r"\b(?:now|today|yesterday|tomorrow)\b", re.IGNORECASE)  # what date and time types read at once
POINT_IN_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)?([+-]\d\d)(:\d\d)?(?![\d:])")
USUAL = {"timezone": "UTC", "datestyle": "ISO, MDY"}
# Each setting, another value of it, and how to write a constant that does not depend on it.
SETTINGS = (
    ("TimeZone", {**USUAL, "timezone": "Etc/GMT+11"}, "write the zone, as in '2024-01-01 00:00+00'"),
    ("DateStyle", {**USUAL, "datestyle": "ISO, DMY"}, "write the year first, as in '2024-01-31'"),
)


def unsettled(expressions: Expressions, table: str, sql: str) -> Iterator[str]:
    """Yield what is wrong with the literals of an expression, as the end of a sentence: "uses 'now', ..."."""
    written = _strings(sql)
    if not any(SPECIAL.search(text) or re.search(r"\d", text) for text in written):
        return
    meant = _in_utc(expressions.planned(table, sql, USUAL))
    for text in written:
        word = SPECIAL.search(text)
        if word and word[0].lower() not in " ".join(_strings(meant)).lower():
            yield f"uses {text}, which is the time at which it is read: write a date or a time"
            return
    for setting, values, remedy in SETTINGS:
        other = _in_utc(expressions.planned(table, sql, values))
        if other != meant:
            yield f"uses {_changed(written, meant, other)}, whose meaning depends on {setting}: {remedy}"
            return


def _strings(sql: str) -> list[str]:
    return [token.text for token in tokens(sql) if token.kind == "string"]


def _changed(written: list[str], one: str, other: str) -> str:
    """Return the literals that the planner reads in two ways; all that have a digit if that is not known."""
    pairs = list(zip(written, _strings(one), _strings(other), strict=False))
    is_known = len(written) == len(_strings(one)) == len(_strings(other))
    changed = [text for text, first, second in pairs if first != second] if is_known else []
    return " and ".join(dict.fromkeys(changed or [text for text in written if re.search(r"\d", text)]))


def _in_utc(planned: str) -> str:
    """Return the planner's text with each point in time, which it writes in the session's zone, in UTC."""
    return POINT_IN_TIME.sub(_as_utc, planned)


def _as_utc(found: re.Match[str]) -> str:
    local, fraction, hours, minutes = found.groups(default="")
    try:
        point = datetime.fromisoformat(f"{local}{hours}{minutes or ':00'}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return found[0]
    return f"{point:%Y-%m-%d %H:%M:%S}{fraction}+00"
