"""How large the cache may be, and which states are evicted when it is larger. Pure.

The evictor measures and removes; ``domain.state.worth`` determines the order of eviction.
"""

from collections.abc import Sequence

from pgstrata.domain.model import Model
from pgstrata.domain.state import State
from pgstrata.errors import InvalidArgumentError
from pgstrata.settings import CacheCapacity

DEFAULT_SHARE = 0.8
"""The fraction of the disk that states may take by default."""

_RESERVED_SHARE = 0.05
_MOST_RESERVED = 10 << 30

ABOVE_HIGH = "usage_above_high_watermark"
BELOW_RESERVE = "free_below_reserve"


class Disk(Model, frozen=True, kw_only=True):
    """The file system that the store is on."""

    total_bytes: int
    free_bytes: int
    """The space available to users other than root."""


class Bounds(Model, frozen=True, kw_only=True):
    """The limits in bytes, for one disk."""

    max_bytes: int
    high_bytes: int
    """Above this, states are evicted ..."""
    low_bytes: int
    """... until they take no more than this."""
    reserve_bytes: int


def check(limits: CacheCapacity) -> None:
    """Raise ``InvalidArgumentError`` for limits that contradict each other."""
    if not 0 < limits.low_watermark <= limits.high_watermark <= 1:
        raise InvalidArgumentError(
            f"the cache's watermarks are {limits.low_watermark:g} (low) and "
            f"{limits.high_watermark:g} (high), which is inconsistent",
            remedy="set cache.capacity.lowWatermark and highWatermark so that 0 < low <= high <= 1",
        )


def bounds(limits: CacheCapacity, disk: Disk) -> Bounds:
    """Work out the limits for a disk."""
    reserve: int | None = limits.reserve_bytes
    if reserve is None:
        reserve = min(int(disk.total_bytes * _RESERVED_SHARE), _MOST_RESERVED)
    wanted: int | None = limits.max_bytes
    if wanted is None:
        wanted = int(disk.total_bytes * DEFAULT_SHARE)
    most = max(0, min(wanted, disk.total_bytes - reserve))
    return Bounds(
        max_bytes=most,
        high_bytes=int(most * limits.high_watermark),
        low_bytes=int(most * limits.low_watermark),
        reserve_bytes=reserve,
    )


def pressure(usage_bytes: int, disk: Disk, within: Bounds) -> tuple[str, ...]:
    """Return why states should be evicted; empty if there is enough space."""
    reasons = (
        (ABOVE_HIGH, usage_bytes > within.high_bytes),
        (BELOW_RESERVE, disk.free_bytes < within.reserve_bytes),
    )
    return tuple(reason for reason, applies in reasons if applies)


def excess(usage_bytes: int, disk: Disk, within: Bounds) -> int:
    """Return how many bytes to evict: 0 without pressure, otherwise enough to end it."""
    over_low = usage_bytes - within.low_bytes if usage_bytes > within.high_bytes else 0
    return max(0, over_low, within.reserve_bytes - disk.free_bytes)


def choose(candidates: Sequence[State], wanted_bytes: int) -> tuple[State, ...]:
    """Choose which of the candidates to evict so that at least the wanted space is freed.

    ``candidates``: evictable states, the one worth least first. If all together are too small, all
    are chosen. Otherwise none is chosen unnecessarily: without any one, the rest would not suffice.
    """
    chosen: list[State] = []
    freed = 0
    for state in candidates:
        if freed >= wanted_bytes:
            break
        chosen.append(state)
        freed += state.size_bytes or 0
    for state in reversed(chosen.copy()):
        size = state.size_bytes or 0
        if freed - size >= wanted_bytes:
            chosen.remove(state)
            freed -= size
    return tuple(chosen)
