"""Drives an ASGI application as a server would: one exchange at a time, each step in view."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec
from urllib.parse import unquote

import msgspec
from starlette.types import ASGIApp, Message

from pgstrata.httpapi.app import create_app
from tests.unit.httpapi.engine import MemoryEngine

P = ParamSpec("P")

TOKEN = "a-token-nobody-knows"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def lines(self) -> list[Any]:
        return [msgspec.json.decode(line) for line in self.body.splitlines()]


class Exchange:
    """One request on its way, and what has come back so far."""

    def __init__(self, app: ASGIApp, scope: dict[str, Any], body: Iterable[bytes]) -> None:
        self._app = app
        self._scope = scope
        self._body = iter(body)
        self._sent = False
        self._gone = asyncio.Event()
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.may_send = asyncio.Event()
        """Cleared, the application is held back like by a client that does not read."""
        self.may_send.set()
        self.held_back = asyncio.Event()

    async def run(self) -> None:
        """The application's part of the exchange, from its beginning to its end."""
        await self._app(self._scope, self._receive, self._send)

    def leave(self) -> None:
        """The client goes away, once it has sent the body that it was given."""
        self._gone.set()

    async def next_lines(self) -> list[Any]:
        """What the next piece of the body holds, one value a line."""
        message = await self.messages.get()
        return [msgspec.json.decode(line) for line in message["body"].splitlines()]

    async def _receive(self) -> Message:
        if not self._sent:
            chunk = next(self._body, None)
            self._sent = chunk is None
            if chunk is None and self._gone.is_set():
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if not self.may_send.is_set():
            self.held_back.set()
            await self.may_send.wait()
        self.messages.put_nowait(message)


class Client:
    """Asks an application for one thing after another."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def exchange(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] = BEARER,
        body: Iterable[bytes] = (),
    ) -> Exchange:
        """An exchange that is yet to be run."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        return Exchange(self._app, scope, body)

    async def ask(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] = BEARER,
        body: bytes | Iterable[bytes] = (),
    ) -> Answer:
        """The whole answer to one request."""
        chunks = [body] if isinstance(body, bytes) else body
        exchange = self.exchange(method, target, headers=headers, body=chunks)
        await exchange.run()
        start = exchange.messages.get_nowait()
        parts = [exchange.messages.get_nowait() for _ in range(exchange.messages.qsize())]
        assert not parts[-1].get("more_body")
        return Answer(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(part["body"] for part in parts),
        )

    async def get(self, target: str, **headers: str) -> Answer:
        """The whole answer to GET; ``accept_language="de"`` adds that header."""
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("GET", target, headers=BEARER | extra)

    async def post(self, target: str, value: object = None) -> Answer:
        """The whole answer to POST, with ``value`` as JSON."""
        return await self.ask("POST", target, body=msgspec.json.encode(value))

    async def put(self, target: str, value: object) -> Answer:
        """The whole answer to PUT, with ``value`` as JSON."""
        return await self.ask("PUT", target, body=msgspec.json.encode(value))

    async def delete(self, target: str) -> Answer:
        return await self.ask("DELETE", target)


Scenario = Callable[Concatenate[MemoryEngine, Client, P], Coroutine[None, None, None]]


def scenario(test: Scenario[P]) -> Callable[P, None]:
    """A test of a client and an engine in memory; further parameters are pytest's to fill."""

    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            engine = MemoryEngine()
            async with asyncio.timeout(60):
                await test(engine, Client(create_app(engine.service, TOKEN)), *args, **kwargs)

        asyncio.run(bounded())

    signature = inspect.signature(test)
    remaining = list(signature.parameters.values())[2:]
    run.__name__ = test.__name__
    run.__dict__["__signature__"] = signature.replace(parameters=remaining)
    return run
