"""Listens for connections, and passes on what is said on them."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine
from weakref import WeakValueDictionary

PIECE_BYTES = 256 << 10
"""How much is read ahead of whoever does not take it."""

Streams = tuple[StreamReader, StreamWriter]
"""What asyncio makes of a connection."""

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


async def pass_between(one: Streams, other: Streams) -> None:
    """Pass on what two connections say to each other until one of them has ended; end the other.

    Past their streams, which are of no more use: a stream wakes a task for every piece, and whoever
    asks a thousand small questions waits for each of them.
    """
    ends = [_transport(writer) for _, writer in (one, other)]
    try:
        if any(end.is_closing() for end in ends):
            return
        passing = [_Passing(to) for to in reversed(ends)]
        for end, protocol in zip(ends, passing, strict=True):
            # Reading begins anew, so that an end that was met already is met again.
            end.pause_reading()
            end.set_protocol(protocol)
            end.resume_reading()
        for (reader, _), protocol in zip((one, other), passing, strict=True):
            # It gets no more, so that what it still has is what was read ahead.
            reader.feed_eof()
            # Last, since it may be so much that the other end has to rest. None of this waits.
            protocol.data_received(await reader.read())
        await asyncio.gather(*(protocol.ended.wait() for protocol in passing))
    finally:
        for end in ends:
            end.close()


class _Passing(asyncio.Protocol):
    """Passes on to another connection what one says, as fast as that takes it.

    When one has nothing more to say, it is closed, and then the other.
    """

    def __init__(self, to: asyncio.Transport) -> None:
        self._to = to
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._to.write(data)

    def pause_writing(self) -> None:
        self._to.pause_reading()

    def resume_writing(self) -> None:
        self._to.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        self._to.close()
        self.ended.set()


def _transport(writer: StreamWriter) -> asyncio.Transport:
    assert isinstance(writer.transport, asyncio.Transport)
    return writer.transport
