"""The cost of the indexes for a writer: rows inserted in a second, without the indexes and with them.

Each statement inserts many rows. For one row, the round trip to the server takes so much longer than the indexes that
no difference could be seen.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from itertools import cycle, islice
from statistics import fmean
from typing import TYPE_CHECKING, Any

from peewee import ValueLiterals

from indexer.bench.events import Measuring, Tell
from indexer.bench.result import Writes
from indexer.signals import Stop

if TYPE_CHECKING:
    from peewee import Database

    from indexer.migrator import CatalogMigrator
    from indexer.spec import Index

TOGETHER = 100  # rows in a statement
STATEMENTS = 5  # for each table in a turn
TURNS = 12  # without and with the indexes, alternately: a machine that slows down for a while does so for both

Statements = list[tuple[str, Any]]  # tables, and the statements with their parameters
Taken = dict[str, list[float]]  # seconds of each statement, by table


def inserts_a_second(
    database: Database,
    migrator: CatalogMigrator,
    models: Sequence[Any],
    indexes: Sequence[Index],
    tell: Tell,
    stop: Stop,
) -> tuple[Writes, ...]:
    """Return the rows a second into each indexed table, as peewee sends them.

    The rows are copies of existing ones, with new unique values. Every transaction is rolled back, including those that
    drop the indexes.

    Args:
        database: a scratch database, to which the models are bound.
        migrator: of the same database.
        models: of all tables.
        indexes: those whose cost is measured; all of them exist.
        tell: called before each turn.
        stop: asks for an end.
    """
    tables = {index.table for index in indexes}
    rows = {model: _copies(model, TOGETHER * STATEMENTS * TURNS) for model in models if _name(model) in tables}
    drops = [migrator.drop_index_statement(index.name) for index in indexes]
    before: Taken = {_name(model): [] for model in rows}
    after: Taken = {_name(model): [] for model in rows}
    for turn in range(TURNS):
        tell(Measuring("inserts", "without indexes and with", turn, TURNS))
        inserts = [
            (_name(model), model.insert_many(each[first : first + TOGETHER]).sql())
            for first in range(turn * TOGETHER * STATEMENTS, (turn + 1) * TOGETHER * STATEMENTS, TOGETHER)
            for model, each in rows.items()
        ]
        _insert(database, drops, inserts, before, stop)
        _insert(database, [], inserts, after, stop)
    # A median would vary twice as much on a machine that has two speeds.
    return tuple(Writes(table, TOGETHER / fmean(before[table]), TOGETHER / fmean(after[table])) for table in before)


def _insert(database: Database, drops: Sequence[str], inserts: Statements, taken: Taken, stop: Stop) -> None:
    """Drop and insert, add how long each insert took, and roll back."""
    with database.atomic() as transaction:
        for drop in drops:
            database.execute_sql(drop)
        for table, statement in inserts:
            stop.check()
            started = time.perf_counter()
            database.execute_sql(*statement)
            taken[table].append(time.perf_counter() - started)
        transaction.rollback()


def _copies(model: Any, wanted: int) -> list[dict[str, Any]]:
    """Return copies of rows from the whole table, with new unique values and without ids."""
    count = model.select().count()
    ids = range(1, count + 1, max(1, count // wanted))
    unique = [field.name for field in model._meta.sorted_fields if field.unique]
    copies = []
    for row in islice(cycle(model.select().where(model.id.in_(ValueLiterals(ids))).dicts()), wanted):
        fresh = {name: secrets.token_hex(16) for name in unique if row[name] is not None}
        copies.append({name: value for name, value in {**row, **fresh}.items() if name != "id"})
    return copies


def _name(model: Any) -> str:
    return str(model._meta.table_name)
