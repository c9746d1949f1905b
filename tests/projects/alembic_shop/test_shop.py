from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect, text

from conftest import CONFIG


def test_what_migrations_make(shop):
    engine = create_engine(shop.url("psycopg"))
    with engine.begin() as connection:
        assert connection.scalar(text("insert into orders (what) values ('') returning id")) == 2
    engine.dispose()


def test_the_way_up_and_down(alembic_engine):
    config = Config(CONFIG)
    config.attributes["connection"] = alembic_engine
    command.upgrade(config, "head")
    command.downgrade(config, "base")
    assert inspect(alembic_engine).get_table_names() == ["alembic_version"]
