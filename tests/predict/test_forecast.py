"""What a run is expected to take in all, from what its indexes need and what earlier builds have taken. Pure."""

from __future__ import annotations

import pytest

from indexer.console import forecast as texts
from indexer.pace.rate import EARLIER, FASTEST, SLOWEST, Rate
from indexer.predict.forecast import DATA, SORT, WAL, Disk, Need, forecast_of
from indexer.predict.size import Size

MB = 1024 * 1024
KNOWN = Need(100 * MB, Size(20 * MB, None, 18 * MB, 1e6), 18 * MB, None)
BOUNDED = Need(100 * MB, Size(None, 30 * MB, 28 * MB, 1e6, "it is not known"), None, 27 * MB)
UNKNOWN = Need(100 * MB, Size(why="activity was never analyzed"))
MEASURED = Rate(3e-9, 100 * MB, EARLIER, 2e-9, 0.6)


def test_without_a_measured_build_the_time_is_a_range():
    found = forecast_of({"ix_a": KNOWN}, Rate(), None)
    (each,) = found.predictions.values()
    assert (found.seconds, each.seconds) == (None, None)
    assert each.seconds_at_least == pytest.approx(0.03 + 160 * MB * FASTEST)
    assert each.seconds_at_most == pytest.approx(0.03 + 160 * MB * SLOWEST)
    assert ", up to 4.0 s, " in texts.of_index(each)
    assert "no build was measured on this database yet" in texts.of_run(found)


def test_builds_that_ran_at_once_take_less_in_all_than_their_sum():
    needs = {"ix_a": KNOWN, "ix_b": KNOWN}
    each = 0.03 + 160 * MB * 2e-9
    assert forecast_of(needs, MEASURED, None).seconds == pytest.approx(2 * 0.6 * each)
    assert forecast_of(needs, MEASURED, 1).seconds == pytest.approx(2 * each)


def test_what_cannot_be_told_is_named_and_bounded_where_a_bound_is_known():
    found = forecast_of({"ix_a": KNOWN, "ix_b": BOUNDED}, Rate(), None)
    assert (found.bytes, found.bytes_at_most, found.unknown) == (20 * MB, 50 * MB, ("ix_b",))
    assert (found.wal_bytes, found.wal_at_most) == (18 * MB, 45 * MB)
    assert "about 20 MB, and up to 30 MB more for ix_b, whose size cannot be told; " in texts.of_run(found)
    assert "at most 30 MB, cannot tell its size: it is not known" in texts.of_index(found.predictions["ix_b"])

    found = forecast_of({"ix_a": KNOWN, "ix_c": UNKNOWN}, Rate(), None)
    assert found.bytes_at_most is None
    assert "about 20 MB without ix_c, whose size cannot be told; " in texts.of_run(found)
    assert "cannot tell its size: activity was never analyzed" in texts.of_index(found.predictions["ix_c"])


def test_no_time_is_told_more_exactly_than_it_is_known():
    small = Need(8192, Size(8192, None, 0, 0.0))
    (each,) = forecast_of({"ix_a": small}, Rate(), None).predictions.values()
    assert texts.of_index(each) == "predicted: about 8192 bytes, less than a second"
    (each,) = forecast_of({"ix_a": Need(0, UNKNOWN.size)}, Rate(), None).predictions.values()
    assert texts.of_index(each).endswith("was never analyzed, time not known")


def test_two_builds_may_sort_at_once():
    needs = {"ix_a": KNOWN, "ix_b": KNOWN, "ix_c": BOUNDED}
    assert forecast_of(needs, Rate(), None).sort_bytes == 46 * MB
    assert forecast_of(needs, Rate(), 1).sort_bytes == 28 * MB


def test_a_disk_with_less_room_than_is_needed_there_is_warned_of():
    data, wal = Disk(1, 30 * MB, frozenset({DATA, SORT})), Disk(2, 30 * MB, frozenset({WAL}))
    found = forecast_of({"ix_a": KNOWN}, Rate(), None, [data, wal])
    assert found.warnings == (
        "The run needs about 38 MB (20 MB for the indexes, 18 MB to sort in), and 30 MB are free on that disk.",
    )
    assert forecast_of({"ix_a": KNOWN}, Rate(), None, [wal]).warnings == ()


def test_an_error_is_shown_where_it_tells_anything():
    assert texts.compared(20 * MB, 18 * MB, 4.0, 5.0) == " (predicted: 18 MB, -10%; 5.0 s, +25%)"
    assert texts.compared(8192, 16384, 0.1, 0.2) == ""
    assert texts.compared(None, 18 * MB, 0.1, None) == ""
