"""How much a rebuild of an index would leave, and how that is known. Where it is not known, why. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from indexer.care import sizes
from indexer.care.facts import HASH, Facts, FactsReader, Inside, major
from indexer.care.hashes import overflow_of
from indexer.care.tuples import DELETED_ROWS, OLD, Count, count, estimated_rows
from indexer.care.values import is_alike
from indexer.records.baseline import LEARNED, Baseline
from indexer.records.table import now
from indexer.spec import BTREE
from indexer.tuples import NamedTuple

BASELINE, EXACT, STATISTICS = "baseline", "exact", "statistics"  # sources of evidence, and LEARNED

MEGABYTE = 1024 * 1024
SMALLEST = {HASH: 8 * MEGABYTE}  # bytes that are enough to tell anything; a hash index grows in steps
SMALLEST_OTHER = MEGABYTE
SMALLEST_BASELINE = 16  # pages
TENFOLD = 10
MERGING = 13  # the first version of PostgreSQL that stores equal keys once
NEARLY_UNIQUE = 0.9
CLOSE = 1.05  # a factor that may come from the estimates of widths and of different keys
SAME = 1.2  # a factor by which the estimate of different keys may be wrong
DENSER = 1.1  # a factor by which no rebuild makes an index larger
NOTHING_NEW = 0.9  # the share of its size that a learned baseline must undercut: it may have been bloated itself
ALL_DIFFERENT, ALL_DIFFERENT_IN_PART = 0.92, 0.7  # as tolerance: the width of a part of the rows is known less well
LEARNABLE = 0.02  # of the rows may have changed since ANALYZE
BETTER = 0.95
OVERFLOWING = 0.1  # overflow pages a bucket, which come from many equal keys


SAME_KEYS = "it is not known how many of its rows have the same key now"
ALL_SMALL = "the indexes of its partitions are too small"
TOO_OLD = "the statistics of its table are too old"


Look = Callable[[], Inside | str]


class Evidence(NamedTuple):
    """What is known about the size of an index after a rebuild.

    Attributes:
        bytes: its size now; None on a SQLite without dbstat.
        bytes_after_rebuild: None where it cannot be told.
        source: "baseline", "learned", "exact" or "statistics"; None where it cannot be told.
        measured_at: when the baseline was measured, in UTC; None for other sources.
        why: why it cannot be told, without a full stop.
        is_stale: whether the statistics of its table may be too old: an ANALYZE may tell more, or otherwise.
        overflow: how many overflow pages a hash index has, without a full stop, if that was asked for.
        is_small: whether it is too small to tell anything.
    """

    bytes: int | None
    bytes_after_rebuild: int | None = None
    source: str | None = None
    measured_at: datetime | None = None
    why: str = ""
    is_stale: bool = False
    overflow: str = ""
    is_small: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times larger the index is than a rebuild would leave it; None where that cannot be told."""
        return self.bytes / self.bytes_after_rebuild if self.bytes and self.bytes_after_rebuild else None


class Finding(NamedTuple):
    """What one source says: the bytes after a rebuild or, without a full stop, why it says nothing."""

    source: str
    bytes: float | None
    why: str = ""
    measured_at: datetime | None = None


def evidence_of(
    migrator: Any, names: Sequence[str], baselines: Mapping[str, Baseline], exact: bool = False
) -> dict[str, Evidence]:
    """Return the evidence about the usable indexes of these names, by name.

    Args:
        baselines: what is recorded of them.
        exact: whether to read whole indexes with the functions of pgstattuple where no build is on record.
    """
    found = evidence_of_leaves(migrator, names, baselines, exact)
    return {name: summed(leaves) for name, leaves in found.items()}


def evidence_of_leaves(
    migrator: Any, names: Sequence[str], baselines: Mapping[str, Baseline], exact: bool = False
) -> dict[str, dict[str, Evidence]]:
    """Return the evidence about the physical indexes behind these, by name and label; the arguments are as above."""
    reader: FactsReader = migrator.care.index_facts()
    return {
        name: {each.name: judge(each, baselines.get(each.name), reader if exact else None) for each in facts}
        for name, facts in reader.read(names).items()
    }


def summed(parts: Mapping[str, Evidence]) -> Evidence:
    """Return the evidence about an index that is stored as these, of which at least one is given.

    Those that are too small to tell anything are taken as they are; unless all others tell, the sum cannot be told.
    """
    if len(parts) == 1:
        return next(iter(parts.values()))
    told = [each for each in parts.values() if each.bytes_after_rebuild is not None]
    untold = {label: each for label, each in parts.items() if each.bytes_after_rebuild is None and not each.is_small}
    size = sum(each.bytes or 0 for each in parts.values())
    is_stale = any(each.is_stale for each in parts.values())
    if untold:
        largest = max(untold, key=lambda label: untold[label].bytes or 0)
        return Evidence(size, why=f"{untold[largest].why} ({largest})", is_stale=is_stale)
    if not told:
        return Evidence(size, why=ALL_SMALL, is_small=True)
    main = max(told, key=lambda each: each.bytes or 0)
    moments = [each.measured_at for each in told if each.measured_at and each.source == main.source]
    after = sum(each.bytes_after_rebuild or each.bytes or 0 for each in parts.values())
    return Evidence(size, after, main.source, min(moments, default=None), is_stale=is_stale)


def learn(migrator: Any, names: Sequence[str], baselines: Mapping[str, Baseline]) -> dict[str, Baseline]:
    """Return what becomes the baseline of those of these indexes that are smaller for their tuples than known so far.

    Only right after an ANALYZE is anything learned: too many tuples would invent bloat from then on.
    """
    measured = migrator.catalog.measured(names)
    learned = {}
    found = migrator.care.index_facts().read(names).values()
    for name, facts in ((each.name, each) for leaves in found for each in leaves):
        known = baselines.get(name)
        tuples = _countable(facts, known)
        if tuples and name in measured and _is_better(facts, tuples, known):
            rows = measured[name].rows if facts.has_all_rows else facts.statistics.rows
            learned[name] = Baseline(
                bytes=facts.bytes or 0,
                tuples=round(tuples),
                at=now(),
                server_version=facts.server_version,
                collation_version=measured[name].collation_version,
                by=LEARNED,
                built_at=known.built_at if known else None,
                definition=facts.definition,
                rows=rows,
                values=measured[name].values,
            )
    return learned


def judge(facts: Facts, baseline: Baseline | None, reader: FactsReader | None = None) -> Evidence:
    """Return the first answer of the sources in their order, or the reasons for none.

    Args:
        reader: reads whole indexes; None where that is not asked for.
    """
    look = lru_cache(partial(reader.look_inside, facts)) if reader else None
    inside = look() if look and facts.method == HASH else None
    found = _answer(facts, baseline, look)
    return found._replace(overflow=overflow_of(facts.name, inside)) if isinstance(inside, Inside) else found


def _answer(facts: Facts, baseline: Baseline | None, look: Look | None) -> Evidence:
    if facts.bytes is None:
        return Evidence(None, why="this SQLite was built without dbstat")
    if facts.bytes < _smallest(facts):
        return Evidence(facts.bytes, why=_too_small(facts), is_small=True)
    tuples, reasons = count(facts, baseline), []
    for finding in _findings(facts, baseline, tuples, look):
        if finding.bytes is not None:
            is_stale = (tuples.is_stale or tuples.is_thinned) and finding.source != EXACT
            after = max(round(finding.bytes), facts.page)
            if facts.method != HASH and finding.source != EXACT:  # the estimate of a build is too high
                after = min(after, facts.bytes)
            return Evidence(facts.bytes, after, finding.source, finding.measured_at, is_stale=is_stale)
        reasons.append(finding.why)
    if baseline:  # then why it says nothing is enough
        del reasons[-1]
    return Evidence(
        facts.bytes, why=", and ".join(dict.fromkeys(reasons)), is_stale=tuples.is_stale or tuples.is_thinned
    )


def _smallest(facts: Facts) -> int:
    """Return the bytes from which on an index tells anything; one that is stored as many needs more."""
    smallest, stored = SMALLEST.get(facts.method, SMALLEST_OTHER), len(facts.shares)
    return max(smallest, SMALLEST_BASELINE * facts.page * stored) if stored > 1 else smallest


def _too_small(facts: Facts) -> str:
    kind, stored = "a hash index" if facts.method == HASH else "an index", len(facts.shares)
    in_parts = f" in {stored} parts" if stored > 1 else ""
    return f"{kind}{in_parts} under {_smallest(facts) / MEGABYTE:.0f} MB is too small"


def _findings(facts: Facts, baseline: Baseline | None, tuples: Count, look: Look | None) -> Iterator[Finding]:
    """Yield what each source says, the best one first."""
    reading = _by_reading(facts, look) if look or facts.packed is not None else None
    if baseline is None:
        yield Finding(BASELINE, None, "no build of it is on record")
    elif baseline.by != LEARNED:
        found = _by_baseline(facts, baseline, tuples)
        if not reading or _agree(found, reading):
            yield found
    if reading:
        yield reading
    if baseline and baseline.by == LEARNED:
        yield _by_learned(facts, baseline, tuples)
    yield _by_statistics(facts, tuples)


def _agree(baseline: Finding, reading: Finding) -> bool:
    """Return whether reading the whole index says much the same as its baseline, or nothing."""
    if baseline.bytes is None or reading.bytes is None:
        return True
    return reading.bytes <= CLOSE * baseline.bytes and baseline.bytes <= CLOSE * reading.bytes


# Against a build ------------------------------------------------------------------------------------------------------


def _by_baseline(facts: Facts, baseline: Baseline, tuples: Count) -> Finding:
    if tuples.tuples is None:
        return Finding(BASELINE, None, tuples.why)
    if reason := _unfair(facts, baseline, tuples.tuples):
        return Finding(BASELINE, None, reason)
    if tuples.is_stale and not _is_steady(facts, baseline):
        return Finding(BASELINE, None, TOO_OLD)
    if _is_unlike(facts, baseline, tuples):
        return Finding(BASELINE, None, f"its values are not like those {_when(baseline)}")
    after = _scaled(facts, baseline, tuples)
    if after is None:
        return Finding(BASELINE, None, SAME_KEYS)
    if after > DENSER * (facts.bytes or 0) and facts.method != HASH:
        reason = TOO_OLD if tuples.is_stale else f"its rows take less room now than {_when(baseline)}"
        return Finding(BASELINE, None, reason)
    return Finding(BASELINE, after, measured_at=baseline.at)


def _is_steady(facts: Facts, baseline: Baseline) -> bool:
    """Return whether no values can make the tuples of a B-tree larger than they were when it was fresh."""
    width = sizes.width_of(facts.columns)
    if (
        width is None
        or facts.method != BTREE
        or facts.partial
        or any(column.length is None for column in facts.columns)
    ):
        return False
    return sizes.leaf_bytes_of(baseline.bytes, facts) >= ALL_DIFFERENT * baseline.tuples * width


def _is_unlike(facts: Facts, baseline: Baseline, tuples: Count) -> bool:
    """Return whether its values may differ from those of the baseline; without statistics of then, if it has grown."""
    if facts.statistics is None:
        return False
    if tuples.is_stale:  # nothing is known of its values but that they do not matter
        return False
    if baseline.values:
        return not is_alike(baseline.values, baseline.rows or baseline.tuples, facts.columns, tuples.rows or 0)
    has_statistics = all(column.width is not None for column in facts.columns)
    return has_statistics and (tuples.tuples or 0) > DENSER * baseline.tuples


def _by_learned(facts: Facts, baseline: Baseline, tuples: Count) -> Finding:
    finding = _by_baseline(facts, baseline, tuples)._replace(source=LEARNED)
    if finding.bytes is not None and finding.bytes > NOTHING_NEW * (facts.bytes or 0):
        return Finding(LEARNED, None, "no build of it is on record, and it has never been much smaller for its rows")
    return finding


def _unfair(facts: Facts, baseline: Baseline, tuples: float) -> str:
    """Return why an index cannot be compared with its baseline; nothing if it can be."""
    then = _when(baseline)
    if baseline.definition and facts.definition and baseline.definition != facts.definition:
        return f"its definition is not what it was {then}"
    if facts.statistics and facts.method == BTREE and (major(baseline.server_version) < MERGING <= facts.major):
        return f"PostgreSQL {baseline.server_version}, which built it, stored equal keys once for each row"
    if baseline.bytes < SMALLEST_BASELINE * facts.page * len(facts.shares) or baseline.tuples == 0:
        return f"it was too small {then} to compare with"
    if tuples >= TENFOLD * baseline.tuples:
        return f"it has more than ten times as many rows as {then}"
    return ""


def _when(baseline: Baseline) -> str:
    verb = "when it was measured" if baseline.by == LEARNED else "when it was built"
    return f"{verb} ({baseline.at:%Y-%m-%d})"


def _scaled(facts: Facts, baseline: Baseline, tuples: Count) -> float | None:
    """Return the bytes of a fresh index with as many tuples as there are now; None where that is not known."""
    growth = (tuples.tuples or 0) / baseline.tuples
    if facts.method == HASH:
        return _scaled_hash(facts, baseline, tuples)
    if facts.statistics is None or facts.method != BTREE:
        return baseline.bytes * growth
    spread = _spread(facts, baseline, tuples)
    leaves = sizes.leaves_of(baseline.bytes, facts) * growth
    if spread <= CLOSE:
        return sizes.with_leaves(leaves, facts)
    is_known = not facts.partial and not tuples.is_thinned
    return sizes.with_leaves(leaves * spread, facts) if is_known else None


def _spread(facts: Facts, baseline: Baseline, tuples: Count) -> float:
    """Return how many times more bytes a tuple of a fresh B-tree takes now than in the baseline.

    They are more if fewer rows share a key, or keys have become longer.
    """
    width, size = sizes.width_of(facts.columns), sizes.leaf_bytes_of(baseline.bytes, facts)
    if not facts.merges:
        # Another CLOSE, because without any keys in common all of the difference is in the width.
        return width * baseline.tuples / size / CLOSE if width and not facts.partial else 1.0
    tolerance = ALL_DIFFERENT_IN_PART if facts.partial else ALL_DIFFERENT
    if width is None:
        width, tolerance = sizes.least_width(facts.columns), 1.0
    nulls = facts.columns[0].nulls or 0 if len(facts.columns) == 1 and not facts.partial else 0
    of_null = nulls * (sizes.TID + width / sizes.LONGEST_LIST)  # bytes of a row: all NULLs are one key
    now, then = (tuples.tuples or 0) * (1 - nulls), baseline.tuples * (1 - nulls)
    if min(now, then) < 1:  # all rows are NULL
        return 1.0
    keys_then = sizes.keys_of(size - of_null * baseline.tuples, then, width, tolerance)
    keys_now = _keys_now(facts, keys_then, now / then, now, tuples.is_thinned)
    each_now, each_then = (
        of_null + (1 - nulls) * sizes.leaf_bytes(keys, count, width) / count
        for keys, count in ((keys_now, now), (keys_then, then))
    )
    return each_now / each_then


def _keys_now(facts: Facts, keys_then: float, growth: float, now: float, is_thinned: bool) -> float:
    """Return how many different keys there are now, without NULLs, rather too many than too few."""
    fewest = now / sizes.LONGEST_LIST
    # Each of the keys may have lost as many of its rows; lists of the longest kind are as many as the rows make.
    is_split = keys_then * growth > fewest * CLOSE
    likely = min(keys_then * max(growth, 1), now) if is_split else fewest
    known = sizes.distinct_keys(facts.columns, now)
    if known is None:
        return max(likely, fewest)
    least, most = known
    same = keys_then * growth  # as many rows as then share a key
    if facts.partial:  # the statistics are those of all rows
        return max(likely, fewest) if same > NEARLY_UNIQUE * now else max(most, fewest)
    if not is_thinned and least <= SAME * same <= SAME**2 * most:
        return max(same, fewest)
    return max(least, likely if is_thinned else min(likely, most), fewest)


def _scaled_hash(facts: Facts, baseline: Baseline, tuples: Count) -> float | None:
    """Return the bytes of a new hash index; None where it is not known what its overflow pages are for.

    Its buckets grow in steps. Overflow pages are for equal keys, or are left from a build that began with too few
    buckets, because its table had no statistics.
    """
    now, then, rows = tuples.tuples or 0, baseline.tuples, tuples.rows or 0
    fresh = sizes.hash_of(*sizes.hash_pages(then, baseline.rows or then, facts), facts)
    buckets, overflow = sizes.hash_pages(now, rows, facts)
    more = max(baseline.bytes - fresh, 0) / facts.page * now / then
    known = sizes.distinct_keys(facts.columns, rows)
    if known and known[0] >= NEARLY_UNIQUE * now:
        more = 0
    is_same = known is not None and then <= CLOSE * now <= CLOSE**2 * then
    if more > (CLOSE - 1) * buckets and not is_same:
        return None
    return sizes.hash_of(buckets, overflow + more, facts)


# By reading, and by statistics ----------------------------------------------------------------------------------------


def _by_reading(facts: Facts, look: Look | None) -> Finding:
    if facts.packed is not None or look is None:
        return Finding(EXACT, facts.packed)
    statistics = facts.statistics
    if statistics and statistics.dead > OLD * max(statistics.rows or 0, statistics.live) and not statistics.vacuumed_at:
        return Finding(EXACT, None, DELETED_ROWS)
    inside = look()
    if isinstance(inside, str):
        return Finding(EXACT, None, inside)
    if facts.method == HASH:
        return Finding(EXACT, _new_hash(facts, inside))
    return Finding(EXACT, sizes.btree_of(sizes.used_of(inside.leaves, inside.density or 0, facts), facts))


def _new_hash(facts: Facts, inside: Inside) -> float:
    live, statistics = inside.tuples or 0, facts.statistics
    rows = max(estimated_rows(statistics) or 0, statistics.live) if statistics else 0
    buckets, overflow = sizes.hash_pages(live, max(rows, live), facts)
    chains = inside.leaves if inside.leaves > OVERFLOWING * buckets else 0
    return sizes.hash_of(buckets, max(overflow, chains), facts)


def _by_statistics(facts: Facts, tuples: Count) -> Finding:
    width = sizes.width_of(facts.columns)
    if facts.method != BTREE or not facts.plain:
        return Finding(STATISTICS, None, "the statistics of its columns do not tell the size of such an index")
    if tuples.tuples is None or tuples.is_stale:
        return Finding(STATISTICS, None, tuples.why or TOO_OLD)
    known = sizes.distinct_keys(facts.columns, tuples.tuples)
    if width is None or known is None:
        return Finding(STATISTICS, None, "its columns have no statistics that this role may see, or very long values")
    if facts.merges and known[0] < NEARLY_UNIQUE * tuples.tuples:
        return Finding(STATISTICS, None, "many of its rows have the same keys")
    after = sizes.btree_of(tuples.tuples * width, facts)
    if after > DENSER * (facts.bytes or 0):
        return Finding(STATISTICS, None, "it is smaller than the statistics of its columns let expect")
    return Finding(STATISTICS, after)


# Learning -------------------------------------------------------------------------------------------------------------


def _countable(facts: Facts, known: Baseline | None) -> float | None:
    """Return the tuples of an index if they are known well enough to learn from; None if not."""
    statistics = facts.statistics
    if statistics is None or statistics.analyzed_at is None or facts.bytes is None or facts.bytes < _smallest(facts):
        return None
    changed = statistics.modified + statistics.dead
    found = count(facts, known)
    is_fresh = not found.is_stale and changed <= LEARNABLE * (statistics.rows or 0)
    return found.tuples if is_fresh else None


def _is_better(facts: Facts, tuples: float, known: Baseline | None) -> bool:
    """Return whether the index has fewer bytes for each tuple than the baseline, or that says nothing any more."""
    if known is None or _unfair(facts, known, tuples):
        return True
    return (facts.bytes or 0) / tuples < BETTER * known.bytes / known.tuples
