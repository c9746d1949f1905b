"""The way to the engine for a client that waits: connections, and engines that come and go."""

import threading
from collections.abc import Iterator
from typing import TypeVar

from pgstrata.client import discovery
from pgstrata.client.calling import ask, stream
from pgstrata.client.connect import STOPPING_SECONDS, connect
from pgstrata.client.http import Http
from pgstrata.client.operation import Call
from pgstrata.config.model import Configuration
from pgstrata.errors import EngineStoppingError, PgstrataError, UnauthorizedError

T = TypeVar("T")


class Channel:
    """Connects to the engine of a configuration at the first call, and to the next one after it.

    For any number of threads. Every method raises ``PgstrataError``.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._connecting = threading.Lock()
        self._known: Http | None = None
        """The first connection to the engine, as the pattern for others."""
        self._idle: list[Http] = []

    def ask(self, call: Call[T]) -> T:
        """Send a request and return its result. It is sent again only if that is safe."""
        try:
            return self._ask(call)
        except PgstrataError as error:
            if not self._goes_on(call, error):
                raise
        return self._ask(call)

    def stream(self, call: Call[Iterator[T]], *, silence: float | None = None) -> Iterator[T]:
        """Send a request and return its results as they come, over a connection of their own.

        ``silence``: for how many seconds nothing may come. The request is sent when the first
        result is asked for, and again only if there was none yet and it is safe.
        """
        begun = False
        try:
            for item in self._stream(call, silence):
                begun = True
                yield item
            return
        except PgstrataError as error:
            if begun or not self._goes_on(call, error):
                raise
        yield from self._stream(call, silence)

    def close(self) -> None:
        """Close all connections that are not in use. The next call opens one."""
        self._known = None
        while self._idle:
            self._idle.pop().close()

    def _ask(self, call: Call[T]) -> T:
        http = self._take()
        try:
            return ask(http, call)
        finally:
            self._idle.append(http)

    def _stream(self, call: Call[Iterator[T]], silence: float | None) -> Iterator[T]:
        return stream(self._connected().another(), call, silence=silence)

    def _take(self) -> Http:
        known = self._connected()
        try:
            return self._idle.pop()
        except IndexError:
            return known.another()

    def _connected(self) -> Http:
        with self._connecting:
            if self._known is None:
                self._known = connect(self._configuration).http
                self._idle.append(self._known)
            return self._known

    def _goes_on(self, call: Call[T], error: PgstrataError) -> bool:
        """Whether the call may be sent again after an error; if so, to whatever engine is there."""
        if not may_go_on(self._configuration, call, error):
            return False
        self.close()
        return True


def may_go_on(configuration: Configuration, call: Call[T], error: PgstrataError) -> bool:
    """Whether a call may be sent again after an error, to the engine that is there then.

    If the one that was asked is stopping, this waits for its end.
    """
    if not call.may_be_repeated(error):
        return False
    if isinstance(error, UnauthorizedError | EngineStoppingError):
        if configuration.endpoint is not None:
            return False
        if isinstance(error, EngineStoppingError):
            file = discovery.read(configuration.engine_json)
            if file is not None:
                discovery.wait_exit(file.pid, STOPPING_SECONDS)
    return True
