"""The engine's port, and starting and stopping the HTTP server on it."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
)
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from pgstrata.engine.connections import (
    ACCEPTED_AT_ONCE,
    Bounds,
    Connection,
    Strangers,
    bounds_here,
)
from pgstrata.engine.exposure import Certificate
from pgstrata.errors import (
    PgstrataError,
)

_log = logging.getLogger(__name__)


STREAMS_GRACE_SECONDS = 2
"""How long open event streams may take to end when the engine stops."""

QUEUED_CONNECTIONS = 1024
"""How many connections may wait in the kernel to be accepted."""


def bind_port(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = found[0]
        # asyncio turns off Nagle's algorithm only for sockets created with a protocol; with it on,
        # each response waits 40 ms for an acknowledgement.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise PgstrataError(
            f"the engine cannot listen on {host}:{port}: {error.strerror}",
            remedy="choose another port (--listen HOST:PORT; port 0 takes a free one)",
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class HttpServer(uvicorn.Server):
    """uvicorn, except that it stops gracefully on SIGTERM and SIGINT, and when it is idle."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        announce: AbstractContextManager[None],
        busy: Callable[[], bool],
        drain: Callable[[], Coroutine[None, None, None]],
        idle_timeout: float | None,
        bounds: Bounds | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        bounds = bounds or bounds_here()
        protocol: Any = partial(Connection, bounds, Strangers(bounds.strangers))
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                # It warns of whatever anybody sends, and a log can fill a disk.
                log_level="error",
                backlog=ACCEPTED_AT_ONCE,
                timeout_keep_alive=bounds.idle_seconds,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=STREAMS_GRACE_SECONDS,
                ssl_certfile=certificate and certificate.file,
                ssl_keyfile=certificate and certificate.key_file,
            )
        )
        self._announce = announce
        self._busy = busy
        self._drain = drain
        self._draining: asyncio.Task[None] | None = None
        self._idle_timeout = idle_timeout
        self._last_needed = time.monotonic()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Only request a stop. uvicorn would raise the signal again, which would kill us."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._told_to_stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _told_to_stop(self) -> None:
        """Stop once running steps have reached their state; on a second signal, immediately."""
        if self._draining is None:
            _log.info("stopping: no more jobs are accepted, running steps complete")
            self._draining = asyncio.create_task(self._end_drained(), name="drain")
        else:
            self.should_exit = True

    async def _end_drained(self) -> None:
        try:
            await self._drain()
        finally:
            self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            # asyncio takes one number for what it accepts at once and for what the kernel keeps.
            listener.listen(QUEUED_CONNECTIONS)
        self._announce.__enter__()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._announce.__exit__(None, None, None)
        if self._draining is not None:
            self._draining.cancel()
        logging.getLogger("uvicorn.error").addFilter(_is_a_failure)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self._busy() or self.server_state.connections:
            self._last_needed = time.monotonic()
        elif self._idle_timeout is not None:
            self.should_exit |= time.monotonic() - self._last_needed >= self._idle_timeout
        return await super().on_tick(counter)


def _is_a_failure(record: logging.LogRecord) -> bool:
    """Not that a stream was cut off: those that go on for as long as their client does."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
