"""JSON over HTTP to one engine, for asyncio: what ``client.http`` does for programs that wait.

Responses are parsed by what the engine parses requests with.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpResponseParser

from pgstrata.client.answers import error_from
from pgstrata.client.http import Answer, Http
from pgstrata.client.operation import Call

if TYPE_CHECKING:
    import ssl

_READ_BYTES = 64 * 1024
_STALE_SECONDS = 2.0
"""The engine may close a connection that is idle for longer, just as it is used again."""


class AsyncHttp:
    """Talks to one address, over one connection as long as that is open.

    Every method raises ``UnreachableError`` as those of ``Http`` do. A call that is cancelled, or a
    stream that is not read to its end, closes the connection.
    """

    def __init__(self, like: Http) -> None:
        """``like``: where, and with what token."""
        self._like = like
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._last_used = 0.0

    async def ask(self, call: Call[Any]) -> Answer:
        """Send a request and return its response, whatever its status."""
        response = _Response()
        try:
            data = b"".join([piece async for piece in self._pieces(call, response)])
        except OSError as error:
            raise self._like.lost(error) from error
        return Answer(response.status, data, self._like.address)

    async def lines(
        self, call: Call[Any], silence: float | None = None
    ) -> AsyncGenerator[Any, None]:
        """The models of a response, as they come; ``silence``: for how long nothing may.

        Raises the error of a response with a status of 400 or above.
        """
        response = _Response()
        begun = b""
        try:
            async for piece in self._pieces(call, response, silence):
                *whole, begun = (begun + piece).split(b"\n")
                if response.status >= 400:
                    begun = b"\n".join((*whole, begun))
                    continue
                for line in filter(None, whole):
                    yield self._model(line, call)
        except OSError as error:
            raise self._like.lost(error) from error
        finally:
            self.close()
        if response.status >= 400:
            raise error_from(response.status, begun)
        if begun:
            raise self._like.lost(ConnectionError("the connection was lost"))

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def _model(self, line: bytes, call: Call[Any]) -> Any:
        return Answer(200, line, self._like.address).read(call.operation.result)

    async def _pieces(
        self, call: Call[Any], response: "_Response", silence: float | None = None
    ) -> AsyncIterator[bytes]:
        """Send a request, and the body of its response as it comes."""
        patience = self._like.timeout if silence is None else silence
        whole = False
        try:
            async with asyncio.timeout(patience):
                reader, writer = await self._opened()
                writer.write(self._request(call))
            while not response.ended:
                async with asyncio.timeout(patience):
                    response.feed(await reader.read(_READ_BYTES))
                if piece := response.take():
                    yield piece
            whole = response.stays
            self._last_used = time.monotonic()
        finally:
            if not whole:
                self.close()

    def _request(self, call: Call[Any]) -> bytes:
        target, headers, data = self._like.written(call.path, call.query, call.body, call.headers)
        address = self._like.address
        host = f"[{address.host}]" if ":" in address.host else address.host
        lines = [
            f"{call.operation.method} {target} HTTP/1.1",
            f"Host: {host}:{address.port}",
            f"Content-Length: {len(data)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + data

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if time.monotonic() - self._last_used > _STALE_SECONDS:
            self.close()
        if self._streams is None:
            address, certificate = self._like.address, self._like.certificate
            context = _context(certificate) if address.tls else None
            self._streams = await asyncio.open_connection(address.host, address.port, ssl=context)
            if context is not None and certificate is not None:
                _check(self._streams[1], certificate)
        return self._streams


class _Response:
    """A response as it is parsed."""

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._body: list[bytes] = []
        self.ended = False

    @property
    def status(self) -> int:
        return int(self._parser.get_status_code())

    @property
    def stays(self) -> bool:
        """Whether the connection can be used again."""
        return bool(self._parser.should_keep_alive())

    def feed(self, data: bytes) -> None:
        """Take what came. Raises ``ConnectionError``."""
        if not data:
            raise ConnectionError("the connection was lost")
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raise ConnectionError(f"what answers there does not speak HTTP: {error}") from error

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        piece = b"".join(self._body)
        self._body.clear()
        return piece

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        # One with a status below 200 only announces another.
        self.ended = self.status >= 200


def _context(certificate: str | None) -> "ssl.SSLContext":
    import ssl

    context = ssl.create_default_context()
    if certificate is not None:
        # The very certificate is known, whoever signed it, and whatever name is in it.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _check(writer: asyncio.StreamWriter, certificate: str) -> None:
    import ssl

    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    if shown != ssl.PEM_cert_to_DER_cert(certificate):
        raise ssl.SSLError("it shows another certificate than the one in engine.json")
