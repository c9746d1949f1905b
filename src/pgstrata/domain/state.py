"""A state: an immutable data directory named by what went into it."""

import math
from datetime import datetime, timedelta

from pgstrata.domain.model import Model


class State(Model, frozen=True, kw_only=True):
    """One cached state, as it is listed."""

    state_id: str
    """64 lower-case hex characters."""
    parent_state_id: str | None
    """The state it was made from; None when that was the image itself."""
    image_id: str
    """The resolved image."""
    prepare_kind: str
    prepare_args_normalized: str
    """The step that made this state out of its parent, as its author would write it."""
    created_at: datetime
    size_bytes: int | None = None
    """Bytes it holds alone: what was on disk for it, when it was made, and for nothing else."""
    shared_bytes: int | None = None
    """Bytes it holds together with what it was made from; not in ``size_bytes``."""
    build_seconds: float | None = None
    """How long it took to make it out of its parent."""
    pinned: bool = False
    """Whether it is never evicted."""
    last_used_at: datetime | None = None
    use_count: int | None = None
    min_retention_until: datetime | None = None
    refcount: int
    """How many instances were cloned from it and are still there."""


HALF_LIFE = timedelta(days=1)
"""After so long without use a state is worth half of what it was."""

# Beside these, differences do not matter; and nothing is worth nothing.
_LEAST_SECONDS = 0.1
_LEAST_BYTES = 1 << 20


def worth(state: State) -> float:
    """How much the loss of a state would cost, for its size: to be compared with others' alone.

    It is the binary logarithm of the seconds its uses would have cost without it, for each byte it
    holds, halved with each ``HALF_LIFE`` since the last use. The logarithm makes that decay the
    same difference for all, so the order of states does not change as time goes by and a store can
    keep them in it.
    """
    seconds = (state.build_seconds or 0) + _LEAST_SECONDS
    saved = seconds * (1 + (state.use_count or 0)) / ((state.size_bytes or 0) + _LEAST_BYTES)
    used = state.last_used_at or state.created_at
    return math.log2(saved) + used.timestamp() / HALF_LIFE.total_seconds()
