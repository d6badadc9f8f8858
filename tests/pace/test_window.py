"""When a window is open: days, times, time zones, and the change of the clocks. No clock here."""

from __future__ import annotations

import sys
import zoneinfo
from datetime import datetime, timedelta, timezone

import pytest

from indexer.errors import UsageError
from indexer.pace.window import FORM, parse

# 2026-11-26 is a Thursday. Vienna changes its clocks on 2026-03-29 (02:00 is 03:00) and 2026-10-25 (03:00 is 02:00).
WEEKEND = "sat,sun 01:00-05:00 Europe/Vienna"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("window", "moment", "is_open"),
    [
        pytest.param(WEEKEND, "2026-11-28T00:00", True, id="from its first moment on, in its zone"),
        pytest.param(WEEKEND, "2026-11-27T23:59", False, id="not before"),
        pytest.param(WEEKEND, "2026-11-28T03:59", True, id="until its last moment"),
        pytest.param(WEEKEND, "2026-11-28T04:00", False, id="not at its end"),
        pytest.param(WEEKEND, "2026-11-26T02:00", False, id="not on another day"),
        pytest.param(WEEKEND, "2026-07-04T03:30", False, id="in summer time it ends an hour earlier in UTC"),
        pytest.param("sat 01:00-05:00", "2026-11-28T04:59", True, id="without a zone it is in UTC"),
        pytest.param("daily 22:00-04:00", "2026-11-26T03:00", True, id="across midnight"),
        pytest.param("daily 22:00-04:00", "2026-11-26T04:30", False, id="across midnight, and then closed"),
        pytest.param("thu 22:00-04:00", "2026-11-27T03:00", True, id="it belongs to the day it begins on"),
        pytest.param("thu 22:00-04:00", "2026-11-26T03:00", False, id="and not to the day it ends on"),
        pytest.param("mon-fri 22:00-23:00", "2026-11-26T22:30", True, id="within a range of days"),
        pytest.param("fri-mon 10:00-11:00", "2026-11-29T10:30", True, id="a range over the end of the week"),
        pytest.param("fri-mon 10:00-11:00", "2026-11-26T10:30", False, id="outside of such a range"),
        pytest.param("tue,THU-FRI 10:00-11:00", "2026-11-26T10:30", True, id="a list with a range, in any case"),
        pytest.param("mon 01:00-02:00; thu 10:00-11:00 UTC", "2026-11-26T10:30", True, id="the second of two"),
        pytest.param("thu 01:00-02:00; sat 10:00-11:00 Asia/Tokyo", "2026-11-25T16:30", True, id="one zone for all"),
        pytest.param(" sat , sun  01:00 - 05:00  Europe/Vienna ", "2026-11-28T02:00", True, id="with many blanks"),
        pytest.param("thu 00:00-24:00", "2026-11-26T23:59", True, id="a whole day"),
        pytest.param("daily 01:00-05:00 America/Port-au-Prince", "2026-11-26T06:30", True, id="a zone with hyphens"),
    ],
)
def test_a_window_is_open_at_its_times_only(window, moment, is_open):
    assert parse(window).is_open(at(moment)) is is_open


@pytest.mark.parametrize(
    ("window", "day", "opens", "closes"),
    [
        pytest.param("sun 01:00-05:00", "03-29", "00:00", "03:00", id="shorter by the hour that is left out"),
        pytest.param("sun 02:30-05:00", "03-29", "01:30", "03:00", id="from the later reading of a time left out"),
        pytest.param("sun 01:00-02:30", "03-29", "00:00", "00:30", id="until the earlier reading of a time left out"),
        pytest.param("sun 01:00-05:00", "10-25", "-01:00", "04:00", id="longer by the hour that comes twice"),
        pytest.param("sun 02:30-05:00", "10-25", "01:30", "04:00", id="from the second time it is half past two"),
        pytest.param("sun 01:00-02:30", "10-25", "-01:00", "00:30", id="until the first time it is half past two"),
    ],
)
def test_the_change_of_the_clocks_never_opens_a_window_too_early_or_closes_it_too_late(window, day, opens, closes):
    midnight = at(f"2026-{day}T00:00")
    opening = parse(f"{window} Europe/Vienna").opening(midnight - timedelta(hours=12))
    assert opening == tuple(midnight + _offset(each) for each in (opens, closes))


def _offset(text: str) -> timedelta:
    hours, minutes = map(int, text.lstrip("-").split(":"))
    return timedelta(hours=hours, minutes=minutes) * (-1 if text.startswith("-") else 1)


def test_an_opening_that_the_clocks_leave_out_does_not_exist():
    window = parse("sun 02:10-02:50 Europe/Vienna")
    assert window.opening(at("2026-03-28T12:00")).begins == at("2026-04-05T00:10")


@pytest.mark.parametrize(
    "window", ["daily 22:00-24:00; daily 00:00-04:00", "daily 22:00-02:00; daily 01:00-04:00", "daily 22:00-04:00"]
)
def test_openings_without_a_gap_are_one(window):
    assert parse(window).opening(at("2026-11-26T12:00")) == (at("2026-11-26T22:00"), at("2026-11-27T04:00"))


def test_a_window_that_is_open_opens_next_after_its_end():
    window = parse(WEEKEND)
    assert window.opens(at("2026-11-28T02:00")) == at("2026-11-29T00:00")
    assert window.opens(at("2026-11-29T05:00")) == at("2026-12-05T00:00")
    assert window.shown(window.opens(at("2026-11-26T12:00"))) == "Sat 28 Nov 2026, 01:00 CET"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it needs days and times"),
        ("sat", "it needs days and times"),
        ("01:00-05:00", "it needs days and times"),
        ("sat 01:00-05:00 Europe/Vienna now", "it needs days and times"),
        ("sat 01:00-05:00 UTC; sun 01:00-05:00", "one time zone, at the end, counts for all of its times"),
        ("sat 01:00-05:00 UTC; sun 01:00-05:00 UTC", "one time zone, at the end, counts for all of its times"),
        ("sat 01:00-05:00;", "it needs days and times"),
        ("caturday 01:00-05:00", "'caturday' is not a day"),
        ("sat-,sun 01:00-05:00", "'sat-' is not a day"),
        ("sat,,sun 01:00-05:00", "'' is not a day"),
        ("sat 1-5", "'1-5' is not a time such as 01:00-05:00"),
        ("sat 25:00-26:00", "'25:00-26:00' is not a time of a day"),
        ("sat 01:60-05:00", "'01:60-05:00' is not a time of a day"),
        ("sat 24:00-05:00", "'24:00-05:00' is not a time of a day"),
        ("sat 01:00-01:00", "01:00-01:00 has no length"),
    ],
)
def test_a_text_of_another_form_is_refused_with_the_form(text, why):
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert refused.value.message.startswith(f"{text!r} is not a window: {why}")
    assert FORM in str(refused.value.hint)


@pytest.mark.parametrize("zone", ["Europe/Viena", "Europe", "../../etc/passwd", "CEST+2"])
def test_an_unknown_time_zone_is_refused(zone):
    with pytest.raises(UsageError, match="There is no time zone"):
        parse(f"sat 01:00-05:00 {zone}")


def test_without_a_database_of_time_zones_its_package_is_named_and_utc_works(monkeypatch):
    for name in ("tzdata", *(name for name in sys.modules if name.startswith("tzdata."))):
        monkeypatch.setitem(sys.modules, name, None)
    zoneinfo.reset_tzpath([])
    try:
        with pytest.raises(UsageError, match="no time zone database") as refused:
            parse("sat 01:00-05:00 Europe/Lisbon")
        assert parse("sat 01:00-05:00 UTC").is_open(at("2026-11-28T01:00"))
    finally:
        zoneinfo.reset_tzpath()
    assert "pip install tzdata" in str(refused.value.hint)
