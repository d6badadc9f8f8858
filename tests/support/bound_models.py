"""The models bound to a database for tests, and the rows that a test needs first."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import foreign_crm
import pytest
from peewee import Database
from playhouse.db_url import connect

import models
from models import Contact, Conversation


@contextmanager
def bound_to(url: str) -> Iterator[Database]:
    """Bind the models to the database at the URL."""
    with closing(connect(url)) as db:
        models.database.initialize(db)
        try:
            yield db
        finally:
            models.database.initialize(None)


@contextmanager
def recorded(db: Database) -> Iterator[list]:
    """Record the queries that the block executes."""
    sent: list = []
    db.query_hooks.append(sent.append)
    try:
        yield sent
    finally:
        db.query_hooks.remove(sent.append)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """Yield a database with the seven tables as the models create them."""
    with bound_to(database_url) as bound:
        bound.create_tables(models.TABLES)
        yield bound


@pytest.fixture
def foreign_db(database_url: str) -> Iterator[Database]:
    """Yield a database that another tool created and filled."""
    with bound_to(database_url) as bound:
        foreign_crm.create_schema(bound.connection())
        foreign_crm.load(bound.connection(), activities=20_000)
        yield bound


def contact(**values) -> Contact:
    return Contact.create(**{"first_name": "Ada", "last_name": "Lovelace", **values})


def conversation(**values) -> Conversation:
    return Conversation.create(contact=contact(), **values)


def ids(rows) -> list[int]:
    return [row.id for row in rows]
