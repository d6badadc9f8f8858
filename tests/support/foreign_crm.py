"""A CRM database that another tool made and filled, in plain SQL, for PostgreSQL and SQLite.

Its seven tables have columns that the models lack and, as in some installations, unique constraints on
contact.phone and activity.openphone_id. Beside them are tables that the CRM does not use. The rows are
the same every time.

    create_schema(connection)
    load(connection, activities=200_000)
    before = fingerprint(connection)
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any, NamedTuple

import sample
from sample import postgres, sqlite
from sample.sql import Spelling

TABLES = (
    "contact",
    "conversation",
    "activity",
    "campaign",
    "campaign_membership",
    "contact_flag",
    "webhook_event",
    "alembic_version",
    "app_user",
    "setting",
)

SCHEMA = """
CREATE TABLE contact (
    id {identity},
    first_name varchar(50) NOT NULL,
    last_name varchar(50) NOT NULL,
    email varchar(120) UNIQUE,
    phone varchar(20) UNIQUE,
    contact_metadata json,
    csv_import_id integer,
    import_source varchar(100),
    imported_at timestamp,
    quickbooks_customer_id varchar(50) UNIQUE,
    quickbooks_sync_token varchar(50),
    customer_type varchar(20),
    payment_terms varchar(50),
    credit_limit numeric(10,2),
    tax_exempt boolean,
    total_sales numeric(10,2),
    outstanding_balance numeric(10,2),
    last_payment_date timestamp,
    average_days_to_pay integer,
    lead_source varchar(100),
    customer_since date,
    company varchar(100),
    mailing_address text,
    do_not_mail boolean NOT NULL DEFAULT false
);
CREATE TABLE conversation (
    id {identity},
    openphone_id varchar(100) UNIQUE,
    contact_id integer NOT NULL REFERENCES contact (id),
    name varchar(200),
    participants varchar(500),
    phone_number_id varchar(100),
    last_activity_at timestamp,
    last_activity_type varchar(20),
    last_activity_id varchar(100),
    unread_count integer NOT NULL DEFAULT 0,
    snoozed_until timestamp
);
CREATE TABLE activity (
    id {identity},
    openphone_id varchar(100) UNIQUE,
    conversation_id integer REFERENCES conversation (id),
    contact_id integer REFERENCES contact (id),
    activity_type varchar(20),
    direction varchar(10),
    status varchar(50),
    from_number varchar(20),
    to_numbers json,
    user_id integer,
    phone_number_id varchar(100),
    body text,
    media_urls json,
    email_from varchar(120),
    email_to json,
    email_cc json,
    email_bcc json,
    email_subject varchar(200),
    email_thread_id varchar(100),
    smartlead_id varchar(100),
    duration_seconds integer,
    recording_url varchar(500),
    voicemail_url varchar(500),
    answered_at timestamp,
    answered_by varchar(100),
    completed_at timestamp,
    initiated_by varchar(100),
    forwarded_from varchar(100),
    forwarded_to varchar(100),
    ai_summary text,
    ai_next_steps text,
    ai_transcript json,
    ai_content_status varchar(50),
    activity_metadata json,
    created_at timestamp,
    updated_at timestamp,
    sentiment_score numeric(4,3),
    pinned boolean NOT NULL DEFAULT false
);
CREATE TABLE campaign (
    id {identity},
    name varchar(200),
    created_at timestamp,
    status varchar(20),
    template_a text,
    template_b text,
    quiet_hours_start time,
    quiet_hours_end time,
    on_existing_contact varchar(50),
    campaign_type varchar(20),
    audience_type varchar(20),
    daily_limit integer,
    business_hours_only boolean,
    ab_config json,
    channel varchar(10),
    list_id integer,
    adapt_script_template text,
    days_between_contacts integer,
    archived_at timestamp,
    budget numeric(10,2)
);
CREATE TABLE campaign_membership (
    id {identity},
    contact_id integer REFERENCES contact (id),
    campaign_id integer REFERENCES campaign (id),
    status varchar(50),
    variant_sent varchar(1),
    sent_at timestamp,
    sent_activity_id integer REFERENCES activity (id),
    reply_activity_id integer REFERENCES activity (id),
    pre_send_flags json,
    override_action varchar(20),
    response_sentiment varchar(20),
    message_sent text,
    previous_contact_date timestamp,
    previous_contact_type varchar(50),
    previous_response varchar(50),
    script_adapted boolean,
    membership_metadata json,
    opened_count integer NOT NULL DEFAULT 0,
    unsubscribed_at timestamp
);
CREATE TABLE contact_flag (
    id {identity},
    contact_id integer NOT NULL REFERENCES contact (id),
    flag_type varchar(50) NOT NULL,
    flag_reason text,
    applies_to varchar(20),
    created_at timestamp,
    expires_at timestamp,
    created_by varchar(100),
    source_message_id varchar(100),
    reviewed boolean NOT NULL DEFAULT false
);
CREATE TABLE webhook_event (
    id {identity},
    event_id varchar(100) UNIQUE,
    event_type varchar(50),
    api_version varchar(10),
    payload json,
    processed boolean,
    processed_at timestamp,
    error_message text,
    created_at timestamp,
    retry_count integer NOT NULL DEFAULT 0,
    signature varchar(128)
);
CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL PRIMARY KEY
);
CREATE TABLE app_user (
    id {identity},
    email varchar(120) NOT NULL UNIQUE,
    is_admin boolean NOT NULL
);
CREATE TABLE setting (
    key varchar(100) NOT NULL PRIMARY KEY,
    value text
);
INSERT INTO alembic_version VALUES ('2792ed2d7978');
INSERT INTO app_user (email, is_admin) VALUES ('ada@example.com', true), ('grace@example.com', false);
INSERT INTO setting VALUES ('timezone', 'UTC'), ('signature', 'Reply STOP to opt out'), ('theme', NULL)
"""


# Rows as another tool leaves them: without a telephone number or a time, at the same moment, with columns of its own.
OWN_MARKS = (
    "UPDATE contact SET phone = NULL, company = 'Company ' || id, do_not_mail = true WHERE id % 20 = 0",
    "UPDATE activity SET openphone_id = NULL, sentiment_score = 0.5, pinned = true WHERE id % 25 = 0",
    "UPDATE activity SET created_at = NULL WHERE id % 1000 = 0",
    "UPDATE activity SET created_at = '{moment}' WHERE conversation_id = 1 AND id % 10 IN (1, 2)",
)


class Dialect(NamedTuple):
    """What the two databases spell differently.

    Attributes:
        identity: the type of a primary key.
        moment: a time as text.
        spelling: for made-up rows.
        fingerprint: rows and checksum of the table {}, where the database itself can hash a row.
    """

    identity: str
    moment: str
    spelling: Spelling
    fingerprint: str | None


POSTGRESQL = Dialect(
    identity="integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    moment="2022-03-01 09:00:00",
    spelling=postgres.SPELLING,
    fingerprint="SELECT COUNT(*), COALESCE(SUM(hashtextextended(whole::text, 0)), 0)::text FROM {} AS whole",
)

SQLITE = Dialect(
    identity="INTEGER PRIMARY KEY",
    # Six digits of a second even if all are zero, as SQLAlchemy writes them and Peewee does not.
    moment="2022-03-01 09:00:00.000000",
    spelling=sqlite.SPELLING._replace(moment=f"{sqlite.SPELLING.moment} || '.000000'"),
    fingerprint=None,
)


def create_schema(connection: Any, schema: str | None = None) -> None:
    """Create the tables, on PostgreSQL in `schema` if given, and let the connection's search_path be that."""
    cursor = connection.cursor()
    if schema:
        quoted = '"{}"'.format(schema.replace('"', '""'))
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        cursor.execute(f"SET search_path TO {quoted}")
    for statement in SCHEMA.format(identity=_dialect(connection).identity).split(";\n"):
        cursor.execute(statement)
    connection.commit()


def load(connection: Any, activities: int = 200_000) -> None:
    """Fill the empty tables: so many activities, and of everything else in proportion."""
    dialect, cursor = _dialect(connection), connection.cursor()
    inserts, values = sample.statements(dialect.spelling, str), sample.parameters(activities)
    for table, first, last in sample.batches(activities):
        cursor.execute(inserts[table], {**values, "first": first, "last": last})
    for statement in OWN_MARKS:
        cursor.execute(statement.format(moment=dialect.moment))
    for table in sample.counts(activities) if dialect is POSTGRESQL else ():
        cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")
    connection.commit()


def fingerprint(connection: Any) -> dict[str, tuple[int, str]]:
    """Return the number of rows in each table, and a checksum over every value in them. Ends the transaction."""
    query = _dialect(connection).fingerprint
    cursor = connection.cursor()
    found = {table: _one(cursor, query.format(table)) if query else _hash_rows(cursor, table) for table in TABLES}
    connection.commit()  # psycopg2 began a transaction, whose locks would hold up a DROP INDEX CONCURRENTLY
    return found


def _dialect(connection: Any) -> Dialect:
    return SQLITE if isinstance(connection, sqlite3.Connection) else POSTGRESQL


def _one(cursor: Any, query: str) -> tuple[int, str]:
    cursor.execute(query)
    return cursor.fetchone()


def _hash_rows(cursor: Any, table: str) -> tuple[int, str]:
    count, checksum = 0, hashlib.blake2b(digest_size=8)
    for row in cursor.execute(f"SELECT * FROM {table} ORDER BY rowid"):
        checksum.update(repr(tuple(row)).encode())
        count += 1
    return count, checksum.hexdigest()
