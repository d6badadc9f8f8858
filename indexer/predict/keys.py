"""How many rows share a key, by the statistics of its columns: since PostgreSQL 13 a B-tree stores such a key once.

A distribution is a list of (keys, share): so many keys, each of which is expected in this share of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import exp, floor, log2

from indexer.predict.planned import KeyColumn

Distribution = list[tuple[float, float]]
RARE = 1e-9  # a share of the rows that does not matter
STEPS = 40  # of a bisection
# Where values of so large a share of the rows are so many times as frequent as the others are on average, the others
# differ from each other, too, and there may be many more of them than ANALYZE estimates.
COMMON, SKEWED, NEGLIGIBLE = 0.02, 4.0, 0.02


def distribution_of(columns: Sequence[KeyColumn], rows: float, sampled: int, doubt: float = 1.0) -> Distribution:
    """Return how the rows are spread over the keys of several columns, as if these were independent.

    Args:
        doubt: a factor for the number of those values that are not common, where that is not well known.
    """
    each = [_merged(_of_column(column, rows, sampled, doubt)) for column in columns]
    combined = [_times(parts) for parts in product(*each)]
    return _merged(combined)


def fewest(columns: Sequence[KeyColumn], rows: float, sampled: int) -> Distribution:
    """Return the distribution with the fewest keys: the values of one column determine those of all others."""
    each = [_of_column(column, rows, sampled, 1.0) for column in columns]
    return max(each, key=lambda one: _number(one, rows))


def _number(spread: Distribution, rows: float) -> float:
    """Return how many keys have a row."""
    return sum(keys * (1 - exp(-rows * share)) for keys, share in spread)


def is_doubtful(column: KeyColumn, rows: float, sampled: int) -> bool:
    """Return whether the number of different values may be far from the estimate of ANALYZE.

    Where some values are common and are not all, the others may be many more than a sample shows.
    """
    if rows <= sampled or column.is_fixed or not column.frequencies:
        return False
    others, keys = _others(column, rows)
    is_skewed = column.frequencies[-1] > SKEWED * others / max(keys, 1)
    return is_skewed and others > NEGLIGIBLE and sum(column.frequencies) > COMMON


def _of_column(column: KeyColumn, rows: float, sampled: int, doubt: float) -> Distribution:
    if column.is_fixed:
        return [(1.0, 1.0)]
    nulls = 0.0 if column.is_not_null else column.column.nulls or 0.0
    others, keys = _others(column, rows)
    if rows > sampled:
        keys = _unbiased(keys, len(column.frequencies), others, rows, sampled)
    if doubt != 1.0 and is_doubtful(column, rows, sampled):
        keys *= doubt
    keys = min(keys, rows * others)
    found = [(1.0, nulls)] if nulls > RARE else []
    found += [(1.0, share) for share in column.frequencies]
    if others > RARE and keys > 0:
        slots = _slots(max(keys, 1.0), rows * others)
        found.append((slots, others / slots))
    total = sum(number * share for number, share in found)
    return [(number, share / total) for number, share in found] if total > 0 else [(1.0, 1.0)]


def _others(column: KeyColumn, rows: float) -> tuple[float, float]:
    """Return the share of the rows that have no common value and no NULL, and how many values these have."""
    distinct = column.column.distinct or 0.0
    values = max(-distinct * rows if distinct < 0 else distinct, 1.0)
    others = max(1 - (column.column.nulls or 0.0) - sum(column.frequencies), 0.0)
    return others, max(values - len(column.frequencies), 0.0 if others < RARE else 1.0)


def _unbiased(keys: float, common: int, others: float, rows: float, sampled: int) -> float:
    """Return how many values the rows with no common one have, if ANALYZE has estimated this many from its sample.

    Its estimate (Haas and Stokes) supposes that no value is common. So this looks for the number of values for which it
    would have come to the same estimate from a sample in which the common ones are as frequent as they are.
    """
    rest = sampled * others
    if rest < 1 or common == 0:
        return keys
    low, high = min(keys, rest), max(rows * others, 1.0)
    if high <= low or _estimate(high, common, rest, rows, sampled) <= keys:
        return max(high, keys) if high > low else keys
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        if _estimate(middle, common, rest, rows, sampled) < keys:
            low = middle
        else:
            high = middle
    return high


def _estimate(keys: float, common: int, rest: float, rows: float, sampled: int) -> float:
    """Return the estimate of ANALYZE if so many values shared the rest of the sample, without the common ones."""
    once = rest * exp(-rest / keys)
    found = common + keys * (1 - exp(-rest / keys))
    return sampled * found / (sampled - once + once * sampled / rows) - common


def _slots(keys: float, rows: float) -> float:
    """Return among how many values the rows are spread at random, if so many of these have one."""
    each = max(rows / keys, 1.0)
    if each < 1.0005:
        return 1000 * keys
    low, high = 1e-4, each
    for _ in range(STEPS):
        middle = (low + high) / 2
        if middle / (1 - exp(-middle)) < each:
            low = middle
        else:
            high = middle
    return rows / high


def _times(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    keys = share = 1.0
    for number, each in parts:
        keys, share = keys * number, share * each
    return keys, share


def _merged(spread: Distribution) -> Distribution:
    """Return the distribution with keys of much the same share taken together."""
    found: dict[int, tuple[float, float]] = {}
    for keys, share in spread:
        if share <= 0:
            continue
        kind = floor(2 * log2(share))
        number, total = found.get(kind, (0.0, 0.0))
        found[kind] = number + keys, total + keys * share
    return [(number, total / number) for number, total in found.values()]
