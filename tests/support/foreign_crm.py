"""A CRM database that another tool made and filled, in plain SQL, for PostgreSQL and SQLite.

Its seven tables have columns that our models do not know and, as in some installations, unique constraints on
contact.phone and activity.openphone_id. They stand among tables that are none of our business. The rows are
the same every time.

    create_schema(connection)
    load(connection, activities=200_000)
    before = fingerprint(connection)
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any, NamedTuple

REVISION = "2792ed2d7978"

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


class Dialect(NamedTuple):
    """What the two databases spell differently; {} is where the operand goes."""

    identity: str
    numbers: str  # a table `numbers` with the column n from 1 to {}
    moment: str  # {} seconds after the beginning of 2024
    json: str
    fingerprint: str | None  # rows and checksum of the table {}, where the database itself can hash a row


POSTGRESQL = Dialect(
    identity="integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    numbers="WITH numbers AS (SELECT n FROM generate_series(CAST(1 AS bigint), {}) AS n)",
    moment="TIMESTAMP '2024-01-01 00:00:00' + ({}) * INTERVAL '1 second'",
    json="CAST({} AS json)",
    fingerprint="SELECT COUNT(*), COALESCE(SUM(hashtextextended(whole::text, 0)), 0)::text FROM {} AS whole",
)

SQLITE = Dialect(
    identity="INTEGER PRIMARY KEY",
    numbers="WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {})",
    # Six digits of a second even if all are zero, as SQLAlchemy writes them and Peewee does not.
    moment="datetime(1704067200 + ({}), 'unixepoch') || '.000000'",
    json="{}",
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
    cursor = connection.cursor()
    for statement in _rows(_dialect(connection), activities):
        cursor.execute(statement)
    connection.commit()


def fingerprint(connection: Any) -> dict[str, tuple[int, str]]:
    """The number of rows in each table, and a checksum over every value in them. Ends the transaction."""
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


def _pick(number: str, *values: str) -> str:
    """SQL that chooses one of the values by a number."""
    cases = " ".join(f"WHEN {place} THEN '{value}'" for place, value in enumerate(values))
    return f"CASE ({number}) % {len(values)} {cases} END"


def _rows(dialect: Dialect, activities: int) -> list[str]:
    """The statements that fill the seven tables, referenced ones first.

    Primes scatter the references; nothing is random.
    """
    contacts = max(1, activities // 10)
    conversations = max(1, activities // 10)
    campaigns = max(1, activities // 4_000)
    memberships = activities // 5
    flags = activities // 20
    events = activities // 4
    year = 365 * 86_400

    def numbers(count: int) -> str:
        return dialect.numbers.format(count)

    def moment(seconds: str) -> str:
        return dialect.moment.format(seconds)

    def json(document: str, number: str = "n") -> str:
        return dialect.json.format("'" + document.replace("#", f"' || ({number}) || '") + "'")

    tags = json('{"tags": ["import", "#"]}', "n % 9")
    our_number = json('["+12025550100"]')
    photo = json('["https://example.com/media/#.jpg"]')
    source = json('{"source": "webhook", "attempt": #}', "n % 3")
    split = json('{"split": 50}')
    recently_texted = json('{"recently_texted": true}')
    delivery = json('{"object": {"id": "AC#", "status": "received"}}', "100000000 + n")

    activity_type = _pick("n", *["message"] * 7, "call", "call", "voicemail", *["message"] * 9, "email")
    outcomes = ["sent"] * 11 + ["pending"] * 3 + ["replied_positive", "replied_negative", "suppressed", "failed"]
    membership_status = _pick("n / 5", *outcomes)
    other_flag = _pick("n", "recently_texted", "office_number", "recently_texted", "do_not_contact")
    event_type = _pick("n / 2", "message.received", "message.delivered", "call.completed", "message.received")

    return [
        f"""
        INSERT INTO contact (
            first_name, last_name, email, phone, contact_metadata, import_source, imported_at,
            quickbooks_customer_id, customer_type, payment_terms, credit_limit, tax_exempt, total_sales,
            lead_source, customer_since, company, do_not_mail
        )
        {numbers(contacts)}
        SELECT {_pick("n", "Maria", "James", "Wei", "Aisha", "Lucas", "Olga", "Kofi")},
               {_pick("n / 7", "Garcia", "Smith", "Chen", "Khan", "Silva", "Ivanova", "Mensah", "Jones")},
               CASE WHEN n % 3 <> 0 THEN 'contact' || n || '@example.com' END,
               CASE WHEN n % 20 <> 0 THEN '+1' || (2000000000 + n * 37) END,
               CASE WHEN n % 5 = 0 THEN {tags} END,
               {_pick("n", "csv", "openphone", "quickbooks")},
               {moment(f"n * 7919 % {year}")},
               CASE WHEN n % 4 = 0 THEN 'QB' || n END,
               {_pick("n / 2", "customer", "prospect")},
               CASE WHEN n % 4 = 0 THEN 'Net 30' END,
               CASE WHEN n % 4 = 0 THEN n % 90 * 100.50 END,
               n % 50 = 0,
               CASE WHEN n % 4 = 0 THEN n % 7000 * 1.25 END,
               {_pick("n", "website", "referral", "door hanger", "radio")},
               '2020-02-29',
               CASE WHEN n % 6 = 0 THEN 'Company ' || (n % 500) END,
               n % 30 = 0
        FROM numbers
        """,
        f"""
        INSERT INTO conversation (
            openphone_id, contact_id, name, participants, phone_number_id, last_activity_at,
            last_activity_type, unread_count
        )
        {numbers(conversations)}
        SELECT 'CN' || (100000000 + n),
               n / 2 % {contacts} + 1,
               CASE WHEN n % 8 = 0 THEN 'Roof repair ' || n END,
               '+1' || (2000000000 + n * 37) || ',+12025550100',
               {_pick("n", "PNmain", "PNsales")},
               {moment(f"n * 1601 % {year}")},
               {_pick("n", "call", "message")},
               n % 3
        FROM numbers
        """,
        f"""
        INSERT INTO activity (
            openphone_id, conversation_id, contact_id, activity_type, direction, status, from_number,
            to_numbers, user_id, phone_number_id, body, media_urls, email_from, email_subject,
            duration_seconds, recording_url, answered_at, ai_summary, activity_metadata, created_at,
            updated_at, sentiment_score, pinned
        )
        {numbers(activities)},
        exchanges AS (  -- pairs at the same moment, and one conversation far longer than the others
            SELECT n,
                   CASE n / 2 % 50 WHEN 0 THEN 1
                                   ELSE n / 2 * 7919 % {conversations} + 1 END AS conversation_id,
                   n / 2 * 97 AS second
            FROM numbers
        )
        SELECT CASE WHEN n % 25 <> 0 THEN 'AC' || (100000000 + n) END,
               conversation_id,
               conversation_id / 2 % {contacts} + 1,
               {activity_type},
               {_pick("n", "incoming", "outgoing")},
               {_pick("n / 3", "delivered", "completed", "sent", "failed")},
               '+1' || (2000000000 + conversation_id * 37),
               {our_number},
               n % 2 + 1,
               {_pick("conversation_id", "PNmain", "PNsales")},
               CASE WHEN n % 20 NOT IN (7, 8, 9) THEN 'Hello, about your appointment number ' || n END,
               CASE WHEN n % 40 = 0 THEN {photo} END,
               CASE WHEN n % 20 = 19 THEN 'contact' || conversation_id || '@example.com' END,
               CASE WHEN n % 20 = 19 THEN 'Your estimate' END,
               CASE WHEN n % 20 IN (7, 8) THEN n % 900 END,
               CASE WHEN n % 20 IN (7, 8) THEN 'https://example.com/recordings/' || n END,
               CASE WHEN n % 20 = 7 THEN {moment("second + 4")} END,
               CASE WHEN n % 20 IN (7, 8) THEN 'The caller asked for a new date.' END,
               CASE WHEN n % 10 = 0 THEN {source} END,
               CASE WHEN n % 1000 <> 0 THEN {moment("second")} END,
               CASE WHEN n % 9 = 0 THEN {moment("second + 60")} END,
               CASE WHEN n % 20 IN (7, 8) THEN n % 1000 * 0.001 END,
               n % 500 = 0
        FROM exchanges
        """,
        f"""
        INSERT INTO campaign (
            name, created_at, status, template_a, template_b, quiet_hours_start, quiet_hours_end,
            campaign_type, audience_type, daily_limit, business_hours_only, ab_config, channel, budget
        )
        {numbers(campaigns)}
        SELECT 'Campaign ' || n,
               {moment(f"n * 86400 % {year}")},
               {_pick("n", "running", "draft", "paused", "complete", "complete")},
               'Hi {{first_name}}, do you have a minute?',
               CASE WHEN n % 2 = 0 THEN 'Hello {{first_name}}, a short question.' END,
               '20:00:00',
               '09:00:00',
               {_pick("n", "blast", "automated", "ab_test")},
               {_pick("n", "cold", "customer", "mixed")},
               125,
               n % 2 = 0,
               CASE WHEN n % 3 = 2 THEN {split} END,
               {_pick("n", "sms", "sms", "sms", "email")},
               n * 12.50
        FROM numbers
        """,
        f"""
        INSERT INTO campaign_membership (
            contact_id, campaign_id, status, variant_sent, sent_at, sent_activity_id, reply_activity_id,
            pre_send_flags, response_sentiment, message_sent, script_adapted, opened_count
        )
        {numbers(memberships)}
        SELECT n * 7919 % {contacts} + 1,
               n / 3 % {campaigns} + 1,
               {membership_status},
               {_pick("n", "A", "B")},
               CASE WHEN n / 5 % 18 < 11 THEN {moment(f"n * 331 % {year}")} END,
               CASE WHEN n / 5 % 18 < 11 THEN n * 5 % {activities} + 1 END,
               CASE WHEN n / 5 % 18 = 14 THEN n * 5 % {activities} + 1 END,
               CASE WHEN n % 12 = 0 THEN {recently_texted} END,
               CASE n / 5 % 18 WHEN 14 THEN 'positive' WHEN 15 THEN 'negative' END,
               CASE WHEN n / 5 % 18 < 11 THEN 'Hi, do you have a minute?' END,
               n % 10 = 0,
               n % 2
        FROM numbers
        """,
        f"""
        INSERT INTO contact_flag (
            contact_id, flag_type, flag_reason, applies_to, created_at, expires_at, created_by, reviewed
        )
        {numbers(flags)}
        SELECT n * 3571 % {contacts} + 1,
               CASE WHEN n % 50 = 0 THEN 'opted_out' ELSE {other_flag} END,
               CASE WHEN n % 50 = 0 THEN 'Replied STOP' END,
               {_pick("n / 50", "sms", "both", "email")},
               {moment(f"n * 1213 % {year}")},
               CASE WHEN n % 50 <> 0 AND n % 2 = 0 THEN {moment(f"n * 1213 % {year} + 2592000")} END,
               {_pick("n", "system", "import")},
               n % 50 = 0
        FROM numbers
        """,
        f"""
        INSERT INTO webhook_event (
            event_id, event_type, api_version, payload, processed, processed_at, error_message, created_at,
            retry_count, signature
        )
        {numbers(events)}
        SELECT 'EV' || (100000000 + n),
               {event_type},
               'v3',
               {delivery},
               n % 97 <> 0,
               CASE WHEN n % 97 <> 0 THEN {moment("n * 400 + 2")} END,
               CASE WHEN n % 970 = 0 THEN 'Timed out' END,
               {moment("n * 400")},
               CASE WHEN n % 970 = 0 THEN 3 ELSE 0 END,
               'hmac;1;' || (n * 2654435761 % 1000000007)
        FROM numbers
        """,
    ]
