"""Models as JSON and back, for both sides of the wire."""

from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def _made(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} is not made from JSON")


ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def decode(data: bytes, kind: type[T]) -> T:
    """The model that JSON says; fields that are not known are ignored.

    Raises ``msgspec.ValidationError`` when it is another thing, ``msgspec.DecodeError`` when it is
    no JSON at all.
    """
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_made)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
