import asyncio
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pgstrata.runtime.ports import HOST
from pgstrata.runtime.relay import Relay
from tests.filesystems import socket_place

STARTUP = struct.pack("!II", 22, 3 << 16) + b"user\0someone\0\0"
CANCEL = struct.pack("!IIII", 16, 80877102, 7, 8)
PIECE = bytes(1 << 20)
ASKS_PASSWORD = b"R" + struct.pack("!II", 8, 3)


def encryption(code: int) -> bytes:
    return struct.pack("!II", 8, code)


def password(text: str) -> bytes:
    return b"p" + struct.pack("!I", len(text) + 5) + text.encode() + b"\0"


@pytest.fixture
def place() -> Iterator[Path]:
    with socket_place() as directory:
        yield directory


@asynccontextmanager
async def relayed(place: Path) -> AsyncIterator[tuple[Relay, list[bytes]]]:
    """A relay to a server that repeats all it hears, and what that heard."""
    heard: list[bytes] = []

    async def repeat(reader: StreamReader, writer: StreamWriter) -> None:
        while piece := await reader.read(1 << 16):
            heard.append(piece)
            writer.write(piece)
            await writer.drain()
        writer.close()

    relay = Relay(place / "socket")
    await relay.open()
    server = await asyncio.start_unix_server(repeat, place / "socket")
    try:
        yield relay, heard
    finally:
        await relay.close()
        server.close()


def run(place: Path, scenario: Callable[[Relay, list[bytes]], Awaitable[None]]) -> None:
    async def running() -> None:
        async with relayed(place) as (relay, heard):
            await asyncio.wait_for(scenario(relay, heard), 60)

    asyncio.run(running())


@asynccontextmanager
async def client(relay: Relay) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, relay.port)
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.mark.parametrize("asked", [(), (80877103,), (80877104, 80877103)])
def test_who_knows_the_password_talks_to_the_server(asked: tuple[int, ...], place: Path) -> None:
    async def scenario(relay: Relay, _: list[bytes]) -> None:
        async with client(relay) as (reader, writer):
            for code in asked:
                writer.write(encryption(code))
                assert await reader.readexactly(1) == b"N"
            writer.write(STARTUP)
            assert await reader.readexactly(9) == ASKS_PASSWORD
            writer.write(password(relay.password))
            assert await reader.readexactly(len(STARTUP)) == STARTUP
            much = bytes(range(256)) * 20_000
            writer.write(much)
            assert await reader.readexactly(len(much)) == much
            writer.write_eof()
            assert await reader.read() == b""

    run(place, scenario)


def test_what_a_client_says_before_it_is_let_through_is_not_lost(place: Path) -> None:
    async def scenario(relay: Relay, _: list[bytes]) -> None:
        async with client(relay) as (reader, writer):
            writer.write(STARTUP + password(relay.password) + b"more")
            assert await reader.readexactly(9) == ASKS_PASSWORD
            assert await reader.readexactly(len(STARTUP) + 4) == STARTUP + b"more"

    run(place, scenario)


async def say_until_held_up(writer: StreamWriter) -> int:
    """Say one piece after the other until no more is taken; how many bytes that were."""
    pieces, most = 0, 256
    while writer.transport.get_write_buffer_size() < 2 * len(PIECE) and pieces < most:
        writer.write(PIECE)
        pieces += 1
        for _ in range(100):
            await asyncio.sleep(0)  # for the relay, which is in the same loop
    assert pieces < most
    return pieces * len(PIECE)


def test_a_client_that_takes_no_answers_is_not_read_from_for_ever(place: Path) -> None:
    async def scenario(relay: Relay, _: list[bytes]) -> None:
        async with client(relay) as (reader, writer):
            writer.write(STARTUP + password(relay.password))
            await reader.readexactly(9 + len(STARTUP))
            said = await say_until_held_up(writer)
            assert len(await reader.readexactly(said)) == said

    run(place, scenario)


def test_what_is_said_to_a_server_that_never_listens_does_not_pile_up(place: Path) -> None:
    async def scenario() -> None:
        async def be_deaf(_: StreamReader, writer: StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await deaf.wait()
            writer.close()

        deaf, relay = asyncio.Event(), Relay(place / "socket")
        await relay.open()
        server = await asyncio.start_unix_server(be_deaf, place / "socket")
        async with client(relay) as (_, writer):
            # Much of it comes before the server is connected to.
            writer.write(STARTUP + password(relay.password) + PIECE)
            await say_until_held_up(writer)
        deaf.set()
        await relay.close()
        server.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "said",
    [
        STARTUP + password("guess"),
        STARTUP + password(""),
        STARTUP + b"Q" + struct.pack("!I", 4),
        STARTUP + b"p" + struct.pack("!I", 1 << 30),
        STARTUP + b"p" + struct.pack("!I", 0),
        struct.pack("!II", 1 << 30, 3 << 16),
        struct.pack("!II", 4, 3 << 16),
        struct.pack("!II", 8, 2 << 16),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_nothing_of_anybody_else_reaches_the_server(said: bytes, place: Path) -> None:
    async def scenario(relay: Relay, heard: list[bytes]) -> None:
        async with client(relay) as (reader, writer):
            writer.write(said)
            answer = await reader.read()
            assert answer in (b"", ASKS_PASSWORD) or b"wrong password" in answer
        assert heard == []

    run(place, scenario)


def test_a_query_can_be_cancelled_by_who_knows_its_secret(place: Path) -> None:
    async def scenario(relay: Relay, heard: list[bytes]) -> None:
        async with client(relay) as (reader, writer):
            writer.write(CANCEL)
            assert await reader.readexactly(len(CANCEL)) == CANCEL
        assert heard == [CANCEL]

    run(place, scenario)


def test_a_flood_of_silent_clients_keeps_nobody_out(place: Path) -> None:
    async def scenario(relay: Relay, _: list[bytes]) -> None:
        silent = [await asyncio.open_connection(HOST, relay.port) for _ in range(40)]
        assert await silent[0][0].read() == b""
        async with client(relay) as (reader, writer):
            writer.write(STARTUP + password(relay.password))
            assert await reader.readexactly(9) == ASKS_PASSWORD
            assert await reader.readexactly(len(STARTUP)) == STARTUP
        for _reader, writer in silent:
            writer.close()

    run(place, scenario)


def test_a_server_that_is_gone_ends_the_connection(place: Path) -> None:
    async def scenario(relay: Relay, _: list[bytes]) -> None:
        (place / "socket").unlink()
        async with client(relay) as (reader, writer):
            writer.write(STARTUP + password(relay.password))
            assert await reader.read() == ASKS_PASSWORD

    run(place, scenario)


def test_a_relay_that_is_closed_ends_all_connections(place: Path) -> None:
    async def scenario(relay: Relay, _: list[bytes]) -> None:
        async with client(relay) as (known, writer), client(relay) as others:
            writer.write(STARTUP + password(relay.password))
            await known.readexactly(len(ASKS_PASSWORD + STARTUP))
            await relay.close()
            assert (await known.read(), await others[0].read()) == (b"", b"")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, relay.port)

    run(place, scenario)
