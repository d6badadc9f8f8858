"""What a process that writes steadily feels while each contestant works: latencies, the longest gap, the throughput."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks import options
from benchmarks.contestants import PROJECT, PSQL_CONCURRENTLY, Contestant, chosen
from benchmarks.process import CommandFailed, run
from benchmarks.results import Aim, Section, milliseconds, publish, ratio
from benchmarks.run import expect
from benchmarks.server import Server, opened
from benchmarks.statements import names

LEAD = 0.75  # seconds of writing between forward and rollback, and after it; twice that before
QUIET = 3.0  # seconds measured without a contestant, twice
PAUSE = 0.001  # seconds between two writes
LONGEST_GAP = 0.05  # seconds, the aim
NOTHING = "nothing"
COLUMNS = (
    "",
    "takes, s",
    "of psql concurrently",
    "p50, ms",
    "p99, ms",
    "worst, ms",
    "longest gap, ms",
    "writes/s",
    "rollback takes, s",
    "p99, ms",
    "worst, ms",
    "longest gap, ms",
    "writes/s",
)


@dataclass(frozen=True)
class Window:
    """From when to when something was going on."""

    started: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long."""
        return self.ended - self.started


@dataclass(frozen=True)
class Felt:
    """What the writer felt during a window, in seconds; ``rate`` is writes answered in a second."""

    seconds: float
    writes: int
    p50: float
    p99: float
    worst: float
    longest_gap: float
    rate: float

    def as_json(self) -> dict[str, float]:
        """The raw numbers."""
        return {name: round(value, 6) for name, value in vars(self).items()}


Felts = tuple[Felt, Felt]
Measured = dict[str, list[Felts]]


def felt(moments: Sequence[tuple[float, float]], window: Window) -> Felt:
    """What the writes that were under way during the window met.

    The longest gap lies between two answers, the last one before the window and the first one after it included.
    """
    during = [(sent, done) for sent, done in moments if done >= window.started and sent <= window.ended]
    latencies = sorted(done - sent for sent, done in during)
    before = [done for _, done in moments if done < window.started][-1:]
    answers = before + [done for _, done in during]
    inside = [done for done in answers if window.started <= done <= window.ended]
    return Felt(
        seconds=window.seconds,
        writes=len(inside),
        p50=median(latencies),
        p99=latencies[math.ceil(len(latencies) * 0.99) - 1],
        worst=latencies[-1],
        longest_gap=max(later - earlier for earlier, later in pairwise(answers)),
        rate=len(inside) / window.seconds,
    )


@contextmanager
def writing(url: str, pause: float, moments: list[tuple[float, float]]) -> Iterator[None]:
    """A writer at work around the block; what it noted is in ``moments`` afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        command = [sys.executable, "-m", "benchmarks.writer", url, str(notes), str(pause)]
        process = subprocess.Popen(command, cwd=PROJECT)  # noqa: S603  the command is ours
        try:
            time.sleep(2 * LEAD)
            yield
            time.sleep(LEAD)
        finally:
            process.terminate()
            exit_code = process.wait()
        if exit_code:
            raise CommandFailed(f"the writer ended with {exit_code}")
        noted = array("d", notes.read_bytes())
        moments += zip(noted[::2], noted[1::2], strict=True)


def measure(server: Server, rounds: int, pause: float, field: Sequence[Contestant]) -> Measured:
    """What the writer felt, by contestant and round, and under the name of NOTHING without one."""
    all_names = [NOTHING, *(contestant.name for contestant in field)]
    by_name = {contestant.name: contestant for contestant in field}
    measured: Measured = {name: [] for name in all_names}
    for name in options.rounds_of(all_names, rounds):
        contestant = by_name.get(name)
        both = _during(server, pause, contestant) if contestant else _during_nothing(server, pause)
        measured[name].append(both)
        worst = ", ".join(f"{part.seconds:.2f} s, gap {milliseconds(part.longest_gap)} ms" for part in both)
        print(f"{name:24} {worst}", flush=True)
    return measured


def section(server: Server, rounds: int, pause: float, field: Sequence[Contestant], measured: Measured) -> Section:
    """The medians over the rounds as a section of the results; worst and longest gap are the worst of all rounds."""
    titles = {NOTHING: "no migration", **{contestant.name: contestant.title for contestant in field}}
    return Section(
        title="Under load",
        conditions=(
            f"{server.rows:,} activities; one process inserts and updates in activity, contact and webhook_event, "
            f"with {pause * 1000:g} ms between two writes. Medians of {rounds} alternating rounds; worst and longest "
            "gap are the worst of all rounds. The last five columns are the rollback's."
        ),
        columns=COLUMNS,
        rows=[_row(title, measured[name], measured) for name, title in titles.items()],
        aims=_aims(measured),
        raw={name: [[part.as_json() for part in both] for both in felts] for name, felts in measured.items()},
        settings=server.settings(),
    )


def perform(server: Server, rounds: int, pause: float, only: Sequence[str] | None, folder: Path) -> None:
    """Measure and publish."""
    field = chosen(only)
    publish("load", section(server, rounds, pause, field, measure(server, rounds, pause, field)), folder)


def _during(server: Server, pause: float, contestant: Contestant) -> Felts:
    moments: list[tuple[float, float]] = []
    with server.copy() as url, tempfile.TemporaryDirectory() as folder:
        commands = contestant.prepare(Path(folder), url)
        with writing(url, pause, moments):
            forward = run(commands.forward, commands.folder, commands.environment)
            time.sleep(LEAD)
            expect(url, contestant, len(names()))
            rollback = run(commands.rollback, commands.folder, commands.environment)
        expect(url, contestant, 0)
    windows = [Window(each.started, each.ended) for each in (forward, rollback)]
    return felt(moments, windows[0]), felt(moments, windows[1])


def _during_nothing(server: Server, pause: float) -> Felts:
    moments: list[tuple[float, float]] = []
    with server.copy() as url, writing(url, pause, moments):
        started = time.monotonic()
        time.sleep(QUIET)
        middle = time.monotonic()
        time.sleep(QUIET)
        ended = time.monotonic()
    return felt(moments, Window(started, middle)), felt(moments, Window(middle, ended))


def _median(felts: Sequence[Felts], part: int, name: str) -> float:
    return float(median(getattr(both[part], name) for both in felts))


def _worst(felts: Sequence[Felts], part: int, name: str) -> float:
    return float(max(getattr(both[part], name) for both in felts))


def _row(title: str, felts: Sequence[Felts], measured: Measured) -> list[str]:
    seconds = _median(felts, 0, "seconds")
    baseline = _median(measured[PSQL_CONCURRENTLY], 0, "seconds")
    return [
        title,
        f"{seconds:.2f}",
        "" if felts is measured[NOTHING] else ratio(seconds, baseline),
        milliseconds(_median(felts, 0, "p50")),
        *_cells(felts, 0),
        f"{_median(felts, 1, 'seconds'):.2f}",
        *_cells(felts, 1),
    ]


def _cells(felts: Sequence[Felts], part: int) -> list[str]:
    return [
        milliseconds(_median(felts, part, "p99")),
        milliseconds(_worst(felts, part, "worst")),
        milliseconds(_worst(felts, part, "longest_gap")),
        f"{_median(felts, part, 'rate'):.0f}",
    ]


def _aims(measured: Measured) -> list[str]:
    if "up" not in measured:
        return []
    ours, psql, quiet = (measured[name] for name in ("up", PSQL_CONCURRENTLY, NOTHING))
    seconds = _median(ours, 0, "seconds") / _median(psql, 0, "seconds")
    taken, taken_by_psql = (1 - _median(felts, 0, "rate") / _median(quiet, 0, "rate") for felts in (ours, psql))
    aims = [
        Aim("`up`, of psql's ten CONCURRENTLY", 1.0, seconds),
        Aim("share of the writes/s that `up` takes, where psql takes the aim", round(taken_by_psql, 2), taken),
        Aim("longest gap during `up`", LONGEST_GAP, _worst(ours, 0, "longest_gap"), " s"),
        Aim("longest gap during `down`", LONGEST_GAP, _worst(ours, 1, "longest_gap"), " s"),
    ]
    return [str(aim) for aim in aims]


def main() -> None:
    """Called as python -m benchmarks.load."""
    parser = options.parser(__doc__, rounds=3, contest=True)
    parser.add_argument("--pause", type=float, default=PAUSE, metavar="SECONDS", help="between two writes")
    arguments: argparse.Namespace = parser.parse_args()
    with opened(arguments.database_url, arguments.rows) as server:
        perform(server, arguments.rounds, arguments.pause, arguments.only, arguments.results)


if __name__ == "__main__":
    main()
