"""Wall time of forward and rollback of every contestant, on the same data, in alternating rounds."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import options
from benchmarks.contestants import PSQL_CONCURRENTLY, PSQL_PLAIN, Contestant, chosen
from benchmarks.process import CommandFailed, Run, run
from benchmarks.results import Aim, Section, megabytes, publish, ratio
from benchmarks.server import Server, opened, standing
from benchmarks.statements import names

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

Both = tuple[Run, Run]
Measured = dict[str, list[Both]]


def measure(server: Server, rounds: int, field: Sequence[Contestant]) -> Measured:
    """Forward and rollback of each contestant in each round, after a rehearsal on empty tables that is not counted."""
    for contestant in field:
        _forward_and_back(server, contestant, 0)
    measured: Measured = {contestant.name: [] for contestant in field}
    for contestant in options.rounds_of(field, rounds):
        forward, rollback = both = _forward_and_back(server, contestant, server.rows)
        measured[contestant.name].append(both)
        print(f"{contestant.name:24} {forward.seconds:7.3f} s {rollback.seconds:7.3f} s", flush=True)
    return measured


def expect(url: str, contestant: Contestant, number: int) -> None:
    """Raises CommandFailed when a contestant left another number of valid indexes than it should have."""
    found = standing(url)
    if found != number:
        raise CommandFailed(f"{contestant.name} left {found} of {len(names())} indexes, not {number}")


def section(server: Server, rounds: int, field: Sequence[Contestant], measured: Measured) -> Section:
    """The medians and their ratios as a section of the results."""
    return Section(
        title="Forward and rollback",
        conditions=f"{server.rows:,} activities; medians of {rounds} alternating rounds, nobody else at work.",
        columns=COLUMNS,
        rows=[_row(contestant, measured) for contestant in field],
        aims=[str(aim) for aim in _aims(measured)],
        raw={
            name: [{"forward": forward.as_json(), "rollback": rollback.as_json()} for forward, rollback in both]
            for name, both in measured.items()
        },
        settings=server.settings(),
    )


def perform(server: Server, rounds: int, only: Sequence[str] | None, folder: Path) -> None:
    """Measure and publish."""
    field = chosen(only)
    publish("run", section(server, rounds, field, measure(server, rounds, field)), folder)


def _forward_and_back(server: Server, contestant: Contestant, rows: int) -> Both:
    with server.copy(rows) as url, tempfile.TemporaryDirectory() as folder:
        commands = contestant.prepare(Path(folder), url)
        forward = run(commands.forward, commands.folder, commands.environment)
        expect(url, contestant, len(names()))
        rollback = run(commands.rollback, commands.folder, commands.environment)
        expect(url, contestant, 0)
    return forward, rollback


def _median(measured: Measured, name: str, part: int) -> float:
    return median(both[part].seconds for both in measured[name])


def _row(contestant: Contestant, measured: Measured) -> list[str]:
    cells = [contestant.title]
    for part in (0, 1):
        own = _median(measured, contestant.name, part)
        baselines = [_median(measured, name, part) for name in (PSQL_PLAIN, PSQL_CONCURRENTLY)]
        cells += [f"{own:.3f}", *(ratio(own, baseline) for baseline in baselines)]
    peak = median(forward.peak_bytes for forward, _ in measured[contestant.name])
    return [*cells, megabytes(peak)]


def _aims(measured: Measured) -> list[Aim]:
    return [
        Aim(what, limit, _median(measured, name, 0) / _median(measured, baseline, 0))
        for name, baseline, limit, what in AIMS
        if name in measured
    ]


def main() -> None:
    """Called as python -m benchmarks.run."""
    arguments: argparse.Namespace = options.parser(__doc__, rounds=5, contest=True).parse_args()
    with opened(arguments.database_url, arguments.rows) as server:
        perform(server, arguments.rounds, arguments.only, arguments.results)


if __name__ == "__main__":
    main()
