"""Demonstration data: a made-up CRM in a database that is empty.

runner = Runner(connect("sqlite:///demo.db"), load("."), lambda: models.TABLES)
print(seed(runner, activities=100_000, tell=drawing))
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import models
from indexer.bench.events import Tell, silently
from indexer.catalog import ORDINARY, Place
from indexer.errors import Command, Hint, IndexerError, PreflightFailed
from proof.fill import ELSEWHERE, TABLES, heard, if_interrupted, refuse_rows
from proof.fill import fill as fill_with
from proof.generator import SEED, Crm
from proof.store import Store, store_of

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator
    from indexer.runner import Runner


class Seeded(NamedTuple):
    """What was written: the rows of each table."""

    place: Place
    rows: dict[str, int]

    def __str__(self) -> str:
        counted = ", ".join(f"{count:,} in {table}" for table, count in self.rows.items())
        return f"{sum(self.rows.values()):,} rows on {self.place}: {counted}."


def counts(activities: int) -> dict[str, int]:
    """Return how many rows each table has."""
    return Crm(activities).counts


def fill(migrator: CatalogMigrator, activities: int, new: bool, tell: Tell, number: int = SEED) -> None:
    """Write all rows."""
    fill_with(migrator, Crm(activities, number), new, tell)


def seed(runner: Runner, activities: int, number: int = SEED, tell: Tell = silently) -> Seeded:
    """Fill an empty database; one without any tables is given them first.

    All rows are written in one transaction. The tables stay, should that be interrupted.

    Args:
        runner: of the database, not read-only.
        activities: how many; there are eight other rows to ten of them.
        number: the seed of the generator: the same number makes the same rows.
        tell: called with each event, those of ``up`` included.

    Raises:
        UsageError: too many activities.
        PreflightFailed: a table holds rows, or is missing, or has not all columns; nothing was changed.
        Locked: another run, or a writer, is at work on the database.
        StatementFailed: the database refused a statement; nothing was written.
        Interrupted: somebody asked to stop; nothing was written.
    """
    migrator, crm = runner.migrator, Crm(activities, number)
    runner.report = migrator.report = tell
    store = store_of(migrator)
    with if_interrupted(": no row was written", "Run the same command again."):
        with heard(store, migrator.database, migrator.stop), _for_up(store):
            _check(migrator, store)
            made = runner.up("base").base_tables
        fill_with(migrator, crm, bool(made), tell)
    with (
        if_interrupted(": all rows are written", "Bring statistics up to date: ANALYZE"),
        heard(store, migrator.database, migrator.stop),
    ):
        store.analyze(TABLES)
    return Seeded(migrator.place, crm.counts)


@contextmanager
def _for_up(store: Store) -> Iterator[None]:
    """What ``up`` would have the user do next is said of our own command."""
    try:
        yield
    except IndexerError as error:
        refusal = error.__cause__
        ours = error.hint.with_commands(_of_seed).with_texts(_old)
        error.hint = Hint(store.remedy(refusal)) if isinstance(refusal, store.errors) else ours
        raise


def _old(text: str) -> str:
    return re.sub(r"python cli\.py up( --to \w+)?", "python cli.py seed", text)


def _of_seed(command: Command) -> Command:
    """Return ``seed`` for ``up``, with its options but for the revision that it stops at."""
    name, *options = command
    if name != "up":
        return command
    if "--to" in options:
        del options[(place := options.index("--to")) : place + 2]
    return Command("seed", *options)


def _check(migrator: CatalogMigrator, store: Store) -> None:
    """Raises PreflightFailed unless the database is empty, or has all seven tables and no row in them."""
    found = migrator.catalog.tables(TABLES)
    if not found and migrator.catalog.is_empty():
        return
    problems = [f"table {migrator.qualified(table)} is missing" for table in TABLES if table not in found]
    for model in models.TABLES:
        table = found.get(model._meta.table_name)
        lacking = sorted(set(model._meta.columns) - table.columns) if table else []
        problems += [f"table {migrator.qualified(model._meta.table_name)} has no column {name}" for name in lacking]
    # A view, and the triggers of another role's table, would run that role's code with our rights.
    problems += [
        f"{migrator.qualified(table.name)} is a {table.kind}, not an ordinary table"
        for table in found.values()
        if table.kind != ORDINARY
    ]
    owners = sorted({str(table.owner) for table in found.values()})
    problems += [f"the tables belong to several roles: {', '.join(owners)}"] if len(owners) > 1 else []
    if problems:
        raise PreflightFailed(problems, ELSEWHERE)
    refuse_rows(store, TABLES)
