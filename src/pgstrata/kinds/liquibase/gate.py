"""The one port that a Java in a cell may connect to servers by.

What a cell may connect to is settled when it starts, and its Java serves one server after another.
Nobody is let in here who could not connect to the server anyway: it asks for a password.
"""

import asyncio
from asyncio import StreamReader, StreamWriter

from pgstrata.runtime.ports import HOST
from pgstrata.system.listening import Listener, listener_at, pass_between


class Gate:
    """Leads from a loopback port to a server, while there is one to lead to.

    Connections that are open when it is led elsewhere stay open.
    """

    def __init__(self) -> None:
        self._server: tuple[str, int] | None = None
        self._listener = Listener("gate", self._serve)

    @property
    def port(self) -> int:
        """The port, once it is open."""
        return self._listener.port

    async def open(self) -> None:
        """Listen on a port that the kernel chooses."""
        await self._listener.open(HOST)

    def lead_to(self, server: tuple[str, int] | None) -> None:
        """Lead new connections to a server's host and port, or nowhere."""
        self._server = server

    async def close(self) -> None:
        """End all connections, and listen no more."""
        await self._listener.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            if self._server is None:
                return None
            if (listener := listener_at(self._server[1])) is not None:
                # Each way through the kernel takes as long as a small query.
                return await listener.take(reader, writer)
            from_server, to_server = await asyncio.open_connection(*self._server)
            await pass_between((reader, writer), (from_server, to_server))
        except OSError:
            return None
        finally:
            writer.close()
