"""Models as JSON and back, for both sides of the wire."""

from typing import TypeVar

import msgspec

from pgstrata.domain.model import from_plain, to_plain

T = TypeVar("T")


ENCODER = msgspec.json.Encoder(enc_hook=to_plain)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode a model from JSON; unknown fields are ignored.

    Raises ``msgspec.ValidationError`` if it does not match the model, ``msgspec.DecodeError`` if it
    is not JSON at all.
    """
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=from_plain)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
