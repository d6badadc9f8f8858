"""What an index costs a writer: rows inserted in a second, and taken back.

Many rows a statement, as a campaign enters its members. One by one, the way to the database and back takes so much
longer than an index does that there would be nothing to see.
"""

from __future__ import annotations

import secrets
import time
from itertools import cycle, islice, product
from statistics import median
from typing import TYPE_CHECKING, Any

from peewee import ValueLiterals

import models
from indexer.stop import Stop
from models import Campaign

if TYPE_CHECKING:
    from peewee import Database

INDEXED: tuple[Any, ...] = tuple(model for model in models.TABLES if model is not Campaign)
TOGETHER = 100  # rows in a statement
STATEMENTS = 40  # each timed on its own: a disturbance spoils some of them, and the median leaves those out


def inserts_a_second(database: Database, stop: Stop) -> dict[str, float]:
    """Rows a second into each of the six tables, in one transaction, as peewee sends them.

    The rows are copies of some that are there, with new identifiers. The transaction is rolled back.

    Args:
        database: that the models are bound to.
        stop: asks for an end.
    """
    rows = {model: _copies(model, TOGETHER * STATEMENTS) for model in INDEXED}
    taken: dict[Any, list[float]] = {model: [] for model in INDEXED}
    with database.atomic() as transaction:
        # One table after the other and again, so that a slow moment of the machine is shared by all.
        for place, model in product(range(STATEMENTS), INDEXED):
            stop.check()
            statement = model.insert_many(rows[model][place::STATEMENTS]).sql()
            started = time.perf_counter()
            database.execute_sql(*statement)
            taken[model].append(time.perf_counter() - started)
        transaction.rollback()
    return {model._meta.table_name: TOGETHER / median(seconds) for model, seconds in taken.items()}


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
