"""A server's files, copied while it is held still: all that was committed is in them."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgstrata.dbms.postgres import REPLAYED_BYTES
from pgstrata.domain.instance import Server
from tests.clusters import NativeRig, connected, rig_below
from tests.servers import data_dir_of

SETTINGS = b"wal_writer_delay = '10s'\nwal_level = minimal\nmax_wal_senders = 0\n"
"""Nothing that was committed without waiting is written by itself before a test is over."""

REPLAY = """
select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), redo_lsn) from pg_control_checkpoint()
"""


@pytest.fixture(scope="module")
def rig(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "copies") as rig:
        yield rig


def copied(
    rig: NativeRig, sql: str, *, rows: int, asked_in_session: bool = False
) -> tuple[int, int]:
    """How many rows a copy has that is taken at once, and what it has to replay of the log.

    ``asked_in_session``: whether the session that wrote is asked, not one of the engine's own.
    """

    async def scenario() -> tuple[int, int]:
        data_dir = rig.cluster()
        rig.write(data_dir / "postgresql.auto.conf", SETTINGS)
        server = await rig.runtime.start(rig.image, data_dir)
        try:
            with connected(server.endpoint.dsn) as connection:
                connection.execute("set synchronous_commit = off")
                connection.execute("create table t (a int, b text)")
                connection.execute(sql.replace("ROWS", str(rows)).encode())
                flushed = None
                if asked_in_session:
                    query = rig.dbms.flush_query.encode()
                    flushed = str((connection.execute(query).fetchone() or ())[0])
                place = await copy(rig, server, flushed)
                (replay,) = connection.execute(REPLAY).fetchone() or (0,)
        finally:
            await rig.runtime.stop(server)
        return await count(rig, place), int(replay)

    return asyncio.run(scenario())


async def copy(rig: NativeRig, server: Server, flushed: str | None) -> Path:
    place = rig.empty()
    await rig.dbms.flush(server, flushed=flushed)
    async with rig.runtime.freeze(server):
        with rig.dbms.hide_server(data_dir_of(server)):
            assert await rig.dbms.defect(data_dir_of(server), recovers=True) is None
            place.rmdir()
            shutil.copytree(data_dir_of(server), place)
            shutil.chown(place, data_dir_of(server).owner(), data_dir_of(server).group())
            for inner in place.rglob("*"):
                shutil.chown(inner, data_dir_of(server).owner(), data_dir_of(server).group())
    return place


async def count(rig: NativeRig, data_dir: Path) -> int:
    server = await rig.runtime.start(rig.image, data_dir)
    try:
        with psycopg.connect(server.endpoint.dsn) as connection:
            (rows,) = connection.execute("select count(*) from t").fetchone() or (0,)
            return int(rows)
    finally:
        await rig.runtime.stop(server)


INSERT = "insert into t select n, repeat('x', 100) from generate_series(1, ROWS) n"
INSERT_UNLOGGED = f"do 'begin drop table t; create table t (a int, b text); {INSERT}; end'".replace(
    "'x'", "''x''"
)
"""A table of the same transaction is written to itself, not to the log, with ``wal_level`` so."""


@pytest.mark.parametrize("asked_in_session", [False, True])
def test_what_was_committed_without_waiting_for_the_disk_is_in_a_copy(
    rig: NativeRig, asked_in_session: bool
) -> None:
    rows, replay = copied(rig, INSERT, rows=100, asked_in_session=asked_in_session)
    assert rows == 100
    assert 0 < replay <= REPLAYED_BYTES


@pytest.mark.parametrize("asked_in_session", [False, True])
def test_a_copy_of_a_server_that_wrote_much_has_little_to_replay(
    rig: NativeRig, asked_in_session: bool
) -> None:
    rows, replay = copied(rig, INSERT, rows=20_000, asked_in_session=asked_in_session)
    assert rows == 20_000
    assert replay <= REPLAYED_BYTES


@pytest.mark.parametrize("rows", [100, 50_000])
def test_what_was_committed_past_the_log_is_in_a_copy(rig: NativeRig, rows: int) -> None:
    assert copied(rig, INSERT_UNLOGGED, rows=rows)[0] == rows
