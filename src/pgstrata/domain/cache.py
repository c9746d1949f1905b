"""The cache's room: how much states hold, how much they may, and what was done about it."""

from datetime import datetime
from typing import Literal

from pgstrata.domain.model import Model

CheckOutcome = Literal["removed", "would_remove", "emptied", "in_use", "sound"]
"""``removed``: files and row. ``emptied``: the files alone; the row stays for what was made from
it. ``in_use``: left to the job at work on it. ``sound``: found sound when checked again."""


class Totals(Model, frozen=True, kw_only=True):
    """Some states, counted and weighed."""

    states: int
    size_bytes: int
    """What they hold alone, all together."""


class Eviction(Model, frozen=True, kw_only=True):
    """One time that states were removed to make room."""

    completed_at: datetime
    trigger: str
    """When it was that room was wanted: before a step, before a snapshot, or after one."""
    evicted_count: int
    freed_bytes: int
    blocked_count: int
    """How many states could not go."""
    reclaimable_bytes: int
    """What the states that could have gone as well hold."""
    usage_bytes_before: int
    usage_bytes_after: int
    free_bytes_before: int
    free_bytes_after: int


class CacheStatus(Model, frozen=True, kw_only=True):
    """How full the cache is."""

    usage_bytes: int
    """What all states hold alone."""
    configured_max_bytes: int | None = None
    effective_max_bytes: int
    """The most that states may hold: what is configured, as far as the disk allows it."""
    reserve_bytes: int
    """What is to stay free on the disk."""
    high_watermark: float
    """The part of ``effective_max_bytes`` above which states go."""
    low_watermark: float
    """The part of it that is left then."""
    min_state_age: str
    """How old a state is at least when it goes, such as ``10m``."""
    store_total_bytes: int
    store_free_bytes: int
    state_count: int
    reclaimable_bytes: int
    """What the states hold that could go now: not young, and held by no instance, pin or job."""
    blocked_count: int
    """How many states could not go now."""
    pressure_reasons: tuple[str, ...]
    """Why states should go; empty when there is room enough."""
    last_eviction: Eviction | None = None


class StateCheck(Model, frozen=True, kw_only=True):
    """How far a check of the cache is, and what it found last."""

    checked: int
    total: int
    state_id: str | None = None
    """The state that something is wrong with; None for news of the progress alone."""
    problem: str | None = None
    outcome: CheckOutcome | None = None
    """What was done about it, or would be."""
