"""The HTTP API as one ASGI application: errors outermost, then host and token, then the routes."""

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from pgstrata.api.codec import ENCODER
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import NotFoundError
from pgstrata.httpapi import (
    routes_cache,
    routes_config,
    routes_diff,
    routes_engine,
    routes_jobs,
    routes_registry,
    routes_runs,
    routes_snapshots,
)
from pgstrata.httpapi.answers import JSON
from pgstrata.httpapi.auth import BearerAuth
from pgstrata.httpapi.errors import ErrorBoundary
from pgstrata.httpapi.hosts import HostCheck
from pgstrata.httpapi.requests import JobRequests
from pgstrata.httpapi.routing import Operation, Reply, public_paths, routes
from pgstrata.httpapi.service import Service

DOCUMENT_PATH: Final = "/openapi.json"


def create_app(service: Service, token: str, hosts: Collection[str] = ()) -> ASGIApp:
    """Make the HTTP API of ``service``, for clients with ``token``.

    ``hosts``: what clients may call it, beside this machine's own names and the address they reach.

    Raises ``ValueError`` for an empty token.
    """
    router = Router(
        routes(service, OPERATIONS), redirect_slashes=False, default=_refuse_unknown_path
    )
    closed = BearerAuth(router, token, public_paths(OPERATIONS))
    return ErrorBoundary(HostCheck(closed, hosts))


async def get_document(service: Service, _request: Request) -> Response:
    return Response(_document(service.requests), media_type=JSON)


@cache
def _document(requests: JobRequests) -> bytes:
    # Few engines are ever asked for it, and the others do not even import it.
    from pgstrata.httpapi.openapi import document

    # The installed kinds determine which requests there are.
    model = requests.model
    operations = [
        replace(operation, body=model) if operation.body is PrepareRequest else operation
        for operation in OPERATIONS
    ]
    return ENCODER.encode(document(operations))


async def _refuse_unknown_path(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocketClose()(scope, receive, send)
        return
    raise NotFoundError(
        f"There is nothing at {quote(scope['path'])}.",
        remedy=f"GET {DOCUMENT_PATH} lists the paths.",
    )


OPERATIONS: Final = (
    *routes_engine.OPERATIONS,
    *routes_jobs.OPERATIONS,
    *routes_registry.OPERATIONS,
    *routes_snapshots.OPERATIONS,
    *routes_diff.OPERATIONS,
    *routes_runs.OPERATIONS,
    *routes_cache.OPERATIONS,
    *routes_config.OPERATIONS,
    Operation(
        method="GET",
        path=DOCUMENT_PATH,
        name="getDocument",
        handler=get_document,
        summary="This document",
        replies=(Reply(status=200, description="OpenAPI 3.1.", body=dict[str, Any]),),
    ),
)
