"""How far a build is, from the phases and counters of pg_stat_progress_create_index (manual, 28.4.4). Pure."""

from __future__ import annotations

from typing import NamedTuple

# The share of each phase in the whole of a concurrent build, in per cent, as measured on a warm million rows. Waits
# have none: how long they take is up to others.
SHARES = {
    "building index": 55,  # a hash index has this one phase for scanning and loading
    "building index: scanning table": 30,
    "building index: sorting live tuples": 15,
    "building index: sorting dead tuples": 0,
    "building index: loading tuples in tree": 15,
    "index validation: scanning index": 10,
    "index validation: sorting tuples": 5,
    "index validation: scanning table": 20,
}
BEFORE = {
    "waiting for writers before build": 0,
    "building index": 0,
    "building index: scanning table": 0,
    "building index: sorting live tuples": 30,
    "building index: sorting dead tuples": 45,
    "building index: loading tuples in tree": 45,
    "waiting for writers before validation": 60,
    "index validation: scanning index": 60,
    "index validation: sorting tuples": 70,
    "index validation: scanning table": 75,
    "waiting for old snapshots": 95,
}
COUNTS_TUPLES = frozenset({"building index: loading tuples in tree"})


class Counters(NamedTuple):
    """One row of the progress view."""

    phase: str
    blocks_total: int
    blocks_done: int
    tuples_total: int
    tuples_done: int


def counted(counters: Counters) -> tuple[int, str]:
    """What the phase has done, and in what unit: tuples loaded, else blocks scanned."""
    if counters.phase in COUNTS_TUPLES:
        return counters.tuples_done, "tuples"
    return counters.blocks_done, "blocks"


def fraction(counters: Counters) -> float | None:
    """The part of the build that is done, 0 to 1; None in a phase for which the server counts nothing.

    The counters are clamped: the last block of a scan is often never reported.
    """
    phase = counters.phase
    if phase not in SHARES:
        return None
    done = _of_tuples(counters) if phase in COUNTS_TUPLES else _of_blocks(counters)
    return None if done is None else (BEFORE[phase] + SHARES[phase] * done) / 100


def _of_blocks(counters: Counters) -> float | None:
    return min(counters.blocks_done / counters.blocks_total, 1.0) if counters.blocks_total else None


def _of_tuples(counters: Counters) -> float | None:
    return min(counters.tuples_done / counters.tuples_total, 1.0) if counters.tuples_total else None
