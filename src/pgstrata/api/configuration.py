"""A setting of the engine on the wire."""

from typing import Any

from pgstrata.domain.model import Model


class ConfigValue(Model, frozen=True, kw_only=True):
    """A setting, or a map of those below a path."""

    path: str
    value: Any
    """None if it has none."""
    restart_required: bool = False
    """Whether the change takes effect only when the engine is started again."""


class ConfigChange(Model, frozen=True, kw_only=True):
    """What to set."""

    path: str
    value: Any
