"""Tablespaces at any path are a server's own, and part of what is kept of it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgstrata.dbms.tablespaces import DATA_DIR, TABLESPACES
from pgstrata.domain.instance import Server
from pgstrata.errors import ServerError, StateUnusableError
from pgstrata.settings import SandboxSettings
from tests import needs
from tests.acceptance.conftest import Terminal
from tests.clusters import NativeRig, connected, native_runtime, rig_below
from tests.servers import data_dir_of


@pytest.fixture(scope="module")
def rig(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "tablespaces", "15") as rig:
        if rig.native.sandbox.level != "basic":
            needs.missing(f"there are no cells here: {rig.native.sandbox.missing}")
        yield rig


@pytest.fixture
def server(rig: NativeRig) -> Iterator[Server]:
    server = asyncio.run(rig.runtime.start(rig.image, rig.cluster()))
    yield server
    asyncio.run(rig.runtime.stop(server, clean=False))


LOCATIONS = (
    "/mnt/fast/one",
    "/mnt/fast/two/",  # beside another
    "/tmp/three",  # in a directory that a cell has as well
    f"{DATA_DIR}-four",  # beside the data directory
    f"{DATA_DIR}/five",  # in it
    "/a name, with anything in it/six",
)


def test_they_are_found_again_wherever_the_data_directory_goes(
    rig: NativeRig, server: Server
) -> None:
    with connected(server.endpoint.dsn) as connection:
        for number, location in enumerate(LOCATIONS):
            connection.execute(f"create tablespace t{number} location '{location}'".encode())
            connection.execute(
                f"create table r{number} tablespace t{number} as select {number} as n".encode()
            )
        asked = connection.execute(
            "select pg_tablespace_location(oid) from pg_tablespace where oid > 16383 order by 1"
        )
        assert asked.fetchall() == [(each.rstrip("/"),) for each in sorted(LOCATIONS)]
    asyncio.run(rig.runtime.stop(server))
    asyncio.run(rig.dbms.check_snapshot(data_dir_of(server)))
    moved = data_dir_of(server).parent.with_name("moved") / "data"
    moved.parent.mkdir(mode=0o755)
    data_dir_of(server).rename(moved)

    async def look() -> None:
        async with rig.serving(moved) as again:
            with connected(again.endpoint.dsn) as connection:
                for number in range(len(LOCATIONS)):
                    rows = connection.execute(f"select n from r{number}".encode()).fetchall()
                    assert rows == [(number,)]
                connection.execute("drop table r0")
                connection.execute("drop tablespace t0")
                connection.execute(f"create tablespace t0 location '{LOCATIONS[0]}'".encode())

    asyncio.run(look())
    assert not Path("/mnt/fast").exists()


def test_they_are_made_by_what_is_put_together_as_it_runs_and_in_place(server: Server) -> None:
    with connected(server.endpoint.dsn) as connection:
        connection.execute("create extension dblink")
        connection.execute(
            "select dblink_exec('dbname=postgres', format('create tablespace made location %L', l))"
            " from (values ('/srv/' || 'made')) as one (l)"
        )
        connection.execute("set allow_in_place_tablespaces = on")
        connection.execute("create tablespace there location ''")
        for name in ("made", "there"):
            connection.execute(f"create table {name} (n int) tablespace {name}".encode())


def test_what_is_lost_in_a_crash_is_found_in_them(rig: NativeRig, server: Server) -> None:
    with connected(server.endpoint.dsn) as connection:
        connection.execute("create tablespace fast location '/mnt/fast'")
        assert asyncio.run(rig.dbms.lost_in_crash(data_dir_of(server))) is None
        connection.execute("create unlogged table quick (n int) tablespace fast")
    lost = asyncio.run(rig.dbms.lost_in_crash(data_dir_of(server)))
    assert lost is not None
    assert "unlogged" in lost


@pytest.mark.parametrize("location", ["/usr/share/mine", "/etc/mine", "/dev/shm/x", "/"])
def test_there_are_none_among_what_a_cell_shows(server: Server, location: str) -> None:
    with connected(server.endpoint.dsn) as connection:
        statement = f"create tablespace t location '{location}'".encode()
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(statement)
    assert not (data_dir_of(server) / TABLESPACES).exists()
    assert refused.value.sqlstate is not None


def test_links_that_were_planted_lead_nowhere(rig: NativeRig, reachable_dir: Path) -> None:
    """Neither where tablespaces are kept, nor on the way to one of them."""
    outside = reachable_dir / "outside"
    (outside / "fast" / "PG_15").mkdir(parents=True)
    for place, target in ((TABLESPACES, outside), (f"{TABLESPACES}/fast", outside / "fast")):
        data_dir = rig.cluster()
        if place != TABLESPACES:
            (data_dir / TABLESPACES).mkdir()
        (data_dir / place).symlink_to(target)
        (data_dir / "pg_tblspc" / "16384").symlink_to("/fast")
        with pytest.raises(StateUnusableError, match="is kept in /fast"):
            asyncio.run(rig.dbms.check_snapshot(data_dir))
        assert asyncio.run(rig.dbms.lost_in_crash(data_dir)) is None

        async def serve(data_dir: Path) -> None:
            async with rig.serving(data_dir) as server:
                with connected(server.endpoint.dsn) as connection, pytest.raises(psycopg.Error):
                    connection.execute("create tablespace t location '/fast/more'")

        asyncio.run(serve(data_dir))
    assert [entry.name for entry in outside.rglob("*")] == ["fast", "PG_15"]


def test_without_mounts_there_are_none_and_nothing_is_written(
    rig: NativeRig, reachable_dir: Path
) -> None:
    place = reachable_dir / "place"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    runtime = native_runtime(
        reachable_dir / "tablespaces", sandbox=SandboxSettings(level="partial")
    )

    async def life(data_dir: Path) -> None:
        server = await runtime.start(rig.image, data_dir)
        with connected(server.endpoint.dsn) as connection, pytest.raises(psycopg.Error) as refused:
            connection.execute(f"create tablespace t location '{place}'".encode())
        remedy = await runtime.remedy_for(server, str(refused.value))
        assert remedy is not None
        assert "pgstrata status" in remedy
        await runtime.stop(server)
        (data_dir / TABLESPACES).mkdir()
        with pytest.raises(ServerError, match="has tablespaces"):
            await runtime.start(rig.image, data_dir)
        await runtime.close()

    asyncio.run(life(rig.cluster()))
    assert list(place.iterdir()) == []
    assert place.stat().st_mode & 0o777 == 0o777


def test_a_state_keeps_its_tablespaces_and_each_instance_has_its_own(pgstrata: Terminal) -> None:
    if pgstrata.json("status")["sandbox"]["level"] != "basic":
        needs.missing("there are no cells here")
    recipe = (
        *("-c", "create tablespace fast location '/mnt/fast'"),
        *("-c", "create table t tablespace fast as select 1 as n"),
    )
    one, two = pgstrata.prepare(*recipe), pgstrata.prepare(*recipe)
    with connected(one) as first, connected(two) as second:
        first.execute("insert into t values (2)")
        first.execute("create tablespace more location '/mnt/more'")
        assert second.execute("select n from t").fetchall() == [(1,)]
        assert second.execute("select count(*) from pg_tablespace").fetchone() == (3,)
        pgstrata("cache", "verify", "--deep")
        second.execute("insert into t select generate_series(1, 10000)")
    pgstrata("cache", "verify", "--deep")
    elsewhere = ("prepare:psql", "--", "-c", "create tablespace x location '/usr/x'")
    refused = pgstrata(*elsewhere, exit_code=None)
    assert refused.returncode != 0
    assert "choose another location" in refused.stderr
