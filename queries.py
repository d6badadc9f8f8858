"""The queries that the indexes of revision 10992629d68e exist for.

Bind the models once, then call the functions:

    models.database.initialize(PostgresqlDatabase("crm"))
    contact = contact_by_phone("+12025550123")

QUERIES has an entry for each, with its index and the columns that its arguments are sampled from: ``verify`` asks the
planner about these queries, and ``bench`` measures them. A function that returns an answer, and not a peewee query,
has a second function beside it that returns the query: the ``select`` of its entry.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from peewee import SQL, ModelSelect, Select, ValueLiterals, fn

from indexer import Query, once, rows_of
from models import Activity, Campaign, CampaignMembership, Contact, ContactFlag, Conversation, WebhookEvent

PAGE = 50  # activities of a conversation
AUDIENCE = 1_000  # contacts that a campaign asks about at once
MOST_AUDIENCES = 10

# A literal and not a parameter: a plan made before the parameters are known can then use the partial index.
OPTED_OUT = ValueLiterals("opted_out")


def exists(rows: ModelSelect[Any]) -> Select:
    """Return the query that ``rows.exists()`` executes."""
    return Select(columns=[fn.EXISTS(rows.columns(SQL("1")))]).limit(1).bind(rows.model._meta.database)


def contact_by_phone(phone: str) -> Contact | None:
    """Return the contact with this number, the one created first if several share it."""
    if not phone:  # Peewee turns None into IS NULL: a withheld number is no contact's number
        return None
    # The first is chosen here: with ORDER BY id LIMIT 1 the planner may walk the primary key.
    return min(contacts_by_phone(phone), key=lambda contact: contact.id, default=None)


def contacts_by_phone(phone: str) -> ModelSelect[Contact]:
    """Return the query for all contacts with this number."""
    return Contact.select().where(Contact.phone == phone)


def conversations_of(contact_id: int) -> ModelSelect[Conversation]:
    """Return the query for the conversations with a contact."""
    return Conversation.select().where(Conversation.contact == contact_id)


def campaigns_of(contact_id: int) -> ModelSelect[Campaign]:
    """Return the query for the campaigns that a contact is in, each once."""
    # Not a join with DISTINCT: PostgreSQL cannot compare values of type json.
    memberships = CampaignMembership.select(CampaignMembership.campaign)
    return Campaign.select().where(Campaign.id.in_(memberships.where(CampaignMembership.contact == contact_id)))


def has_opted_out(contact_id: int) -> bool:
    """Return whether this contact has opted out. An opt-out holds until its flag is removed, also past expires_at."""
    return bool(opt_out_exists(contact_id).scalar())


def opt_out_exists(contact_id: int, flag_type: str | ValueLiterals = OPTED_OUT) -> Select:
    """Return the query for whether this contact has a flag of this type."""
    return exists(ContactFlag.select().where(ContactFlag.flag_type == flag_type, ContactFlag.contact == contact_id))


def opted_out_among(contact_ids: Iterable[int]) -> set[int]:
    """Return which of these contacts have opted out, in one query for any number of contacts."""
    ids = list(contact_ids)
    return set(opt_outs_among(ids).scalars()) if ids else set()


def opt_outs_among(contact_ids: Iterable[int], flag_type: str | ValueLiterals = OPTED_OUT) -> ModelSelect[ContactFlag]:
    """Return the query for which of these contacts have a flag of this type."""
    ids = ValueLiterals([int(contact_id) for contact_id in contact_ids])  # SQLite limits the number of parameters
    return ContactFlag.select(ContactFlag.contact).where(
        ContactFlag.flag_type == flag_type, ContactFlag.contact.in_(ids)
    )


def campaign_members(campaign_id: int, status: str) -> ModelSelect[CampaignMembership]:
    """Return the query for the memberships of a campaign in one status."""
    return CampaignMembership.select().where(
        CampaignMembership.campaign == campaign_id,
        CampaignMembership.status == status,
    )


def activity_seen(openphone_id: str) -> bool:
    """Return whether this call or message is stored."""
    return bool(openphone_id) and bool(activity_exists(openphone_id).scalar())


def activity_exists(openphone_id: str) -> Select:
    """Return the query for whether this call or message is stored."""
    return exists(Activity.select().where(Activity.openphone_id == openphone_id))


def activities_of_type(activity_type: str) -> ModelSelect[Activity]:
    """Return the query for all calls, all messages, all voicemails or all emails."""
    return Activity.select().where(Activity.activity_type == activity_type)


def conversation_history(conversation_id: int, before: datetime | None = None, limit: int = PAGE) -> list[Activity]:
    """Return a page of a conversation, newest first; the next page is the one before=page[-1].created_at.

    Activities of the same moment are always on the same page, so that none is lost between pages or shown twice: a
    page has ``limit`` activities, and more only if the last ones happened at the same moment.
    """
    page = list(history_page(conversation_id, before, limit + 1))
    if len(page) <= limit or page[-1].created_at != page[-2].created_at:
        return page[:limit]
    return list(history_page(conversation_id, before, None).where(Activity.created_at >= page[-1].created_at))


def history_page(
    conversation_id: int, before: datetime | None = None, limit: int | None = PAGE + 1
) -> ModelSelect[Activity]:
    """Return the query for the newest activities of a conversation that happened before a moment.

    Activities without a time are not part of the history. Those of the same moment come in any order, so that the
    index delivers the rows without a sort.
    """
    page = (
        Activity.select()
        .where(
            Activity.conversation == conversation_id,
            Activity.created_at.is_null(False),
        )
        .order_by(Activity.created_at.desc())
        .limit(limit)
    )
    return page.where(Activity.created_at < before) if before else page


def unprocessed_events(event_type: str, limit: int = 100) -> ModelSelect[WebhookEvent]:
    """Return the query for the unprocessed events of a type, oldest first."""
    return (
        WebhookEvent.select()
        .where(
            WebhookEvent.processed == False,  # noqa: E712 - SQLite finds no index for NOT processed
            WebhookEvent.event_type == event_type,
        )
        .order_by(WebhookEvent.created_at, WebhookEvent.id)
        .limit(limit)
    )


def event_counts() -> dict[str, int]:
    """Return the number of events of each type; those without a type are left out."""
    return dict(events_by_type().tuples().iterator())


def events_by_type() -> ModelSelect[WebhookEvent]:
    """Return the query for the number of events of each type."""
    return (
        WebhookEvent.select(WebhookEvent.event_type, fn.COUNT(SQL("*")))
        .where(WebhookEvent.event_type.is_null(False))
        .group_by(WebhookEvent.event_type)
    )


def audiences(count: int) -> list[tuple[list[int]]]:
    """Sample lists of contacts that were entered one after another, as by an import."""
    firsts = rows_of(Contact.id, otherwise=(1,))(min(count, MOST_AUDIENCES))
    contacts = Contact.select(Contact.id).order_by(Contact.id).limit(AUDIENCE)
    return [(list(contacts.where(Contact.id >= first).scalars()) or [first],) for (first,) in firsts]


# In the order of the migration. Copy an entry to add one.
QUERIES = (
    Query(
        "ix_activity_openphone_id",
        function=activity_seen,
        select=activity_exists,
        sample=rows_of(Activity.openphone_id, otherwise=("AC100000001",)),
        claim="O(log n)",
    ),
    Query(
        "ix_webhook_event_processed",
        function=unprocessed_events,
        sample=rows_of(WebhookEvent.event_type, otherwise=("message.received",)),
        claim="O(log n) over the waiting events alone",
    ),
    Query(
        "ix_campaign_membership_campaign_status",
        function=campaign_members,
        sample=rows_of(CampaignMembership.campaign, CampaignMembership.status, otherwise=(1, "pending")),
        claim="O(log n)",
    ),
    Query(
        "ix_contact_phone_hash",
        function=contact_by_phone,
        select=contacts_by_phone,
        sample=rows_of(Contact.phone, otherwise=("+12025550123",)),
        claim="O(1)",
    ),
    Query(
        "ix_activity_conversation_created",
        function=conversation_history,
        select=history_page,
        sample=rows_of(Activity.conversation, otherwise=(1,)),
        claim="a pre-sorted scan",
    ),
    Query(
        "ix_contact_flag_opted_out",
        function=has_opted_out,
        select=opt_out_exists,
        sample=rows_of(Contact.id, otherwise=(1,)),
        as_parameter=lambda contact_id: opt_out_exists(contact_id, "opted_out"),
        claim="O(log k) over the k opted-out rows alone",
    ),
    Query(
        "ix_contact_flag_opted_out",
        function=opted_out_among,
        select=opt_outs_among,
        sample=audiences,
        as_parameter=lambda contact_ids: opt_outs_among(contact_ids, "opted_out"),
        claim="O(log k) over the k opted-out rows alone",
    ),
    Query(
        "ix_conversation_contact_id",
        function=conversations_of,
        sample=rows_of(Conversation.contact, otherwise=(1,)),
        claim="O(log n)",
    ),
    Query(
        "ix_activity_type",
        function=activities_of_type,
        sample=rows_of(Activity.activity_type, otherwise=("message",)),
        claim="O(log n) and the rows of the type",
        # Most activities are messages: no index makes those faster to read.
        measured=(("voicemail",), ("email",)),
    ),
    Query(
        "ix_campaign_membership_contact_id",
        function=campaigns_of,
        sample=rows_of(CampaignMembership.contact, otherwise=(1,)),
        also_reads=(Campaign,),
        claim="O(log n)",
    ),
    Query(
        "ix_webhook_event_event_type",
        function=event_counts,
        select=events_by_type,
        sample=once,
        claim="a scan of the index instead of the table",
    ),
)
