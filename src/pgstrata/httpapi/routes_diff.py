"""Comparing states and instances."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pgstrata.domain.comparison import Comparison, ComparisonRequest
from pgstrata.httpapi.answers import answer
from pgstrata.httpapi.body import read_model
from pgstrata.httpapi.routing import Operation, Reply
from pgstrata.httpapi.service import Service
from pgstrata.system.cancellation import finish

T = TypeVar("T")

_DECODER: Final = msgspec.json.Decoder(ComparisonRequest)


async def compare(service: Service, request: Request) -> Response:
    wanted = await read_model(request, _DECODER)
    found = await _while_there(request, service.comparing.compare(wanted))
    return Response() if found is None else answer(found)


async def _while_there(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of ``work``, which is cancelled, for None, when the client goes away."""
    working = asyncio.create_task(work, name="comparing")
    leaving = asyncio.create_task(_left(request), name="a client's leaving")
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        leaving.cancel()
        working.cancel()
        await finish(asyncio.wait((working, leaving)))


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/diff",
        name="diff",
        handler=compare,
        summary="Compare two states or instances",
        description="Schemas are compared as pg_dump writes them, object by object; with `rows`, "
        "the rows of tables are counted, too. All databases are compared, or one.",
        body=ComparisonRequest,
        replies=(Reply(status=200, description="How they differ.", body=Comparison),),
        refusals=(400, 404, 409, 413, 503, 507),
    ),
)
