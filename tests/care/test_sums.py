"""What holds of an index that is stored as several, such as one on each shard."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from indexer.care import sizes
from indexer.care.evidence import judge
from indexer.care.facts import Column, Facts
from indexer.care.facts import Statistics as Counted
from indexer.care.statistics import Statistics
from indexer.care.sums import sum_columns, sum_facts, sum_index_counts, sum_measured, sum_statistics
from indexer.care.usage import IndexCounts
from indexer.catalog import Measured
from indexer.records.baseline import UP, Baseline

MONDAY = datetime(2026, 11, 23)
PAGE, MEGABYTE = 8192, 1 << 20


def part(rows: int, size: int, distinct: float = -1.0, width: float | None = 8) -> Facts:
    """Return one index of those that are stored, on a table of this many rows."""
    statistics = Counted(
        tuples=rows,
        index_pages=size // PAGE,
        rows=rows,
        pages=rows // 100,
        pages_now=rows // 100,
        live=rows,
        dead=0,
        modified=0,
        analyzed_at=MONDAY,
        vacuumed_at=MONDAY,
        counted_since=MONDAY,
    )
    return Facts(
        "ix_102008",
        size,
        definition="a",
        server_version="15.2",
        columns=(Column(8, width, distinct, 0.0),),
        statistics=statistics,
    )


def test_sizes_rows_and_changes_are_added() -> None:
    one, other = part(100_000, 20 * MEGABYTE), part(300_000, 60 * MEGABYTE)
    whole = sum_facts("ix", [one, other])
    assert (whole.name, whole.bytes, whole.shares) == ("ix", 80 * MEGABYTE, (0.25, 0.75))
    assert whole.statistics is not None
    assert (whole.statistics.rows, whole.statistics.tuples, whole.statistics.pages_now) == (400_000, 400_000, 4_000)


def test_statistics_are_as_old_as_the_oldest_and_none_where_one_part_has_none() -> None:
    one, other = part(100, MEGABYTE), part(100, MEGABYTE)
    assert one.statistics
    late = other._replace(statistics=one.statistics._replace(analyzed_at=MONDAY + timedelta(1)))
    never = other._replace(statistics=one.statistics._replace(analyzed_at=None, rows=None))
    whole = sum_facts("ix", [one, late]).statistics
    assert whole
    assert whole.analyzed_at == MONDAY
    unknown = sum_facts("ix", [one, never]).statistics
    assert unknown
    assert (unknown.analyzed_at, unknown.rows) == (None, None)


def test_an_empty_part_leaves_unknown_nothing_that_the_others_know() -> None:
    empty = part(0, PAGE, width=None)
    assert empty.statistics
    empty = empty._replace(statistics=empty.statistics._replace(rows=None, analyzed_at=None))
    whole = sum_facts("ix", [part(100_000, 4 * MEGABYTE), empty])
    assert whole.statistics
    assert (whole.statistics.rows, whole.statistics.analyzed_at) == (100_000, MONDAY)
    assert whole.columns[0].width == 8


@pytest.mark.parametrize(
    ("parts", "rows", "distinct"),
    [
        ((-1.0, -0.5), (100, 100), -0.75),
        ((10.0, 20.0), (100, 100), 30.0),
        ((-1.0, 20.0), (100, 100), 120.0),
        ((-1.0, None), (100, 100), None),
    ],
)
def test_each_part_stores_its_own_copy_of_a_value(
    parts: tuple[float | None, ...], rows: tuple[float, ...], distinct: float | None
) -> None:
    (column,) = sum_columns([(Column(8, 8, each, 0.0),) for each in parts], rows)
    assert column.distinct == distinct


def test_a_healthy_index_in_parts_is_not_called_bloated_and_one_of_twice_the_size_is() -> None:
    rows, stored = 100_000, 8
    fresh = sizes.btree_of(rows * 20, part(rows, MEGABYTE))
    built = Baseline(fresh * stored, rows * stored, MONDAY, "15.2", None, UP, definition="a")
    healthy = judge(sum_facts("ix", [part(rows, fresh)] * stored), built)
    assert healthy.ratio == pytest.approx(1, rel=0.02)
    bloated = judge(sum_facts("ix", [part(rows, 2 * fresh)] * stored), built)
    assert bloated.ratio == pytest.approx(2, rel=0.02)
    assert judge(sum_facts("ix", [part(rows, 2 * fresh)] * stored), None).ratio == pytest.approx(2, rel=0.05)


def test_many_small_parts_tell_nothing() -> None:
    found = judge(sum_facts("ix", [part(100, 2 * PAGE)] * 200), None)
    assert found.why == "an index in 200 parts under 25 MB is too small"


def test_the_buckets_of_hash_indexes_grow_in_the_steps_of_each() -> None:
    one = part(100_000, MEGABYTE)._replace(method="hash", fillfactor=75)
    whole = sum_facts("ix", [one] * 3)
    buckets, overflow = sizes.hash_pages(100_000, 100_000, one)
    assert sizes.hash_pages(300_000, 300_000, whole) == (3 * buckets, pytest.approx(3 * overflow))


def test_a_baseline_in_parts_has_the_values_of_all() -> None:
    one = Measured(MEGABYTE, 100, "en 1", "15.2", "a", values="8/0/-1 4/0.5/10")
    other = Measured(MEGABYTE, 300, "en 2", "15.2", "a", values="8/0/-1 8/0.1/20")
    whole = sum_measured([one, other])
    assert (whole.bytes, whole.tuples, whole.rows) == (2 * MEGABYTE, 400, None)
    assert (whole.collation_version, whole.values) == ("en 1, en 2", "8/0/-1 7/0.2/30")
    assert sum_measured([one, other._replace(values=None)]).values is None
    assert sum_measured([one._replace(rows=1000), other]).rows == 1300


def test_the_statistics_of_a_table_exist_where_all_parts_with_rows_have_some() -> None:
    one = Statistics("a", 100, True, MONDAY, 5)
    assert sum_statistics("t", [one, one._replace(rows=0, exist=False, analyzed_at=None, modified=0)]) == Statistics(
        "t", 100, True, MONDAY, 5
    )
    without = sum_statistics("t", [one, one._replace(exist=False, analyzed_at=None)])
    assert (without.rows, without.exist, without.analyzed_at, without.modified) == (200, False, None, 10)


def test_scans_are_added_and_the_last_one_is_the_latest() -> None:
    one = IndexCounts(3, 30, 1, 2, MONDAY, age=9)
    other = IndexCounts(4, 40, 1, 2, MONDAY + timedelta(1), age=5)
    assert sum_index_counts([one, other]) == IndexCounts(7, 70, 2, 4, MONDAY + timedelta(1), age=5)
