"""How far a build is: the phases and counters of pg_stat_progress_create_index (manual, 28.4.4) as numbers."""

from __future__ import annotations

from typing import NamedTuple

# Where each phase begins, and its share of the whole of a concurrent build, in per cent, as measured on a warm million
# rows. Waits have none: how long they take is up to others.
PHASES = {
    "building index": (0, 55),  # the one phase of a hash index
    "building index: scanning table": (0, 30),
    "building index: sorting live tuples": (30, 15),
    "building index: sorting dead tuples": (45, 0),
    "building index: loading tuples in tree": (45, 15),
    "index validation: scanning index": (60, 10),
    "index validation: sorting tuples": (70, 5),
    "index validation: scanning table": (75, 20),
}
COUNTS_TUPLES = frozenset({"building index: loading tuples in tree"})


class Counters(NamedTuple):
    """A row of the progress view."""

    phase: str
    blocks_total: int
    blocks_done: int
    tuples_total: int
    tuples_done: int


def counted(counters: Counters) -> tuple[int, str]:
    """Return what the phase has done and its unit: tuples loaded, else blocks scanned."""
    if counters.phase in COUNTS_TUPLES:
        return counters.tuples_done, "tuples"
    return counters.blocks_done, "blocks"


def fraction(counters: Counters) -> float | None:
    """Return the part of the build that is done, 0 to 1; None in a phase for which the server counts nothing.

    The counters are clamped: the last block of a scan is often never reported.
    """
    if counters.phase not in PHASES:
        return None
    done, total = counters.blocks_done, counters.blocks_total
    if counters.phase in COUNTS_TUPLES:
        done, total = counters.tuples_done, counters.tuples_total
    begins, share = PHASES[counters.phase]
    return (begins + share * min(done / total, 1.0)) / 100 if total else None
