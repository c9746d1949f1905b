"""What every frozen model has in common, and how moments are told."""

from datetime import UTC, datetime

import msgspec


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """Frozen plain data. A field with a default is optional: left out where it holds the default.

    A field that is nullable but always present has no default. ``frozen`` and ``kw_only`` are said
    again at each model: neither msgspec nor type checkers hand them down.
    """


def utc_now() -> datetime:
    """The present moment, aware, in UTC; encoded as RFC 3339 with a ``Z``."""
    return datetime.now(UTC)
