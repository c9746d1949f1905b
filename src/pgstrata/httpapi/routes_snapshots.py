"""States made of instances."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pgstrata.api.names import SnapshotRequest
from pgstrata.domain.state import State
from pgstrata.httpapi.answers import answer
from pgstrata.httpapi.body import decode, read_body
from pgstrata.httpapi.parameters import FORCE, flag, path_id
from pgstrata.httpapi.routing import Operation, Reply
from pgstrata.httpapi.service import Service

_DECODER: Final = msgspec.json.Decoder(SnapshotRequest)


async def snapshot_instance(service: Service, request: Request) -> Response:
    wanted = decode(await read_body(request) or b"{}", _DECODER)
    state = await service.snapshots.snapshot(
        request.path_params["id"], name=wanted.name, force=flag(request, "force")
    )
    return answer(state, 201, headers={"Location": f"/v1/states/{state.state_id}"})


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/instances/{id}/snapshot",
        name="snapshotInstance",
        handler=snapshot_instance,
        summary="Keep what is in an instance as a state",
        description="The state is pinned, since nothing can build it again. The instance goes on; "
        "if its server must be stopped for a moment, clients are a conflict without `force`.",
        parameters=(path_id("The instance's id."), FORCE),
        body=SnapshotRequest,
        replies=(Reply(status=201, description="The state.", body=State, headers=("Location",)),),
        refusals=(400, 404, 409, 413, 503, 507),
    ),
)
