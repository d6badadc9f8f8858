"""performance indexes for webhook, campaign and opt-out processing

Revision ID: 10992629d68e
Revises: 2792ed2d7978
"""

from alembic import context, op

revision = "10992629d68e"
down_revision = "2792ed2d7978"

INDEXES = {
    "ix_activity_openphone_id": "activity (openphone_id)",
    "ix_webhook_event_processed": "webhook_event (processed, event_type)",
    "ix_campaign_membership_campaign_status": "campaign_membership (campaign_id, status)",
    "ix_contact_phone_hash": "contact (phone)",
    "ix_activity_conversation_created": "activity (conversation_id, created_at DESC)",
    "ix_contact_flag_opted_out": "contact_flag (flag_type, contact_id)",
    "ix_conversation_contact_id": "conversation (contact_id)",
    "ix_activity_type": "activity (activity_type)",
    "ix_campaign_membership_contact_id": "campaign_membership (contact_id)",
    "ix_webhook_event_event_type": "webhook_event (event_type)",
}
IN_OTHER_WORDS = {  # the original has two names of its own on SQLite
    "ix_contact_phone_hash": "ix_contact_phone",
    "ix_contact_flag_opted_out": "ix_contact_flag_type_contact",
}
ON_POSTGRESQL = {
    "ix_contact_phone_hash": "contact USING hash (phone)",
    "ix_contact_flag_opted_out": "contact_flag (flag_type, contact_id) WHERE flag_type = 'opted_out'",
}


def upgrade():
    alone = ON_POSTGRESQL if op.get_bind().dialect.name == "postgresql" else {}
    for name, key in {**INDEXES, **alone}.items():
        op.execute(f"CREATE INDEX IF NOT EXISTS {_named(name)} ON {key}")


def downgrade():
    for name in reversed(INDEXES):
        op.execute(f"DROP INDEX IF EXISTS {_named(name)}")


def _named(name):
    return IN_OTHER_WORDS.get(name, name) if context.config.attributes["in_other_words"] else name
