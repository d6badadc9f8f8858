"""Putting a made-up CRM into empty tables: all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from peewee import Database

import models
from indexer.bench.events import Filled, Filling, Tell
from indexer.errors import Command, Hint, Interrupted, PreflightFailed, StatementFailed
from indexer.signals import Stop
from indexer.text import reason
from proof.generator import Columns, Crm
from proof.production import production
from proof.store import Store, store_of

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

TABLES = tuple(model._meta.table_name for model in models.TABLES)
ELSEWHERE = Hint("Fill an empty database instead: ", Command("seed", "--database-url", "sqlite:///demo.db"))


def fill(migrator: CatalogMigrator, crm: Crm, new: bool, tell: Tell) -> None:
    """Write all rows in one transaction, in which nobody else writes to the seven tables.

    Args:
        migrator: the database; its tables exist.
        crm: the rows.
        new: the tables have just been made, by us.
        tell: called with each event.

    Raises:
        PreflightFailed: a table holds rows.
        StatementFailed: the database refused a statement.
        Interrupted: somebody asked to stop; nothing was written.
    """
    store, started = store_of(migrator), time.monotonic()
    with migrator.migration_context(), heard(store, migrator.database, migrator.stop), store.filling(TABLES, new):
        refuse_rows(store, TABLES)
        _write(store, crm, migrator.stop, tell)
    tell(Filled(crm.rows, time.monotonic() - started))


def _write(store: Store, crm: Crm, stop: Stop, tell: Tell) -> None:
    done = 0
    with production(crm, stop) as batches:
        for table, count in crm.counts.items():
            store.load(table, _told(batches(table), table, done, crm.rows, stop, tell))
            done += count


def refuse_rows(store: Store, tables: Collection[str]) -> None:
    """Raises PreflightFailed when one of the tables holds a row."""
    held = [table for table in tables if store.holds_rows(table)]
    if held:
        raise PreflightFailed([f"table {table} holds rows" for table in held], ELSEWHERE)


@contextmanager
def heard(store: Store, database: Database, stop: Stop) -> Iterator[None]:
    """End the database's statement as soon as somebody asks to stop, and put failures into words.

    Raises:
        Interrupted: somebody asked.
        StatementFailed: the database refused a statement.
    """
    stop.on_ask(store.canceller(database))
    stop.check()
    try:
        yield
    except StatementFailed:
        stop.check()  # a statement that was interrupted has failed as well
        raise
    except store.errors as error:
        stop.check()
        raise StatementFailed(f"The database refused a statement: {reason(error)}.", store.remedy(error)) from error


@contextmanager
def if_interrupted(standing: str, hint: str | Hint) -> Iterator[None]:
    """Let an interruption tell how things stand, and what to do next."""
    try:
        yield
    except Interrupted as interruption:
        told = Interrupted(interruption.number, standing)
        told.hint = Hint(hint)
        raise told from None


def _told(batches: Iterator[Columns], table: str, before: int, total: int, stop: Stop, tell: Tell) -> Iterator[Columns]:
    """The batches of a table, each announced."""
    for columns in batches:
        stop.check()
        tell(Filling(table, before + columns["id"][0] - 1, total))
        yield columns
