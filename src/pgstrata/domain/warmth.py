"""Warm servers, as they are asked for and shown."""

from typing import Annotated

import msgspec

from pgstrata.domain.model import Model


class Warmth(Model, frozen=True, kw_only=True):
    """The warm servers of a state."""

    state_id: str
    wanted: int
    """How many are to wait for whoever asks next."""
    ready: int
    """How many wait now."""


class WarmthRequest(Model, frozen=True, kw_only=True):
    """How many warm servers a state is to have."""

    count: Annotated[int, msgspec.Meta(ge=0)]
    """0 for none but those that demand calls for."""


class PoolStatus(Model, frozen=True, kw_only=True):
    """The warm servers of all states."""

    wanted: int
    ready: int
    max: int
    """How many there may be."""
