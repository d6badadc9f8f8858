"""The time of a run that has nothing to build beside the import of its libraries, and the memory of one that builds.

Medians of alternating runs; peak memory is ru_maxrss of the process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import crm, options
from benchmarks.contestants import PROJECT
from benchmarks.process import Run, run
from benchmarks.results import Aim, Section, megabytes, milliseconds, publish, ratio
from benchmarks.server import Server, opened

RUNS = 20
IMPORTS = "import click, peewee, psycopg2"
BASELINE = f"`{IMPORTS}`"
NO_OP, EMPTY = "`up`, nothing to do, {}", "`up` on empty tables, {}"
MEMORY = "`up` on {:,} activities, PostgreSQL"
NO_OP_LIMIT, EMPTY_LIMIT, MEMORY_LIMIT = 1.25, 1.5, 40.0  # the aims: times the imports, times the imports, MB
DATABASES = ("SQLite", "PostgreSQL")
COLUMNS = ("", "ms", "of the imports", "peak memory, MB")


@dataclass(frozen=True)
class Start:
    """A command to start; the command ``before`` brings the database into the state that it needs, and is not timed."""

    title: str
    command: Sequence[str]
    url: str = ""
    before: Sequence[str] = ()


Measured = dict[str, list[Run]]


def starts(sqlite_urls: tuple[str, str], postgres_urls: tuple[str, str]) -> list[Start]:
    """Return the commands to compare. The first database of a pair keeps its indexes, the second has empty tables."""
    python = sys.executable
    fixed = [
        Start("`python -c pass`", (python, "-c", "pass")),
        Start(BASELINE, (python, "-c", IMPORTS)),
        Start("`--help`", (python, "cli.py", "--help")),
    ]
    urls = list(zip(DATABASES, (sqlite_urls, postgres_urls), strict=True))
    up, down = (python, "cli.py", "up"), (python, "cli.py", "down")
    idle = [Start(NO_OP.format(database), up, url) for database, (url, _) in urls]
    empty = [Start(EMPTY.format(database), up, url, before=down) for database, (_, url) in urls]
    return [*fixed, *idle, *empty]


def perform(server: Server, runs: int, folder: Path) -> None:
    """Measure and publish."""
    with _sqlite_pair() as sqlite_urls, server.copy(0) as applied, server.copy(0) as empty:
        measured = measure(starts(sqlite_urls, (applied, empty)), runs)
    publish("startup", section(server, runs, measured, measure_memory(server)), folder)


def measure(field: Sequence[Start], runs: int) -> Measured:
    """Run each in alternation; a first run of each fills the caches and is not counted."""
    for start in field:
        _perform(start.command, start)
    measured: Measured = {start.title: [] for start in field}
    for start in options.rounds_of(field, runs):
        if start.before:
            _perform(start.before, start)
        measured[start.title].append(_perform(start.command, start))
    return measured


def measure_memory(server: Server) -> Run:
    """Run one `up` on the full database."""
    with server.copy() as url:
        return run((sys.executable, "cli.py", "up"), PROJECT, {"DATABASE_URL": url})


def section(server: Server, runs: int, measured: Measured, full: Run) -> Section:
    """Return the medians as a section of the results."""
    memory = MEMORY.format(server.rows)
    return Section(
        title="Start-up and memory",
        conditions=f"Medians of {runs} alternating runs.",
        columns=COLUMNS,
        rows=[
            *(_row(title, measured) for title in measured),
            [memory, milliseconds(full.seconds), "", megabytes(full.peak_bytes)],
        ],
        aims=_aims(measured, full),
        raw={
            **{title: [each.as_json() for each in taken] for title, taken in measured.items()},
            memory: full.as_json(),
        },
        settings=server.settings(),
    )


@contextmanager
def _sqlite_pair() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("applied.db", "empty.db")]
        for path in paths:
            path.touch()
            crm.create(f"sqlite:///{path}")
        yield f"sqlite:///{paths[0]}", f"sqlite:///{paths[1]}"


def _perform(command: Sequence[str], start: Start) -> Run:
    return run(command, PROJECT, {"DATABASE_URL": start.url} if start.url else {})


def _seconds(measured: Measured, title: str) -> float:
    return median(each.seconds for each in measured[title])


def _row(title: str, measured: Measured) -> list[str]:
    seconds, peak = _seconds(measured, title), median(each.peak_bytes for each in measured[title])
    return [title, milliseconds(seconds), ratio(seconds, _seconds(measured, BASELINE)), megabytes(peak)]


def _aims(measured: Measured, full: Run) -> list[str]:
    aims = []
    for title, limit in ((NO_OP, NO_OP_LIMIT), (EMPTY, EMPTY_LIMIT)):
        for name in (title.format(database) for database in DATABASES):
            share = _seconds(measured, name) / _seconds(measured, BASELINE)
            aims.append(Aim(f"{name}, of the imports", limit, share))
    aims.append(Aim("peak memory of `up`", MEMORY_LIMIT, full.peak_bytes / 1e6, " MB"))
    return list(map(str, aims))


def main() -> None:
    """Run python -m benchmarks.startup."""
    arguments: argparse.Namespace = options.parser(__doc__, rounds=RUNS).parse_args()
    with opened(arguments.database_url, arguments.rows) as server:
        perform(server, arguments.rounds, arguments.results)


if __name__ == "__main__":
    main()
