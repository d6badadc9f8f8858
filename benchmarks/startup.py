"""Start-up: what a run that has nothing to build costs beside importing its libraries, and the memory of one that has.

Medians of alternating runs; peak memory is ru_maxrss of the process.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import options
from benchmarks.contestants import PROJECT
from benchmarks.process import Run, run
from benchmarks.results import Aim, Section, megabytes, milliseconds, publish, ratio
from benchmarks.server import Server, opened
from tests.support import foreign_crm

RUNS = 20
IMPORTS = "import click, peewee, psycopg2"
NO_OP, EMPTY = "`up`, nothing to do, {}", "`up` on empty tables, {}"
MEMORY = "`up` on {:,} activities, PostgreSQL"
NO_OP_LIMIT, EMPTY_LIMIT, MEMORY_LIMIT = 1.25, 1.5, 40.0  # the aims: times the imports, times the imports, MB
DATABASES = ("SQLite", "PostgreSQL")
COLUMNS = ("", "ms", "of the imports", "peak memory, MB")


@dataclass(frozen=True)
class Start:
    """One way to start Python; ``before`` puts the database back where the command expects it and is not timed."""

    title: str
    command: Sequence[str]
    url: str = ""
    before: Sequence[str] = ()


Measured = dict[str, list[Run]]


def starts(sqlite_urls: tuple[str, str], postgres_urls: tuple[str, str]) -> list[Start]:
    """All that are compared; of each pair of databases the first has its indexes and the second empty tables."""
    python = sys.executable
    fixed = [
        Start("`python -c pass`", (python, "-c", "pass")),
        Start(f"`{IMPORTS}`", (python, "-c", IMPORTS)),
        Start("`--help`", (python, "cli.py", "--help")),
    ]
    urls = list(zip(DATABASES, (sqlite_urls, postgres_urls), strict=True))
    up, down = (python, "cli.py", "up"), (python, "cli.py", "down")
    idle = [Start(NO_OP.format(database), up, url) for database, (url, _) in urls]
    empty = [Start(EMPTY.format(database), up, url, before=down) for database, (_, url) in urls]
    return [*fixed, *idle, *empty]


def measure(field: Sequence[Start], runs: int) -> Measured:
    """So many alternating runs of each; one run of each before that fills the caches."""
    for start in field:
        _perform(start)
    measured: Measured = {start.title: [] for start in field}
    for start in options.rounds_of(field, runs):
        if start.before:
            run(start.before, PROJECT, {"DATABASE_URL": start.url})
        measured[start.title].append(_perform(start))
    return measured


def measure_memory(server: Server) -> Run:
    """One `up` on the full database."""
    with server.copy() as url:
        return run((sys.executable, "cli.py", "up"), PROJECT, {"DATABASE_URL": url})


def section(server: Server, runs: int, measured: Measured, full: Run) -> Section:
    """The medians as a section of the results."""
    return Section(
        title="Start-up and memory",
        conditions=f"Medians of {runs} alternating runs.",
        columns=COLUMNS,
        rows=[
            *(_row(title, each, _seconds(measured, f"`{IMPORTS}`")) for title, each in measured.items()),
            [MEMORY.format(server.rows), milliseconds(full.seconds), "", megabytes(full.peak_bytes)],
        ],
        aims=[str(aim) for aim in _aims(measured, full)],
        raw={
            **{title: [each.as_json() for each in runs_of] for title, runs_of in measured.items()},
            MEMORY.format(server.rows): full.as_json(),
        },
        settings=server.settings(),
    )


def perform(server: Server, runs: int, folder: Path) -> None:
    """Measure and publish."""
    with _sqlite_pair() as sqlite_urls, server.copy(0) as applied, server.copy(0) as empty:
        measured = measure(starts(sqlite_urls, (applied, empty)), runs)
    publish("startup", section(server, runs, measured, measure_memory(server)), folder)


@contextmanager
def _sqlite_pair() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "applied.db", Path(folder) / "empty.db"]
        for path in paths:
            with closing(sqlite3.connect(path)) as connection:
                foreign_crm.create_schema(connection)
        yield f"sqlite:///{paths[0]}", f"sqlite:///{paths[1]}"


def _perform(start: Start) -> Run:
    return run(start.command, PROJECT, {"DATABASE_URL": start.url} if start.url else {})


def _seconds(measured: Measured, title: str) -> float:
    return median(each.seconds for each in measured[title])


def _row(title: str, runs: Sequence[Run], baseline: float) -> list[str]:
    seconds = median(each.seconds for each in runs)
    peak = median(each.peak_bytes for each in runs)
    return [title, milliseconds(seconds), ratio(seconds, baseline), megabytes(peak)]


def _aims(measured: Measured, full: Run) -> list[Aim]:
    baseline = _seconds(measured, f"`{IMPORTS}`")
    timed = [
        (title.format(database), limit)
        for title, limit in ((NO_OP, NO_OP_LIMIT), (EMPTY, EMPTY_LIMIT))
        for database in DATABASES
    ]
    aims = [Aim(f"{title}, of the imports", limit, _seconds(measured, title) / baseline) for title, limit in timed]
    return [*aims, Aim("peak memory of `up`", MEMORY_LIMIT, full.peak_bytes / 1e6, " MB")]


def main() -> None:
    """Called as python -m benchmarks.startup."""
    arguments: argparse.Namespace = options.parser(__doc__, rounds=RUNS).parse_args()
    with opened(arguments.database_url, arguments.rows) as server:
        perform(server, arguments.rounds, arguments.results)


if __name__ == "__main__":
    main()
