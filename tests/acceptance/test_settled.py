"""States are settled beside everything else, on real servers, and nothing else changes."""

import os
import signal

import psutil
import psycopg
import pytest

from tests.acceptance.conftest import Terminal

RECIPE = """
create table item (id int primary key, name text) with (autovacuum_enabled = off);
insert into item select n, md5(n::text) from generate_series(1, 10000) n;
delete from item where id % 2 = 0;
"""

SLOW = """
create function slow(id int) returns int immutable language plpgsql as $$
begin
    -- nothing but settling is read-only
    if current_setting('transaction_read_only') = 'on' then
        perform pg_sleep(600);
    end if;
    return id;
end $$;
create table item (id int);
insert into item select generate_series(1, 10);
create index on item (slow(id));
"""

ROWS = "select md5(string_agg(item::text, ',' order by id)) from item"
VISIBLE = "select relallvisible > 0 from pg_class where relname = 'item'"


@pytest.fixture
def settling(pgstrata: Terminal) -> Terminal:
    """A shell whose engine settles every state that has an instance."""
    pgstrata.environment["PGSTRATA_SNAPSHOT_SETTLE"] = "always"
    return pgstrata


def asked(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        [answer] = connection.execute(query.encode()).fetchone() or (None,)
    return answer


def until_settled(pgstrata: Terminal, state_id: str) -> None:
    with pgstrata.connected() as engine:
        while not any(state.settled_bytes for state in engine.states(id_prefix=state_id)):
            pass


def left(pgstrata: Terminal) -> list[str]:
    """What can be seen of copies and of what they are made in; what is hidden is being deleted."""
    areas = (pgstrata.store / "settled", pgstrata.store / "work")
    return [each.name for area in areas for each in area.iterdir() if each.name[0] != "."]


def settling_session(pgstrata: Terminal) -> psutil.Process:
    """The server process that settles, once there is one."""
    while True:
        for process in pgstrata.below_the_engine("postgres"):
            try:
                if "VACUUM" in " ".join(process.cmdline()):
                    return process
            except psutil.NoSuchProcess:
                continue


def test_an_instance_of_a_settled_state_has_the_same_rows_under_the_same_id(
    settling: Terminal,
) -> None:
    pgstrata = settling
    pgstrata.write("recipe.sql", RECIPE)
    plain = pgstrata.json("prepare:psql", "--", "-f", "recipe.sql")
    until_settled(pgstrata, plain["state_id"])
    settled = pgstrata.json("prepare:psql", "--", "-f", "recipe.sql")
    assert settled["state_id"] == plain["state_id"]
    assert asked(settled["dsn"], ROWS) == asked(plain["dsn"], ROWS)
    assert (asked(plain["dsn"], VISIBLE), asked(settled["dsn"], VISIBLE)) == (False, True)
    told = pgstrata("cache", "explain", "prepare:psql", "--", "-f", "recipe.sql").stdout
    assert told.rstrip().endswith("is in the cache, and settled")
    assert " + " in pgstrata("ls", "-s", "--wide").stdout
    assert "settled     1 of them" in pgstrata("status", "--cache").stdout
    # A step goes on from the plain one.
    longer = pgstrata.json("prepare:psql", "--", "-f", "recipe.sql", "-c", "select 1")
    assert asked(longer["dsn"], VISIBLE) is False
    pgstrata("reset", plain["instance_id"])
    assert asked(plain["dsn"], VISIBLE) is True
    pgstrata("cache", "verify")
    pgstrata("rm", "-r", "--force", plain["state_id"])
    assert left(pgstrata) == []


def test_a_kill_while_a_state_is_settled_leaves_nothing_and_a_limit_ends_it(
    settling: Terminal,
) -> None:
    pgstrata = settling
    pgstrata.write("recipe.sql", SLOW)
    pgstrata.prepare("-f", "recipe.sql")
    session = settling_session(pgstrata)
    os.kill(pgstrata.engine_file()["pid"], signal.SIGKILL)
    pgstrata.environment["PGSTRATA_SNAPSHOT_SETTLETIMEOUT"] = "1s"
    assert len(pgstrata.json("ls", "-s")["states"]) == 1
    psutil.wait_procs([session], timeout=300)
    assert not session.is_running()
    assert left(pgstrata) == []
    # It is tried again, and given up.
    pgstrata.prepare("-f", "recipe.sql")
    while "snapshot.settleTimeout" not in pgstrata("engine", "logs").stdout:
        pass
    pgstrata.prepare("-f", "recipe.sql")
    assert left(pgstrata) == []
    assert not any("settled_bytes" in state for state in pgstrata.json("ls", "-s")["states"])
