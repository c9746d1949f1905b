import psycopg
import pytest

import shop


@pytest.mark.parametrize("time", [1, 2])
def test_an_order_is_taken(postgresql, time):
    assert shop.order(postgresql, "coffee") == 3
    assert shop.count(postgresql) == 3


@pytest.mark.anyio
async def test_an_order_is_taken_later(postgresql_async):
    found = await postgresql_async.execute("insert into orders (what) values ('tea') returning id")
    assert await found.fetchone() == (3,)


def test_where_it_is(postgresql, postgresql_proc):
    info = postgresql.info
    assert (info.dbname, info.user) == ("shop", "keeper")
    assert (info.host, info.port) == (postgresql_proc.host, postgresql_proc.port)
    assert info.password == postgresql_proc.password
    assert postgresql.execute("show application_name").fetchone() == ("keeping",)
    assert postgresql.execute("show work_mem").fetchone() == ("3MB",)
    with psycopg.connect(
        host=postgresql_proc.host,
        port=postgresql_proc.port,
        user=postgresql_proc.user,
        password=postgresql_proc.password,
        dbname=postgresql_proc.dbname,
    ) as other:
        assert shop.count(other) == 2


def test_a_server_without_a_test(postgresql_proc):
    with psycopg.connect(
        host=postgresql_proc.host,
        port=postgresql_proc.port,
        user=postgresql_proc.user,
        password=postgresql_proc.password,
        dbname="postgres",
        autocommit=True,
    ) as server:
        server.execute(f"create database own template {postgresql_proc.template_dbname}")
        names = server.execute("select datname from pg_database order by 1").fetchall()
    assert ("shop",) not in names
    assert ("own",) in names
    assert int(postgresql_proc.version.split(".")[0]) >= 10


def test_more_than_the_one_below(fuller_postgresql):
    assert fuller_postgresql.info.dbname == "fuller"
    assert shop.count(fuller_postgresql) == 5


def test_a_password_of_ones_own(owned, own_proc):
    assert (owned.info.user, owned.info.password, own_proc.password) == (
        "owner",
        "own/ed",
        "own/ed",
    )
    assert shop.count(owned) == 0
