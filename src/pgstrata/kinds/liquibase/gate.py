"""The one port that a Java in a cell may connect to servers by.

What a cell may connect to is settled when it starts, and its Java serves one server after another.
Nobody is let in here who could not connect to the server anyway: it asks for a password.
"""

import asyncio
from asyncio import StreamReader, StreamWriter

HOST = "127.0.0.1"
_PIECE_BYTES = 256 << 10


class Gate:
    """Leads from a loopback port to a server, while there is one to lead to.

    Connections that are open when it is led elsewhere stay open.
    """

    def __init__(self) -> None:
        self.port = 0
        self._server: tuple[str, int] | None = None
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen on a port that the kernel chooses."""
        self._listener = await asyncio.start_server(self._accept, HOST, 0, limit=_PIECE_BYTES)
        self.port = self._listener.sockets[0].getsockname()[1]

    def lead_to(self, server: tuple[str, int] | None) -> None:
        """Lead new connections to a server's host and port, or nowhere."""
        self._server = server

    async def close(self) -> None:
        """End all connections, and listen no more."""
        if self._listener is not None:
            self._listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name=f"gate {self.port}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            if self._server is None:
                return
            from_server, to_server = await asyncio.open_connection(*self._server)
            await asyncio.gather(_pass_on(reader, to_server), _pass_on(from_server, writer))
        except OSError:
            return
        finally:
            writer.close()


async def _pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    try:
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()
