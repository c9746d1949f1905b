"""Running tools against instances, and what the command line needs to run them itself."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from pgstrata.domain.run import Held, RunEvent, RunRequest, StartedInstance
from pgstrata.httpapi.answers import answer
from pgstrata.httpapi.body import decode, read_with_input
from pgstrata.httpapi.parameters import flag, flag_parameter, path_id
from pgstrata.httpapi.routing import Operation, Reply
from pgstrata.httpapi.service import Service
from pgstrata.httpapi.streams import LiveStream

_DECODER: Final = msgspec.json.Decoder(RunRequest)


async def run(service: Service, request: Request) -> ASGIApp:
    wanted = await read_with_input(request, lambda body: decode(body, _DECODER))
    return LiveStream(await service.runs.begin(wanted))


async def start_instance(service: Service, request: Request) -> Response:
    instance = request.path_params["id"]
    return answer(await service.runs.running(instance, anyway=flag(request, "anyway")))


async def hold_instance(service: Service, request: Request) -> ASGIApp:
    instance_id = request.path_params["id"]
    held = await service.holds.hold(instance_id)
    return LiveStream(held, on_leave=lambda: service.holds.release(instance_id))


_INSTANCE = path_id("The instance's id, its name, or 8 or more characters of its id.")

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/runs",
        name="run",
        handler=run,
        summary="Run psql or pgbench against an instance",
        description=(
            "The tool is that of the instance's own PostgreSQL, and is kept from the rest of the "
            "machine. `start` comes first, then output as it is written, then `exit` with the "
            "tool's exit code, or `error` if there is none. The tool ends if the client goes away. "
            "Arguments that say what to connect to are refused."
        ),
        body=RunRequest,
        replies=(Reply(status=200, description="What happens.", body=RunEvent, shape="stream"),),
        refusals=(400, 404, 409, 413),
    ),
    Operation(
        method="POST",
        path="/v1/instances/{id}/start",
        name="startInstance",
        handler=start_instance,
        summary="Start an instance's server again if it has ended",
        description=(
            "If it runs, nothing changes. The answer says how to connect. A server that was "
            "stopped for what it took, and one whose machine was booted since, so that its data "
            "may be incomplete, are started only with `anyway`."
        ),
        parameters=(
            _INSTANCE,
            flag_parameter("anyway", "Start it from the data that it has, whatever that is worth."),
        ),
        replies=(Reply(status=200, description="The server runs.", body=StartedInstance),),
        refusals=(400, 404, 409),
    ),
    Operation(
        method="POST",
        path="/v1/instances/{id}/hold",
        name="holdInstance",
        handler=hold_instance,
        summary="Keep an instance for as long as this client is connected",
        description=(
            "Each line says until when its lease was extended. When the client goes away the "
            "instance is removed, whoever is connected to it."
        ),
        parameters=(path_id("The instance's id."),),
        replies=(Reply(status=200, description="Its leases.", body=Held, shape="stream"),),
        refusals=(404,),
    ),
)
