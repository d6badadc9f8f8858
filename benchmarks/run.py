"""Wall time of forward and rollback of each contestant, on the same data, in alternating rounds."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import options
from benchmarks.contestants import BASELINES, PSQL_CONCURRENTLY, PSQL_PLAIN, Contestant, chosen
from benchmarks.process import Both, Measured, forward_and_back, medians
from benchmarks.results import Aim, Section, megabytes, publish, ratio
from benchmarks.server import Server, check, opened

COLUMNS = (
    "",
    "forward, s",
    "of psql plain",
    "of psql concurrently",
    "rollback, s",
    "of psql plain",
    "of psql concurrently",
    "client memory, MB",
)
AIMS = (
    ("up", PSQL_CONCURRENTLY, 0.85, "`up`, of psql's ten CONCURRENTLY"),
    ("up-jobs-1", PSQL_CONCURRENTLY, 0.95, "`up --jobs 1`, of psql's ten CONCURRENTLY"),
    ("up-offline", PSQL_PLAIN, 0.75, "`up --offline`, of psql's ten plain CREATE INDEX"),
)


def perform(server: Server, rounds: int, only: Sequence[str] | None, folder: Path) -> None:
    """Measure and publish."""
    field = chosen(only)
    publish("run", section(server, rounds, field, measure(server, rounds, field)), folder)


def measure(server: Server, rounds: int, field: Sequence[Contestant]) -> Measured:
    """Measure each contestant in each round, after a run on empty tables that is not counted."""
    for contestant in field:
        _forward_and_back(server, contestant, 0)
    measured: Measured = {contestant.name: [] for contestant in field}
    for contestant in options.rounds_of(field, rounds):
        both = _forward_and_back(server, contestant, server.rows)
        measured[contestant.name].append(both)
        print(f"{contestant.name:24} {both.forward.seconds:7.3f} s {both.rollback.seconds:7.3f} s", flush=True)
    return measured


def section(server: Server, rounds: int, field: Sequence[Contestant], measured: Measured) -> Section:
    """Return the medians and their quotients as a section of the results."""
    aims = [
        Aim(what, limit, medians(measured, name)[0] / medians(measured, baseline)[0])
        for name, baseline, limit, what in AIMS
        if name in measured
    ]
    return Section(
        title="Forward and rollback",
        conditions=f"{server.rows:,} activities; medians of {rounds} alternating rounds, without other load.",
        columns=COLUMNS,
        rows=[_row(contestant, measured) for contestant in field],
        aims=list(map(str, aims)),
        raw={name: [both.as_json() for both in rounds_of_it] for name, rounds_of_it in measured.items()},
        settings=server.settings(),
    )


def _forward_and_back(server: Server, contestant: Contestant, rows: int) -> Both:
    with server.copy(rows) as url, tempfile.TemporaryDirectory() as folder:
        return forward_and_back(contestant.prepare(Path(folder), url), lambda built: check(url, built))


def _row(contestant: Contestant, measured: Measured) -> list[str]:
    cells = [contestant.title]
    for part, seconds in enumerate(medians(measured, contestant.name)):
        cells += [f"{seconds:.3f}", *(ratio(seconds, medians(measured, name)[part]) for name in BASELINES)]
    peak = median(both.forward.peak_bytes for both in measured[contestant.name])
    return [*cells, megabytes(peak)]


def main() -> None:
    """Run python -m benchmarks.run."""
    arguments: argparse.Namespace = options.parser(__doc__, rounds=5, contest=True).parse_args()
    with opened(arguments.database_url, arguments.rows) as server:
        perform(server, arguments.rounds, arguments.only, arguments.results)


if __name__ == "__main__":
    main()
