"""Windows of time for the tests, open or closed whatever the time is."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from indexer.pace.window import Span, Window


def window_from_now(begins: timedelta, ends: timedelta) -> str:
    """Return a window on every day, in UTC, from one time after now to another."""
    now = datetime.now(timezone.utc)
    return f"daily {now + begins:%H:%M}-{now + ends:%H:%M}"


def closing_in(seconds: float) -> Window:
    """Return a window that is open and closes so soon: its zone is one in which it is that long before five."""
    now = datetime.now(timezone.utc)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    zone = timezone((timedelta(hours=5, seconds=-seconds) - (now - midnight)) % timedelta(days=1))
    return Window("daily 01:00-05:00", (Span(frozenset(range(7)), 60, 300),), zone)
