"""A text of the page, and the moments in it."""

from __future__ import annotations

from datetime import datetime, timedelta

from indexer.service.page.verdict import Document
from indexer.text import day
from indexer.tuples import NamedTuple


class Cell(NamedTuple):
    """A text with a smaller one below it; ``known`` is false for one that says that something is not known."""

    text: str
    note: str = ""
    known: bool = True
    tone: str = ""


NOT_KNOWN = Cell("not known", known=False)


def now_of(document: Document) -> datetime | None:
    """Return the time at which a document was made, in UTC; None where nothing has been read."""
    snapshot = document["snapshot"]
    if snapshot["taken_at"] is None:
        return None
    return moment(snapshot["taken_at"]) + timedelta(seconds=snapshot["age_seconds"] or 0)


def moment(text: str) -> datetime:
    """Return a moment in ISO 8601, which is in UTC, without its timezone."""
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=None)


def day_of(text: str, now: datetime | None) -> str:
    """Return the day of a moment in ISO 8601: 3 May, or 3 May 2025 where that was another year than now."""
    return day(moment(text), now or moment(text))
