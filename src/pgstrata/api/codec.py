"""Models as JSON and back, for both sides of the wire."""

from typing import TypeVar, cast

import msgspec

from pgstrata.api import nested
from pgstrata.domain.deletion import DeleteResult
from pgstrata.domain.model import from_plain, to_plain

T = TypeVar("T")


ENCODER = msgspec.json.Encoder(enc_hook=to_plain)


def encode(content: object) -> bytes:
    """Encode a model, or data that contains models, as JSON."""
    return nested.encode(content) if isinstance(content, DeleteResult) else ENCODER.encode(content)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode a model from JSON; unknown fields are ignored.

    Raises ``msgspec.ValidationError`` if it does not match the model, ``msgspec.DecodeError`` if it
    is not JSON at all.
    """
    try:
        if kind is DeleteResult:
            return cast("T", nested.decode(data))
        return msgspec.json.decode(data, type=kind, dec_hook=from_plain)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
