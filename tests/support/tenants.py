"""Schemas of PostgreSQL with the seven tables, one for each tenant."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

import psycopg2
from command import HEAD, TEN_NAMES, execute, relations_in

MINIMAL = {  # no more columns than the ten need
    "contact": "id integer PRIMARY KEY, phone varchar(20)",
    "conversation": "id integer PRIMARY KEY, contact_id integer",
    "activity": "id integer PRIMARY KEY, openphone_id varchar(100), conversation_id integer,"
    " activity_type varchar(20), status varchar(20), created_at timestamp",
    "campaign": "id integer PRIMARY KEY",
    "campaign_membership": "id integer PRIMARY KEY, contact_id integer, campaign_id integer, status varchar(50)",
    "contact_flag": "id integer PRIMARY KEY, contact_id integer NOT NULL, flag_type varchar(50) NOT NULL",
    "webhook_event": "id integer PRIMARY KEY, event_type varchar(50), processed boolean",
}


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def make(url: str, schemas: Iterable[str]) -> None:
    """Give each schema the seven tables, fifty schemas at a time: a transaction has only so many locks."""
    schemas = list(schemas)
    for start in range(0, len(schemas), 50):
        statements = [
            statement
            for schema in map(quoted, schemas[start : start + 50])
            for statement in (
                f"CREATE SCHEMA {schema}",
                *(f"CREATE TABLE {schema}.{table} ({columns})" for table, columns in MINIMAL.items()),
            )
        ]
        with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(";".join(statements))


def created_in(url: str, schema: str) -> set[str]:
    """Return those of the ten indexes that exist in a schema."""
    return relations_in(schema, url) & TEN_NAMES


def recorded(url: str, schema: str) -> dict[str, str]:
    """Return the revisions on record in a schema."""
    return dict(execute(url, f"SELECT revision, state FROM {quoted(schema)}.schema_revision"))


def migrated(url: str, *schemas: str) -> bool:
    """Return whether each of these schemas has all ten indexes and its own record."""
    return all(created_in(url, each) == TEN_NAMES and recorded(url, each)[HEAD] == "applied" for each in schemas)
