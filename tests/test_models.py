"""The models against real tables: those that they create, and another tool's."""

import sqlite3
import subprocess
import sys
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import foreign_crm
import pytest
from bound_models import bound_to, contact, conversation
from peewee import IntegrityError, PostgresqlDatabase

import models
from models import (
    Activity,
    Campaign,
    CampaignMembership,
    Contact,
    ContactFlag,
    WebhookEvent,
)
from sample import counts

# Every column of every table, in order; ! says NOT NULL.
COLUMNS = {
    "contact": """
        id! first_name! last_name! email phone contact_metadata csv_import_id import_source imported_at
        quickbooks_customer_id quickbooks_sync_token customer_type payment_terms credit_limit tax_exempt
        total_sales outstanding_balance last_payment_date average_days_to_pay lead_source customer_since""",
    "conversation": """
        id! openphone_id contact_id! name participants phone_number_id last_activity_at last_activity_type
        last_activity_id""",
    "activity": """
        id! openphone_id conversation_id contact_id activity_type direction status from_number to_numbers
        user_id phone_number_id body media_urls email_from email_to email_cc email_bcc email_subject
        email_thread_id smartlead_id duration_seconds recording_url voicemail_url answered_at answered_by
        completed_at initiated_by forwarded_from forwarded_to ai_summary ai_next_steps ai_transcript
        ai_content_status activity_metadata created_at updated_at""",
    "campaign": """
        id! name created_at status template_a template_b quiet_hours_start quiet_hours_end on_existing_contact
        campaign_type audience_type daily_limit business_hours_only ab_config channel list_id
        adapt_script_template days_between_contacts""",
    "campaign_membership": """
        id! contact_id campaign_id status variant_sent sent_at sent_activity_id reply_activity_id
        pre_send_flags override_action response_sentiment message_sent previous_contact_date
        previous_contact_type previous_response script_adapted membership_metadata""",
    "contact_flag": """
        id! contact_id! flag_type! flag_reason applies_to created_at expires_at created_by""",
    "webhook_event": """
        id! event_id event_type api_version payload processed processed_at error_message created_at""",
}

UNIQUE_COLUMNS = {
    ("contact", "email"),
    ("contact", "quickbooks_customer_id"),
    ("conversation", "openphone_id"),
    ("webhook_event", "event_id"),
}

REFERENCES = {
    ("conversation", "contact_id", "contact"),
    ("activity", "conversation_id", "conversation"),
    ("activity", "contact_id", "contact"),
    ("campaign_membership", "contact_id", "contact"),
    ("campaign_membership", "campaign_id", "campaign"),
    ("campaign_membership", "sent_activity_id", "activity"),
    ("campaign_membership", "reply_activity_id", "activity"),
    ("contact_flag", "contact_id", "contact"),
}


NOON = datetime(2024, 5, 1, 12, 0)

# The tables


def test_the_tables_have_exactly_the_columns_of_the_crm(db):
    created = {
        table: [column.name + ("" if column.null else "!") for column in db.get_columns(table)]
        for table in db.get_tables()
    }
    assert created == {table: columns.split() for table, columns in COLUMNS.items()}


def test_only_the_unique_columns_are_indexed(db):
    indexed = {
        (table, *index.columns): index.unique
        for table in COLUMNS
        for index in db.get_indexes(table)
        if index.columns != ["id"]
    }
    assert indexed == dict.fromkeys(UNIQUE_COLUMNS, True)


def test_foreign_keys_point_at_the_right_tables(db):
    found = {(table, key.column, key.dest_table) for table in COLUMNS for key in db.get_foreign_keys(table)}
    assert found == REFERENCES


def test_types_are_those_another_tool_gave_the_same_columns(postgres_url):
    def types(schema):
        query = """
            SELECT table_name, column_name, data_type, character_maximum_length,
                   CASE data_type WHEN 'numeric' THEN numeric_precision END, numeric_scale, is_nullable
            FROM information_schema.columns
            WHERE table_schema = %s"""
        return set(db.execute_sql(query, (schema,)))

    with bound_to(postgres_url) as db:
        db.create_tables(models.TABLES)
        foreign_crm.create_schema(db.connection(), "other_tool")
        assert len(types("public")) == sum(len(columns.split()) for columns in COLUMNS.values())
        assert types("public") < types("other_tool")


def test_json_columns_are_json_and_not_jsonb(db):
    declared = {
        column.data_type.lower()
        for model in models.TABLES
        for column in db.get_columns(model._meta.table_name)
        if isinstance(model._meta.columns[column.name], models.JSONField)
    }
    assert declared == {"json"}


@pytest.mark.parametrize(
    "value",
    [{"tags": ["a", "ü", None], "n": {"deep": 1.5}}, ["+12025550100"], [], {}, "text", "5", 5, True, None],
    ids=repr,
)
def test_a_json_column_gives_back_what_was_written(db, value):
    created = WebhookEvent.create(payload=value)
    assert WebhookEvent.get_by_id(created.id).payload == value

    WebhookEvent.insert_many([{"payload": {"other": 1}}]).execute()
    WebhookEvent.update(payload=value).execute()
    assert [event.payload for event in WebhookEvent.select()] == [value, value]


def test_no_json_is_null_and_not_the_json_value_null(db):
    WebhookEvent.create(payload=None)
    assert WebhookEvent.select().where(WebhookEvent.payload.is_null()).count() == 1


def test_dates_times_and_amounts_give_back_what_was_written(db):
    written = contact(credit_limit=Decimal("1250.50"), customer_since=date(2020, 2, 29), last_payment_date=NOON)
    read = Contact.get_by_id(written.id)
    assert read.credit_limit == Decimal("1250.50")
    assert read.customer_since == date(2020, 2, 29)
    assert read.last_payment_date == NOON

    Campaign.create(quiet_hours_start=time(20), business_hours_only=True)
    read = Campaign.get()
    assert (read.quiet_hours_start, read.business_hours_only) == (time(20), True)


def test_related_rows_are_reached_from_both_sides(db):
    talk = conversation()
    said = Activity.create(conversation=talk, contact=talk.contact)
    answered = Activity.create(conversation=talk)
    membership = CampaignMembership.create(
        contact=talk.contact, campaign=Campaign.create(), sent_activity=said, reply_activity=answered
    )
    flag = ContactFlag.create(contact=talk.contact, flag_type="office_number")

    assert list(talk.contact.conversations) == [talk]
    assert list(talk.contact.activities) == [said]
    assert list(talk.contact.flags) == [flag]
    assert list(talk.contact.memberships) == list(Campaign.get().memberships) == [membership]
    assert set(talk.activities) == {said, answered}
    assert list(said.sent_by_memberships) == list(answered.replied_to_memberships) == [membership]


def test_importing_the_models_imports_only_peewee_and_the_standard_library():
    script = """if True:
        import sys
        import peewee
        before = set(sys.modules)
        import models
        names = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(sorted(names - sys.stdlib_module_names))"""
    root = Path(models.__file__).parent
    printed = subprocess.check_output([sys.executable, "-c", script], cwd=root, text=True)
    assert printed.strip() == "['models']"


# Another tool's database


def test_writing_leaves_columns_that_the_models_lack_at_their_defaults(foreign_db):
    before = foreign_crm.fingerprint(foreign_db.connection())
    ada = contact(phone="+12025550100", contact_metadata={"a": 1})
    ada.lead_source = "radio"
    ada.save()

    cursor = foreign_db.execute_sql("SELECT company, do_not_mail FROM contact WHERE phone = '+12025550100'")
    assert [(company, bool(do_not_mail)) for company, do_not_mail in cursor] == [(None, False)]
    with pytest.raises(IntegrityError):
        contact(phone="+12025550100")

    ada.delete_instance()
    assert foreign_crm.fingerprint(foreign_db.connection()) == before


def test_a_fingerprint_changes_with_any_value(foreign_db):
    before = foreign_crm.fingerprint(foreign_db.connection())
    assert {table: rows for table, (rows, _checksum) in before.items()} == {
        **counts(20_000),
        "alembic_version": 1,
        "app_user": 2,
        "setting": 3,
    }
    foreign_db.execute_sql("UPDATE activity SET sentiment_score = 0.5 WHERE id = 777")
    after = foreign_crm.fingerprint(foreign_db.connection())
    assert [table for table in after if after[table] != before[table]] == ["activity"]


def test_a_foreign_crm_holds_the_same_rows_every_time(foreign_db):
    first = foreign_crm.fingerprint(foreign_db.connection())
    if isinstance(foreign_db, PostgresqlDatabase):
        connection, schema = foreign_db.connection(), 'a "second" CRM'
    else:
        connection, schema = sqlite3.connect(":memory:"), None
    foreign_crm.create_schema(connection, schema)
    foreign_crm.load(connection, activities=20_000)
    assert foreign_crm.fingerprint(connection) == first
    connection.close()
