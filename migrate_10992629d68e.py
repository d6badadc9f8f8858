"""Performance indexes for webhook, campaign and opt-out processing

Revision ID: 10992629d68e
Revises: 2792ed2d7978
Create Date: 2025-08-21

Webhooks look up the activity that they report, campaigns look up their members and who has opted out, and
conversations are read newest first: without these ten indexes each of the queries scans a whole table.
``on_postgresql`` holds what only PostgreSQL does; on SQLite the same index is a B-tree of all rows.
"""

from playhouse.migrate import SchemaMigrator

from indexer import Index, Variant, desc

revision = "10992629d68e"
down_revision = "2792ed2d7978"
date = "2025-08-21"
in_alembic = True

INDEXES = (
    Index(
        "ix_activity_openphone_id",
        table="activity",
        columns=("openphone_id",),
        purpose="was this OpenPhone activity seen before?",
    ),
    Index(
        "ix_webhook_event_processed",
        table="webhook_event",
        columns=("processed", "event_type"),
        purpose="unprocessed webhook events of a type",
    ),
    Index(
        "ix_campaign_membership_campaign_status",
        table="campaign_membership",
        columns=("campaign_id", "status"),
        purpose="members of a campaign with a status",
    ),
    Index(
        "ix_contact_phone_hash",
        table="contact",
        columns=("phone",),
        purpose="contact by exact phone number",
        on_postgresql=Variant(using="hash"),
        alembic_name_on_sqlite="ix_contact_phone",
    ),
    Index(
        "ix_activity_conversation_created",
        table="activity",
        columns=("conversation_id", desc("created_at")),
        purpose="history of a conversation, newest first",
    ),
    Index(
        "ix_contact_flag_opted_out",
        table="contact_flag",
        columns=("flag_type", "contact_id"),
        purpose="has this contact opted out?",
        on_postgresql=Variant(where="flag_type = 'opted_out'"),
        alembic_name_on_sqlite="ix_contact_flag_type_contact",
    ),
    Index(
        "ix_conversation_contact_id",
        table="conversation",
        columns=("contact_id",),
        purpose="conversations of a contact",
    ),
    Index(
        "ix_activity_type",
        table="activity",
        columns=("activity_type",),
        purpose="activities of a type",
    ),
    Index(
        "ix_campaign_membership_contact_id",
        table="campaign_membership",
        columns=("contact_id",),
        purpose="campaigns of a contact",
    ),
    Index(
        "ix_webhook_event_event_type",
        table="webhook_event",
        columns=("event_type",),
        purpose="counts of webhook events by type",
    ),
)


def upgrade(migrator: SchemaMigrator) -> None:
    """Build the ten indexes."""
    migrator.migrate(*(migrator.add_index(index) for index in INDEXES))


def downgrade(migrator: SchemaMigrator) -> None:
    """Drop the ten indexes, the last one first."""
    migrator.migrate(*(migrator.drop_index(index) for index in reversed(INDEXES)))
