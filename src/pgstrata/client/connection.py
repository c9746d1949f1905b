"""HTTP/1.1 over one connection: a request goes out, and the body of its response comes in pieces.

``http.client`` would do the same, but importing it takes a third of the time of a short command;
see ``docs/decisions.md``. Responses are parsed by what the engine parses requests with.
"""

import socket
from collections.abc import Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Literal

from httptools import HttpParserError, HttpResponseParser

_READ_BYTES = 64 * 1024


class Connection:
    """An open connection, for one request after another.

    Every method raises ``OSError`` if the connection is lost, or something comes that is not HTTP.
    """

    def __init__(self, sock: socket.socket, host: str) -> None:
        """``host``: what the engine is called by, with its port."""
        # A request is one write, and nothing must wait for the acknowledgement of the one before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._host = host

    def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> "Response":
        """Send a request and return its response, once that has begun.

        The response before must have been read. ``headers`` are ASCII, and complete but for the
        host and the length.
        """
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or method != "GET":
            lines.append(f"Content-Length: {len(body or b'')}")
        self._sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii") + (body or b""))
        return Response(self._sock)

    def allow(self, timeout: float | None) -> None:
        """Set how many seconds the engine may be silent from now on; None for any time."""
        self._sock.settimeout(timeout)

    def close(self) -> None:
        """Close it."""
        self._sock.close()


class Response:
    """A response that is being read. Every method raises ``OSError``, as the connection does."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._passed: list[Literal["begin", "head", "end"]] = []
        # Nothing of this is Python: the parser would take a Ctrl+C there for an error of its own.
        hears = SimpleNamespace(
            on_message_begin=partial(self._passed.append, "begin"),
            on_header=self._headers.setdefault,
            on_headers_complete=partial(self._passed.append, "head"),
            on_body=self._body.append,
            on_message_complete=partial(self._passed.append, "end"),
        )
        self._parser = HttpResponseParser(hears)
        while not self._has_passed("head", "end"):
            self._read_more()

    @property
    def status(self) -> int:
        """The status code."""
        return self._parser.get_status_code()

    @property
    def last(self) -> bool:
        """Whether the connection cannot be used again after this."""
        connection = self._header(b"connection") or b""
        return self._parser.get_http_version() != "1.1" or b"close" in connection.lower()

    def pieces(self) -> Iterator[bytes]:
        """The body, as it comes."""
        while True:
            if self._body:
                piece = b"".join(self._body)
                self._body.clear()
                yield piece
            if self._has_passed("end"):
                return
            self._read_more()

    def read(self) -> bytes:
        """The whole body, or what is left of it."""
        return b"".join(self.pieces())

    def _read_more(self) -> None:
        data = self._sock.recv(_READ_BYTES)
        if data:
            try:
                self._parser.feed_data(data)
            except HttpParserError as error:
                raise ConnectionError(f"what answers there does not speak HTTP: {error}") from error
        elif self._has_passed("head") and not self._has_length():
            self._passed.append("end")
        else:
            raise ConnectionError("the connection was lost")

    def _has_passed(self, *points: Literal["head", "end"]) -> bool:
        # Before the response there may be some with a status below 200, which only announce it.
        return bool(self._passed) and self._passed[-1] in points and self.status >= 200

    def _has_length(self) -> bool:
        """Whether the response says itself where it ends; or else, it ends with the connection."""
        return any(self._header(name) for name in (b"content-length", b"transfer-encoding"))

    def _header(self, wanted: bytes) -> bytes | None:
        return next(
            (value for name, value in self._headers.items() if name.lower() == wanted), None
        )
