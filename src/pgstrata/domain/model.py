"""What every frozen model has in common, and how moments are told."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """Frozen plain data. A field with a default is optional: left out where it holds the default.

    A field that is nullable but always present has no default. ``frozen`` and ``kw_only`` are said
    again at each model: neither msgspec nor type checkers hand them down.
    """


def to_plain(value: object) -> str:
    """A path as text: the one type in our models that msgspec has no form for."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def from_plain(kind: type, value: Any) -> Any:
    """What ``to_plain`` made, as it was."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} cannot be read from JSON")


def utc_now() -> datetime:
    """The present moment, aware, in UTC; encoded as RFC 3339 with a ``Z``."""
    return datetime.now(UTC)
