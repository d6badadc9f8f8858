"""Measure the queries of a project before and after ``up``, on made-up rows in a scratch database.

result = bench("postgresql://user@host/name", rows=(10_000, 100_000), project=project)
print(tables.show(result))
report.write(result, "bench-results", tell)
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import datetime, timezone

from indexer.bench.events import RoundStarted, Tell
from indexer.bench.measure import measure, scratch
from indexer.bench.result import Result
from indexer.bench.sample import sample_of
from indexer.console.documents import utc
from indexer.errors import Command, Hint, Interrupted, PreflightFailed, UsageError
from indexer.events import silent
from indexer.project import Project
from indexer.revisions.chain import Chain, load
from indexer.signals import Stop
from indexer.verify.declared import queries_of, refuse_unknown

FEWEST = 100  # activities: with fewer, other tables are empty
SEED = 1


def bench(
    url: str,
    rows: Iterable[int],
    project: Project,
    tell: Tell = silent,
    stop: Stop | None = None,
    seed: int = SEED,
) -> Result:
    """Measure each size.

    Args:
        url: a SQLite URL stands for a temporary file, a PostgreSQL URL for a new schema on that server.
        rows: numbers of activities; the rows of the other tables are in proportion.
        seed: of the made-up rows.

    Raises:
        UsageError: too few or too many rows, no sample module, no query, or the URL cannot be read.
        Unreachable: the database cannot be opened.
        PreflightFailed, StatementFailed: the database does not allow a schema, tables or indexes.
        Interrupted: the process was asked to stop; nothing is left behind.
    """
    stop, sizes = stop or Stop(), sorted(set(rows))
    if not sizes or sizes[0] < FEWEST:
        raise UsageError(f"A measurement needs at least {FEWEST} activities.", "Use more: --rows 10000")
    sample_of(project.sample).counts(sizes[-1])  # refuses too many
    chain, queries = load(project.folder), queries_of(project)
    if not queries:
        raise UsageError("There is no query to measure: queries.py declares none.", "Add one to QUERIES there.")
    refuse_unknown(queries, chain.indexes)
    try:
        return _measured(url, sizes, project, chain, tell, stop, seed)
    except Interrupted as interruption:
        hint = Hint("Start again: ", Command("bench"))
        raise Interrupted(interruption.number, ": nothing was left behind", hint=hint) from None


def _measured(url: str, sizes: list[int], project: Project, chain: Chain, tell: Tell, stop: Stop, seed: int) -> Result:
    with scratch(url, stop) as database:
        publications = database.migrator.server.publications()
        problems = [  # ``up`` would find them only after the rows are made
            *database.migrator.catalog.problems(),
            *(f"publication {each} would send the rows to subscribers" for each in publications),
        ]
        if problems:
            raise PreflightFailed(problems, Hint("Fix this, then run: ", Command("bench")))
        product, settings = database.product, database.settings()
    measured_at = utc(datetime.now(timezone.utc))
    rounds = []
    for size in sizes:
        tell(RoundStarted(size, product))
        rounds.append(measure(url, size, project, chain, tell, stop, seed))
        stop.check()
    return Result(product, _machine(), settings, measured_at, seed, tuple(rounds))


def _machine() -> str:
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {python}"
