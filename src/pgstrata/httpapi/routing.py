"""Operations as data: from one table come the routes and the OpenAPI document alike."""

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
"""Answers one request: the result is the response, itself an ASGI application."""

Shape = Literal["one", "list", "stream"]
"""One model; a list, as JSON or as NDJSON; or NDJSON alone, as things happen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of an operation, a string. One in the path is required, any other is not."""

    name: str
    location: Literal["path", "query", "header"] = "query"
    description: str
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    """The values allowed, the one meant by leaving it out first; empty for any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A good answer."""

    status: int
    description: str
    body: Any = None
    """The type of the model, or of a list's items; None for an answer without a body."""
    shape: Shape = "one"
    headers: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    """Names of the operations that the ``job_id`` in the body leads to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method does on one path."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    name: str
    handler: Handler
    summary: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    """The type of the request's body; None when it has none."""
    replies: tuple[Reply, ...]
    refusals: tuple[int, ...] = ()
    """Statuses of the errors it has of its own, beside those that any operation can have."""
    public: bool = False
    """Whether it needs no token."""


class Resource:
    """One path: hands a request to its method's handler, and turns other methods away."""

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
    """One route for each path of the table. What answers GET answers HEAD too."""
    handlers: dict[str, dict[str, Handler]] = {}
    for operation in operations:
        methods = handlers.setdefault(operation.path, {})
        methods[operation.method] = operation.handler
        if operation.method == "GET":
            methods["HEAD"] = operation.handler
    return [Route(path, Resource(service, methods)) for path, methods in handlers.items()]


def public_paths(operations: Iterable[Operation]) -> set[tuple[str, str]]:
    """The (method, path) pairs that need no token."""
    public = {(operation.method, operation.path) for operation in operations if operation.public}
    return public | {("HEAD", path) for method, path in public if method == "GET"}
