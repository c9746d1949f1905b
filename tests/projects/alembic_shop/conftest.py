from pathlib import Path

from alembic import command
from alembic.config import Config

from pgstrata import psql
from pgstrata.pytest import instance, layer, state
from pgstrata.pytest.compat.alembic import alembic_engine

__all__ = ["alembic_engine"]

CONFIG = Path(__file__).with_name("alembic.ini")


def migrate(pg):
    config = Config(CONFIG)
    config.set_main_option("sqlalchemy.url", pg.url("psycopg").replace("%", "%%"))
    command.upgrade(config, "head")


empty = state(recipe=psql().then("-- nothing yet"))
migrated = layer("empty", migrate, inputs=["migrations/versions/*.py"])
shop = instance("migrated")
