"""Job requests on the wire: the fields common to all kinds, and those of each kind.

A request is flat, and its ``prepare_kind`` determines which fields it has. There is a model with
all of them for each kind.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Any, Final, cast

import msgspec

from pgstrata.domain.model import Model
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.httpapi.body import REMEDY, decode
from pgstrata.kinds.base import lookup

_KIND: Final = "prepare_kind"
_COMMON: Final = tuple(
    field for field in msgspec.structs.fields(PrepareRequest) if field.name not in (_KIND, "fields")
)


class _Head(Model, frozen=True, kw_only=True):
    prepare_kind: str


class JobRequests:
    """Reads job requests of the known kinds."""

    def __init__(self, fields: Mapping[str, type[msgspec.Struct]] | None = None) -> None:
        """``fields``: each kind's own fields. Raises like ``add``."""
        self._fields: dict[str, type[msgspec.Struct]] = {}
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self._head = msgspec.json.Decoder(_Head)
        for kind, own in (fields or {}).items():
            self.add(kind, own)

    def add(self, kind: str, own: type[msgspec.Struct]) -> None:
        """Add a kind with its own fields.

        Raises ``ValueError`` for a field that all requests have, or that has no default.
        """
        _check(own)
        self._fields[kind] = own
        # Another kind's field is ignored, but it is an error if its type is wrong.
        self._decoders = {
            name: msgspec.json.Decoder(_model(name, [mine, *self._fields.values()]))
            for name, mine in self._fields.items()
        }

    @property
    def model(self) -> Any:
        """The type of all requests, for the OpenAPI document."""
        return reduce(or_, (_model(kind, [own]) for kind, own in self._fields.items()))

    def read(self, body: bytes | bytearray) -> PrepareRequest:
        """Read a request. Raises ``InvalidArgumentError`` if it is not JSON or does not fit."""
        kind = decode(body, self._head).prepare_kind
        request = decode(body, lookup(self._decoders, kind))
        if not request.image_id and request.start_from is None:
            raise InvalidArgumentError("`image_id` is missing.", remedy=REMEDY)
        own = self._fields[kind]
        plain = msgspec.json.encode(own(**_taken(request, msgspec.structs.fields(own))))
        return PrepareRequest(
            prepare_kind=kind, fields=msgspec.json.decode(plain), **_taken(request, _COMMON)
        )


def _taken(request: msgspec.Struct, fields: Iterable[msgspec.structs.FieldInfo]) -> dict[str, Any]:
    return {field.name: getattr(request, field.name) for field in fields}


def _check(own: type[msgspec.Struct]) -> None:
    taken = {_KIND, *(field.encode_name for field in _COMMON)}
    fields = msgspec.structs.fields(own)
    if twice := sorted(taken & {field.encode_name for field in fields}):
        raise ValueError(f"it has fields that every request has: {', '.join(twice)}")
    if needed := [field.name for field in fields if field.required]:
        raise ValueError(f"it has fields without a default: {', '.join(needed)}")


def _model(kind: str, models: Iterable[type[msgspec.Struct]]) -> type[msgspec.Struct]:
    """Make a model with all the fields; of fields with the same name, the first model's counts."""
    taken = {_KIND, *(field.name for field in _COMMON)}
    definitions = [*_definitions(PrepareRequest, taken)]
    for model in models:
        names = {field.name for field in msgspec.structs.fields(model)} - taken
        definitions += _definitions(model, names)
        taken |= names
    return msgspec.defstruct(
        f"{kind.capitalize()}PrepareRequest",
        definitions,
        bases=(Model,),
        namespace={"__doc__": f"One prepare request of the kind {kind}."},
        frozen=True,
        kw_only=True,
        tag_field=_KIND,
        tag=kind,
    )


def _definitions(model: type[msgspec.Struct], names: set[str]) -> Iterator[Any]:
    for field in msgspec.structs.fields(model):
        if field.name == _KIND or field.name not in names:
            continue
        if field.required:
            yield field.name, field.type
            continue
        factory, own = field.default_factory, {"name": field.encode_name}
        if factory is not msgspec.NODEFAULT:
            default = msgspec.field(default_factory=cast(Any, factory), **own)
        else:
            default = msgspec.field(default=field.default, **own)
        yield field.name, field.type, default
