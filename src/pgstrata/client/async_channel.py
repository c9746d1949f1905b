"""The way to the engine for asyncio: what ``client.channel`` is for programs that wait."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import TypeVar

from pgstrata.client.async_http import AsyncHttp
from pgstrata.client.channel import may_go_on
from pgstrata.client.connect import connect
from pgstrata.client.http import Http
from pgstrata.client.operation import Call
from pgstrata.config.model import Configuration
from pgstrata.errors import PgstrataError

T = TypeVar("T")


class AsyncChannel:
    """Connects to the engine of a configuration at the first call, and to the next one after it.

    For any number of tasks of one event loop. Every method raises ``PgstrataError``.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._connecting = asyncio.Lock()
        self._known: Http | None = None
        """Where the engine is, and its token."""
        self._idle: list[AsyncHttp] = []

    async def ask(self, call: Call[T]) -> T:
        """Send a request and return its result. It is sent again only if that is safe."""
        try:
            return await self._ask(call)
        except PgstrataError as error:
            if not await self._goes_on(call, error):
                raise
        return await self._ask(call)

    async def stream(
        self, call: Call[Iterator[T]], *, silence: float | None = None
    ) -> AsyncIterator[T]:
        """Send a request and return its results as they come, over a connection of their own.

        ``silence``: for how many seconds nothing may come. The request is sent when the first
        result is asked for, and again only if there was none yet and it is safe.
        """
        begun = False
        try:
            async for item in self._stream(call, silence):
                begun = True
                yield item
            return
        except PgstrataError as error:
            if begun or not await self._goes_on(call, error):
                raise
        async for item in self._stream(call, silence):
            yield item

    async def close(self) -> None:
        """Close all connections that are not in use. The next call opens one."""
        self._known = None
        while self._idle:
            self._idle.pop().close()

    async def _ask(self, call: Call[T]) -> T:
        known = await self._connected()
        http = self._idle.pop() if self._idle else AsyncHttp(known)
        answer = await http.ask(call)
        self._idle.append(http)
        return call.read(answer)

    async def _stream(self, call: Call[Iterator[T]], silence: float | None) -> AsyncIterator[T]:
        async with aclosing(AsyncHttp(await self._connected()).lines(call, silence)) as lines:
            async for item in lines:
                yield item

    async def _connected(self) -> Http:
        async with self._connecting:
            if self._known is None:
                # It may start an engine, which takes a moment.
                engine = await asyncio.to_thread(connect, self._configuration)
                self._known = engine.http
                engine.close()
            return self._known

    async def _goes_on(self, call: Call[T], error: PgstrataError) -> bool:
        """Whether the call may be sent again after an error; if so, to whatever engine is there."""
        if not await asyncio.to_thread(may_go_on, self._configuration, call, error):
            return False
        await self.close()
        return True
