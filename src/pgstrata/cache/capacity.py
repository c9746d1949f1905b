"""How much the cache may hold, and which states go when that is too much. Pure.

What is measured and what is removed is the evictor's business; the order in which states go is
``domain.state.worth``.
"""

from collections.abc import Sequence

from pgstrata.domain.model import Model
from pgstrata.domain.state import State
from pgstrata.errors import InvalidArgumentError
from pgstrata.settings import CacheCapacity

DEFAULT_SHARE = 0.8
"""The part of the disk that states may hold where nobody says how much."""

_RESERVED_SHARE = 0.05
_MOST_RESERVED = 10 << 30

ABOVE_HIGH = "usage_above_high_watermark"
BELOW_RESERVE = "free_below_reserve"


class Disk(Model, frozen=True, kw_only=True):
    """The file system that the store lies on."""

    total_bytes: int
    free_bytes: int
    """What one who is not root may still write."""


class Bounds(Model, frozen=True, kw_only=True):
    """What the limits come to on a disk."""

    max_bytes: int
    high_bytes: int
    """Above that, states go ..."""
    low_bytes: int
    """... until no more than this is held."""
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
    """The limits as bytes, on this disk."""
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
    """Why states should go; empty when there is room enough."""
    reasons = (
        (ABOVE_HIGH, usage_bytes > within.high_bytes),
        (BELOW_RESERVE, disk.free_bytes < within.reserve_bytes),
    )
    return tuple(reason for reason, applies in reasons if applies)


def excess(usage_bytes: int, disk: Disk, within: Bounds) -> int:
    """How many bytes should go: none unless there is pressure, then enough to be rid of it."""
    over_low = usage_bytes - within.low_bytes if usage_bytes > within.high_bytes else 0
    return max(0, over_low, within.reserve_bytes - disk.free_bytes)


def choose(candidates: Sequence[State], wanted_bytes: int) -> tuple[State, ...]:
    """Which of the candidates to evict so that at least the wanted space is freed.

    ``candidates``: states that may go, the one worth least first. All go when all are not enough.
    None goes in vain: of those chosen none could stay.
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
