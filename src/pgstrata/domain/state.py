"""A state: an immutable data directory named by what went into it."""

from datetime import datetime

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
    last_used_at: datetime | None = None
    use_count: int | None = None
    min_retention_until: datetime | None = None
    refcount: int
    """How many instances were cloned from it and are still there."""
