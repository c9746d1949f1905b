"""The engine's own endpoint in the test's event loop, with an engine in memory behind it."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Any

from pgstrata.engine.connections import Bounds
from pgstrata.engine.endpoint import HttpServer, bind_port
from pgstrata.httpapi.app import create_app
from tests.unit.httpapi.driver import TOKEN
from tests.unit.httpapi.engine import MemoryEngine

BEARER = f"Authorization: Bearer {TOKEN}"


@asynccontextmanager
async def answering(
    engine: MemoryEngine,
    bounds: Bounds | None = None,
    *,
    hosts: Collection[str] = (),
    **options: Any,
) -> AsyncIterator["Door"]:
    """The door at which the engine answers."""
    started = asyncio.Event()

    @contextmanager
    def announce() -> Iterator[None]:
        started.set()
        yield

    async def drain() -> None:
        pass

    with closing(bind_port("127.0.0.1", 0)) as port:
        server = HttpServer(
            create_app(engine.service, TOKEN, hosts),
            announce=announce(),
            busy=lambda: False,
            drain=drain,
            idle_timeout=None,
            bounds=bounds,
            **options,
        )
        serving = asyncio.create_task(server.serve([port]))
        await started.wait()
        door = Door(port.getsockname()[1])
        try:
            yield door
        finally:
            await door.leave()
            server.should_exit = True
            await serving


class Door:
    """Where the engine answers, and everybody who went there."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._visitors: list[Visitor] = []

    async def visitor(self, **options: Any) -> "Visitor":
        """Somebody with a new connection."""
        visitor = Visitor(*await asyncio.open_connection("127.0.0.1", self._port, **options))
        self._visitors.append(visitor)
        return visitor

    async def leave(self) -> None:
        """End all connections."""
        for visitor in self._visitors:
            await visitor.leave()


class Visitor:
    """Somebody who has a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def say(self, text: str) -> None:
        self._writer.write(text.encode())

    async def hear(self, words: str) -> None:
        """Wait for a line with these words."""
        while words not in (line := (await self._reader.readline()).decode()):
            assert line, "the connection is over"

    async def to_the_end(self) -> str:
        """All that still comes, once the connection is over."""
        said = b""
        with suppress(ConnectionError):
            while more := await self._reader.read(1 << 16):
                said += more
        return said.decode()

    async def over(self) -> bool:
        """Whether the connection is over by now, or within a moment."""
        try:
            await asyncio.wait_for(self._reader.read(1 << 16), 0.01)
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return self._reader.at_eof()

    async def leave(self) -> None:
        self._writer.transport.abort()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
