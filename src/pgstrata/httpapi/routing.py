"""Operations as data: the routes and the OpenAPI document are made from the same table."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pgstrata.errors import MethodNotAllowedError
from pgstrata.httpapi.errors import error_answer
from pgstrata.httpapi.service import Service

Handler = Callable[[Service, Request], Awaitable[ASGIApp]]
"""Handles a request: the result is the response, itself an ASGI application."""

Shape = Literal["one", "list", "stream"]
"""One model; a list, as JSON or NDJSON; or NDJSON only, as things happen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of an operation, a string. It is required in the path, optional elsewhere."""

    name: str
    location: Literal["path", "query", "header"] = "query"
    description: str
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    """The allowed values, the default first; empty for any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A successful response."""

    status: int
    description: str
    body: Any = None
    """The type of the model, or of a list's items; None for a response without a body."""
    shape: Shape = "one"
    headers: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    """The names of operations on the ``job_id`` in the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method does on one path."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    name: str
    handler: Handler
    summary: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    """The type of the request's body; None if it has none."""
    replies: tuple[Reply, ...]
    refusals: tuple[int, ...] = ()
    """Statuses of its own errors, in addition to those that all operations can have."""
    public: bool = False
    """Whether it needs no token."""


class Resource:
    """One path: passes a request to its method's handler, and rejects other methods."""

    def __init__(self, service: Service, handlers: Mapping[str, Handler]) -> None:
        self._service = service
        self._handlers = handlers
        self._allow = ", ".join(sorted(handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["method"])
        if handler is None:
            response: ASGIApp = self._turn_away(scope["method"])
        else:
            response = await handler(self._service, Request(scope, receive))
        await response(scope, receive, send)

    def _turn_away(self, method: str) -> ASGIApp:
        error = MethodNotAllowedError(
            f"The method {method} does not exist here.", remedy=f"Use one of: {self._allow}."
        )
        return error_answer(error, headers={"Allow": self._allow})


def routes(service: Service, operations: Iterable[Operation]) -> list[Route]:
    """Make one route for each path. Every path with GET has HEAD, too."""
    handlers: dict[str, dict[str, Handler]] = {}
    for operation in operations:
        methods = handlers.setdefault(operation.path, {})
        methods[operation.method] = operation.handler
        if operation.method == "GET":
            methods["HEAD"] = operation.handler
    return [Route(path, Resource(service, methods)) for path, methods in handlers.items()]


def public_paths(operations: Iterable[Operation]) -> set[tuple[str, str]]:
    """Return the (method, path) pairs that need no token."""
    public = {(operation.method, operation.path) for operation in operations if operation.public}
    return public | {("HEAD", path) for method, path in public if method == "GET"}
