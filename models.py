"""The CRM's seven tables at revision 2792ed2d7978.

Bind the models once, then use them like any others:

    database.initialize(PostgresqlDatabase("crm"))
    contact = Contact.get_by_id(1)

Peewee names every column it reads or writes, so a production table may have more columns than these.
"""

from __future__ import annotations

import json
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
    PostgresqlDatabase,
    TextField,
    TimeField,
)

database = DatabaseProxy()


class JSONField(FieldDatabaseHook, Field):
    """A column of type JSON. Peewee's own field creates jsonb on PostgreSQL and needs SQLite 3.38."""

    def _db_hook(self, database: Database | None) -> None:
        self._driver_decodes = isinstance(database, PostgresqlDatabase)

    def ddl_datatype(self, ctx: Context) -> SQL:
        return SQL("JSON")

    def db_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value)

    def python_value(self, value: Any) -> Any:
        # A value that the driver has decoded can be a string: do not decode it again.
        return value if self._driver_decodes or not isinstance(value, str) else json.loads(value)


class BaseModel(Model):
    id = AutoField()

    class Meta:
        database = database
        legacy_table_names = False


# The models declare no indexes but the unique ones, and foreign keys say index=False: Peewee would build duplicates of
# the indexes of revision 10992629d68e.


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
    """A mark on a contact, most often that they have opted out."""

    contact = ForeignKeyField(Contact, backref="flags", index=False)
    flag_type = CharField(50)
    flag_reason = TextField(null=True)
    applies_to = CharField(20, null=True)
    created_at = DateTimeField(null=True)
    expires_at = DateTimeField(null=True)
    created_by = CharField(100, null=True)


class WebhookEvent(BaseModel):
    """A delivery from OpenPhone, kept after it is processed."""

    event_id = CharField(100, null=True, unique=True)
    event_type = CharField(50, null=True)
    api_version = CharField(10, null=True)
    payload = JSONField(null=True)
    processed = BooleanField(null=True)
    processed_at = DateTimeField(null=True)
    error_message = TextField(null=True)
    created_at = DateTimeField(null=True)


TABLES = (Contact, Conversation, Activity, Campaign, CampaignMembership, ContactFlag, WebhookEvent)
