"""Build leases: a state, or an image's base, has one builder at a time.

The lease and its owner are in the metadata, so that engines can share a store and its work one
day; a killed engine's leases are cleared when the store is recovered. Jobs of one engine wait for
each other here, without querying the store.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from pgstrata.domain.reason import StepRecord
from pgstrata.domain.state import State
from pgstrata.errors import StoreUnusableError
from pgstrata.store.base import Store
from pgstrata.system.cancellation import finish

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.5


class BuildLease:
    """The right to build something, until it is ended."""

    def __init__(self, store: Store, item: str, owner: str) -> None:
        self._store = store
        self._item = item
        self._owner = owner
        self.is_complete = False
        """Whether what was built is stored, and the lease ended."""

    async def complete(self, state: State, steps: Sequence[StepRecord] = ()) -> None:
        """Store the state that was built and end the lease, in one transaction.

        Once begun this comes to an end even if the caller is cancelled, so that ``is_complete``
        says how it went. ``steps``: what it was made from. Raises ``ConflictError`` if the lease no
        longer exists.
        """
        await finish(self._complete(state, steps))

    async def _complete(self, state: State, steps: Sequence[StepRecord]) -> None:
        await self._store.add_state(state, built_by=self._owner, steps=steps)
        self.is_complete = True

    async def end(self) -> None:
        """End the lease. May be repeated."""
        if not self.is_complete:
            await self._store.end_build(self._item, self._owner)


class BuildLeases:
    """Leases of one owner. Those who wait for the same one get it in the order of their calls."""

    def __init__(self, store: Store, owner: str) -> None:
        """``owner``: the engine."""
        self._store = store
        self._owner = owner
        # An entry lives as long as someone holds or awaits its lock.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, item: str) -> AsyncIterator[BuildLease]:
        """Wait for the lease to build ``item``, and hold it until the block ends.

        Waiting can be cancelled.
        """
        lock = self._locks.setdefault(item, asyncio.Lock())
        async with lock:
            lease = BuildLease(self._store, item, self._owner)
            try:
                for pause in _pauses():
                    if await self._store.lease_build(item, self._owner):
                        break
                    await asyncio.sleep(pause)
                yield lease
            finally:
                # If the request was cancelled, the lease may have been granted nevertheless.
                await finish(self._end(lease, item))

    async def clear(self) -> None:
        """End all leases of any owner, which killed engines left. Only while nothing is built."""
        if await self._store.build_leases():
            await self._store.clear_build_leases()

    def is_held(self, item: str) -> bool:
        """Whether somebody of this owner holds the lease to build ``item``, or waits for it."""
        lock = self._locks.get(item)
        return lock is not None and lock.locked()

    async def _end(self, lease: BuildLease, item: str) -> None:
        try:
            await lease.end()
        except StoreUnusableError as error:
            # The failure itself is reported by another error. We can take this lease again, and
            # recovering the store clears it.
            _log.warning("the lease to build %s could not be ended: %s", item, error)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
