"""As `alembic init` writes it, in short."""

import os

from alembic import context
from sqlalchemy import create_engine

config = context.config
config.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"])

with create_engine(config.get_main_option("sqlalchemy.url")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
