"""Every query on both databases, on tables of the models and of another tool, and the index that serves it."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain
from typing import NamedTuple

import pytest
from bound_models import bound_to, contact, conversation, ids, recorded
from peewee import Database, ModelSelect, PostgresqlDatabase

import models
import queries
from models import Activity, Campaign, CampaignMembership, Contact, ContactFlag, WebhookEvent

NOON = datetime(2024, 5, 1, 12, 0)


def everything(pages_read: Iterable[list[Activity]]) -> list[Activity]:
    return list(chain.from_iterable(pages_read))


def pages(conversation_id: int, limit: int) -> Iterator[list[Activity]]:
    page = queries.conversation_history(conversation_id, limit=limit)
    while page:
        yield page
        page = queries.conversation_history(conversation_id, before=page[-1].created_at, limit=limit)


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
def test_a_withheld_number_is_no_contacts_number(db, withheld):
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


def test_checking_no_contacts_needs_no_query(db):
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


def test_the_queries_work_on_tables_with_more_columns_than_the_models(foreign_db):
    assert queries.contact_by_phone(Contact.get_by_id(1).phone).id == 1
    assert queries.activity_seen(Activity.get_by_id(1).openphone_id)
    assert all(event.payload["data"]["object"]["id"] for event in queries.unprocessed_events("message.received"))
    assert sum(queries.event_counts().values()) == 5_000
    assert {member.status for member in queries.campaign_members(1, "sent")} == {"sent"}
    assert queries.campaigns_of(CampaignMembership.get_by_id(1).contact_id).count() >= 1
    assert len(queries.opted_out_among(range(2_001))) == 48
    assert ids(queries.conversations_of(2)) == [2, 2_002]
    assert queries.activities_of_type("call").count() == 3_036


# The indexes the queries exist for


class Served(NamedTuple):
    """A query and its index; ``using`` and ``where`` apply to PostgreSQL only."""

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
    """Return the plan of the query that a function executes."""
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


# The entries of verify and bench


@pytest.mark.parametrize("query", queries.QUERIES, ids=lambda query: query.call)
def test_the_query_of_an_entry_is_the_first_that_its_function_executes(db, query):
    (arguments,) = query.sample(1)
    with recorded(db) as sent:
        query.ask(*arguments)
    text, parameters = query.selected(*arguments).sql()
    assert (sent[0].sql, list(sent[0].params)) == (text, parameters)


@pytest.mark.parametrize("query", queries.QUERIES, ids=lambda query: query.call)
def test_an_answer_has_all_its_rows(db, query):
    (arguments,) = query.sample(1)
    with recorded(db) as sent:
        answer = query.ask(*arguments)
    assert len(sent) == 1
    assert not isinstance(answer, ModelSelect)


def test_lists_of_contacts_are_of_those_that_were_entered_one_after_another(db):
    Contact.insert_many([{"first_name": "A", "last_name": str(n)} for n in range(1_500)]).execute()
    lists = [contacts for (contacts,) in queries.audiences(200)]
    assert len(lists) == queries.MOST_AUDIENCES
    assert max(map(len, lists)) == queries.AUDIENCE
    assert all(each == list(range(each[0], each[0] + len(each))) for each in lists)
