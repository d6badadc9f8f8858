"""The table of the indexes on the page. Pure: no database here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from indexer.care.advice import HEALTHY, SOURCES
from indexer.service.page.cell import NOT_KNOWN, Cell, day_of, moment, now_of
from indexer.service.page.verdict import BAD, BUSY, GOOD, PENDING, URGENCY, WARNING, Document, age, tone_of
from indexer.text import counted, few, in_bytes
from indexer.tuples import NamedTuple

STATES = {"in progress": "being built"}
EVIDENT = ("not valid", "different definition", "not an index")  # findings that say no more than the state
COLUMNS = {"bytes": "Size", "bytes_after_rebuild": "After a rebuild", "scans": "Scans", "last_scan": "Last scan"}
LEFT_OUT = {
    "bytes": "sizes",
    "bytes_after_rebuild": "sizes after a rebuild",
    "scans": "scans",
    "last_scan": "last scans",
}
MOST_NAMED = 10
NO_BREAK = "\N{NO-BREAK SPACE}"


class IndexRow(NamedTuple):
    """One index: its name, what it is on, its state, and the cells of those columns that are known of any index."""

    name: str
    on: str
    state: Cell
    cells: tuple[Cell, ...]
    differences: tuple[Document, ...]


class IndexTable(NamedTuple):
    """The rows of all indexes, those that need something first, and what is to be said of all of them."""

    columns: tuple[str, ...]
    rows: tuple[IndexRow, ...]
    notes: tuple[str, ...]


def index_table(document: Document) -> IndexTable:
    """Return the rows of all indexes; a column of which nothing is known is left out, and named in a note."""
    indexes, now, pending = document["indexes"], now_of(document), document["pending"]
    known = [name for name in COLUMNS if any(each[name] is not None for each in indexes)]
    built = [each["index"] for each in document["builds"]]
    rows = [_row(each, known, _state(each, pending, built, now), now) for each in indexes]
    rows.sort(key=lambda row: URGENCY.index(row.state.tone))
    exist = [each for each in indexes if each["state"] != "missing"]
    untold = _untold(exist)
    said = [*known, *(["bytes_after_rebuild"] if untold else [])]
    notes = [*_left_out(said), *untold, *_slow_part(document)] if exist else []
    return IndexTable(tuple(COLUMNS[name] for name in known), tuple(rows), tuple(notes))


def _row(index: Document, known: Sequence[str], state: Cell, now: datetime | None) -> IndexRow:
    if index["state"] == "missing":
        cells = tuple(Cell("") for _ in known)
    else:
        cells = tuple(READERS[name](index, now) for name in known)
    return IndexRow(index["index"], _on(index), state, cells, tuple(index["differences"]))


def _on(index: Document) -> str:
    method = "" if index["method"] in (None, "btree") else f", {index['method']}"
    where = f" WHERE {index['predicate']}" if index["predicate"] else ""
    partitions = index["partitions"]
    parts = f", {counted(partitions['count'], 'partition')}" if partitions else ""
    return f"{index['table']} ({', '.join(index['columns'] or ())}){where}{method}{parts}"


def _state(index: Document, pending: Sequence[str], built: Sequence[str], now: datetime | None) -> Cell:
    """Return the state of an index, with what is found in detail and with its last deep check.

    Args:
        built: the names of the indexes that are being built, also under another name.
    """
    said = index["state"] or "unknown"
    tone = tone_of(index, pending)
    text = "corrupt" if index["finding"] == "corrupt" else STATES.get(said, said)
    text = "not built yet" if tone == PENDING else text
    text = index["finding"] if index["finding"] == "being dropped" else text
    notes = [index["finding"]] if index["finding"] not in (None, said, text, *EVIDENT) else []
    notes += ["collation changed"] if index["collation_suspect"] else []
    notes += [f"deep-checked on {day_of(index['deep_checked_at'], now)}"] if index["deep_checked_at"] else []
    if index["index"] in built and text != "being dropped" and tone in (BAD, PENDING):
        return Cell(STATES["in progress"], "; ".join([said, *notes]), tone=BUSY)
    is_rebuilt = index["index"] in built and tone == GOOD and text != "being dropped"
    notes += ["being rebuilt"] if is_rebuilt else []
    is_suspect = tone == GOOD and index["collation_suspect"]
    return Cell("suspect" if is_suspect else text, "; ".join(notes), tone=WARNING if is_suspect else tone)


def _bytes(index: Document, now: datetime | None) -> Cell:
    return NOT_KNOWN if index["bytes"] is None else Cell(in_bytes(index["bytes"]))


def _after_rebuild(index: Document, now: datetime | None) -> Cell:
    after = index["bytes_after_rebuild"]
    if index["bytes"] is None or after is None:
        return Cell("cannot tell", known=False) if index["why"] else NOT_KNOWN
    if not freed(index):
        return Cell("about the same", known=False)
    measured = day_of(index["measured_at"], now) if index["measured_at"] else ""
    source = SOURCES.get(index["evidence"] or "", "").format(day=measured)
    return Cell(f"about {in_bytes(after)}", source, tone=WARNING)


def freed(index: Document) -> int:
    """Return the bytes that a rebuild would free; 0 where that is not more than usual."""
    size, after = index["bytes"], index["bytes_after_rebuild"]
    if size is None or not after or size < HEALTHY * after:
        return 0
    return int(size - after)


def _scans(index: Document, now: datetime | None) -> Cell:
    if index["scans"] is None:
        return NOT_KNOWN
    since = f"since {day_of(index['since'], now)}".replace(" ", NO_BREAK) if index["since"] else ""
    return Cell(f"{index['scans']:,}", since or "since when is not known")


def _last_scan(index: Document, now: datetime | None) -> Cell:
    if index["last_scan"] is None:
        return Cell("none", known=False) if index["scans"] == 0 else NOT_KNOWN
    seconds = (now - moment(index["last_scan"])).total_seconds() if now else 0
    return Cell(f"{age(seconds)} ago")


READERS: dict[str, Callable[[Document, datetime | None], Cell]] = {
    "bytes": _bytes,
    "bytes_after_rebuild": _after_rebuild,
    "scans": _scans,
    "last_scan": _last_scan,
}


def _left_out(said: Sequence[str]) -> list[str]:
    """Return of what nothing is known, and nothing else is said."""
    missing = [title for name, title in LEFT_OUT.items() if name not in said]
    return [f"Not known of this database: {', '.join(missing)}."] if missing else []


def _slow_part(document: Document) -> list[str]:
    """Return when that was read which is read less often, and why it could not be read again."""
    health = document["health"]
    error = [f"Not all of scans, sizes and queries can be read: {health['error']}"] if health["error"] else []
    if health["age_seconds"] is None:
        return error
    return [*error, f"Scans, sizes after a rebuild and queries were read {age(health['age_seconds'])} ago."]


def _untold(indexes: Sequence[Document]) -> list[str]:
    """Return why it cannot be told what a rebuild would leave of some indexes, each reason once.

    Their names are left out where it cannot be told of any index.
    """
    names: dict[str, list[str]] = {}
    for each in indexes:
        if each["why"] and each["bytes_after_rebuild"] is None:
            names.setdefault(each["why"], []).append(each["index"])
    told = "Cannot tell what a rebuild would leave, because"
    if names and sum(map(len, names.values())) == len(indexes):
        return [f"{told} {', and '.join(names)}."]
    return [f"{told} {why}: {', '.join(few(which, MOST_NAMED))}." for why, which in names.items()]
