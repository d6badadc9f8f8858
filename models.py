"""The CRM's seven tables at revision 2792ed2d7978, and the queries that revision 10992629d68e makes fast.

Bind the models once, then use them like any others:

    database.initialize(PostgresqlDatabase("crm"))
    contact = contact_by_phone("+12025550123")

Peewee names every column it reads or writes, so a production table may have columns besides these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from peewee import (
    SQL,
    AutoField,
    BooleanField,
    CharField,
    Context,
    Database,
    DatabaseProxy,
    DateField,
    DateTimeField,
    DecimalField,
    Field,
    FieldDatabaseHook,
    ForeignKeyField,
    IntegerField,
    Model,
    ModelSelect,
    PostgresqlDatabase,
    TextField,
    TimeField,
    ValueLiterals,
    fn,
)

database = DatabaseProxy()


class JSONField(FieldDatabaseHook, Field):
    """A column of type JSON. Peewee's own field makes it jsonb on PostgreSQL and asks for SQLite 3.38."""

    def _db_hook(self, database: Database | None) -> None:
        self._driver_decodes = isinstance(database, PostgresqlDatabase)

    def ddl_datatype(self, ctx: Context) -> SQL:
        return SQL("JSON")

    def db_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value)

    def python_value(self, value: Any) -> Any:
        # What the driver has decoded may be a string as well: it must not be decoded twice.
        return value if self._driver_decodes or not isinstance(value, str) else json.loads(value)


class BaseModel(Model):
    id = AutoField()

    class Meta:
        database = database
        legacy_table_names = False


# No model declares an index but the unique ones, and foreign keys say index=False: what Peewee would
# build for them by itself are twins of the indexes of revision 10992629d68e.


class Contact(BaseModel):
    """A person the company writes to or calls."""

    first_name = CharField(50)
    last_name = CharField(50)
    email = CharField(120, null=True, unique=True)
    phone = CharField(20, null=True)
    contact_metadata = JSONField(null=True)
    csv_import_id = IntegerField(null=True)
    import_source = CharField(100, null=True)
    imported_at = DateTimeField(null=True)
    quickbooks_customer_id = CharField(50, null=True, unique=True)
    quickbooks_sync_token = CharField(50, null=True)
    customer_type = CharField(20, null=True)
    payment_terms = CharField(50, null=True)
    credit_limit = DecimalField(10, 2, null=True)
    tax_exempt = BooleanField(null=True)
    total_sales = DecimalField(10, 2, null=True)
    outstanding_balance = DecimalField(10, 2, null=True)
    last_payment_date = DateTimeField(null=True)
    average_days_to_pay = IntegerField(null=True)
    lead_source = CharField(100, null=True)
    customer_since = DateField(null=True)


class Conversation(BaseModel):
    """A thread of calls and messages with one contact."""

    openphone_id = CharField(100, null=True, unique=True)
    contact = ForeignKeyField(Contact, backref="conversations", index=False)
    name = CharField(200, null=True)
    participants = CharField(500, null=True)
    phone_number_id = CharField(100, null=True)
    last_activity_at = DateTimeField(null=True)
    last_activity_type = CharField(20, null=True)
    last_activity_id = CharField(100, null=True)


class Activity(BaseModel):
    """One call, message, voicemail or email."""

    openphone_id = CharField(100, null=True)
    conversation = ForeignKeyField(Conversation, backref="activities", null=True, index=False)
    contact = ForeignKeyField(Contact, backref="activities", null=True, index=False)
    activity_type = CharField(20, null=True)
    direction = CharField(10, null=True)
    status = CharField(50, null=True)
    from_number = CharField(20, null=True)
    to_numbers = JSONField(null=True)
    user_id = IntegerField(null=True)
    phone_number_id = CharField(100, null=True)
    body = TextField(null=True)
    media_urls = JSONField(null=True)
    email_from = CharField(120, null=True)
    email_to = JSONField(null=True)
    email_cc = JSONField(null=True)
    email_bcc = JSONField(null=True)
    email_subject = CharField(200, null=True)
    email_thread_id = CharField(100, null=True)
    smartlead_id = CharField(100, null=True)
    duration_seconds = IntegerField(null=True)
    recording_url = CharField(500, null=True)
    voicemail_url = CharField(500, null=True)
    answered_at = DateTimeField(null=True)
    answered_by = CharField(100, null=True)
    completed_at = DateTimeField(null=True)
    initiated_by = CharField(100, null=True)
    forwarded_from = CharField(100, null=True)
    forwarded_to = CharField(100, null=True)
    ai_summary = TextField(null=True)
    ai_next_steps = TextField(null=True)
    ai_transcript = JSONField(null=True)
    ai_content_status = CharField(50, null=True)
    activity_metadata = JSONField(null=True)
    created_at = DateTimeField(null=True)
    updated_at = DateTimeField(null=True)


class Campaign(BaseModel):
    """A series of messages to a list of contacts."""

    name = CharField(200, null=True)
    created_at = DateTimeField(null=True)
    status = CharField(20, null=True)
    template_a = TextField(null=True)
    template_b = TextField(null=True)
    quiet_hours_start = TimeField(null=True)
    quiet_hours_end = TimeField(null=True)
    on_existing_contact = CharField(50, null=True)
    campaign_type = CharField(20, null=True)
    audience_type = CharField(20, null=True)
    daily_limit = IntegerField(null=True)
    business_hours_only = BooleanField(null=True)
    ab_config = JSONField(null=True)
    channel = CharField(10, null=True)
    list_id = IntegerField(null=True)
    adapt_script_template = TextField(null=True)
    days_between_contacts = IntegerField(null=True)


class CampaignMembership(BaseModel):
    """How far a campaign has come with one contact."""

    contact = ForeignKeyField(Contact, backref="memberships", null=True, index=False)
    campaign = ForeignKeyField(Campaign, backref="memberships", null=True, index=False)
    status = CharField(50, null=True)
    variant_sent = CharField(1, null=True)
    sent_at = DateTimeField(null=True)
    sent_activity = ForeignKeyField(Activity, backref="sent_by_memberships", null=True, index=False)
    reply_activity = ForeignKeyField(Activity, backref="replied_to_memberships", null=True, index=False)
    pre_send_flags = JSONField(null=True)
    override_action = CharField(20, null=True)
    response_sentiment = CharField(20, null=True)
    message_sent = TextField(null=True)
    previous_contact_date = DateTimeField(null=True)
    previous_contact_type = CharField(50, null=True)
    previous_response = CharField(50, null=True)
    script_adapted = BooleanField(null=True)
    membership_metadata = JSONField(null=True)


class ContactFlag(BaseModel):
    """A mark on a contact, above all that they have opted out."""

    contact = ForeignKeyField(Contact, backref="flags", index=False)
    flag_type = CharField(50)
    flag_reason = TextField(null=True)
    applies_to = CharField(20, null=True)
    created_at = DateTimeField(null=True)
    expires_at = DateTimeField(null=True)
    created_by = CharField(100, null=True)


class WebhookEvent(BaseModel):
    """A delivery from OpenPhone, kept until it is processed and after."""

    event_id = CharField(100, null=True, unique=True)
    event_type = CharField(50, null=True)
    api_version = CharField(10, null=True)
    payload = JSONField(null=True)
    processed = BooleanField(null=True)
    processed_at = DateTimeField(null=True)
    error_message = TextField(null=True)
    created_at = DateTimeField(null=True)


TABLES = (Contact, Conversation, Activity, Campaign, CampaignMembership, ContactFlag, WebhookEvent)

# In the statement itself and not a parameter: a plan made before the parameters are known can then
# still use the index that holds opt-outs alone.
OPTED_OUT = ValueLiterals("opted_out")


def contact_by_phone(phone: str) -> Contact | None:
    """The contact with this number; if several share it, the one entered first.

    Served by ix_contact_phone_hash.
    """
    if not phone:  # Peewee would turn None into IS NULL, and a withheld number into somebody's
        return None
    # The first is chosen here because ORDER BY id LIMIT 1 can lure the planner into walking the primary key.
    sharing = Contact.select().where(Contact.phone == phone)
    return min(sharing, key=lambda contact: contact.id, default=None)


def activity_seen(openphone_id: str) -> bool:
    """Has this call or message been stored already? Served by ix_activity_openphone_id."""
    return bool(openphone_id) and Activity.select().where(Activity.openphone_id == openphone_id).exists()


def unprocessed_events(event_type: str, limit: int = 100) -> ModelSelect[WebhookEvent]:
    """The events of a type that wait to be processed, oldest first. Served by ix_webhook_event_processed."""
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
    """How many events there are of each type; those without a type are left out.

    Served by ix_webhook_event_event_type.
    """
    counts = (
        WebhookEvent.select(WebhookEvent.event_type, fn.COUNT(SQL("*")))
        .where(WebhookEvent.event_type.is_null(False))
        .group_by(WebhookEvent.event_type)
    )
    return dict(counts.tuples().iterator())


def campaign_members(campaign_id: int, status: str) -> ModelSelect[CampaignMembership]:
    """The memberships of a campaign in one status. Served by ix_campaign_membership_campaign_status."""
    return CampaignMembership.select().where(
        CampaignMembership.campaign == campaign_id,
        CampaignMembership.status == status,
    )


def campaigns_of(contact_id: int) -> ModelSelect[Campaign]:
    """The campaigns a contact is in, each once. Served by ix_campaign_membership_contact_id."""
    # Not a join with DISTINCT: PostgreSQL cannot compare values of type json.
    memberships = CampaignMembership.select(CampaignMembership.campaign)
    return Campaign.select().where(Campaign.id.in_(memberships.where(CampaignMembership.contact == contact_id)))


def has_opted_out(contact_id: int) -> bool:
    """Must this contact be left alone?

    An opt-out holds until its flag is removed: expires_at is not looked at.
    Served by ix_contact_flag_opted_out.
    """
    return (
        ContactFlag.select()
        .where(
            ContactFlag.flag_type == OPTED_OUT,
            ContactFlag.contact == contact_id,
        )
        .exists()
    )


def opted_out_among(contact_ids: Iterable[int]) -> set[int]:
    """Those of the contacts that have opted out, asked in one query however many there are.

    An opt-out holds until its flag is removed: expires_at is not looked at.
    Served by ix_contact_flag_opted_out.
    """
    ids = [int(contact_id) for contact_id in contact_ids]
    if not ids:
        return set()
    opted_out = ContactFlag.select(ContactFlag.contact).where(
        ContactFlag.flag_type == OPTED_OUT,
        ContactFlag.contact.in_(ValueLiterals(ids)),  # SQLite limits how many parameters a query may have
    )
    return set(opted_out.scalars())


def conversation_history(conversation_id: int, before: datetime | None = None, limit: int = 50) -> list[Activity]:
    """A page of a conversation, newest first; the next page is the one before=page[-1].created_at.

    A page has `limit` activities, or more if its last ones happened at the same moment: a moment is never cut
    in two, so no activity is lost between pages or shown twice. Served by ix_activity_conversation_created.
    """
    page = list(history_page(conversation_id, before, limit + 1))
    if len(page) <= limit or page[-1].created_at != page[-2].created_at:
        return page[:limit]
    return list(history_page(conversation_id, before, None).where(Activity.created_at >= page[-1].created_at))


def history_page(conversation_id: int, before: datetime | None, limit: int | None) -> ModelSelect[Activity]:
    """The newest activities of a conversation that happened before a moment.

    Activities without a time are not part of the history. Served by ix_activity_conversation_created without
    a sort, and therefore in no order within a moment.
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


def conversations_of(contact_id: int) -> ModelSelect[Conversation]:
    """The conversations held with a contact. Served by ix_conversation_contact_id."""
    return Conversation.select().where(Conversation.contact == contact_id)


def activities_of_type(activity_type: str) -> ModelSelect[Activity]:
    """All calls, all messages, all voicemails or all emails. Served by ix_activity_type."""
    return Activity.select().where(Activity.activity_type == activity_type)
