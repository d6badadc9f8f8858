"""The application's Alembic: real revisions in migrations/versions, run by the real Alembic.

e1b04c7a9f35    contacts and campaigns
2792ed2d7978    webhook events: all seven tables exist
10992629d68e    the ten indexes, as the original made them
5bf30755a98d    something else
bc1952ff7326    on PostgreSQL drops eight of the ten unnoticed
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import foreign_crm
import psycopg2
from alembic import command as alembic
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from command import connect, execute, is_postgres
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

ALEMBIC_NAMES = {
    "ix_contact_phone": "ix_contact_phone_hash",
    "ix_contact_flag_type_contact": "ix_contact_flag_opted_out",
}
LATER, DROPS_EIGHT = "5bf30755a98d", "bc1952ff7326"
LEFT_BY_IT = {"ix_webhook_event_processed", "ix_webhook_event_event_type"}
UNKNOWN = "feedfacefeed"


def upgrade(url: str, to: str = "head", schema: str | None = None, in_other_words: bool = False) -> None:
    """Upgrade like ``flask db upgrade``; with in_other_words, two of the ten get the names that they have on SQLite."""
    with _configured(url, schema, in_other_words) as config:
        alembic.upgrade(config, to)


def downgrade(url: str, to: str, schema: str | None = None, in_other_words: bool = False) -> None:
    """Downgrade like ``flask db downgrade``."""
    with _configured(url, schema, in_other_words) as config:
        alembic.downgrade(config, to)


def current(url: str, schema: str | None = None) -> tuple[str, ...]:
    """Return the rows of alembic_version, as ``flask db current`` shows them; none without the table."""
    with _connected(url, schema) as connection:
        return tuple(sorted(MigrationContext.configure(connection).get_current_heads()))


def put(url: str, *revisions: str) -> None:
    """Replace the rows of alembic_version, and create the table if it is missing."""
    execute(
        url,
        "CREATE TABLE IF NOT EXISTS alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY)",
        "DELETE FROM alembic_version",
        *(f"INSERT INTO alembic_version VALUES ('{revision}')" for revision in revisions),
    )


def creation_of(table: str, dialect: str) -> str:
    """Return the statement that creates a table of the CRM."""
    identity = {"postgresql": foreign_crm.POSTGRESQL, "sqlite": foreign_crm.SQLITE}[dialect].identity
    statements = foreign_crm.SCHEMA.format(identity=identity).split(";\n")
    return next(each for each in statements if each.strip().startswith(f"CREATE TABLE {table} ("))


@contextmanager
def _configured(url: str, schema: str | None, in_other_words: bool) -> Iterator[Config]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with _connected(url, schema) as connection:
        config.attributes.update(connection=connection, in_other_words=in_other_words)
        yield config


@contextmanager
def _connected(url: str, schema: str | None) -> Iterator[Connection]:
    """Yield a connection of SQLAlchemy made by the driver, which reads some URLs differently."""
    engine = (
        create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(url), poolclass=NullPool)
        if is_postgres(url)
        else create_engine("sqlite://", creator=lambda: connect(url), poolclass=NullPool)
    )
    with engine.connect() as connection:
        if schema:
            quoted = engine.dialect.identifier_preparer.quote(schema)
            connection.exec_driver_sql(f"SET search_path TO {quoted}")
            connection.commit()
        yield connection
