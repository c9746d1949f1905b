"""What is in an instance is kept, gone on from, and compared."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.acceptance.conftest import Terminal
from tests.clusters import fetched

SCHEMA = """
create schema app;
create type app.mood as enum ('glad', 'sad');
create domain app.positive as int check (value > 0);
create table app.t (id serial primary key, mood app.mood not null, n app.positive default 1);
create table app.part (d date, v text) partition by range (d);
create table app.part_1 partition of app.part for values from ('2024-01-01') to ('2025-01-01');
create index on app.t (mood) where n > 5;
create materialized view app.m as select count(*) as n from app.t;
create function app.f(a int, b text default 'x') returns text language plpgsql as $$
begin
    -- Name: fake; Type: TABLE; Schema: app; Owner: me
    return a || b;
end $$;
create function app.tr() returns trigger language plpgsql as 'begin return new; end';
create trigger tr before insert on app.t for each row execute procedure app.tr();
alter table app.t enable row level security;
create policy p on app.t using (n > 0);
create role reader;
grant usage on schema app to reader;
grant select on app.t to reader;
comment on table app.t is 'it';
create publication pub for table app.t;
"""


@pytest.fixture
def connections() -> Iterator[list[psycopg.Connection[tuple[object, ...]]]]:
    opened: list[psycopg.Connection[tuple[object, ...]]] = []
    yield opened
    for connection in opened:
        connection.close()


def rows(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute("select * from t order by 1").fetchall()


def test_what_is_in_an_instance_is_kept_gone_on_from_and_compared(
    shared: Terminal, connections: list[psycopg.Connection[tuple[object, ...]]]
) -> None:
    dev = shared.json("prepare:psql", "--name", "dev", "-c", "create table t (n int)")
    client = psycopg.connect(dev["dsn"], autocommit=True)
    connections.append(client)
    client.execute("insert into t values (1)")
    with client.transaction():  # a transaction that is open is not in the state
        client.execute("insert into t values (-1)")
        state = shared.json("snapshot", "dev", "--name", "seeded")
    assert rows(dev["dsn"]) == [(-1,), (1,)]  # the same server, and the same client
    assert (state["name"], state["pinned"], state["parent_state_id"]) == ("seeded", True, None)
    assert "snapshot of dev" in shared("ls", "-s").stdout
    # A prepare goes on from it, with a password of its own, and the next finds what it made.
    words = ("prepare:psql", "--from", "seeded", "--", "-c", "insert into t values (2)")
    first, second = shared.json(*words), shared.json(*words)
    assert rows(first["dsn"]) == rows(second["dsn"]) == [(1,), (2,)]
    assert first["state_id"] == second["state_id"]
    assert first["image_id"] == dev["image_id"]
    passwords = {urlsplit(each["dsn"]).password for each in (dev, first, second)}
    assert len(passwords) == 3
    [step] = shared.json("plan:psql", *words[1:])["tasks"][1:-1]
    assert (step["input"], step["cached"]) == ({"kind": "state", "id": state["state_id"]}, True)
    assert shared("cache", "explain", *words).stdout.startswith("hit")
    # Whatever was made of it keeps it from being removed, and its name finds it.
    assert "something was made from it" in shared("rm", "seeded", exit_code=4).stdout
    # The instances differ from it in rows only.
    assert "alike" in shared("diff", "seeded", "dev").stdout
    counted = shared("diff", "--rows", "seeded", "dev", exit_code=1).stdout
    assert counted.split()[-4:] == ["postgres", "public.t", "1", "2"]
    client.execute("alter table t add x text; create index i on t (x)")
    shown = shared("diff", "seeded", "dev", exit_code=1).stdout
    assert "added    INDEX public.i\nchanged  TABLE public.t\n" in shown
    assert "+    x text\n" in shown
    shared("diff", "seeded", "nothing", exit_code=3)
    assert list((shared.store / "work").iterdir()) == []
    client.close()
    shared("rm", "-rf", "seeded")
    shared("prepare:psql", "--from", "seeded", "-c", "select 1", exit_code=2)


def test_what_a_crash_would_lose_is_kept_as_well(shared: Terminal) -> None:
    made = "create unlogged table t as select 1 as n"
    dev = shared.json("prepare:psql", "--name", "dev", "-c", made)
    with psycopg.connect(dev["dsn"], autocommit=True) as client:
        client.execute("insert into t values (2)")
        refused = shared("snapshot", "dev", exit_code=4).stderr
        assert "1 client is connected" in refused
        assert "--force" in refused
    state = shared.json("snapshot", "dev")
    assert rows(dev["dsn"]) == [(1,), (2,)]  # the DSN leads to the server that was started again
    went_on = shared.json("prepare:psql", "--from", state["state_id"][:8], "-c", "select 1")
    assert rows(went_on["dsn"]) == [(1,), (2,)]


def test_one_schema_on_two_majors_is_alike(shared: Terminal) -> None:
    shared.write("schema.sql", SCHEMA)
    made = [
        shared.json("prepare:psql", "--image", f"postgres:{major}", "-f", "schema.sql")["state_id"]
        for major in ("13", "18")
        if fetched(major)
    ]
    assert shared("diff", "--rows", *made).stdout.endswith("are alike\n")


def test_sequences_go_on_where_they_were(shared: Terminal) -> None:
    made = "create table t (n int generated always as identity, x int)"
    dev = shared.json("prepare:psql", "--name", "dev", "-c", made)
    with psycopg.connect(dev["dsn"]) as client:
        client.execute("insert into t (x) values (7), (8)")
    state = shared.json("snapshot", "dev")
    words = ("prepare:psql", "--from", state["state_id"], "-c", "insert into t (x) values (9)")
    assert rows(shared.json(*words)["dsn"]) == [(1, 7), (2, 8), (3, 9)]
