"""webhook events

Revision ID: 2792ed2d7978
Revises: e1b04c7a9f35
"""

from alembic import op
from alembic_app import creation_of

revision = "2792ed2d7978"
down_revision = "e1b04c7a9f35"


def upgrade():
    op.execute(creation_of("webhook_event", op.get_bind().dialect.name))


def downgrade():
    op.drop_table("webhook_event")
