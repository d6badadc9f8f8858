"""The cost of the indexes for a writer: rows inserted per second without and with them.

Each statement inserts many rows. For one row, the round trip to the server takes so much longer than the indexes that
no difference could be seen.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Sequence
from itertools import cycle, islice
from statistics import fmean
from typing import TYPE_CHECKING, Any

from peewee import ValueLiterals

from indexer.bench.events import Measuring, Tell
from indexer.bench.result import Writes
from indexer.definition import words
from indexer.signals import Stop

if TYPE_CHECKING:
    from peewee import Database

    from indexer.migrator import CatalogMigrator
    from indexer.spec import Index

TOGETHER = 100  # rows in a statement
STATEMENTS = 5  # for each table in a turn
TURNS = 12  # without and with the indexes, alternately: a machine that slows down for a while does so for both

Statements = list[tuple[Any, Any]]  # models, and the statements with their parameters
Taken = dict[Any, list[float]]  # seconds of each statement, by model


def inserts_a_second(
    database: Database,
    migrator: CatalogMigrator,
    models: Sequence[Any],
    indexes: Sequence[Index],
    tell: Tell,
    stop: Stop,
) -> tuple[Writes, ...]:
    """Return the rows a second into each indexed table, as peewee sends them.

    The rows are copies of existing ones, with new identifiers; a table that does not number its rows itself is left
    out. Every transaction is rolled back, including those that drop the indexes.

    Args:
        database: a scratch database, to which the models are bound.
        indexes: those whose cost is measured; all of them exist.
    """
    leading: dict[str, set[str]] = {}
    for index in indexes:
        leading.setdefault(index.table, set()).update(words(migrator.dialect.declared(index).key[0]))
    wanted = TOGETHER * STATEMENTS * TURNS
    indexed = [model for model in models if model._meta.table_name in leading and model._meta.auto_increment]
    rows = {model: _copies(model, wanted, leading[model._meta.table_name]) for model in indexed}
    drops = [migrator.dialect.drop_index_statement(index.name) for index in indexes]
    before: Taken = {model: [] for model in indexed}
    after: Taken = {model: [] for model in indexed}
    for turn in range(TURNS):
        tell(Measuring("inserts", "without indexes and with", turn, TURNS))
        inserts = [
            (model, model.insert_many(each[first : first + TOGETHER]).sql())
            for first in range(turn * TOGETHER * STATEMENTS, (turn + 1) * TOGETHER * STATEMENTS, TOGETHER)
            for model, each in rows.items()
        ]
        _insert(database, drops, inserts, before, stop)
        _insert(database, [], inserts, after, stop)
    return tuple(Writes(model._meta.table_name, _rate(before[model]), _rate(after[model])) for model in indexed)


def _insert(database: Database, drops: Sequence[str], inserts: Statements, taken: Taken, stop: Stop) -> None:
    """Drop and insert, add how long each insert took, and roll back."""
    with database.atomic() as transaction:
        for drop in drops:
            database.execute_sql(drop)
        for model, statement in inserts:
            stop.check()
            started = time.perf_counter()
            database.execute_sql(*statement)
            taken[model].append(time.perf_counter() - started)
        transaction.rollback()


def _copies(model: Any, wanted: int, leading: Collection[str]) -> list[dict[str, Any]]:
    """Return so many copies of rows from the whole table, without ids and with new values that identify a row.

    Args:
        leading: the columns that an index begins with.
    """
    count = model.select().count()
    ids = range(1, count + 1, max(1, count // wanted))
    key = model._meta.primary_key
    rows = list(model.select().where(key.in_(ValueLiterals(ids))).dicts())
    fields = [field for field in model._meta.sorted_fields if field.unique or field.column_name in leading]
    renewed = [field for field in fields if field.unique or _differ([row[field.name] for row in rows])]
    copies = []
    for row in islice(cycle(rows), wanted):
        changed = [field for field in renewed if row[field.name] is not None]
        fresh = {field.name: secrets.token_hex(16)[: getattr(field, "max_length", None)] for field in changed}
        copies.append({name: value for name, value in {**row, **fresh}.items() if name != key.name})
    return copies


def _differ(values: Sequence[Any]) -> bool:
    """Return whether the values are texts, and no two are the same."""
    return len(set(values)) == len(values) and all(isinstance(value, str) for value in values)


def _rate(taken: list[float]) -> float:
    """Return rows a second, by the mean: the median varies twice as much on a machine that has two speeds."""
    return TOGETHER / fmean(taken)
