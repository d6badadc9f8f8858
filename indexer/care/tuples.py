"""How many tuples an index has now, at most: too few of them would invent bloat."""

from __future__ import annotations

from datetime import datetime
from math import sqrt

from indexer.care.facts import HASH, Facts, Statistics
from indexer.records.baseline import Baseline
from indexer.tuples import NamedTuple

OLD = 0.1  # of the rows have changed since the last ANALYZE
SAMPLE = 30_000  # rows that ANALYZE looks at by default
FEWEST, ENOUGH = 100, 1000  # of the sampled rows in a partial index, to estimate its tuples at all, and well

DELETED_ROWS = "it still has many deleted rows"
NO_STATISTICS = "its table has no statistics yet"
OLD_FOR_PARTIAL = "too much has changed since the statistics of its table were gathered to tell how many rows it has"
SMALL_SHARE = "it has too few of its table's rows for the sample of ANALYZE"
KEYS_COUNTED = "PostgreSQL does not count the rows of such an index"


class Count(NamedTuple):
    """The tuples of an index.

    Attributes:
        tuples: None where they cannot be told.
        is_stale: whether an ANALYZE may tell more.
        why: why they cannot be told.
        is_thinned: whether many rows were deleted since the statistics were gathered.
    """

    tuples: float | None
    rows: float | None = None
    is_stale: bool = False
    why: str = ""
    is_thinned: bool = False


def count(facts: Facts, baseline: Baseline | None) -> Count:
    """Return how many tuples an index has now, at most.

    Args:
        baseline: the index as it was when it was fresh, whose share of the rows it still has.
    """
    statistics = facts.statistics
    if statistics is None:
        return Count(facts.tuples)
    is_thinned = statistics.modified > OLD * max(statistics.rows or 0, statistics.live)
    return _count(facts, statistics, baseline)._replace(is_thinned=is_thinned)


def _count(facts: Facts, statistics: Statistics, baseline: Baseline | None) -> Count:
    is_lost = _is_lost(statistics, baseline.at if baseline else None)
    rows, is_stale = _rows(statistics, is_lost), _is_stale(statistics, baseline, is_lost)
    if rows is None or statistics.tuples is None:
        return Count(None, None, True, NO_STATISTICS)
    if not is_lost and has_deleted_rows(statistics, baseline):
        return Count(None, rows, True, DELETED_ROWS)
    if facts.has_all_rows:
        # A VACUUM that finds no dead rows counts those of the table anew, and not those of its indexes.
        return Count(max(statistics.tuples, rows), rows, is_stale)
    if facts.partial:
        return _of_partial(facts, statistics, baseline, rows, is_lost)
    if facts.method == HASH:
        return Count(_of_hash(facts, statistics, baseline, rows), rows, is_stale)
    return Count(None, rows, False, KEYS_COUNTED)


def estimated_rows(statistics: Statistics) -> float | None:
    """Return how many rows the table has as the planner estimates them, by its pages; None without statistics."""
    if statistics.rows is None:
        return None
    return statistics.rows * (statistics.pages_now / statistics.pages if statistics.pages else 1.0)


def _is_lost(statistics: Statistics, at: datetime | None) -> bool:
    """Return whether the counters may have begun after the moment, so that they do not have all rows.

    They have them since a VACUUM or an ANALYZE, or if they had as many as the build counted. Else a crash, or a standby
    before its promotion, may have counted nothing.
    """
    if statistics.analyzed_at or statistics.vacuumed_at:
        return False
    began_later = at is None or statistics.counted_since is None or statistics.counted_since > at
    rows = statistics.rows or 0
    return began_later or abs(statistics.live - rows) > OLD * rows


def has_deleted_rows(statistics: Statistics, baseline: Baseline | None) -> bool:
    """Return whether many rows were deleted that no VACUUM has removed since the build.

    After a VACUUM this cannot be told: a session may tell later of the rows that it had deleted before.
    """
    rows = statistics.rows or 0
    is_vacuumed = statistics.vacuumed_at and (baseline is None or statistics.vacuumed_at > baseline.at)
    return not is_vacuumed and statistics.live < (1 - OLD) * rows and statistics.dead > 0


def _is_stale(statistics: Statistics, baseline: Baseline | None, is_lost: bool) -> bool:
    """Return whether rows may have changed that the statistics know nothing of, but for rows that were only deleted."""
    limit = OLD * max(statistics.rows or 0, statistics.live)
    if is_lost:
        return True
    changed = statistics.modified
    if baseline:
        built = baseline.rows or baseline.tuples
        changed -= max(built - statistics.live, 0)
        if statistics.analyzed_at is None:  # then they have counted the rows of the build as changes, too
            changed = max(changed - built, statistics.live - built)
    return changed > limit


def _rows(statistics: Statistics, is_lost: bool) -> float | None:
    """Return how many rows the table has, at most; None if nothing has counted them."""
    estimate = estimated_rows(statistics)
    if statistics.rows is None or estimate is None:
        return None if is_lost else statistics.live
    if is_lost:  # then the counters have only what has changed since
        return max(estimate, statistics.rows + statistics.live)
    return max(statistics.rows, statistics.live)


def _of_hash(facts: Facts, statistics: Statistics, baseline: Baseline | None, rows: float) -> float:
    """Return the tuples of a hash index, which has no NULLs; ANALYZE takes it to have all rows."""
    (column,) = facts.columns
    shares = [_share(baseline)] if baseline else []
    shares += [1 - column.nulls] if column.nulls is not None else []
    is_counted = statistics.tuples is not None and statistics.tuples < (statistics.rows or 0)
    return max(rows * max(shares, default=1.0), (statistics.tuples or 0) if is_counted else 0)


def _of_partial(facts: Facts, statistics: Statistics, baseline: Baseline | None, rows: float, is_lost: bool) -> Count:
    """Return the tuples of a partial index, whose share of the rows may have changed with them."""
    counted = statistics.tuples or 0
    is_analyzed = statistics.analyzed_at is not None and statistics.modified <= OLD * counted
    if is_analyzed:
        return _sampled(statistics, baseline, counted, rows)
    added = max(statistics.live - (statistics.rows or 0), 0) + statistics.dead
    has_grown = (facts.bytes or 0) > (1 + OLD) * statistics.index_pages * facts.page
    if is_lost or added > OLD * counted or has_grown or baseline is None:
        return Count(None, rows, True, OLD_FOR_PARTIAL)
    return Count(max(counted, rows * _share(baseline)), rows)


def _sampled(statistics: Statistics, baseline: Baseline | None, counted: int, rows: float) -> Count:
    """Return the tuples that ANALYZE has estimated from a sample, with two of its standard errors where it is small."""
    exact_at = [at for at in (statistics.vacuumed_at, baseline.at if baseline else None) if at]
    if statistics.analyzed_at and exact_at and max(exact_at) >= statistics.analyzed_at:
        return Count(counted, rows)
    sampled = SAMPLE * counted / max(statistics.rows or 0, counted, SAMPLE)
    if sampled < FEWEST:
        return Count(None, rows, False, SMALL_SHARE)
    return Count(counted if sampled >= ENOUGH else counted * (1 + 2 / sqrt(sampled)), rows)


def _share(baseline: Baseline) -> float:
    """Return the share of the rows that an index had when it was built."""
    return baseline.tuples / baseline.rows if baseline.rows else 1.0
