from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

engine = context.config.attributes.get("connection")
if engine is None:
    engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
