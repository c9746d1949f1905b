"""What somebody who has not shown the token may cost: bytes, time and connections.

uvicorn bounds how long a connection may be idle between two requests, and nothing else: its parser
keeps what it gets of a header for as long as that goes on, and a connection on which nothing was
ever said stays. So this is its protocol with bounds. Once the token was shown a request may take
any time, since streams take as long as jobs do, and its connection is not counted any more.
"""

import asyncio
import http
import resource
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pgstrata.api.codec import ENCODER
from pgstrata.errors import HeadTooLargeError, InvalidArgumentError, PgstrataError
from pgstrata.httpapi.auth import TOKEN_SHOWN

ACCEPTED_AT_ONCE = 8
"""How many connections are accepted before those that have said something are listened to.

Together with ``Bounds.strangers`` it settles that a client who sends its request at once is heard
before a flood of others can push it out, and how many descriptors a flood takes for a moment.
"""


class Bounds(NamedTuple):
    """What is allowed without the token."""

    head_bytes: int = 64 << 10
    """How long a request's head may be; also what stands between pieces of its body."""
    pipelined: int = 16
    """How many requests may wait on one connection for the answer to an earlier one."""
    request_seconds: float = 10.0
    """How long a connection, or the next request on it, may take to become a whole request."""
    idle_seconds: int = 5
    """How long a connection may be silent after an answer."""
    strangers: int = 64
    """How many connections there may be; a new one beyond that ends the oldest."""


def bounds_here() -> Bounds:
    """The bounds for this process, which may have few descriptors."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = Bounds().strangers
    if descriptors != resource.RLIM_INFINITY:
        most = min(most, max(descriptors // 4, ACCEPTED_AT_ONCE))
    return Bounds(strangers=most)


class Strangers:
    """The connections on which the token was not shown so far, the oldest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Connection, None] = {}

    def add(self, connection: "Connection") -> None:
        """A new one; the oldest has to go when there are too many."""
        self._known[connection] = None
        if len(self._known) > self._most:
            next(iter(self._known)).cut_off()

    def discard(self, connection: "Connection") -> None:
        """It is no stranger any more, or gone."""
        self._known.pop(connection, None)


class Connection(HttpToolsProtocol):
    """One client's connection, within bounds until the token was shown."""

    def __init__(self, bounds: Bounds, strangers: Strangers, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._bounds = bounds
        self._strangers = strangers
        self._held = 0
        """How many bytes came since the parser last handed something on."""
        self._refusal: PgstrataError | None = None
        # A connection is made in the task that accepts it, which lasts as long as TLS takes to
        # agree: until then there is no transport to be closed.
        self._accepting = asyncio.current_task()
        assert self._accepting is not None
        self._accepting.add_done_callback(lambda _: self._accepted())
        self._deadline: asyncio.TimerHandle | None = None
        self._expect_request()
        strangers.add(self)

    def cut_off(self) -> None:
        """End the connection without a word."""
        self._forget()
        if self.transport is not None:
            self.transport.abort()
        elif self._accepting is not None:
            self._accepting.cancel()

    def _accepted(self) -> None:
        self._accepting = None
        if self.transport is None:
            self._forget()

    def _forget(self) -> None:
        self._strangers.discard(self)
        self._expect_nothing()

    def _expect_request(self) -> None:
        self._deadline = self.loop.call_later(self._bounds.request_seconds, self.cut_off)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _token_shown(self) -> None:
        self._strangers.discard(self)
        self._expect_nothing()

    # What uvicorn calls

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if self._deadline is None and answered:
            self._expect_request()
        self._held += len(data)
        super().data_received(data)
        if self._held > self._bounds.head_bytes and not self.transport.is_closing():
            self._refuse(_too_large(self._bounds))

    def on_response_complete(self) -> None:
        # From here on uvicorn's own limit for idle connections holds.
        self._expect_nothing()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or _NOT_HTTP)

    # What the parser calls. What is raised here makes it stop, and uvicorn send a refusal.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][TOKEN_SHOWN] = self._token_shown

    def on_headers_complete(self) -> None:
        self._held = 0
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._bounds.head_bytes:
            self._refusal = _too_large(self._bounds)
            raise self._refusal
        if len(self.pipeline) >= self._bounds.pipelined:
            self._refusal = _TOO_MANY
            raise self._refusal
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._held = 0
        super().on_message_complete()

    def _refuse(self, error: PgstrataError) -> None:
        """Answer with an error and end the connection, in whatever state it is."""
        if self.cycle is not None and not self.cycle.response_complete:
            # Another answer is on its way, and this must not be taken for a part of it.
            self.cut_off()
            return
        body = ENCODER.encode(error.body())
        head = (
            f"HTTP/1.1 {error.http_status} {http.HTTPStatus(error.http_status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


_NOT_HTTP = InvalidArgumentError(
    "This is not a request of HTTP/1.1.", remedy="Check the URL: is it http or https?"
)
_TOO_MANY = InvalidArgumentError(
    "There are too many requests on this connection before the first is answered.",
    remedy="Wait for answers, or open more connections.",
)


def _too_large(bounds: Bounds) -> HeadTooLargeError:
    return HeadTooLargeError(
        f"The head of the request is larger than {bounds.head_bytes >> 10} KiB.",
        remedy="Send shorter headers and a shorter URL.",
    )
