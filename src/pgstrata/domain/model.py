"""The base of all frozen models, and the present time."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """Frozen plain data. A field with a default is optional: omitted if it has the default.

    A field that is nullable but always present has no default. ``frozen`` and ``kw_only`` are
    repeated at each model, since neither msgspec nor type checkers inherit them.
    """


def to_plain(value: object) -> str:
    """Encode a path as text: the only type in our models that msgspec cannot encode."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} cannot be written as JSON")


def from_plain(kind: type, value: Any) -> Any:
    """Decode what ``to_plain`` encoded."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} cannot be read from JSON")


def utc_now() -> datetime:
    """Return the present time, aware, in UTC; encoded as RFC 3339 with a ``Z``."""
    return datetime.now(UTC)
