"""The time of a run that has nothing to build beside the import of its libraries, and the memory of one that builds.

Medians of alternating runs; peak memory is ru_maxrss of the process.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

from benchmarks.databases import Databases, files
from benchmarks.process import Run, run
from benchmarks.results import Aim, Section, megabytes, milliseconds, rounds_of

RUNS = 20
IMPORTS = "import click, peewee, psycopg2"
BASELINE = f"`{IMPORTS}`"
UP, DOWN = ("cli.py", "up"), ("cli.py", "down")
NO_OP_LIMIT, EMPTY_LIMIT, MEMORY_LIMIT = 1.25, 1.5, 40.0  # the aims: times the imports, times the imports, MB


class Start(NamedTuple):
    """A start of Python; the one ``before`` brings the database into the state that it needs, and is not timed.

    Attributes:
        limit: the aim, times the imports; 0 if there is none.
    """

    title: str
    arguments: Sequence[str]
    url: str = ""
    before: Sequence[str] = ()
    limit: float = 0


Measured = dict[str, list[Run]]  # by title


def measure(databases: Databases, runs: int) -> Section:
    """Measure each start in alternation, and the memory of one ``up`` on the full database."""
    with files(0) as sqlite_files, ExitStack() as copies:
        pairs = {
            name: [copies.enter_context(kind.copy(0)) for _ in range(2)]
            for name, kind in (("SQLite", sqlite_files), ("PostgreSQL", databases))
        }
        field = _starts(pairs)
        measured = _runs(field, runs)
    memory = f"`up` on {databases.rows:,} activities, PostgreSQL"
    with databases.copy() as url:
        full = _perform(UP, url)
    shares = (Aim(f"{title}, of the imports", limit, _share(title, measured)) for title, *_, limit in field if limit)
    return Section(
        title="Start-up and memory",
        conditions=f"Medians of {runs} alternating runs.",
        columns=("", "ms", "of the imports", "peak memory, MB"),
        rows=[
            *(_row(title, measured) for title in measured),
            [memory, milliseconds(full.seconds), "", megabytes(full.peak_bytes)],
        ],
        aims=[*map(str, shares), str(Aim("peak memory of `up`", MEMORY_LIMIT, full.peak_bytes / 1e6, " MB"))],
        raw={
            **{title: [each.as_json() for each in taken] for title, taken in measured.items()},
            memory: full.as_json(),
        },
        settings=databases.settings(),
    )


def _starts(pairs: Mapping[str, Sequence[str]]) -> list[Start]:
    """Return the starts to compare. The first URL of a pair keeps its indexes, the second has empty tables."""
    fixed = [
        Start("`python -c pass`", ("-c", "pass")),
        Start(BASELINE, ("-c", IMPORTS)),
        Start("`--help`", ("cli.py", "--help")),
    ]
    idle = [Start(f"`up`, nothing to do, {name}", UP, pair[0], limit=NO_OP_LIMIT) for name, pair in pairs.items()]
    empty = [
        Start(f"`up` on empty tables, {name}", UP, pair[1], before=DOWN, limit=EMPTY_LIMIT)
        for name, pair in pairs.items()
    ]
    return [*fixed, *idle, *empty]


def _runs(field: Sequence[Start], runs: int) -> Measured:
    """Run each in alternation; a first run of each fills the caches and is not counted."""
    for start in field:
        _perform(start.arguments, start.url)
    measured: Measured = {start.title: [] for start in field}
    for start in rounds_of(field, runs):
        if start.before:
            _perform(start.before, start.url)
        measured[start.title].append(_perform(start.arguments, start.url))
    return measured


def _perform(arguments: Sequence[str], url: str) -> Run:
    return run((sys.executable, *arguments), environment={"DATABASE_URL": url} if url else {})


def _share(title: str, measured: Measured) -> float:
    """Return the median time as a multiple of that of the imports."""
    seconds, imports = (median(each.seconds for each in measured[name]) for name in (title, BASELINE))
    return seconds / imports


def _row(title: str, measured: Measured) -> list[str]:
    seconds, peak = (median(getattr(each, name) for each in measured[title]) for name in ("seconds", "peak_bytes"))
    return [title, milliseconds(seconds), f"{_share(title, measured):.2f}", megabytes(peak)]
