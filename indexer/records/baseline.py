"""What an index was like when it was fresh, kept in the record of its revision: only this tells later what it gains.

Without a database: ``catalog.measured`` reads the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from indexer.catalog import CatalogEntry, Measured
from indexer.records.table import now
from indexer.tuples import NamedTuple

UP, REINDEX, LEARNED = "up", "reindex", "learned"  # what a baseline comes from

T = TypeVar("T")


class Baseline(NamedTuple):
    """An index as it was when it was fresh. Times are UTC, in whole seconds.

    Attributes:
        at: when it was measured.
        by: ``up`` or ``reindex``, which built it right before; ``learned`` where it was the best measured so far.
        built_at: when it was created, since when its scans are counted; None where that is not known.
        definition: a fingerprint of its definition; None where an earlier version has not recorded it.
        rows: those of its table; None where that is not known, or it is the number of tuples.
        values: what its columns were like, as in ``Measured``.
    """

    bytes: int
    tuples: int
    at: datetime
    server_version: str
    collation_version: str | None
    by: str
    built_at: datetime | None = None
    definition: str | None = None
    rows: int | None = None
    values: str | None = None


class Checked(NamedTuple):
    """The last deep check of an index that found no corruption; ``collation_version`` as it was then.

    Attributes:
        scans: how often this check and those before it have scanned the index to look rows up.
        scans_from: when the first of these checks began; None if none has.
    """

    at: datetime
    collation_version: str | None
    scans: int = 0
    scans_from: datetime | None = None


def baseline_of(measured: Measured, by: str, at: datetime, built_at: datetime | None = None) -> Baseline | None:
    """Return the baseline of an index that was measured; None where its tuples are not known."""
    if measured.tuples is None:
        return None
    return Baseline(
        bytes=measured.bytes,
        tuples=measured.tuples,
        at=at,
        server_version=measured.server_version,
        collation_version=measured.collation_version,
        by=by,
        built_at=built_at,
        definition=measured.definition,
        rows=measured.rows,
        values=measured.values,
    )


def baselines_of(measured: Mapping[str, Measured], built: Mapping[str, CatalogEntry]) -> dict[str, Baseline]:
    """Return the baselines of indexes that ``up`` has just built, without those whose tuples are not known.

    Args:
        measured: what they are like now, when the last one is built.
        built: what each was like right after its own build, as far as that is known.
    """
    at, found = now(), dict[str, Baseline]()
    for name, each in measured.items():
        fresh = built.get(name)
        if fresh and fresh.tuples is not None and fresh.bytes is not None:
            each = each._replace(bytes=fresh.bytes, tuples=fresh.tuples)
        if baseline := baseline_of(each, UP, at, at):
            found[name] = baseline
    return found


def encoded(stored: Mapping[str, Baseline] | Mapping[str, Checked]) -> dict[str, Any]:
    """Return baselines or checks by name as JSON stores them."""
    return {name: {key: _text(value) for key, value in each._asdict().items()} for name, each in stored.items()}


def baselines_from(stored: Any) -> dict[str, Baseline]:
    """Return the baselines from their stored form, without those that cannot be read."""
    return _each(stored, _baseline)


def checks_from(stored: Any) -> dict[str, Checked]:
    """Return the checks from their stored form, without those that cannot be read."""
    return _each(stored, _checked)


def _each(stored: Any, read: Callable[[Any], T]) -> dict[str, T]:
    read_or_none = {name: _read(read, each) for name, each in stored.items()} if isinstance(stored, dict) else {}
    return {name: each for name, each in read_or_none.items() if each is not None}


def _read(read: Callable[[Any], T], stored: Any) -> T | None:
    try:
        return read(stored)
    except (KeyError, TypeError, ValueError):  # another version has written it
        return None


def _baseline(stored: Any) -> Baseline:
    return Baseline(
        bytes=int(stored["bytes"]),
        tuples=int(stored["tuples"]),
        at=_moment(stored["at"]),
        server_version=str(stored["server_version"]),
        collation_version=stored["collation_version"],
        by=str(stored["by"]),
        built_at=_moment(stored["built_at"]) if stored["built_at"] else None,
        definition=stored.get("definition"),
        rows=stored.get("rows"),
        values=stored.get("values"),
    )


def _checked(stored: Any) -> Checked:
    return Checked(
        at=_moment(stored["at"]),
        collation_version=stored["collation_version"],
        scans=int(stored.get("scans", 0)),
        scans_from=_moment(stored["scans_from"]) if stored.get("scans_from") else None,
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
