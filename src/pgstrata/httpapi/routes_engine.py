"""The engine itself: its health and status."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from pgstrata.domain.listing import EngineStatus, Health
from pgstrata.httpapi.answers import answer
from pgstrata.httpapi.routing import Operation, Reply
from pgstrata.httpapi.service import Service


async def get_health(service: Service, _request: Request) -> Response:
    return answer(await service.engine.health())


async def get_status(service: Service, _request: Request) -> Response:
    return answer(await service.engine.status())


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/health",
        name="getHealth",
        handler=get_health,
        summary="Whether the engine answers, and which engine it is",
        replies=(Reply(status=200, description="It answers.", body=Health),),
        public=True,
    ),
    Operation(
        method="GET",
        path="/v1/status",
        name="getStatus",
        handler=get_status,
        summary="The engine, its store, its runtime, and counts of everything",
        replies=(Reply(status=200, description="The engine, described.", body=EngineStatus),),
    ),
)
