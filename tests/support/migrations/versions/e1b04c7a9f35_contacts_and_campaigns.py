"""contacts and campaigns

Revision ID: e1b04c7a9f35
Revises:
"""

from alembic import op
from alembic_app import creation_of

revision = "e1b04c7a9f35"
down_revision = None

TABLES = ("contact", "conversation", "activity", "campaign", "campaign_membership", "contact_flag")


def upgrade():
    for table in TABLES:
        op.execute(creation_of(table, op.get_bind().dialect.name))


def downgrade():
    for table in reversed(TABLES):
        op.drop_table(table)
