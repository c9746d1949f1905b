"""The cache's capacity: how much space states take, how much they may take, and evictions."""

from datetime import datetime
from typing import Literal

from pgstrata.domain.model import Model

CheckOutcome = Literal["removed", "would_remove", "emptied", "in_use", "sound"]
"""``removed``: files and row. ``emptied``: only the files; the row stays for what was made from
it. ``in_use``: left alone because a job is using it. ``sound``: found sound on a second check."""


class Totals(Model, frozen=True, kw_only=True):
    """The number and the size of some states."""

    states: int
    size_bytes: int
    """The sum of what each takes alone."""


class Eviction(Model, frozen=True, kw_only=True):
    """One removal of states to free space."""

    completed_at: datetime
    trigger: str
    """When space was needed: before a step, before a snapshot, or after one."""
    evicted_count: int
    freed_bytes: int
    blocked_count: int
    """How many states could not be evicted."""
    reclaimable_bytes: int
    """The size of the states that could have been evicted, too."""
    usage_bytes_before: int
    usage_bytes_after: int
    free_bytes_before: int
    free_bytes_after: int
    settled_count: int = 0
    """How many settled copies of states were evicted, which leaves the states."""


class CacheStatus(Model, frozen=True, kw_only=True):
    """How full the cache is."""

    usage_bytes: int
    """The sum of what each state takes alone, and each settled copy."""
    configured_max_bytes: int | None = None
    effective_max_bytes: int
    """The most that states may take: what is configured, as far as the disk allows it."""
    reserve_bytes: int
    """The space kept free on the disk."""
    high_watermark: float
    """The fraction of ``effective_max_bytes`` above which states are evicted."""
    low_watermark: float
    """The fraction that they are reduced to."""
    min_state_age: str
    """The age below which a state is not evicted, such as ``10m``."""
    store_total_bytes: int
    store_free_bytes: int
    state_count: int
    reclaimable_bytes: int
    """The size of the states that could be evicted now: old enough, and not kept by an instance,
    a pin or a job."""
    blocked_count: int
    """How many states could not be evicted now."""
    pressure_reasons: tuple[str, ...]
    """Why states should be evicted; empty if there is enough space."""
    last_eviction: Eviction | None = None
    settled_count: int = 0
    """How many states have a settled copy."""
    settled_bytes: int = 0
    """What these take alone; in ``usage_bytes``."""


class StateCheck(Model, frozen=True, kw_only=True):
    """The progress of a check of the cache, and what it found last."""

    checked: int
    total: int
    state_id: str | None = None
    """The state with a problem; None if this only reports progress."""
    problem: str | None = None
    outcome: CheckOutcome | None = None
    """What was done about it, or would be; None for what cannot be examined, and is left."""
    first_read: int = 0
    """At the end of a check of contents: of how many states they were read for the first time, so
    that there was nothing to compare them with."""
