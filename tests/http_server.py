"""A server on a port of its own, in a thread, for tests over real connections."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from pgstrata.httpapi.app import create_app
from pgstrata.httpapi.service import Service


class _Server(uvicorn.Server):
    """Tells another thread when it listens, and where."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, *args: object, **kwargs: object) -> None:
        await super().startup()
        self.listening.set()

    @property
    def url(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"


@contextmanager
def served(service: Service, token: str) -> Iterator[str]:
    """The URL of a server with this service behind it."""
    config = uvicorn.Config(
        create_app(service, token), host="127.0.0.1", port=0, log_level="error", ws="none"
    )
    server = _Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        assert server.listening.wait(60)
        yield server.url
    finally:
        server.should_exit = True
        thread.join()
