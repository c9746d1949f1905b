import sqlalchemy as sa
from alembic import op

revision = "one"
down_revision = None


def upgrade():
    op.create_table("orders", sa.Column("id", sa.Integer, sa.Identity(), primary_key=True))


def downgrade():
    op.drop_table("orders")
