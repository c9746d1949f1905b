import sqlalchemy as sa
from alembic import op

revision = "two"
down_revision = "one"


def upgrade():
    op.add_column("orders", sa.Column("what", sa.Text, nullable=False))
    op.execute("insert into orders (what) values ('tea')")


def downgrade():
    op.drop_column("orders", "what")
