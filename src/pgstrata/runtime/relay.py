"""A door for tools that speak only TCP, such as Java: from a loopback port to a server's socket.

Nobody without the relay's own password gets through. It is sent in the clear, over loopback, and
has nothing to do with those of the server's roles: the server lets the engine in as any of them.
"""

import asyncio
import secrets
import struct
from asyncio import StreamReader, StreamWriter
from pathlib import Path

from pgstrata.runtime.ports import HOST
from pgstrata.system.listening import PIECE_BYTES, Listener, pass_between

_HEAD = struct.Struct("!II")
_LENGTH = struct.Struct("!I")

_PROTOCOL_3 = 3 << 16
_CANCEL = 80877102
_ENCRYPT = (80877103, 80877104)  # with TLS, with GSSAPI
"""The codes in the first message of a client: see PostgreSQL's manual, "Message Formats"."""

_LONGEST_MESSAGE = 10_000
"""PostgreSQL's own limit for what comes before somebody is known."""

_ASK_PASSWORD = b"R" + struct.pack("!II", 8, 3)
_REFUSED = b"SFATAL\0VFATAL\0C28P01\0Mwrong password for this relay\0\0"

_KNOCK_SECONDS = 10
_MOST_KNOCKING = 16


class _RefusedError(Exception):
    """A client does not get through."""


class Relay:
    """One server's relay. Any number of connections may go through it."""

    def __init__(self, socket: Path) -> None:
        """``socket``: the server's, which need not be there until a client is let through."""
        self.password = secrets.token_hex(16)
        self._socket = socket
        self._listener = Listener("relay", self._serve)
        self._knocking: dict[asyncio.Task[None], None] = {}
        """Those who have not shown the password yet, the oldest first."""

    @property
    def port(self) -> int:
        """The port, once it is open."""
        return self._listener.port

    async def open(self) -> None:
        """Listen on a port that the kernel chooses."""
        await self._listener.open(HOST)

    async def close(self) -> None:
        """End all connections, and listen no more. May be repeated."""
        await self._listener.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._knocking[task] = None
        if len(self._knocking) > _MOST_KNOCKING:
            next(iter(self._knocking)).cancel()
        try:
            async with asyncio.timeout(_KNOCK_SECONDS):
                first = await self._first_message(reader, writer)
            del self._knocking[task]
            from_server, to_server = await asyncio.open_unix_connection(
                self._socket, limit=PIECE_BYTES
            )
            to_server.write(first)
            await pass_between((reader, writer), (from_server, to_server))
        except (_RefusedError, TimeoutError, asyncio.IncompleteReadError, OSError):
            return
        finally:
            self._knocking.pop(task, None)
            writer.close()

    async def _first_message(self, reader: StreamReader, writer: StreamWriter) -> bytes:
        """A client's first message that is for the server, once the client is known.

        To cancel a query takes a secret that the server itself has told.
        """
        message, code = await _startup(reader)
        while code in _ENCRYPT:
            writer.write(b"N")
            message, code = await _startup(reader)
        if code == _CANCEL:
            return message
        if code < _PROTOCOL_3:
            raise _RefusedError
        writer.write(_ASK_PASSWORD)
        kind, body = await _message(reader)
        if kind != b"p" or not secrets.compare_digest(body, self.password.encode() + b"\0"):
            writer.write(b"E" + _LENGTH.pack(_LENGTH.size + len(_REFUSED)) + _REFUSED)
            raise _RefusedError
        return message


async def _startup(reader: StreamReader) -> tuple[bytes, int]:
    """A message without a type, as the first ones are, and the code that it begins with."""
    head = await reader.readexactly(_HEAD.size)
    length, code = _HEAD.unpack(head)
    return head + await reader.readexactly(_rest(length, _HEAD.size)), code


async def _message(reader: StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return kind, await reader.readexactly(_rest(length, _LENGTH.size))


def _rest(length: int, read: int) -> int:
    if not read <= length <= _LONGEST_MESSAGE:
        raise _RefusedError
    return length - read
