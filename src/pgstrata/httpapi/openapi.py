"""The OpenAPI document, generated from the same table as the routes."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from pgstrata.domain.job import ErrorBody
from pgstrata.httpapi.answers import JSON, NDJSON
from pgstrata.httpapi.routing import Operation, Parameter, Reply

Schema = Mapping[str, object]

_DESCRIPTION: Final = (
    "Throw-away PostgreSQL databases, prepared once and cloned in milliseconds. Every path "
    "that answers GET answers HEAD too; another method on a path listed here answers 405 with an "
    "Allow header. "
    "Unknown fields and query parameters are ignored."
)

_REFUSALS: Final[Mapping[int, str]] = {
    400: "The request cannot be carried out as it stands.",
    401: "The bearer token is missing or wrong.",
    403: "The engine does not allow it, or is not called what the Host header says.",
    404: "The resource does not exist.",
    409: "The request conflicts with something that exists.",
    413: "The request's body is too large.",
    416: "The range starts after the last event of a finished job.",
    500: "The engine failed.",
    503: "The engine cannot do this now; the error says why, and when to try again.",
    507: "There is no space left for it.",
}

_HEADERS: Final[Mapping[str, str]] = {
    "Accept-Ranges": "Always `events`.",
    "Content-Range": (
        "`events FIRST-LAST/TOTAL`. Until the job has ended TOTAL is `*`, and for an "
        "open range LAST is the newest event at the start of the response. With status "
        "416: `events */TOTAL`."
    ),
    "Location": "The path to continue with.",
    "WWW-Authenticate": "Always `Bearer`.",
}

_REFUSAL_HEADERS: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    416: ("Accept-Ranges", "Content-Range"),
}


class _Schemas:
    """The JSON schemas of every model that the operations mention."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        models: list[Any] = [ErrorBody]
        for operation in operations:
            models.append(operation.body)
            models.extend(reply.body for reply in operation.replies)
        wanted = [model for model in models if model is not None]
        schemas, self.components = msgspec.json.schema_components(
            wanted, schema_hook=_schema_hook, ref_template="#/components/schemas/{name}"
        )
        # The model itself allows them: our own client decodes errors of newer engines with it.
        self.components[ErrorBody.__name__]["additionalProperties"] = False
        self._schemas: dict[Any, Schema] = dict(zip(wanted, schemas, strict=True))

    def of(self, model: Any) -> Schema:
        return self._schemas[model]


def document(operations: Sequence[Operation]) -> dict[str, object]:
    """Make the OpenAPI 3.1 document of these operations."""
    schemas = _Schemas(operations)
    by_path = groupby(sorted(operations, key=_path), key=_path)
    paths = {path: _path_item(group, schemas) for path, group in by_path}
    return {
        "openapi": "3.1.0",
        "info": {"title": "pgstrata", "version": "1", "description": _DESCRIPTION},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schema_hook(model: type) -> dict[str, Any]:
    if model is Path:
        return {"type": "string", "description": "A path on the engine's machine."}
    raise NotImplementedError(f"{model.__name__} has no schema")


def _path(operation: Operation) -> str:
    return operation.path


def _path_item(operations: Iterable[Operation], schemas: _Schemas) -> dict[str, object]:
    return {operation.method.lower(): _operation(operation, schemas) for operation in operations}


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, object]:
    described: dict[str, object] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "responses": _responses(operation, schemas),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body is not None:
        content = {JSON: {"schema": schemas.of(operation.body)}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.public:
        described["security"] = []
    return described


def _parameter(parameter: Parameter) -> dict[str, object]:
    return {
        "name": parameter.name,
        "in": parameter.location,
        "required": parameter.location == "path",
        "description": parameter.description,
        "schema": _parameter_schema(parameter),
    }


def _parameter_schema(parameter: Parameter) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    if parameter.pattern is not None:
        schema["pattern"] = parameter.pattern
    if parameter.choices:
        schema |= {"enum": parameter.choices, "default": parameter.choices[0]}
    return schema


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, object]:
    # Public operations read nothing, so no failing disk can affect them.
    common = (403, 500) if operation.public else (401, 403, 500, 503)
    responses = {str(reply.status): _reply(reply, schemas) for reply in operation.replies}
    responses |= {
        str(status): _refusal(status, schemas) for status in (*operation.refusals, *common)
    }
    return dict(sorted(responses.items()))


def _reply(reply: Reply, schemas: _Schemas) -> dict[str, object]:
    described: dict[str, object] = {"description": reply.description}
    if reply.body is not None:
        described["content"] = _content(reply, schemas.of(reply.body))
    if reply.headers:
        described["headers"] = _headers(reply.headers)
    if reply.links:
        described["links"] = {
            name: {"operationId": name, "parameters": {"id": "$response.body#/job_id"}}
            for name in reply.links
        }
    return described


def _refusal(status: int, schemas: _Schemas) -> dict[str, object]:
    return {
        "description": _REFUSALS[status],
        "content": {JSON: {"schema": schemas.of(ErrorBody)}},
        "headers": _headers(_REFUSAL_HEADERS.get(status, ())),
    }


def _content(reply: Reply, item: Schema) -> dict[str, object]:
    if reply.shape == "one":
        return {JSON: {"schema": item}}
    lines = {"schema": {"type": "string", "contentMediaType": NDJSON, "contentSchema": item}}
    if reply.shape == "stream":
        return {NDJSON: lines}
    return {JSON: {"schema": {"type": "array", "items": item}}, NDJSON: lines}


def _headers(names: Iterable[str]) -> dict[str, object]:
    return {
        name: {"description": _HEADERS[name], "required": True, "schema": {"type": "string"}}
        for name in names
    }
