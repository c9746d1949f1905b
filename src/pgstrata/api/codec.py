"""Models as JSON and back, for both sides of the wire."""

from typing import TypeVar

import msgspec

from pgstrata.domain.model import from_plain, to_plain

T = TypeVar("T")


ENCODER = msgspec.json.Encoder(enc_hook=to_plain)


def decode(data: bytes, kind: type[T]) -> T:
    """The model that JSON says; fields that are not known are ignored.

    Raises ``msgspec.ValidationError`` when it is another thing, ``msgspec.DecodeError`` when it is
    no JSON at all.
    """
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=from_plain)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
