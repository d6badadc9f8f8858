"""The processor time of a start beside the import of the libraries it needs, and the memory of an ``up``.

Medians of alternating runs, so that each start is compared with imports of the same moments. Processor time is user and
system time of the process, without that of the server; peak memory is its ru_maxrss.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

from benchmarks.databases import Databases, files
from benchmarks.process import Run, run
from benchmarks.results import Aim, Section, megabytes, milliseconds, ratio, rounds_of

RUNS = 20
LIBRARIES, CLICK = "import click, peewee, psycopg2", "import click"
UP, DOWN = ("cli.py", "up"), ("cli.py", "down")
MEMORY_LIMIT = 40.0  # MB


class Start(NamedTuple):
    """A start of Python; the one ``before`` brings the database into the state that it needs, and is not timed.

    Attributes:
        limit: the aim, times the processor time of the imports; 0 if there is none.
        imports: what it is compared with.
    """

    title: str
    arguments: Sequence[str]
    url: str = ""
    limit: float = 0
    imports: str = LIBRARIES
    before: Sequence[str] = ()


Measured = dict[str, list[Run]]  # by title


def measure(databases: Databases, runs: int) -> Section:
    """Measure each start in alternation, and the memory of one ``up`` on a full database of each kind."""
    with files(databases.rows) as sqlite_files, ExitStack() as copies:
        kinds = {"SQLite": sqlite_files, "PostgreSQL": databases}
        pairs = {name: [copies.enter_context(kind.copy(0)) for _ in range(2)] for name, kind in kinds.items()}
        field = list(_starts(pairs))
        measured = _runs(field, runs)
        full = {}
        for name, kind in kinds.items():
            with kind.copy() as url:
                full[f"`up` on {databases.rows:,} activities, {name}"] = _perform(UP, url)
    aims = [
        *(
            Aim(f"{each.title}, of `{each.imports}`", each.limit, _share(each, measured))
            for each in field
            if each.limit
        ),
        *(Aim(f"peak memory of {title}", MEMORY_LIMIT, one.peak_bytes / 1e6, " MB") for title, one in full.items()),
    ]
    return Section(
        title="Start-up and memory",
        conditions=f"Medians of {runs} alternating runs. CPU is the process's own, without the server's.",
        columns=("", "CPU, ms", "of the imports", "wall, ms", "of the imports", "peak memory, MB"),
        rows=[
            *(_row(start, measured) for start in field),
            *([title, "", "", "", "", megabytes(one.peak_bytes)] for title, one in full.items()),
        ],
        aims=list(map(str, aims)),
        raw={
            **{title: [each.as_json() for each in taken] for title, taken in measured.items()},
            **{title: one.as_json() for title, one in full.items()},
        },
        settings=databases.settings(),
    )


def _starts(pairs: Mapping[str, Sequence[str]]) -> Iterator[Start]:
    """Yield the starts to compare. The first URL of a pair keeps its indexes, the second has empty tables."""
    for imports in (LIBRARIES, CLICK):
        yield Start(f"`{imports}`", ("-c", imports), imports=imports)
    yield Start("`--help`", ("cli.py", "--help"), limit=1.3, imports=CLICK)
    for name, (head, empty) in pairs.items():
        yield Start(f"`up`, nothing to do, {name}", UP, head, limit=1.25)
        yield Start(f"`status`, {name}", ("cli.py", "status"), head, limit=1.5)
        yield Start(f"`check`, {name}", ("cli.py", "check"), head, limit=1.5)
        yield Start(f"`up` on empty tables, {name}", UP, empty, limit=1.7, before=DOWN)


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


def _medians(title: str, measured: Measured) -> tuple[float, float, float]:
    """Return the processor time, the wall time and the peak memory of a start."""
    taken = measured[title]
    return (
        median(each.processor_seconds for each in taken),
        median(each.seconds for each in taken),
        median(each.peak_bytes for each in taken),
    )


def _share(start: Start, measured: Measured) -> float:
    """Return the processor time as a multiple of that of the imports."""
    return _medians(start.title, measured)[0] / _medians(f"`{start.imports}`", measured)[0]


def _row(start: Start, measured: Measured) -> list[str]:
    processor, wall, peak = _medians(start.title, measured)
    imports_processor, imports_wall, _ = _medians(f"`{start.imports}`", measured)
    times = [
        milliseconds(processor),
        ratio(processor, imports_processor),
        milliseconds(wall),
        ratio(wall, imports_wall),
    ]
    return [start.title, *times, megabytes(peak)]
