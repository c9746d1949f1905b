"""The cache: how full it is, and checking its states."""

from typing import Final

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp

from pgstrata.api.codec import ENCODER
from pgstrata.domain.cache import CacheStatus, StateCheck
from pgstrata.domain.reason import Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.httpapi.answers import NDJSON, answer
from pgstrata.httpapi.body import read_with_input
from pgstrata.httpapi.parameters import flag, flag_parameter
from pgstrata.httpapi.routing import Operation, Reply
from pgstrata.httpapi.service import Service


async def get_status(service: Service, _request: Request) -> Response:
    return answer(await service.cache.status())


async def verify(service: Service, request: Request) -> ASGIApp:
    checks = service.verification.verify(repair=flag(request, "repair"), deep=flag(request, "deep"))
    lines = (ENCODER.encode(check) + b"\n" async for check in checks)
    return StreamingResponse(lines, media_type=NDJSON)


async def explain(service: Service, request: Request) -> Response:
    wanted = await read_with_input(request, service.requests.read)
    why = await service.jobs.explain(wanted)
    if why.decision == "hit" and why.matched_state_id is not None:
        state = await service.registry.state(why.matched_state_id)
        why = replace(why, settled=state is not None and state.settled_bytes is not None)
    return answer(why)


_REPAIR = flag_parameter("repair", "Remove what cannot be used; it is built again when needed.")
_DEEP = flag_parameter(
    "deep", "Also read the content of all files, and compare it with what was read before."
)

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/cache/status",
        name="getCacheStatus",
        handler=get_status,
        summary="How full the cache is, what can be evicted, and what was evicted last",
        replies=(Reply(status=200, description="The cache.", body=CacheStatus),),
        refusals=(503,),
    ),
    Operation(
        method="POST",
        path="/v1/cache/explain/prepare",
        name="explainPrepare",
        handler=explain,
        summary="Whether a job with this request would find its last state cached, and why",
        description="Creates nothing. The reason is that of the first step that would run.",
        body=PrepareRequest,
        replies=(Reply(status=200, description="Hit or miss.", body=Explanation),),
        refusals=(400, 403, 413, 503),
    ),
    Operation(
        method="POST",
        path="/v1/cache/verify",
        name="verifyCache",
        handler=verify,
        summary="Check every state, and look for orphaned rows and files",
        description="Each line reports progress, and may name a state and its problem.",
        parameters=(_REPAIR, _DEEP),
        replies=(
            Reply(
                status=200,
                description="The progress of the check.",
                body=StateCheck,
                shape="stream",
            ),
        ),
        refusals=(400,),
    ),
)
