"""Fill a database with a made-up CRM.

runner = Runner(connect("sqlite:///demo.db"), load("."), lambda: models.TABLES)
print(seed(runner, activities=100_000, tell=drawing))
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from peewee import PeeweeException

from indexer import preflight
from indexer.bench.events import Filled, Filling, Tell
from indexer.catalog import ORDINARY
from indexer.errors import Command, Hint, IndexerError, Interrupted, PreflightFailed, StatementFailed
from indexer.events import silent
from sample.rows import SEED, batches, counts, parameters, statements

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator
    from indexer.runner import Runner

NOTHING_WRITTEN, AGAIN = ": no row was written", "Run the same command again."
ELSEWHERE = Hint("Fill an empty database instead: ", Command("seed", "--database-url", "sqlite:///demo.db"))


def seed(runner: Runner, activities: int, number: int = SEED, tell: Tell = silent) -> dict[str, int]:
    """Fill an empty database, creating the tables first where there are none; return how many rows each table got.

    An interruption undoes the rows, but not the tables.

    Args:
        runner: of the database, not read-only.
        activities: how many; there are eight other rows to ten of them.
        number: the same number makes the same rows.
        tell: called with each event, those of ``up`` included.

    Raises:
        UsageError: too many activities.
        PreflightFailed: a table holds rows, or is missing, or lacks a column; nothing was changed.
        Locked: another run, or a writer, is at work on the database.
        StatementFailed: the database refused a statement; nothing was written.
        Interrupted: a signal asked to stop; nothing was written.
    """
    runner = runner.reporting(tell)
    rows, migrator = counts(activities), runner.migrator
    with _if_interrupted(NOTHING_WRITTEN, AGAIN), _translated(migrator), _hints_for_seed():
        _check(runner)
        preflight.check(runner.inspector.plan("up", "base"))
        _refuse_rows(migrator)
        made = runner.up("base").base_tables
    fill(migrator, activities, bool(made), tell, number)
    return rows


def fill(migrator: CatalogMigrator, activities: int, new: bool, tell: Tell, seed: int = SEED) -> None:
    """Write all rows in one transaction, in which no other session writes to the seven tables, and analyze the tables.

    Args:
        migrator: of a database with the tables.
        activities: how many; the other rows are in proportion.
        new: whether this command has made the tables.
        seed: the same number makes the same rows.

    Raises:
        PreflightFailed, StatementFailed, Interrupted: as ``seed``.
    """
    started, rows, dialect = time.monotonic(), counts(activities), import_module(f"sample.{migrator.dialect.name}")
    done, total = 0, sum(rows.values())
    inserts, values = statements(dialect.SPELLING, migrator.qualified), parameters(activities, seed)
    with (
        _if_interrupted(NOTHING_WRITTEN, AGAIN),
        migrator.migration_context(),
        _translated(migrator),
        dialect.writing(migrator, rows, new),
    ):
        _refuse_rows(migrator)
        for table, first, last in batches(activities):
            migrator.context.stop.check()
            tell(Filling(table, done, total))
            migrator.database.cursor().execute(inserts[table], {**values, "first": first, "last": last})
            done += last - first + 1
    tell(Filled(total, time.monotonic() - started))
    with _if_interrupted(": all rows are written", "Bring statistics up to date: ANALYZE"), _translated(migrator):
        dialect.analyze(migrator, [migrator.qualified(table) for table in rows])


@contextmanager
def _translated(migrator: CatalogMigrator) -> Iterator[None]:
    """Raise StatementFailed for an error of the database, and Interrupted if a signal has cancelled the statement."""
    try:
        yield
    except StatementFailed:
        migrator.context.stop.check()
        raise
    except (PeeweeException, migrator.database.connection().Error) as error:
        migrator.context.stop.check()
        said, remedy = migrator.said(error), migrator.remedy(error)
        raise StatementFailed(f"The database refused a statement: {said}", remedy) from error


def _refuse_rows(migrator: CatalogMigrator) -> None:
    """Raise PreflightFailed when one of the tables holds a row."""
    cursor, held = migrator.database.cursor(), []
    for table in migrator.catalog.tables(list(counts(1))):
        cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {migrator.qualified(table)})")
        held += [table] if cursor.fetchone()[0] else []
    if held:
        raise PreflightFailed([f"table {table} holds rows" for table in held], ELSEWHERE)


def _check(runner: Runner) -> None:
    """Raise PreflightFailed unless the database is empty or has the seven tables with all their columns."""
    migrator, models = runner.migrator, runner.models()
    names = [model._meta.table_name for model in models]
    found = migrator.catalog.tables(names)
    if not found and migrator.catalog.is_empty():
        return
    problems = [f"table {migrator.qualified(name)} is missing" for name in names if name not in found]
    for model in models:
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


@contextmanager
def _hints_for_seed() -> Iterator[None]:
    """Name ``seed`` where a hint says to run ``up``."""
    try:
        yield
    except IndexerError as error:
        error.hint = error.hint.with_commands(_for_seed)
        raise


def _for_seed(command: Command) -> Command:
    """Return ``seed`` for ``up``, with its options but for the revision at which it stops."""
    name, *options = command
    if name != "up":
        return command
    if "--to" in options:
        del options[(place := options.index("--to")) : place + 2]
    return Command("seed", *options)


@contextmanager
def _if_interrupted(outcome: str, hint: str) -> Iterator[None]:
    """Let an interruption say what it left, and what to do next."""
    try:
        yield
    except Interrupted as interruption:
        said = Interrupted(interruption.number, outcome)
        said.hint = Hint(hint)
        raise said from None
