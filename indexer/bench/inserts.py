"""What the indexes cost a writer: rows inserted in a second without them and with them, and taken back.

Many rows a statement, as a campaign enters its members. One by one, the way to the database and back takes so much
longer than an index does that there would be nothing to see.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from statistics import fmean
from typing import TYPE_CHECKING, Any

from peewee import ValueLiterals

import models
from indexer.bench.events import Measuring, Tell
from indexer.bench.result import Writes
from indexer.signals import Stop
from models import Campaign

if TYPE_CHECKING:
    from peewee import Database

INDEXED: tuple[Any, ...] = tuple(model for model in models.TABLES if model is not Campaign)
TOGETHER = 100  # rows in a statement
STATEMENTS = 5  # in a turn
TURNS = 12  # without and with: a machine that becomes slower for a while does so for both

Statement = tuple[Any, tuple[str, Any]]  # a model, and what is inserted into its table
Taken = dict[Any, list[float]]


def inserts_a_second(database: Database, drops: Sequence[str], tell: Tell, stop: Stop) -> tuple[Writes, ...]:
    """Rows a second into each of the six tables, as peewee sends them.

    The rows are copies of some that are there, with new identifiers. Every transaction is rolled back, those also in
    which the indexes are dropped for a while.

    Args:
        database: one to throw away, that the models are bound to.
        drops: the statements that drop the indexes whose cost is asked for; all of those stand.
        tell: called before each turn.
        stop: asks for an end.
    """
    rows = {model: _copies(model, TOGETHER * STATEMENTS * TURNS) for model in INDEXED}
    without: Taken = {model: [] for model in INDEXED}
    with_them: Taken = {model: [] for model in INDEXED}
    for turn in range(TURNS):
        tell(Measuring("inserts", "without indexes and with", turn, TURNS))
        statements = list(_statements(rows, turn))
        _take_turn(database, drops, statements, without, stop)
        _take_turn(database, (), statements, with_them, stop)
    return tuple(Writes(model._meta.table_name, _rate(without[model]), _rate(with_them[model])) for model in INDEXED)


def _statements(rows: dict[Any, list[dict[str, Any]]], turn: int) -> Iterator[Statement]:
    """Those of a turn: one table after the other, and again."""
    for place in range(STATEMENTS):
        for model, each in rows.items():
            first = (turn * STATEMENTS + place) * TOGETHER
            yield model, model.insert_many(each[first : first + TOGETHER]).sql()


def _take_turn(
    database: Database, drops: Sequence[str], statements: Iterable[Statement], taken: Taken, stop: Stop
) -> None:
    """Insert once these drops are done, and add how long each statement took; then take back all of it."""
    with database.atomic() as transaction:
        for drop in drops:
            database.execute_sql(drop)
        for model, statement in statements:
            stop.check()
            started = time.perf_counter()
            database.execute_sql(*statement)
            taken[model].append(time.perf_counter() - started)
        transaction.rollback()


def _rate(taken: list[float]) -> float:
    """Rows a second. A median would jump on a machine that has two speeds; measured, the mean varies half as much."""
    return TOGETHER / fmean(taken)


def _copies(model: Any, wanted: int) -> list[dict[str, Any]]:
    """Rows from the whole of a table, made new."""
    count = model.select().count()
    ids = range(1, count + 1, max(1, count // wanted))
    rows: list[dict[str, Any]] = list(model.select().where(model.id.in_(ValueLiterals(ids))).dicts())
    return [_renewed(model, row) for row in islice(cycle(rows), wanted)]


def _renewed(model: Any, row: dict[str, Any]) -> dict[str, Any]:
    named = [field for field in model._meta.sorted_fields if field.unique or field.name == "openphone_id"]
    fresh = {field.name: secrets.token_hex(16) for field in named if row[field.name] is not None}
    return {**{name: value for name, value in row.items() if name != "id"}, **fresh}
