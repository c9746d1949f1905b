"""Warm servers."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pgstrata.domain.warmth import Warmth, WarmthRequest
from pgstrata.errors import NotFoundError
from pgstrata.httpapi.answers import answer
from pgstrata.httpapi.body import read_model
from pgstrata.httpapi.parameters import path_id
from pgstrata.httpapi.routing import Operation, Reply
from pgstrata.httpapi.service import Service

_DECODER: Final = msgspec.json.Decoder(WarmthRequest)


async def warm_state(service: Service, request: Request) -> Response:
    wanted = await read_model(request, _DECODER)
    state_id = request.path_params["id"]
    warmth = await service.pool.want(state_id, wanted.count)
    if warmth is None:
        raise NotFoundError(
            f"There is no state {state_id!r}.", remedy="GET /v1/states lists them all."
        )
    return answer(warmth)


OPERATIONS: Final = (
    Operation(
        method="PUT",
        path="/v1/states/{id}/warm",
        name="warmState",
        handler=warm_state,
        summary="Keep servers ready for a state",
        description="They are started in the background, and kept until `count` is 0 or the state "
        "is removed. Servers that demand calls for come and go without this.",
        parameters=(path_id("The state's id."),),
        body=WarmthRequest,
        replies=(Reply(status=200, description="What there is now.", body=Warmth),),
        refusals=(400, 404, 409, 413),
    ),
)
