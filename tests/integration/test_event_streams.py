"""Event streams of real jobs over real connections: many watchers, and slow ones."""

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from pgstrata.domain.job import Event
from pgstrata.httpapi.app import create_app
from pgstrata.httpapi.service import Service
from pgstrata.prepare.job_log import BATCH_BYTES
from pgstrata.queue.memory import MemoryQueue
from pgstrata.runtime.memory import ToolRun
from pgstrata.system.output import GOES_ON
from tests.unit.httpapi.driver import TOKEN
from tests.unit.httpapi.engine import MemoryEngine
from tests.unit.prepare.heart import Heart, run, with_jobs

LINES = tuple(f"{number:>2000}" for number in range(15_000))
"""Thirty megabytes: more than all sockets' buffers hold, and less than a log keeps."""


class CountingQueue(MemoryQueue):
    """Counts how often events are read."""

    reads = 0

    async def events(
        self,
        job_id: str,
        start: int = 0,
        limit: int | None = None,
        *,
        max_bytes: int | None = None,
    ) -> list[Event]:
        self.reads += 1
        return await super().events(job_id, start, limit, max_bytes=max_bytes)


class Engine:
    """A heart on memory that is reached over HTTP."""

    def __init__(self, root: Path) -> None:
        self.heart = Heart(root, with_jobs(heartbeat=0.01))
        self.heart.queue = self.queue = CountingQueue()
        self.heart.start_engine()
        self.server = uvicorn.Server(
            uvicorn.Config(
                create_app(self._service(), TOKEN), port=0, log_level="error", lifespan="off"
            )
        )
        self.writers: dict[asyncio.StreamReader, asyncio.StreamWriter] = {}

    def _service(self) -> Service:
        others = MemoryEngine()
        return dataclasses.replace(others.service, jobs=self.heart.manager)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        serving = asyncio.create_task(self.server.serve([listener]))
        try:
            yield
        finally:
            for reader in list(self.writers):
                await self.leave(reader)
            self.server.should_exit = True
            await serving

    async def job(self, *lines: str, hangs: bool = False) -> str:
        """A job whose one step says these lines."""
        self.heart.runtime.tool = lambda _server, _command: ToolRun(lines=lines, hangs=hangs)
        return (await self.heart.manager.submit(self.heart.request("a"))).job_id

    async def watch(self, job_id: str, *, buffer: int | None = None) -> asyncio.StreamReader:
        """The stream of a job's events, with the answer's head read."""
        sock = socket.socket()
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        writer.write(
            f"GET /v1/prepare-jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        self.writers[reader] = writer
        return reader

    async def leave(self, reader: asyncio.StreamReader) -> None:
        """Hang up."""
        writer = self.writers.pop(reader)
        writer.transport.abort()
        await writer.wait_closed()

    def buffered(self) -> int:
        """How many bytes wait in the engine for clients to read them."""
        connections: set[Any] = self.server.server_state.connections
        return sum(one.transport.get_write_buffer_size() for one in connections)


async def events_of(reader: asyncio.StreamReader) -> list[Event]:
    """Everything that comes, to the end; whole and in good order, or it is an error."""
    body = bytearray()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    return [msgspec.json.decode(line, type=Event) for line in body.splitlines()]


def logs(events: Sequence[Event]) -> list[str | None]:
    return [event.message for event in events if event.type == "log"]


def test_a_hundred_watchers_over_http_cost_no_more_reads_than_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = Engine(tmp_path)
        async with engine.running():
            job_id = await engine.job("hello", hangs=True)
            streams = [await engine.watch(job_id) for _ in range(100)]
            heard = [asyncio.create_task(events_of(stream)) for stream in streams]
            # While all of them listen it gives signs of life, each of which is an event.
            before = await engine.heart.manager.count_events(job_id)
            await engine.heart.manager.wait_for_event(job_id, before + 20)
            await engine.heart.manager.cancel(job_id)
            everything = [await one for one in heard]
            assert engine.queue.reads == 0
            stored = await engine.queue.events(job_id)
            assert stored[-1].status == "failed"
            assert everything == [stored] * 100

    run(scenario())


def test_a_reader_that_does_not_read_is_held_back_and_nobody_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = Engine(tmp_path)
        async with engine.running():
            job_id = await engine.job(*LINES)
            slow = await engine.watch(job_id, buffer=4096)
            quick = await engine.watch(job_id)
            assert logs(await events_of(quick)) == list(LINES)
            assert 0 < engine.buffered() < 2 * BATCH_BYTES
            assert logs(await events_of(slow)) == list(LINES)
            assert engine.buffered() == 0

    run(scenario())


def test_a_reader_that_never_reads_and_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = Engine(tmp_path)
        async with engine.running():
            job_id = await engine.job(*LINES)
            slow = await engine.watch(job_id, buffer=4096)
            await engine.heart.end_of(job_id)
            await engine.leave(slow)
            assert logs(await events_of(await engine.watch(job_id))) == list(LINES)
            assert engine.buffered() == 0

    run(scenario())


def test_a_line_of_ten_megabytes_comes_in_its_place_and_in_pieces_that_are_marked(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        engine = Engine(tmp_path)
        async with engine.running():
            lines = ["before", "ä\x00\r\ufffd" * 2_500_000, "after"]
            job_id = await engine.job(*lines)
            streams = [await engine.watch(job_id) for _ in range(3)]
            for stream in streams:
                before, *pieces, last, after = logs(await events_of(stream))
                assert all(piece and piece.endswith(GOES_ON) for piece in pieces)
                whole = [piece.removesuffix(GOES_ON) for piece in pieces if piece]
                assert [before, "".join([*whole, last or ""]), after] == lines

    run(scenario())
