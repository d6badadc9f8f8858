"""property addresses, which have nothing to do with any index

Revision ID: 5bf30755a98d
Revises: 10992629d68e
"""

import sqlalchemy as sa
from alembic import op

revision = "5bf30755a98d"
down_revision = "10992629d68e"


def upgrade():
    op.create_table(
        "property",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("address", sa.String(200), nullable=False),
    )


def downgrade():
    op.drop_table("property")
