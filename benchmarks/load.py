"""Latencies, longest gap and throughput of a process that writes steadily while each contestant works."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.contestants import ON_POSTGRESQL, Contestant
from benchmarks.databases import Databases
from benchmarks.process import PROJECT, CommandFailed
from benchmarks.results import Aim, Section, milliseconds, ratio, rounds_of
from benchmarks.run import POSTGRESQL, chosen, forward_and_back

LEAD = 0.75  # seconds of writing between forward and rollback, and after it; twice that before
QUIET = 3.0  # seconds measured without a contestant, twice
PAUSE = 0.001  # seconds between two writes
LONGEST_GAP = 0.05  # seconds, the aim
NOTHING, BASELINE = "nothing", "psql-concurrently"
FELT = ("p99, ms", "worst, ms", "longest gap, ms", "writes/s")
COLUMNS = ("", "takes, s", "of psql concurrently", "p50, ms", *FELT, "rollback takes, s", *FELT)

Moments = list[tuple[float, float]]  # of each write: when it was sent and answered, on the monotonic clock
Window = tuple[float, float]  # the same clock, start and end


@dataclass(frozen=True)
class Felt:
    """What the writer met during a window, in seconds; ``rate`` is writes answered in a second."""

    seconds: float
    writes: int
    p50: float
    p99: float
    worst: float
    longest_gap: float
    rate: float


Felts = tuple[Felt, Felt]  # during forward and during rollback
Measured = dict[str, list[Felts]]


def felt(moments: Moments, window: Window) -> Felt:
    """Return what the writes met that were under way during the window.

    The longest gap is between two answers; the last one before the window and the first one after it count.
    """
    started, ended = window
    during = [(sent, done) for sent, done in moments if done >= started and sent <= ended]
    latencies = sorted(done - sent for sent, done in during)
    before = [done for _, done in moments if done < started][-1:]
    answers = before + [done for _, done in during]
    inside = sum(started <= done <= ended for done in answers)
    return Felt(
        seconds=ended - started,
        writes=inside,
        p50=median(latencies),
        p99=latencies[math.ceil(len(latencies) * 0.99) - 1],
        worst=latencies[-1],
        longest_gap=max(later - earlier for earlier, later in pairwise(answers)),
        rate=inside / (ended - started),
    )


@contextmanager
def writing(url: str, pause: float) -> Iterator[Moments]:
    """Run a writer during the block; yield a list that holds its moments afterwards."""
    moments: Moments = []
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        command = [sys.executable, "-m", "benchmarks.writer", url, str(notes), str(pause)]
        process = subprocess.Popen(command, cwd=PROJECT)  # noqa: S603  the command is our own
        try:
            time.sleep(2 * LEAD)
            yield moments
            time.sleep(LEAD)
        finally:
            process.terminate()
            exit_code = process.wait()
        if exit_code:
            raise CommandFailed(f"the writer ended with {exit_code}")
        noted = array("d", notes.read_bytes())
        moments += zip(noted[::2], noted[1::2], strict=True)


def measure(databases: Databases, rounds: int, pause: float, only: Sequence[str]) -> Section:
    """Measure what the writer met with each contestant, and without one; worst and longest gap are of all rounds.

    Args:
        pause: seconds between two writes.
        only: the names of the contestants that are measured beside the baselines; all if empty.
    """
    field: list[Contestant | None] = [None, *chosen(POSTGRESQL, only)]
    measured: Measured = {contestant.name if contestant else NOTHING: [] for contestant in field}
    for contestant in rounds_of(field, rounds):
        name = contestant.name if contestant else NOTHING
        felts = _during(databases, pause, contestant) if contestant else _during_nothing(databases, pause)
        measured[name].append(felts)
        gaps = ", ".join(f"{part.seconds:.2f} s, gap {milliseconds(part.longest_gap)} ms" for part in felts)
        print(f"{name:24} {gaps}", flush=True)
    titles = {NOTHING: "no migration", **{contestant.name: contestant.title for contestant in ON_POSTGRESQL}}
    return Section(
        title="Under load",
        conditions=(
            f"{databases.rows:,} activities; one process inserts and updates in activity, contact and webhook_event, "
            f"with {pause * 1000:g} ms between two writes. Medians of {rounds} alternating rounds; worst and longest "
            "gap are the worst of all rounds. The last five columns are the rollback's."
        ),
        columns=COLUMNS,
        rows=[_row(titles[name], name, measured) for name in measured],
        aims=_aims(measured),
        raw={name: [[_rounded(part) for part in felts] for felts in each] for name, each in measured.items()},
        settings=databases.settings(),
    )


def _during(databases: Databases, pause: float, contestant: Contestant) -> Felts:
    with databases.copy() as url, writing(url, pause) as moments:
        forward, rollback = forward_and_back(databases, contestant, url, LEAD)
    return felt(moments, (forward.started, forward.ended)), felt(moments, (rollback.started, rollback.ended))


def _during_nothing(databases: Databases, pause: float) -> Felts:
    with databases.copy() as url, writing(url, pause) as moments:
        started = time.monotonic()
        time.sleep(2 * QUIET)
        middle, ended = started + QUIET, time.monotonic()
    return felt(moments, (started, middle)), felt(moments, (middle, ended))


def _rounded(part: Felt) -> dict[str, float]:
    return {name: round(value, 6) for name, value in asdict(part).items()}


def _of(felts: Sequence[Felts], part: int, name: str, which: Callable[[list[float]], float] = median) -> float:
    """Return the median, or another one, of a number over all rounds."""
    return which([getattr(both[part], name) for both in felts])


def _row(title: str, name: str, measured: Measured) -> list[str]:
    felts = measured[name]
    seconds = _of(felts, 0, "seconds")
    return [
        title,
        f"{seconds:.2f}",
        "" if name == NOTHING else ratio(seconds, _of(measured[BASELINE], 0, "seconds")),
        milliseconds(_of(felts, 0, "p50")),
        *_cells(felts, 0),
        f"{_of(felts, 1, 'seconds'):.2f}",
        *_cells(felts, 1),
    ]


def _cells(felts: Sequence[Felts], part: int) -> list[str]:
    seconds = (_of(felts, part, "p99"), _of(felts, part, "worst", max), _of(felts, part, "longest_gap", max))
    return [*map(milliseconds, seconds), f"{_of(felts, part, 'rate'):.0f}"]


def _aims(measured: Measured) -> list[str]:
    if "up" not in measured:
        return []
    up, psql, quiet = (measured[name] for name in ("up", BASELINE, NOTHING))
    seconds = _of(up, 0, "seconds") / _of(psql, 0, "seconds")
    taken, taken_by_psql = (1 - _of(felts, 0, "rate") / _of(quiet, 0, "rate") for felts in (up, psql))
    aims = (
        Aim("`up`, of psql's ten CONCURRENTLY", 1.0, seconds),
        Aim("share of the writes/s that `up` takes, with psql's share as the aim", round(taken_by_psql, 2), taken),
        Aim("longest gap during `up`", LONGEST_GAP, _of(up, 0, "longest_gap", max), " s"),
        Aim("longest gap during `down`", LONGEST_GAP, _of(up, 1, "longest_gap", max), " s"),
    )
    return list(map(str, aims))
