"""The ten queries before and after ``up``, measured on made-up rows in a database that is thrown away.

result = bench("postgresql://user@host/name", rows=(10_000, 100_000), tell=drawing)
print(table.show(result))
report.write(result, "bench-results", tell=drawing)
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import datetime, timezone

from indexer.bench.events import RoundStarted, Tell, silently
from indexer.bench.measure import measure
from indexer.bench.result import Result
from indexer.bench.scratch import scratch
from indexer.console.documents import utc
from indexer.errors import Command, Hint, PreflightFailed, UsageError
from indexer.revisions.chain import load
from indexer.signals import Stop
from proof.fill import if_interrupted
from proof.generator import SEED, Crm
from proof.store import store_of

ROWS = (10_000, 100_000, 1_000_000)
FEWEST = 100  # activities: with fewer, other tables are empty
PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def bench(
    url: str,
    rows: Iterable[int] = ROWS,
    tell: Tell = silently,
    stop: Stop | None = None,
    seed: int = SEED,
) -> Result:
    """Measure at each size.

    Args:
        url: a SQLite URL stands for a temporary file, a PostgreSQL URL for a schema of our own on that server.
        rows: numbers of activities; the other tables are in proportion.
        tell: called with each event.
        stop: asks for an end.
        seed: of the generator.

    Raises:
        UsageError: too few or too many rows, or the URL cannot be read.
        Unreachable: the database cannot be opened.
        PreflightFailed, StatementFailed: the database does not let us make a schema, tables or indexes.
        Interrupted: somebody asked to stop; nothing is left behind.
    """
    stop, sizes = stop or Stop(), sorted(set(rows))
    if not sizes or sizes[0] < FEWEST:
        raise UsageError(f"There is nothing to measure in fewer than {FEWEST} activities.", "Use more: --rows 10000")
    crms = [Crm(activities, seed) for activities in sizes]
    with if_interrupted(": nothing was left behind", Hint("Begin again: ", Command("bench"))):
        return _measured(url, crms, tell, stop)


def _measured(url: str, crms: list[Crm], tell: Tell, stop: Stop) -> Result:
    chain = load(PROJECT)
    with scratch(url, stop) as migrator:
        problems = [  # up would have them only after all rows are made
            *migrator.catalog.problems(),
            *(f"publication {each} would send the measured rows to subscribers" for each in migrator.publications()),
        ]
        if problems:
            raise PreflightFailed(problems, Hint("Correct this, then: ", Command("bench")))
        store = store_of(migrator)
        product, settings = store.product, store.settings()
    measured_at = utc(datetime.now(timezone.utc))
    rounds = []
    for crm in crms:
        tell(RoundStarted(crm.activities, product))
        rounds.append(measure(url, crm, chain, tell, stop))
        stop.check()
    return Result(product, _machine(), settings, measured_at, crms[0].seed, tuple(rounds))


def _machine() -> str:
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {python}"
