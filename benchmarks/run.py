"""Wall time of forward and rollback of each contestant, on the same data, in alternating rounds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import contestants
from benchmarks.contestants import ON_POSTGRESQL, ON_SQLITE, SQLITE3, Contestant
from benchmarks.databases import Databases
from benchmarks.process import Run, run
from benchmarks.results import Aim, Section, megabytes, ratio, rounds_of


class Contest(NamedTuple):
    """Contestants on one kind of database.

    Attributes:
        baselines: for each, the column with the ratios to it.
        aims: contestant, baseline, the largest ratio that is hoped for, and the two in words.
    """

    title: str
    conditions: str
    contestants: Sequence[Contestant]
    baselines: dict[str, str]
    aims: Sequence[tuple[str, str, float, str]]


POSTGRESQL = Contest(
    title="Forward and rollback",
    conditions="without other load.",
    contestants=ON_POSTGRESQL,
    baselines={"psql-plain": "of psql plain", "psql-concurrently": "of psql concurrently"},
    aims=(("up", "psql-concurrently", 0.85, "`up`, of psql's ten CONCURRENTLY"),),
)
SQLITE = Contest(
    title="SQLite",
    conditions=f"with the baseline in {'the sqlite3 shell' if SQLITE3 else 'the sqlite3 module of Python'}.",
    contestants=ON_SQLITE,
    baselines={"statements": "of the statements"},
    aims=(("up", "statements", 0.86, "`up`, of ten CREATE INDEX"),),
)


def in_schemas(names: Sequence[str], pattern: str) -> Contest:
    """Return the contest on empty tables in these schemas, whose names match a pattern."""
    return Contest(
        title="Many schemas",
        conditions="without other load.",
        contestants=contestants.in_schemas(names, pattern),
        baselines={"psql-concurrently": "of psql concurrently"},
        aims=(),
    )


class Both(NamedTuple):
    """The two runs of a contestant in one round."""

    forward: Run
    rollback: Run


Measured = dict[str, list[Both]]  # by the name of the contestant, one for each round


def measure(contest: Contest, databases: Databases, rounds: int, only: Sequence[str]) -> Section:
    """Measure each contestant in each round, after a run on empty tables that is not counted.

    Args:
        only: the names of the contestants that are measured beside the baselines; all if empty.
    """
    field = chosen(contest, only)
    for contestant in field:
        with databases.copy(0) as url:
            forward_and_back(databases, contestant, url)
    measured: Measured = {contestant.name: [] for contestant in field}
    for contestant in rounds_of(field, rounds):
        with databases.copy() as url:
            both = forward_and_back(databases, contestant, url)
        measured[contestant.name].append(both)
        print(f"{contestant.name:24} {both.forward.seconds:7.3f} s {both.rollback.seconds:7.3f} s", flush=True)
    return Section(
        title=contest.title,
        conditions=f"{databases.content}; medians of {rounds} alternating rounds, {contest.conditions}",
        columns=_columns(contest),
        rows=[_row(contestant, contest, measured) for contestant in field],
        aims=[
            str(Aim(what, limit, _medians(measured, name)[0] / _medians(measured, baseline)[0]))
            for name, baseline, limit, what in contest.aims
            if name in measured
        ],
        raw={name: [_raw(both) for both in each] for name, each in measured.items()},
        settings=databases.settings(),
    )


def chosen(contest: Contest, only: Sequence[str]) -> list[Contestant]:
    """Return the contestants of these names, or all, always with the baselines."""
    return [each for each in contest.contestants if not only or each.name in {*only, *contest.baselines}]


def forward_and_back(databases: Databases, contestant: Contestant, url: str, lead: float = 0) -> Both:
    """Build and drop the indexes of a copy, with so many seconds between, and check after each whether they exist."""
    with tempfile.TemporaryDirectory() as folder:
        commands = contestant.prepare(Path(folder), url)
        forward = run(commands.forward, commands.folder, commands.environment)
        time.sleep(lead)
        databases.check(url, built=True)
        rollback = run(commands.rollback, commands.folder, commands.environment)
        databases.check(url, built=False)
    return Both(forward, rollback)


def _raw(both: Both) -> dict[str, dict[str, float]]:
    return {"forward": both.forward.as_json(), "rollback": both.rollback.as_json()}


def _medians(measured: Measured, name: str) -> tuple[float, float]:
    """Return the median seconds of the forward runs of a contestant, and of its rollbacks."""
    forward, rollback = zip(*measured[name], strict=True)
    return median(run.seconds for run in forward), median(run.seconds for run in rollback)


def _columns(contest: Contest) -> list[str]:
    ratios = contest.baselines.values()
    return ["", "forward, s", *ratios, "rollback, s", *ratios, "client memory, MB"]


def _row(contestant: Contestant, contest: Contest, measured: Measured) -> list[str]:
    cells = [contestant.title]
    for part, seconds in enumerate(_medians(measured, contestant.name)):
        cells += [f"{seconds:.3f}", *(ratio(seconds, _medians(measured, name)[part]) for name in contest.baselines)]
    return [*cells, megabytes(median(both.forward.peak_bytes for both in measured[contestant.name]))]
