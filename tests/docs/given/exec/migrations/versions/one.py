"""The first revision."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    op.create_table("product", sa.Column("id", sa.Integer, primary_key=True))
