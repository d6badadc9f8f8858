"""Windows of time in which a run may begin a change: days, times and a time zone. Pure: no clock here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo

from indexer.errors import UsageError
from indexer.tuples import NamedTuple

FORM = "DAYS HH:MM-HH:MM [; DAYS HH:MM-HH:MM]... [ZONE]"
EXAMPLES = "'daily 22:00-04:00', or 'mon-fri 22:00-04:00; sat,sun 00:00-24:00 Europe/Vienna'"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAILY = "daily"
TIMES = re.compile(r"(\d\d?):(\d\d)-(\d\d?):(\d\d)")
A_DAY = 24 * 60  # minutes
AHEAD = 15  # days to look ahead: more than a week, because the change to summer time can leave one opening out


class Span(NamedTuple):
    """Some hours of some days of the week.

    Attributes:
        days: those it begins on, 0 for Monday.
        begins: minutes after midnight.
        ends: minutes after midnight of the same day; more than 1,440 if it ends on the next one.
    """

    days: frozenset[int]
    begins: int
    ends: int


class Opening(NamedTuple):
    """One time for which a window is open, from a moment to another, in UTC."""

    begins: datetime
    ends: datetime


class Window(NamedTuple):
    """When a run may begin a change; ``text`` is what the user typed."""

    text: str
    spans: tuple[Span, ...]
    zone: tzinfo

    def opening(self, now: datetime) -> Opening:
        """Return the opening that is open now, else the next one. Openings without a gap between them are one."""
        found: Opening | None = None
        for following in sorted(self._openings(now)):
            if following.ends <= now:
                continue
            if found and following.begins > found.ends:
                return found
            found = Opening(found.begins, max(found.ends, following.ends)) if found else following
        assert found, "every window opens at least every second week"
        return found

    def is_open(self, now: datetime) -> bool:
        """Return whether a change may begin now."""
        return self.opening(now).begins <= now

    def opens(self, now: datetime) -> datetime:
        """Return when the window opens next; if it is open now, when it does so after that."""
        opening = self.opening(now)
        return opening.begins if opening.begins > now else self.opening(opening.ends).begins

    def _openings(self, now: datetime) -> Iterator[Opening]:
        """Yield the openings that begin from yesterday on, in no order.

        The change of the clocks makes a time come twice, or not at all. Each opening begins at the later and ends at
        the earlier of two possible moments, so no change begins at a moment that could be read as one outside.
        """
        today = now.astimezone(self.zone).date()
        for day in (today + timedelta(days=number) for number in range(-1, AHEAD)):
            for span in self.spans:
                if day.weekday() in span.days:
                    begins, ends = max(self._moments(day, span.begins)), min(self._moments(day, span.ends))
                    if begins < ends:
                        yield Opening(begins, ends)

    def _moments(self, day: date, minutes: int) -> list[datetime]:
        """Return what a time of a day can mean, in UTC: two moments where the clock is put back or forward over it."""
        local = datetime.combine(day, time()) + timedelta(minutes=minutes)
        return [local.replace(tzinfo=self.zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1)]

    def shown(self, moment: datetime) -> str:
        """Return a moment as the clocks of the zone show it: Sat 28 Nov 2026, 01:00 CET."""
        return f"{moment.astimezone(self.zone):%a %d %b %Y, %H:%M %Z}"

    def __str__(self) -> str:
        return self.text


def parse(text: str) -> Window:
    """Return the window that a text describes.

    Raises:
        UsageError: it has another form, or the time zone is unknown.
    """
    parts = [part.split() for part in re.sub(r"\s*([,-])\s*", r"\1", text).split(";")]
    *_, last = parts
    if any(len(part) == 3 for part in parts[:-1]):
        raise _wrong(text, "one time zone, at the end, counts for all of its times")
    zone = _zone(last.pop()) if len(last) == 3 else timezone.utc
    if any(len(part) != 2 for part in parts):
        raise _wrong(text, "it needs days and times")
    return Window(text, tuple(Span(_days(text, days.lower()), *_minutes(text, times)) for days, times in parts), zone)


def _days(text: str, days: str) -> frozenset[int]:
    """Return the days of a list such as mon-wed,sat; a range may go over the end of the week."""
    if days == DAILY:
        return frozenset(range(7))
    found: set[int] = set()
    for each in days.split(","):
        first, _, last = each.partition("-")
        if first not in DAYS or (last or first) not in DAYS or each.endswith("-"):
            raise _wrong(text, f"{each!r} is not a day: use {', '.join(DAYS)}, a range such as mon-fri, or {DAILY}")
        begins, ends = DAYS.index(first), DAYS.index(last or first)
        found.update(day % 7 for day in range(begins, ends + (7 if ends < begins else 0) + 1))
    return frozenset(found)


def _minutes(text: str, times: str) -> tuple[int, int]:
    """Return begin and end in minutes after midnight; an end that comes before the begin is one of the next day."""
    parts = TIMES.fullmatch(times)
    if parts is None:
        raise _wrong(text, f"{times!r} is not a time such as 01:00-05:00")
    hour, minute, last_hour, last_minute = map(int, parts.groups())
    begins, ends = hour * 60 + minute, last_hour * 60 + last_minute
    if max(minute, last_minute) > 59 or begins >= A_DAY or ends > A_DAY:
        raise _wrong(text, f"{times!r} is not a time of a day")
    if begins == ends:
        raise _wrong(text, f"{times} has no length; a whole day is 00:00-24:00")
    return begins, ends if ends > begins else ends + A_DAY


def _zone(name: str) -> tzinfo:
    """Return a time zone of the IANA database."""
    if name.upper() == "UTC":
        return timezone.utc
    from zoneinfo import ZoneInfo, available_timezones  # here, because most commands need none

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # the last one for a folder of zones, such as Europe
        if available_timezones():
            message = f"There is no time zone {name!r}."
            raise UsageError(message, "Use a name of the IANA database, such as Europe/Vienna, or UTC.") from None
    raise UsageError(
        f"The time zone {name!r} cannot be found, because this machine has no time zone database.",
        "Install it (pip install tzdata), or give the times in UTC.",
    )


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"{text!r} is not a window: {why}.", f"A window is {FORM}: {EXAMPLES}.")
