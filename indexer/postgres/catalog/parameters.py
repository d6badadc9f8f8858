"""The storage parameters of PostgreSQL's own access methods, because no statement checks them without building."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from indexer.definition import Definition
from indexer.postgres.expression.comparison import SAME

Allowed = range | tuple[str, ...]

ON_OFF = ("on", "off", *SAME)
FILL = {"fillfactor": range(10, 101)}
ALLOWED: Mapping[str, Mapping[str, Allowed]] = {
    "btree": {**FILL, "deduplicate_items": ON_OFF},
    "hash": FILL,
    "gist": {**FILL, "buffering": ("on", "off", "auto")},
    "spgist": FILL,
    "gin": {"fastupdate": ON_OFF, "gin_pending_list_limit": range(64, 2**31)},
    "brin": {"autosummarize": ON_OFF, "pages_per_range": range(1, 131073)},
}
SINCE = {"deduplicate_items": 13}  # the major version


def wrong_parameters(index: str, declared: Definition, major: int) -> Iterator[str]:
    """Yield why the server would refuse a storage parameter; those of an extension's access method are not known."""
    if declared.method not in ALLOWED:
        return
    known = {name: allowed for name, allowed in ALLOWED[declared.method].items() if SINCE.get(name, 0) <= major}
    for name, _, value in (parameter.partition("=") for parameter in declared.storage):
        if name not in known:
            names = ", ".join(known)
            yield f"{index} has storage parameter {name}, and access method {declared.method} has only {names}"
        elif not _is_allowed(value, known[name]):
            yield f"{index} has {name} = {value}, which has to be {_spelled(known[name])}"


def _is_allowed(value: str, allowed: Allowed) -> bool:
    if isinstance(allowed, range):
        return value.isdecimal() and int(value) in allowed
    return value.lower() in allowed


def _spelled(allowed: Allowed) -> str:
    if isinstance(allowed, range):
        return f"a number from {allowed.start} to {allowed.stop - 1}"
    return "on or off" if allowed is ON_OFF else ", ".join(allowed)
