"""The cache: how full it is."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from pgstrata.domain.cache import CacheStatus
from pgstrata.httpapi.answers import answer
from pgstrata.httpapi.routing import Operation, Reply
from pgstrata.httpapi.service import Service


async def get_status(service: Service, _request: Request) -> Response:
    return answer(await service.cache.status())


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/cache/status",
        name="getCacheStatus",
        handler=get_status,
        summary="How full the cache is, what may go, and what went last",
        replies=(Reply(status=200, description="The cache.", body=CacheStatus),),
        refusals=(503,),
    ),
)
