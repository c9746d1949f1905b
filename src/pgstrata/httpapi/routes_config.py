"""The engine's configuration."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pgstrata.api.configuration import ConfigChange, ConfigValue
from pgstrata.errors import InvalidArgumentError
from pgstrata.httpapi.answers import answer
from pgstrata.httpapi.body import read_model
from pgstrata.httpapi.parameters import flag, flag_parameter, text_filter, text_parameter
from pgstrata.httpapi.routing import Operation, Reply
from pgstrata.httpapi.service import Service

PATH: Final = "/v1/config"

_CHANGE: Final = msgspec.json.Decoder(ConfigChange)


async def get_config(service: Service, request: Request) -> Response:
    path = text_filter(request, "path")
    value = service.configuration.get(path, effective=flag(request, "effective"))
    return answer(value if path is None else ConfigValue(path=path, value=value))


async def set_config(service: Service, request: Request) -> Response:
    change = await read_model(request, _CHANGE)
    return answer(service.configuration.set(change.path, change.value))


async def remove_config(service: Service, request: Request) -> Response:
    path = text_filter(request, "path")
    if path is None:
        raise InvalidArgumentError("`path` is missing.", remedy="Name the setting to remove.")
    return answer(service.configuration.remove(path))


async def get_schema(service: Service, _request: Request) -> Response:
    return answer(service.configuration.schema())


_ONE_PATH = text_parameter("path", "A setting, or what several are in: `cache.capacity`.")

OPERATIONS: Final = (
    Operation(
        method="GET",
        path=PATH,
        name="getConfig",
        handler=get_config,
        summary="What is set, or what is in effect",
        parameters=(
            _ONE_PATH,
            flag_parameter("effective", "What is in effect, with defaults and options."),
        ),
        replies=(
            Reply(
                status=200,
                description="A map of everything; with a path, the path and its value.",
                body=dict[str, Any],
            ),
        ),
        refusals=(400,),
    ),
    Operation(
        method="PATCH",
        path=PATH,
        name="setConfig",
        handler=set_config,
        summary="Set a setting, or several at once with a map for a path that they are in",
        description="`restart_required` is true if it takes effect when the engine is restarted.",
        body=ConfigChange,
        replies=(Reply(status=200, description="It is stored.", body=ConfigValue),),
        refusals=(400, 403, 409),
    ),
    Operation(
        method="DELETE",
        path=PATH,
        name="removeConfig",
        handler=remove_config,
        summary="Remove a setting, so that its default counts",
        parameters=(_ONE_PATH,),
        replies=(Reply(status=200, description="It is removed.", body=ConfigValue),),
        refusals=(400, 403, 409),
    ),
    Operation(
        method="GET",
        path=f"{PATH}/schema",
        name="getConfigSchema",
        handler=get_schema,
        summary="The JSON Schema of all settings",
        replies=(Reply(status=200, description="The schema.", body=dict[str, Any]),),
    ),
)
