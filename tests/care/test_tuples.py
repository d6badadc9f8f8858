"""How many tuples an index has at most, and when it cannot be compared with its baseline."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from indexer.care.evidence import judge
from indexer.care.facts import Column, Facts, Statistics
from indexer.care.tuples import count
from indexer.records.baseline import Baseline

BUILT = datetime(2026, 5, 3)
LATER = BUILT + timedelta(days=1)
ROWS, MEGABYTE = 100_000, 1 << 20
COUNTED = Statistics(
    tuples=ROWS,
    index_pages=500,
    rows=ROWS,
    pages=1000,
    pages_now=1000,
    live=ROWS,
    dead=0,
    modified=0,
    analyzed_at=None,
    vacuumed_at=None,
    counted_since=BUILT - timedelta(days=1),
)
BASELINE = Baseline(4 * MEGABYTE, ROWS, BUILT, "15.2", None, "up", BUILT, "as built")
WHOLE = Facts("ix", 4 * MEGABYTE, definition="as built", server_version="15.2", columns=(Column(8),))
PART = WHOLE._replace(partial=True, plain=False)
HALF_OF_ROWS = BASELINE._replace(rows=2 * ROWS)
LOST = COUNTED._replace(counted_since=LATER)

# The statistics, and how many tuples a whole index has at most.
OF_WHOLE = {
    "all counted": (COUNTED, ROWS),
    "inserted since an ANALYZE": (COUNTED._replace(live=2 * ROWS, analyzed_at=LATER), 2 * ROWS),
    "inserted since the build": (COUNTED._replace(live=1.05 * ROWS), 1.05 * ROWS),
    "deleted since a VACUUM": (COUNTED._replace(live=ROWS // 20, vacuumed_at=LATER), ROWS),
    "a VACUUM that did not look at the index": (COUNTED._replace(rows=3 * ROWS, live=3 * ROWS), 3 * ROWS),
    "a crash": (LOST._replace(live=0), ROWS),
    "inserted after a crash": (LOST._replace(live=ROWS), 2 * ROWS),
    "inserted before a crash": (LOST._replace(live=0, pages_now=2000), 2 * ROWS),
    "a larger table, but no crash": (COUNTED._replace(pages_now=2000), ROWS),
    "a promoted standby, whose counters began before the build": (COUNTED._replace(live=2 * ROWS), 3 * ROWS),
    "counted after a crash": (LOST._replace(live=2 * ROWS, analyzed_at=LATER), 2 * ROWS),
    "never counted": (COUNTED._replace(tuples=None, rows=None), None),
}
# Of 200,000 rows a partial index had half when it was built.
OF_PART = {
    "all counted": (COUNTED._replace(rows=2 * ROWS, live=2 * ROWS), ROWS),
    "inserted since": (COUNTED._replace(rows=2 * ROWS, live=4 * ROWS), None),
    "updated since": (COUNTED._replace(rows=2 * ROWS, live=2 * ROWS, dead=ROWS), None),
    "half of the rows deleted and vacuumed": (COUNTED._replace(tuples=ROWS // 2), ROWS // 2),
    "a VACUUM that did not look at the index": (COUNTED._replace(rows=4 * ROWS, live=4 * ROWS), 2 * ROWS),
    "analyzed": (COUNTED._replace(rows=9 * ROWS, live=9 * ROWS, analyzed_at=LATER), ROWS),
    "analyzed, then updated": (COUNTED._replace(rows=2 * ROWS, modified=ROWS, dead=ROWS, analyzed_at=LATER), None),
    "a small share analyzed": (COUNTED._replace(rows=60 * ROWS, analyzed_at=LATER), 1.09 * ROWS),
    "too small a share analyzed": (COUNTED._replace(rows=900 * ROWS, analyzed_at=LATER), None),
    "too small a share, but vacuumed": (
        COUNTED._replace(rows=900 * ROWS, analyzed_at=LATER, vacuumed_at=LATER),
        ROWS,
    ),
    "a crash": (LOST._replace(rows=2 * ROWS, live=0), None),
}


@pytest.mark.parametrize(("statistics", "tuples"), OF_WHOLE.values(), ids=OF_WHOLE)
def test_a_whole_index_has_at_least_as_many_tuples_as_any_count_says(statistics, tuples):
    assert count(WHOLE._replace(statistics=statistics), BASELINE).tuples == tuples


@pytest.mark.parametrize(("statistics", "tuples"), OF_PART.values(), ids=OF_PART)
def test_a_partial_index_has_its_share_of_the_rows_unless_much_has_changed(statistics, tuples):
    found = count(PART._replace(statistics=statistics), HALF_OF_ROWS).tuples
    assert found == (tuples and pytest.approx(tuples, rel=0.01))


UNFAIR: dict[str, tuple[dict[str, Any], str]] = {
    "another definition": (
        {"definition": "another"},
        "its definition is not what it was when it was built (2026-05-03)",
    ),
    "an old server": ({"server_version": "12.4"}, "PostgreSQL 12.4, which built it"),
    "an empty table": ({"tuples": 0}, "too small when it was built"),
    "a small table": ({"tuples": 1000, "bytes": 65536}, "too small when it was built"),
    "tenfold growth": ({"tuples": ROWS // 10, "bytes": MEGABYTE // 2}, "more than ten times as many rows"),
    "many equal keys now": ({"bytes": 16 * MEGABYTE}, "its rows take less room now than when it was built"),
}


@pytest.mark.parametrize(("changed", "why"), UNFAIR.values(), ids=UNFAIR)
def test_a_baseline_that_cannot_be_compared_tells_nothing(changed, why):
    found = judge(WHOLE._replace(statistics=COUNTED), BASELINE._replace(**changed))
    assert (found.source, found.bytes_after_rebuild) == (None, None)
    assert why in found.why


def test_a_baseline_is_compared_without_a_definition_on_record():
    assert judge(WHOLE._replace(statistics=COUNTED), BASELINE._replace(definition=None)).ratio == 1


@pytest.mark.parametrize("method", ["gin", "brin"])
def test_of_methods_whose_rows_are_not_counted_nothing_is_told(method):
    assert "does not count the rows" in judge(WHOLE._replace(method=method, statistics=COUNTED), BASELINE).why
