"""Listens for connections, and passes on what is said on them."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine
from weakref import WeakValueDictionary

PIECE_BYTES = 256 << 10
"""How much is passed on at once, and read ahead of whoever does not take it."""


_open: "WeakValueDictionary[int, Listener]" = WeakValueDictionary()
"""Those of this process, by their ports."""


def listener_at(port: int) -> "Listener | None":
    """The listener of this process at a port: who wants to connect may as well ask it."""
    return _open.get(port)


class Listener:
    """Listens on a port that the kernel chooses, with a task for each connection."""

    def __init__(
        self, what: str, serve: Callable[[StreamReader, StreamWriter], Coroutine[None, None, None]]
    ) -> None:
        """``what``: its name in those of tasks. ``serve`` closes the connection it is given."""
        self.port = 0
        self._what = what
        self._serve = serve
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, host: str) -> None:
        """Listen."""
        self._listener = await asyncio.start_server(self._accept, host, 0, limit=PIECE_BYTES)
        self.port = self._listener.sockets[0].getsockname()[1]
        _open[self.port] = self

    async def close(self) -> None:
        """End all connections, and listen no more. May be repeated."""
        if self._listener is not None:
            self._listener.close()
            _open.pop(self.port, None)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def take(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve a connection that somebody else accepted, until it ends."""
        await asyncio.wait({self._accept(reader, writer)})

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> "asyncio.Task[None]":
        serving = self._serve(reader, writer)
        task = asyncio.create_task(serving, name=f"{self._what} {self.port}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    """Pass on everything until one of them has ended, and end the other."""
    try:
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()
