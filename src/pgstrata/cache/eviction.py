"""The evictor: measures how full the cache is, and removes states when it is too full, first of
all their settled copies.

``capacity`` decides what is too full and which states are evicted, ``removal`` removes a state.
Measuring costs a query and a system call, however many states there are.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pgstrata.cache import capacity
from pgstrata.cache.capacity import Bounds, Disk
from pgstrata.cache.disk_full import LEAST_BYTES
from pgstrata.cache.in_use import InUse
from pgstrata.cache.removal import StateRemoval
from pgstrata.cache.settled import SettledCopies, SettledCopy
from pgstrata.domain import durations
from pgstrata.domain.cache import CacheStatus, Eviction
from pgstrata.domain.model import Model, utc_now
from pgstrata.domain.sizes import rounded
from pgstrata.errors import (
    CacheEnforcementUnavailableError,
    CacheFullUnreclaimableError,
    CacheLimitTooSmallError,
    ConflictError,
    DiskLowError,
    PgstrataError,
)
from pgstrata.settings import CacheCapacity
from pgstrata.store.base import Store

_log = logging.getLogger(__name__)

CANDIDATES_AT_ONCE = 50
"""How many states to read before some are removed, which may make their parents evictable."""

Trigger = Literal["before_step", "before_snapshot", "after_snapshot"]


class _Fill(Model, frozen=True, kw_only=True):
    """How full the cache is at one time."""

    usage_bytes: int
    disk: Disk
    bounds: Bounds

    def after_freeing(self, freed: int) -> "_Fill":
        """Return how full it will be once the file system has reclaimed what was freed."""
        disk = Disk(total_bytes=self.disk.total_bytes, free_bytes=self.disk.free_bytes + freed)
        return _Fill(usage_bytes=self.usage_bytes - freed, disk=disk, bounds=self.bounds)


@dataclass
class _Gone:
    """What was removed so far."""

    states: int = 0
    settled: int = 0
    freed: int = 0
    failure: OSError | PgstrataError | None = None


class Evictor:
    """Keeps the cache within its limits."""

    def __init__(
        self,
        *,
        limits: CacheCapacity,
        store: Store,
        removal: StateRemoval,
        in_use: InUse,
        settled: SettledCopies,
        disk: Callable[[], Disk],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``disk`` measures the store's disk; it raises ``OSError``."""
        self.limits = limits
        self._store = store
        self._removal = removal
        self._in_use = in_use
        self._settled = settled
        self._disk = disk
        self._now = now
        self._lock = asyncio.Lock()
        self._reserved = 0

    async def make_room(self, trigger: Trigger, needed_bytes: int = 0) -> None:
        """Remove states until the cache has room for ``needed_bytes`` more.

        Raises ``CacheLimitTooSmallError`` if it can never have, ``CacheFullUnreclaimableError`` if
        all states are in use, pinned or too young, and ``CacheEnforcementUnavailableError`` if the
        cache cannot be measured or states cannot be removed.
        """
        async with self._lock:
            await self._make_room(trigger, needed_bytes)

    async def has_room(self, *, for_a_state: bool) -> bool:
        """Whether a server can run; ``for_a_state``: and room can be made for what it builds.

        Raises like ``make_room``, but for a cache that is full.
        """
        if (await self._measure()).disk.free_bytes < LEAST_BYTES:
            return False
        try:
            if for_a_state:
                await self.make_room("before_step")
        except CacheFullUnreclaimableError:
            return False
        return True

    @asynccontextmanager
    async def reserve_room(self, trigger: Trigger, needed_bytes: int) -> AsyncIterator[None]:
        """Make room like ``make_room``, and reserve it until the block ends."""
        async with self._lock:
            await self._make_room(trigger, needed_bytes)
            self._reserved += needed_bytes
        try:
            yield
        finally:
            self._reserved -= needed_bytes

    async def _make_room(self, trigger: Trigger, needed_bytes: int) -> None:
        fill = await self._measure()
        if needed_bytes > fill.bounds.max_bytes or fill.bounds.max_bytes == 0:
            raise self._too_small(fill, needed_bytes)
        freed, failure = await self._relieve(fill, trigger, needed_bytes)
        left = fill.after_freeing(freed)
        over = left.usage_bytes + needed_bytes > left.bounds.max_bytes
        if over or left.disk.free_bytes < left.bounds.reserve_bytes:
            raise self._full(left, needed_bytes, failure, over=over)

    async def relieve(self, trigger: Trigger) -> None:
        """Remove states if there is pressure. Failures are only logged."""
        try:
            async with self._lock:
                await self._relieve(await self._measure(), trigger, 0)
        except PgstrataError as error:
            _log.warning("the cache could not be kept within its limits: %s", error)

    async def fits(self, needed_bytes: int) -> bool:
        """Whether there is room for so much more without evicting anything for it."""
        fill = await self._measure()
        disk = Disk(
            total_bytes=fill.disk.total_bytes, free_bytes=fill.disk.free_bytes - needed_bytes
        )
        return not capacity.pressure(fill.usage_bytes + needed_bytes, disk, fill.bounds)

    async def status(self) -> CacheStatus:
        """Return how full the cache is. Raises ``CacheEnforcementUnavailableError``."""
        fill = await self._measure()
        totals, settled = await self._store.count_states(), self._settled.totals
        usage_bytes = totals.size_bytes + settled.size_bytes
        evictable_copies = sum(copy.size_bytes for copy in await self._evictable_copies())
        kept = await self._store.not_evictable(
            created_before=self._old_enough(), excluding=self._in_use.held
        )
        return CacheStatus(
            usage_bytes=usage_bytes,
            configured_max_bytes=self.limits.max_bytes,
            effective_max_bytes=fill.bounds.max_bytes,
            reserve_bytes=fill.bounds.reserve_bytes,
            high_watermark=self.limits.high_watermark,
            low_watermark=self.limits.low_watermark,
            min_state_age=durations.write(self.limits.min_state_age),
            store_total_bytes=fill.disk.total_bytes,
            store_free_bytes=fill.disk.free_bytes,
            state_count=totals.states,
            reclaimable_bytes=totals.size_bytes - kept.size_bytes + evictable_copies,
            blocked_count=kept.states,
            pressure_reasons=capacity.pressure(usage_bytes, fill.disk, fill.bounds),
            last_eviction=await self._store.last_eviction(),
            settled_count=settled.states,
            settled_bytes=settled.size_bytes,
        )

    async def _measure(self) -> _Fill:
        try:
            disk = self._disk()
            states = await self._store.count_states()
            usage_bytes = states.size_bytes + self._settled.totals.size_bytes + self._reserved
        except (OSError, PgstrataError) as error:
            raise CacheEnforcementUnavailableError(
                f"the size of the cache cannot be measured: {error}",
                remedy="check the store's disk",
            ) from error
        return _Fill(usage_bytes=usage_bytes, disk=disk, bounds=capacity.bounds(self.limits, disk))

    async def _relieve(
        self, fill: _Fill, trigger: Trigger, needed_bytes: int
    ) -> tuple[int, OSError | PgstrataError | None]:
        """Remove states while there is pressure. Returns the bytes freed and any failure."""
        wanted = capacity.excess(fill.usage_bytes + needed_bytes, fill.disk, fill.bounds)
        if not wanted:
            return 0, None
        gone = _Gone()
        # Copies first: without them everything is there, and costs more only when it is read.
        await self._evict_settled(wanted, gone)
        await self._evict(wanted, gone)
        if gone.states or gone.settled:
            _log.info(
                "evicted %d states and %d settled copies of %d bytes: %s",
                gone.states,
                gone.settled,
                gone.freed,
                trigger,
            )
            await self._record(fill, trigger, gone)
        return gone.freed, gone.failure

    async def _evict_settled(self, wanted: int, gone: "_Gone") -> None:
        """Remove settled copies of ``wanted`` bytes, or all whose states have no instances."""
        for copy in await self._evictable_copies():
            if gone.freed >= wanted:
                return
            try:
                await self._settled.remove(copy.state_id)
            except OSError as error:
                gone.failure = error
                _log.warning(
                    "the settled copy of %s could not be evicted: %s", copy.state_id, error
                )
            else:
                gone.settled += 1
                gone.freed += copy.size_bytes

    async def _evictable_copies(self) -> list[SettledCopy]:
        found = []
        for copy in self._settled.known:
            state = await self._store.state(copy.state_id)
            if state is None or not state.refcount:
                found.append(copy)
        return found

    async def _evict(self, wanted: int, gone: "_Gone") -> None:
        """Remove states until ``wanted`` bytes are gone, or all that can be removed."""
        refused: set[str] = set()
        while gone.freed < wanted:
            candidates = await self._store.evictable(
                created_before=self._old_enough(),
                limit=CANDIDATES_AT_ONCE,
                excluding=self._in_use.held | refused,
            )
            if not candidates:
                break
            for state in capacity.choose(candidates, wanted - gone.freed):
                try:
                    removed = await self._removal.remove(state.state_id)
                except ConflictError:
                    removed = False  # something was made from it meanwhile
                except (OSError, PgstrataError) as error:
                    removed, gone.failure = False, error
                    _log.warning("state %s could not be evicted: %s", state.state_id, error)
                if removed:
                    gone.states += 1
                    gone.freed += state.size_bytes or 0
                else:
                    refused.add(state.state_id)

    async def _record(self, before: _Fill, trigger: Trigger, gone: "_Gone") -> None:
        status = await self.status()
        await self._store.record_eviction(
            Eviction(
                completed_at=self._now(),
                trigger=trigger,
                evicted_count=gone.states,
                settled_count=gone.settled,
                freed_bytes=gone.freed,
                blocked_count=status.blocked_count,
                reclaimable_bytes=status.reclaimable_bytes,
                usage_bytes_before=before.usage_bytes,
                usage_bytes_after=status.usage_bytes,
                free_bytes_before=before.disk.free_bytes,
                free_bytes_after=status.store_free_bytes,
            )
        )

    def _old_enough(self) -> datetime:
        return self._now() - timedelta(seconds=self.limits.min_state_age)

    def _too_small(self, fill: _Fill, needed: int) -> CacheLimitTooSmallError:
        return CacheLimitTooSmallError(
            f"this state alone needs {rounded(needed)}, and the whole cache may take "
            f"{rounded(fill.bounds.max_bytes)}"
            if needed
            else f"no space is left for the cache: {rounded(fill.bounds.reserve_bytes)} of the "
            f"disk's {rounded(fill.disk.total_bytes)} are reserved",
            remedy="raise cache.capacity.maxBytes or lower cache.capacity.reserveBytes, "
            "or give the store a larger disk",
        )

    def _full(
        self, left: _Fill, needed: int, failure: OSError | PgstrataError | None, *, over: bool
    ) -> PgstrataError:
        usage = (
            f"the cache takes {rounded(left.usage_bytes)} of {rounded(left.bounds.max_bytes)}, "
            f"{rounded(left.disk.free_bytes)} of the disk are free, and "
            f"{rounded(left.bounds.reserve_bytes)} are reserved"
        )
        if failure is not None:
            return CacheEnforcementUnavailableError(
                f"{usage}, and states cannot be removed: {failure}",
                remedy="check the store's disk (see pgstrata engine logs)",
            )
        wanted = f", {rounded(needed)} more are needed" if needed else ""
        full = CacheFullUnreclaimableError if over else DiskLowError
        return full(
            f"{usage}{wanted}, and no state can be evicted: all are in use, pinned or too young",
            remedy="remove instances (pgstrata rm), unpin states (pgstrata unpin), free space on "
            "the disk, or change the limits (cache.capacity); see pgstrata status --cache",
        )
