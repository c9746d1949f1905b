"""A state: an immutable data directory named by what it was made from."""

import math
from datetime import datetime, timedelta

from pgstrata.domain.model import Model

SNAPSHOT = "snapshot"
"""The ``prepare_kind`` of a state that no recipe made: what was in an instance at some time."""


class State(Model, frozen=True, kw_only=True):
    """One cached state, as it is listed."""

    state_id: str
    """64 lower-case hex characters."""
    parent_state_id: str | None
    """The state it was made from; None if that was the image itself."""
    image_id: str
    """The resolved image."""
    prepare_kind: str
    prepare_args_normalized: str
    """The step that made this state from its parent, as its author would write it."""
    created_at: datetime
    size_bytes: int | None = None
    """Bytes that it takes alone: what only it had on disk when it was made."""
    shared_bytes: int | None = None
    """Bytes that it shares with what it was made from; not in ``size_bytes``."""
    build_seconds: float | None = None
    """How long it took to make it from its parent."""
    steps: int = 1
    """How many steps made it from its parent: all but the last left no state of their own."""
    pinned: bool = False
    """Whether it is never evicted."""
    last_used_at: datetime | None = None
    use_count: int | None = None
    min_retention_until: datetime | None = None
    refcount: int
    """How many instances cloned from it still exist."""
    name: str | None = None
    """What a person calls it. No instance has the same name."""
    settled_bytes: int | None = None
    """Bytes that its settled copy takes alone, which instances are cloned from; not in
    ``size_bytes``. Not stored; None without one."""
    settings: dict[str, str] = {}
    """The PostgreSQL settings, other than our defaults, of the servers that made it."""


HALF_LIFE = timedelta(days=1)
"""The time without use after which a state's worth is halved."""

# Differences below these do not matter; and no state is worth nothing.
_LEAST_SECONDS = 0.1
_LEAST_BYTES = 1 << 20


def worth(state: State) -> float:
    """Return what the loss of a state would cost, for its size; only for comparison with others.

    It is the binary logarithm of the seconds per byte that its uses would have cost without it,
    halved with each ``HALF_LIFE`` since the last use. Thanks to the logarithm that decay is the
    same difference for all states, so their order does not change with time and a store can keep
    them in it.
    """
    seconds = (state.build_seconds or 0) + _LEAST_SECONDS
    saved = seconds * (1 + (state.use_count or 0)) / ((state.size_bytes or 0) + _LEAST_BYTES)
    used = state.last_used_at or state.created_at
    return math.log2(saved) + used.timestamp() / HALF_LIFE.total_seconds()
