"""The models against real tables, our own and another tool's, and every query on both databases."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import foreign_crm
import pytest
from peewee import Database, IntegrityError, PostgresqlDatabase
from playhouse.db_url import connect

import models
import queries
from models import (
    Activity,
    Campaign,
    CampaignMembership,
    Contact,
    ContactFlag,
    Conversation,
    WebhookEvent,
)

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
    """The queries that are executed in the block."""
    sent: list = []
    db.query_hooks.append(sent.append)
    try:
        yield sent
    finally:
        db.query_hooks.remove(sent.append)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A database with the seven tables as our models create them."""
    with bound_to(database_url) as bound:
        bound.create_tables(models.TABLES)
        yield bound


@pytest.fixture
def foreign_db(database_url: str) -> Iterator[Database]:
    """A database that another tool made and filled."""
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


def everything(pages_read: Iterable[list[Activity]]) -> list[Activity]:
    return list(chain.from_iterable(pages_read))


def pages(conversation_id: int, limit: int) -> Iterator[list[Activity]]:
    page = queries.conversation_history(conversation_id, limit=limit)
    while page:
        yield page
        page = queries.conversation_history(conversation_id, before=page[-1].created_at, limit=limit)


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


# The queries


def test_a_contact_is_found_by_phone(db):
    contact(phone="+12025550100")
    ada = contact(phone="+12025550101")
    assert queries.contact_by_phone("+12025550101") == ada
    assert queries.contact_by_phone("+12025550199") is None


def test_of_contacts_sharing_a_phone_the_first_one_is_found(db):
    first, _second = contact(phone="+12025550100"), contact(phone="+12025550100")
    Contact.update(lead_source="radio").where(Contact.id == first.id).execute()  # moves the row on PostgreSQL
    assert queries.contact_by_phone("+12025550100") == first


@pytest.mark.parametrize("withheld", [None, ""])
def test_a_withheld_number_belongs_to_nobody(db, withheld):
    contact(phone=withheld)
    assert queries.contact_by_phone(withheld) is None


def test_an_activity_is_seen_once_it_is_stored(db):
    assert queries.activity_seen("AC1") is False
    Activity.create(openphone_id="AC1")
    assert queries.activity_seen("AC1") is True
    assert queries.activity_seen("AC2") is False


def test_an_activity_without_openphone_id_does_not_count_as_seen(db):
    Activity.create(openphone_id=None, activity_type="email")
    assert queries.activity_seen(None) is False


def test_unprocessed_events_come_oldest_first(db):
    def event(minutes, **values):
        values = {"event_type": "message.received", "processed": False, **values}
        return WebhookEvent.create(created_at=NOON + timedelta(minutes=minutes), **values)

    late, early, middle = event(9), event(1), event(5)
    event(0, processed=True)
    event(0, processed=None)
    event(0, event_type="call.completed")

    assert list(queries.unprocessed_events("message.received")) == [early, middle, late]
    assert list(queries.unprocessed_events("message.received", limit=2)) == [early, middle]


def test_events_are_counted_by_type(db):
    for event_type in ["message.received", "call.completed", "message.received", None]:
        WebhookEvent.create(event_type=event_type)
    assert queries.event_counts() == {"message.received": 2, "call.completed": 1}


def test_members_of_a_campaign_are_found_by_status(db):
    campaign, other = Campaign.create(), Campaign.create()
    pending = CampaignMembership.create(campaign=campaign, status="pending")
    CampaignMembership.create(campaign=campaign, status="sent")
    CampaignMembership.create(campaign=other, status="pending")
    assert list(queries.campaign_members(campaign.id, "pending")) == [pending]


def test_a_contact_is_in_each_campaign_once_however_often_they_joined(db):
    ada, grace = contact(), contact()
    first, second = Campaign.create(ab_config={"split": 50}), Campaign.create()
    for campaign, member in [(first, ada), (first, ada), (second, grace)]:
        CampaignMembership.create(campaign=campaign, contact=member)
    assert list(queries.campaigns_of(ada.id)) == [first]


def test_only_an_opt_out_is_an_opt_out(db):
    out, flagged, plain = contact(), contact(), contact()
    ContactFlag.create(contact=out, flag_type="opted_out")
    ContactFlag.create(contact=flagged, flag_type="do_not_contact")

    assert [queries.has_opted_out(person.id) for person in (out, flagged, plain)] == [True, False, False]
    assert queries.opted_out_among(ids([out, flagged, plain])) == {out.id}


def test_an_opt_out_holds_after_it_expired(db):
    out = contact()
    ContactFlag.create(contact=out, flag_type="opted_out", expires_at=datetime(2000, 1, 1))
    assert queries.has_opted_out(out.id)
    assert queries.opted_out_among([out.id]) == {out.id}


def test_fifty_thousand_contacts_are_checked_in_one_query(db):
    Contact.insert_many([{"first_name": "A", "last_name": str(n)} for n in range(300)]).execute()
    out = set(ids(Contact.select())[::7])
    flags = [(contact_id, flag_type) for contact_id in out for flag_type in ("opted_out", "office_number") * 2]
    ContactFlag.insert_many(flags, [ContactFlag.contact, ContactFlag.flag_type]).execute()

    with recorded(db) as sent:
        assert queries.opted_out_among(range(1, 50_001)) == out
    assert len(sent) == 1


def test_nobody_is_checked_without_a_query(db):
    with recorded(db) as sent:
        assert queries.opted_out_among(iter([])) == set()
    assert sent == []


def test_only_integers_get_into_the_query_for_opt_outs(db):
    out = contact()
    ContactFlag.create(contact=out, flag_type="opted_out")
    assert queries.opted_out_among([str(out.id), 3_000_000_000]) == {out.id}
    with recorded(db) as sent, pytest.raises(ValueError, match="invalid literal"):
        queries.opted_out_among([f"{out.id}) OR (1 = 1"])
    assert sent == []


def test_conversations_are_found_by_contact(db):
    talk, _other = conversation(), conversation()
    assert list(queries.conversations_of(talk.contact_id)) == [talk]


def test_activities_are_found_by_type(db):
    call, _message = Activity.create(activity_type="call"), Activity.create(activity_type="message")
    assert list(queries.activities_of_type("call")) == [call]


# Conversation history


def test_history_is_newest_first_and_starts_before_a_moment(db):
    talk = conversation()
    oldest, newest, middle = (
        Activity.create(conversation=talk, created_at=NOON + timedelta(minutes=minute)) for minute in (0, 2, 1)
    )
    Activity.create(conversation=conversation(), created_at=NOON)

    assert queries.conversation_history(talk.id) == [newest, middle, oldest]
    assert queries.conversation_history(talk.id, limit=2) == [newest, middle]
    assert queries.conversation_history(talk.id, before=newest.created_at) == [middle, oldest]
    assert queries.conversation_history(talk.id, before=oldest.created_at) == []


@pytest.mark.parametrize("limit", range(1, 12))
def test_no_page_size_loses_or_repeats_activities_of_one_moment(db, limit):
    talk = conversation()
    for seconds in [0, 1, 1, 2, 3, 3, 3, 3, 4, 5.123456, 5.123456]:
        Activity.create(conversation=talk, created_at=NOON + timedelta(seconds=seconds))

    read = everything(pages(talk.id, limit))
    assert sorted(ids(read)) == sorted(ids(talk.activities))
    assert [activity.created_at for activity in read] == sorted((a.created_at for a in read), reverse=True)


def test_a_page_is_longer_than_its_limit_only_to_complete_a_moment(db):
    talk = conversation()
    for seconds in [0, 1, 1, 1, 2]:
        Activity.create(conversation=talk, created_at=NOON + timedelta(seconds=seconds))
    assert [len(page) for page in pages(talk.id, 1)] == [1, 3, 1]
    assert [len(page) for page in pages(talk.id, 2)] == [4, 1]
    assert [len(page) for page in pages(talk.id, 4)] == [4, 1]


def test_an_activity_without_a_time_is_not_part_of_the_history(db):
    talk = conversation()
    timed = Activity.create(conversation=talk, created_at=NOON)
    Activity.create(conversation=talk, created_at=None)
    assert queries.conversation_history(talk.id) == [timed]


def test_history_reads_times_as_sqlalchemy_and_sqlite_write_them(sqlite_url):
    with bound_to(sqlite_url) as db:
        db.create_tables(models.TABLES)
        talk = conversation()
        spellings = ["2024-05-01 12:00:00.000000", "2024-05-01 12:00:00"] * 2 + ["2024-05-01 11:59:59.999999"]
        insert = "INSERT INTO activity (conversation_id, created_at) VALUES (?, ?)"
        for spelling in spellings:
            db.execute_sql(insert, (talk.id, spelling))
        for limit in range(1, 6):
            assert sorted(ids(everything(pages(talk.id, limit)))) == [1, 2, 3, 4, 5]


# Another tool's database


def test_a_long_conversation_of_a_foreign_crm_is_read_page_by_page(foreign_db):
    rows = foreign_db.execute_sql(
        "SELECT id FROM activity WHERE conversation_id = 1 AND created_at IS NOT NULL ORDER BY id"
    )
    expected = [activity_id for (activity_id,) in rows]
    assert len(expected) > 300
    assert sorted(ids(everything(pages(1, 25)))) == expected


def test_the_queries_work_on_tables_with_more_columns_than_ours(foreign_db):
    assert queries.contact_by_phone("+12000000037").id == 1
    assert queries.activity_seen("AC100000001")
    assert all(event.payload["object"]["id"] for event in queries.unprocessed_events("message.received"))
    assert sum(queries.event_counts().values()) == 5_000
    assert {member.status for member in queries.campaign_members(1, "sent")} == {"sent"}
    assert queries.campaigns_of(1).count() >= 1
    assert len(queries.opted_out_among(range(2_001))) == 20
    assert ids(queries.conversations_of(2)) == [2, 3]
    assert queries.activities_of_type("call").count() == 2_000


def test_writing_leaves_the_columns_we_do_not_know_to_their_defaults(foreign_db):
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
        "contact": 2_000,
        "conversation": 2_000,
        "activity": 20_000,
        "campaign": 5,
        "campaign_membership": 4_000,
        "contact_flag": 1_000,
        "webhook_event": 5_000,
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


# The indexes the queries exist for


class Served(NamedTuple):
    """A query, and the index that has to serve it; `using` and `where` are PostgreSQL's alone."""

    index: str
    table: str
    key: str
    query: Callable
    using: str = ""
    where: str = ""

    def create_index(self, db: Database) -> None:
        using, where = (self.using, self.where) if isinstance(db, PostgresqlDatabase) else ("", "")
        db.execute_sql(f"CREATE INDEX {self.index} ON {self.table} {using} ({self.key}) {where}")


OPTED_OUT = ("ix_contact_flag_opted_out", "contact_flag", "flag_type, contact_id")

SERVED = [
    Served("ix_contact_phone_hash", "contact", "phone", lambda: queries.contact_by_phone("+1"), "USING hash"),
    Served("ix_activity_openphone_id", "activity", "openphone_id", lambda: queries.activity_seen("AC1")),
    Served(
        "ix_webhook_event_processed",
        "webhook_event",
        "processed, event_type",
        lambda: list(queries.unprocessed_events("message.received")),
    ),
    Served("ix_webhook_event_event_type", "webhook_event", "event_type", queries.event_counts),
    Served(
        "ix_campaign_membership_campaign_status",
        "campaign_membership",
        "campaign_id, status",
        lambda: list(queries.campaign_members(1, "pending")),
    ),
    Served(
        "ix_campaign_membership_contact_id",
        "campaign_membership",
        "contact_id",
        lambda: list(queries.campaigns_of(1)),
    ),
    Served(*OPTED_OUT, lambda: queries.has_opted_out(1), where="WHERE flag_type = 'opted_out'"),
    Served(*OPTED_OUT, lambda: queries.opted_out_among([1, 2]), where="WHERE flag_type = 'opted_out'"),
    Served(
        "ix_activity_conversation_created",
        "activity",
        "conversation_id, created_at DESC",
        lambda: queries.conversation_history(1, before=NOON),
    ),
    Served(
        "ix_conversation_contact_id",
        "conversation",
        "contact_id",
        lambda: list(queries.conversations_of(1)),
    ),
    Served(
        "ix_activity_type",
        "activity",
        "activity_type",
        lambda: list(queries.activities_of_type("call")),
    ),
]


def plan_of(db: Database, query: Callable) -> str:
    """How the database executes what the function asks for, sequential scans being the last resort."""
    with recorded(db) as sent:
        query()
    (event,) = sent
    explain = "EXPLAIN (COSTS OFF)" if isinstance(db, PostgresqlDatabase) else "EXPLAIN QUERY PLAN"
    return "\n".join(str(row[-1]) for row in db.execute_sql(f"{explain} {event.sql}", event.params))


@pytest.mark.parametrize("served", SERVED, ids=lambda served: served.index)
def test_a_query_is_served_by_its_index(db, served):
    if isinstance(db, PostgresqlDatabase):
        db.execute_sql("SET enable_seqscan = off")  # an empty table is otherwise read whole
    served.create_index(db)
    assert served.index in plan_of(db, served.query)


def test_history_needs_no_sort(db):
    if isinstance(db, PostgresqlDatabase):
        db.execute_sql("SET enable_seqscan = off")
        db.execute_sql("SET enable_bitmapscan = off")
    db.execute_sql("CREATE INDEX ix_history ON activity (conversation_id, created_at DESC)")
    for before in (None, NOON):
        plan = plan_of(db, lambda before=before: queries.conversation_history(1, before))
        assert "ix_history" in plan
        assert "Sort" not in plan
        assert "TEMP B-TREE" not in plan
