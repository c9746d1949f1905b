"""States, instances and names."""

from typing import Final
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pgstrata.api.names import NameBinding
from pgstrata.domain.listing import ImageEntry, InstanceEntry, NameEntry
from pgstrata.domain.state import State
from pgstrata.domain.warmth import Warmth, WarmthRequest
from pgstrata.errors import NotFoundError
from pgstrata.httpapi.answers import answer, list_answer
from pgstrata.httpapi.body import read_model
from pgstrata.httpapi.deletions import DELETE_REPLIES, delete_answer
from pgstrata.httpapi.parameters import (
    DRY_RUN,
    FORCE,
    ID_PREFIX,
    IMAGE,
    RECURSE,
    STATE,
    flag,
    id_prefix,
    path_id,
    text_filter,
    text_parameter,
)
from pgstrata.httpapi.routing import Operation, Parameter, Reply
from pgstrata.httpapi.service import Service
from pgstrata.runtime import images

_BINDING_DECODER: Final = msgspec.json.Decoder(NameBinding)
_WARMTH_DECODER: Final = msgspec.json.Decoder(WarmthRequest)


async def list_states(service: Service, request: Request) -> Response:
    states = await service.registry.states(
        kind=text_filter(request, "kind"),
        image_id=text_filter(request, "image"),
        id_prefix=id_prefix(request),
        name=text_filter(request, "name"),
    )
    return list_answer(request, states)


async def get_state(service: Service, request: Request) -> Response:
    state_id = request.path_params["id"]
    state = await service.registry.state(state_id)
    if state is None:
        raise _unknown("state", state_id, "/v1/states")
    return answer(state)


async def delete_state(service: Service, request: Request) -> Response:
    result = await service.deletion.delete_state(
        request.path_params["id"],
        recurse=flag(request, "recurse"),
        force=flag(request, "force"),
        dry_run=flag(request, "dry_run"),
    )
    return delete_answer(result)


async def pin_state(service: Service, request: Request) -> Response:
    return await _pinned(service, request.path_params["id"], pinned=True)


async def unpin_state(service: Service, request: Request) -> Response:
    return await _pinned(service, request.path_params["id"], pinned=False)


async def _pinned(service: Service, state_id: str, *, pinned: bool) -> Response:
    state = await service.registry.pin(state_id, pinned=pinned)
    if state is None:
        raise _unknown("state", state_id, "/v1/states")
    return answer(state)


async def warm_state(service: Service, request: Request) -> Response:
    wanted = await read_model(request, _WARMTH_DECODER)
    state_id = request.path_params["id"]
    warmth = await service.pool.want(state_id, wanted.count)
    if warmth is None:
        raise _unknown("state", state_id, "/v1/states")
    return answer(warmth)


async def list_instances(service: Service, request: Request) -> Response:
    instances = await service.registry.instances(
        state_id=text_filter(request, "state"),
        image_id=text_filter(request, "image"),
        id_prefix=id_prefix(request),
    )
    return list_answer(request, instances)


async def get_instance(service: Service, request: Request) -> Response:
    id_or_name = request.path_params["id"]
    instance = await service.registry.instance(id_or_name)
    if instance is None:
        raise _unknown("instance", id_or_name, "/v1/instances")
    if instance.instance_id != id_or_name:
        location = f"/v1/instances/{quote(instance.instance_id, safe='')}"
        return Response(status_code=307, headers={"Location": location})
    return answer(instance)


async def delete_instance(service: Service, request: Request) -> Response:
    result = await service.deletion.delete_instance(
        request.path_params["id"], force=flag(request, "force"), dry_run=flag(request, "dry_run")
    )
    return delete_answer(result)


async def reset_instance(service: Service, request: Request) -> Response:
    instance_id = request.path_params["id"]
    await service.resetting.reset(instance_id, force=flag(request, "force"))
    entry = await service.registry.instance(instance_id)
    if entry is None:
        raise _unknown("instance", instance_id, "/v1/instances")
    return answer(entry)


async def list_names(service: Service, request: Request) -> Response:
    names = await service.registry.names(
        instance_id=text_filter(request, "instance"),
        state_id=text_filter(request, "state"),
        image_id=text_filter(request, "image"),
    )
    return list_answer(request, names)


async def get_name(service: Service, request: Request) -> Response:
    name = request.path_params["name"]
    entry = await service.registry.name(name)
    if entry is None:
        raise _unknown("name", name, "/v1/names")
    return answer(entry)


async def get_image(service: Service, request: Request) -> Response:
    image = request.path_params["image"]
    images.parse(image)
    entry = await service.registry.image(image)
    if entry is None:
        raise NotFoundError(
            f"The PostgreSQL of image {image!r} is not installed.",
            remedy="GET /v1/status lists those that are.",
        )
    return answer(entry)


async def bind_name(service: Service, request: Request) -> Response:
    binding = await read_model(request, _BINDING_DECODER)
    name = request.path_params["name"]
    return answer(await service.registry.bind_name(name, binding.instance_id))


async def unbind_name(service: Service, request: Request) -> Response:
    name = request.path_params["name"]
    if not await service.registry.unbind_name(name):
        raise _unknown("name", name, "/v1/names")
    return Response(status_code=204)


def _unknown(what: str, wanted: str, path: str) -> NotFoundError:
    return NotFoundError(f"There is no {what} {wanted!r}.", remedy=f"GET {path} lists them all.")


_NAME = Parameter(name="name", location="path", description="The name.")
_IMAGE_ID = Parameter(
    name="image",
    location="path",
    description="`postgres:16`, or one that was resolved.",
    pattern=images.PATTERN,
)
_STATE_ID = path_id("The state's id.")
_INSTANCE_ID = path_id("The instance's id.")

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/states",
        name="listStates",
        handler=list_states,
        summary="The cached states",
        parameters=(
            text_parameter("kind", "Only states of this prepare kind."),
            IMAGE,
            ID_PREFIX,
            text_parameter("name", "Only the state with this name."),
        ),
        replies=(Reply(status=200, description="The states.", body=State, shape="list"),),
        refusals=(400,),
    ),
    Operation(
        method="GET",
        path="/v1/states/{id}",
        name="getState",
        handler=get_state,
        summary="One state",
        parameters=(_STATE_ID,),
        replies=(Reply(status=200, description="The state.", body=State),),
        refusals=(404,),
    ),
    Operation(
        method="DELETE",
        path="/v1/states/{id}",
        name="deleteState",
        handler=delete_state,
        summary="Delete a state",
        parameters=(_STATE_ID, RECURSE, FORCE, DRY_RUN),
        replies=DELETE_REPLIES,
        refusals=(400, 404),
    ),
    Operation(
        method="PUT",
        path="/v1/states/{id}/pin",
        name="pinState",
        handler=pin_state,
        summary="Pin a state; it is not evicted",
        description="A pinned state can still be deleted. Pinning it again changes nothing.",
        parameters=(_STATE_ID,),
        replies=(Reply(status=200, description="The state, pinned.", body=State),),
        refusals=(404,),
    ),
    Operation(
        method="DELETE",
        path="/v1/states/{id}/pin",
        name="unpinState",
        handler=unpin_state,
        summary="Unpin a state; it may be evicted",
        parameters=(_STATE_ID,),
        replies=(Reply(status=200, description="The state, not pinned.", body=State),),
        refusals=(404,),
    ),
    Operation(
        method="PUT",
        path="/v1/states/{id}/warm",
        name="warmState",
        handler=warm_state,
        summary="Keep servers ready for a state",
        description="They are started in the background, and kept until `count` is 0 or the state "
        "is removed. Servers that demand calls for come and go without this.",
        parameters=(_STATE_ID,),
        body=WarmthRequest,
        replies=(Reply(status=200, description="What there is now.", body=Warmth),),
        refusals=(400, 404, 409, 413),
    ),
    Operation(
        method="GET",
        path="/v1/instances",
        name="listInstances",
        handler=list_instances,
        summary="The instances",
        parameters=(STATE, IMAGE, ID_PREFIX),
        replies=(
            Reply(status=200, description="The instances.", body=InstanceEntry, shape="list"),
        ),
        refusals=(400,),
    ),
    Operation(
        method="GET",
        path="/v1/instances/{id}",
        name="getInstance",
        handler=get_instance,
        summary="One instance",
        parameters=(path_id("The instance's id, or its name."),),
        replies=(
            Reply(status=200, description="The instance.", body=InstanceEntry),
            Reply(
                status=307,
                description="It was requested by name; this is its path by id.",
                headers=("Location",),
            ),
        ),
        refusals=(404,),
    ),
    Operation(
        method="DELETE",
        path="/v1/instances/{id}",
        name="deleteInstance",
        handler=delete_instance,
        summary="Delete an instance",
        parameters=(_INSTANCE_ID, FORCE, DRY_RUN),
        replies=DELETE_REPLIES,
        refusals=(400, 404),
    ),
    Operation(
        method="POST",
        path="/v1/instances/{id}/reset",
        name="resetInstance",
        handler=reset_instance,
        summary="Put an instance back to its state",
        description="It keeps its id, its port and its password. Clients are disconnected with "
        "`force`; without, they are a conflict.",
        parameters=(_INSTANCE_ID, FORCE),
        replies=(Reply(status=200, description="The instance.", body=InstanceEntry),),
        refusals=(400, 404, 409),
    ),
    Operation(
        method="GET",
        path="/v1/images/{image}",
        name="getImage",
        handler=get_image,
        summary="Which PostgreSQL an image stands for",
        parameters=(_IMAGE_ID,),
        replies=(Reply(status=200, description="Its version.", body=ImageEntry),),
        refusals=(400, 404),
    ),
    Operation(
        method="GET",
        path="/v1/names",
        name="listNames",
        handler=list_names,
        summary="The names of instances",
        parameters=(
            text_parameter("instance", "Only the names of the instance with this id."),
            STATE,
            IMAGE,
        ),
        replies=(Reply(status=200, description="The names.", body=NameEntry, shape="list"),),
    ),
    Operation(
        method="GET",
        path="/v1/names/{name}",
        name="getName",
        handler=get_name,
        summary="What a name stands for",
        parameters=(_NAME,),
        replies=(Reply(status=200, description="The name.", body=NameEntry),),
        refusals=(404,),
    ),
    Operation(
        method="PUT",
        path="/v1/names/{name}",
        name="bindName",
        handler=bind_name,
        summary="Give an instance a name",
        description="The instance loses any other name. The name has its port and password from "
        "then on. Repeating the request changes nothing.",
        parameters=(_NAME,),
        body=NameBinding,
        replies=(Reply(status=200, description="The instance has the name.", body=NameEntry),),
        refusals=(400, 404, 409, 413),
    ),
    Operation(
        method="DELETE",
        path="/v1/names/{name}",
        name="unbindName",
        handler=unbind_name,
        summary="Give up a name",
        description="If an instance has it, that keeps running without it.",
        parameters=(_NAME,),
        replies=(Reply(status=204, description="The name is free."),),
        refusals=(404,),
    ),
)
