"""Servers wait for whoever asks next, on real servers, and nobody can tell that they waited."""

import os
import signal

import psutil
import psycopg
import pytest

from tests.acceptance.conftest import Terminal
from tests.servers import started_by

RECIPE = """
create table item (id int primary key, name text);
insert into item select n, 'item ' || n from generate_series(1, 100) n;
create database other;
"""

STATISTICS = """
select coalesce(sum(seq_scan), 0), coalesce(sum(n_tup_ins), 0) from pg_stat_user_tables
"""


@pytest.fixture
def keeping_warm(pgstrata: Terminal) -> Terminal:
    """A shell whose engine keeps servers warm, however little memory there is."""
    del pgstrata.environment["PGSTRATA_POOL_MAX"]
    pgstrata.environment["PGSTRATA_POOL_MINFREEMEMORY"] = "0"
    return pgstrata


def prepare(pgstrata: Terminal) -> str:
    return pgstrata.prepare("-f", "recipe.sql")


def in_demand(pgstrata: Terminal) -> None:
    """Ask for something twice, so that a server waits for the third."""
    pgstrata.write("recipe.sql", RECIPE)
    prepare(pgstrata)
    prepare(pgstrata)
    until_ready(pgstrata, 1)


def until_ready(pgstrata: Terminal, number: int) -> None:
    with pgstrata.connected() as engine:
        while (pool := engine.status().pool) is None or pool.ready != number:
            pass


def paused(pgstrata: Terminal) -> list[psutil.Process]:
    """The servers that wait."""
    return [
        process
        for process in started_by(pgstrata.engine_file()["pid"], pgstrata.store)
        if process.name() == "postgres" and process.status() == psutil.STATUS_STOPPED
    ]


def test_who_asks_again_gets_a_server_that_was_there_and_cannot_tell(
    keeping_warm: Terminal,
) -> None:
    pgstrata = keeping_warm
    in_demand(pgstrata)
    waiting = {process.pid for process in paused(pgstrata)}
    assert waiting
    assert len(pgstrata.json("ls", "-i")["instances"]) == 2
    with psycopg.connect(prepare(pgstrata)) as connection:
        assert connection.execute("select count(*) from item").fetchone() == (100,)
    with pgstrata.connected() as engine:
        newest = engine.instances()[0]
    dsn = newest.dsn
    assert dsn is not None
    assert newest.expires_at is None
    with psycopg.connect(dsn, dbname="other") as connection:
        assert connection.execute(STATISTICS).fetchone() == (0, 0)
        assert connection.execute(
            "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        ).fetchone() == (1,)
    assert len(pgstrata.json("ls", "-i")["instances"]) == 3
    # The one that waited goes on, and another takes its place.
    until_ready(pgstrata, 1)
    still = {process.pid for process in paused(pgstrata)}
    assert not waiting & still


def test_what_an_engine_kept_warm_goes_with_it(keeping_warm: Terminal) -> None:
    pgstrata = keeping_warm
    in_demand(pgstrata)
    pgstrata("engine", "stop")
    assert len(list((pgstrata.store / "instances").glob("[0-9a-f]*"))) == 2
    prepare(pgstrata)
    prepare(pgstrata)
    until_ready(pgstrata, 1)
    killed = pgstrata.engine_file()["pid"]
    waiting = paused(pgstrata)
    os.kill(killed, signal.SIGKILL)
    instances = pgstrata.json("ls", "-i")["instances"]
    assert len(instances) == 4
    assert all(one["status"] == "active" for one in instances)
    assert len(list((pgstrata.store / "instances").glob("[0-9a-f]*"))) == 4
    psutil.wait_procs(waiting, timeout=300)
    assert not any(process.is_running() for process in waiting)


def test_a_store_without_its_database_forgets_what_waited(keeping_warm: Terminal) -> None:
    pgstrata = keeping_warm
    in_demand(pgstrata)
    os.kill(pgstrata.engine_file()["pid"], signal.SIGKILL)
    for name in ("", "-wal", "-shm"):
        (pgstrata.store / f"pgstrata.db{name}").unlink(missing_ok=True)
    assert len(pgstrata.json("ls", "-i")["instances"]) == 2


def test_servers_are_kept_ready_on_request_and_no_longer_than_their_state(
    keeping_warm: Terminal,
) -> None:
    pgstrata = keeping_warm
    pgstrata.write("recipe.sql", RECIPE)
    prepare(pgstrata)
    [state] = pgstrata.json("ls", "-s")["states"]
    printed = pgstrata("warm", "--count", "2", state["state_id"]).stdout
    assert "2 warm servers" in printed
    until_ready(pgstrata, 2)
    assert "2 of 2" in pgstrata("status").stdout
    pgstrata("rm", "-r", "--force", state["state_id"])
    until_ready(pgstrata, 0)
    assert not paused(pgstrata)
