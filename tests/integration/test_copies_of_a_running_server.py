"""A server's files, copied while it is held still: all that was committed is in them."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def copied(rig: NativeRig, *statements: str, found: str = "select count(*) from t") -> int:
    """What is found in a copy that is taken at once."""

    async def scenario() -> int:
        data_dir = rig.cluster()
        rig.write(data_dir / "postgresql.auto.conf", SETTINGS)
        server = await rig.runtime.start(rig.image, data_dir)
        try:
            with connected(server.endpoint.dsn) as connection:
                connection.execute("set synchronous_commit = off")
                for statement in ("create table t (a serial, b text)", *statements):
                    connection.execute(statement.encode())
                place = await copy(rig, server)
        finally:
            await rig.runtime.stop(server)
        return await asked(rig, place, found)

    return asyncio.run(scenario())


async def copy(rig: NativeRig, server: Server) -> Path:
    place = rig.empty()
    await rig.dbms.flush(server)
    async with rig.runtime.freeze(server):
        with rig.dbms.hide_server(data_dir_of(server)):
            assert await rig.dbms.defect(data_dir_of(server), recovers=True) is None
            place.rmdir()
            shutil.copytree(data_dir_of(server), place)
            shutil.chown(place, data_dir_of(server).owner(), data_dir_of(server).group())
            for inner in place.rglob("*"):
                shutil.chown(inner, data_dir_of(server).owner(), data_dir_of(server).group())
    return place


async def asked(rig: NativeRig, data_dir: Path, query: str) -> int:
    server = await rig.runtime.start(rig.image, data_dir)
    try:
        with connected(server.endpoint.dsn) as connection:
            [(value,)] = connection.execute(query.encode()).fetchall()
            return int(value)
    finally:
        await rig.runtime.stop(server)


INSERT = "insert into t (b) select repeat('x', 100) from generate_series(1, ROWS) n"
INSERT_UNLOGGED = f"do 'begin drop table t; create table t (a int, b text); {INSERT}; end'".replace(
    "'x'", "''x''"
)
"""A table of the same transaction is written to itself, not to the log, with ``wal_level`` so."""


@pytest.mark.parametrize("rows", [1, 20_000])
@pytest.mark.parametrize("insert", [INSERT, INSERT_UNLOGGED])
def test_what_was_committed_without_waiting_for_the_disk_is_in_a_copy(
    rig: NativeRig, insert: str, rows: int
) -> None:
    assert copied(rig, insert.replace("ROWS", str(rows))) == rows


@pytest.mark.parametrize(
    "drawn",
    [
        (),
        ("select nextval('t_a_seq')",),
        ("insert into t (b) values ('x'), ('y')", "alter sequence t_a_seq increment 3"),
        ("select setval('t_a_seq', 40)", "alter sequence t_a_seq cache 7"),
        ("insert into t default values", "checkpoint", "insert into t default values"),
    ],
)
def test_a_sequence_goes_on_in_a_copy_where_it_was(rig: NativeRig, drawn: tuple[str, ...]) -> None:
    # A session's own cache goes with it, and what it had drawn of it is given to nobody else.
    again = ("select nextval('t_a_seq')",)
    expected = asyncio.run(plain(rig, *drawn, *again))
    assert copied(rig, *drawn, found=again[0]) == expected


async def plain(rig: NativeRig, *statements: str) -> int:
    """What the last of these statements, in another session than the others, finds."""
    async with rig.serving() as server:
        with connected(server.endpoint.dsn) as connection:
            for statement in ("create table t (a serial, b text)", *statements[:-1]):
                connection.execute(statement.encode())
        with connected(server.endpoint.dsn) as connection:
            [(value,)] = connection.execute(statements[-1].encode()).fetchall()
            return int(value)
