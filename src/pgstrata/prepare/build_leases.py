"""Build leases: of a state, and of an image's base, there is one builder at a time.

The lease is in the metadata, with its owner, so that engines that share a store may share the work
one day; what an engine that was killed still had is cleared when the store is recovered. Jobs of
one engine wait for each other here, without asking the store.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
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
        self._ended = False

    async def complete(self, state: State, step: StepRecord | None = None) -> None:
        """Store the state that was built, which ends the lease in the same transaction.

        ``step`` is what it was made of. Raises ``ConflictError`` when the lease is not there any
        more.
        """
        await self._store.add_state(state, built_by=self._owner, step=step)
        self._ended = True

    async def end(self) -> None:
        """End the lease. Twice is fine."""
        if not self._ended:
            await self._store.end_build(self._item, self._owner)


class BuildLeases:
    """Leases of one owner. The order among those who wait for the same is that of their coming."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner
        # An entry lives as long as somebody builds or waits to.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, item: str) -> AsyncIterator[BuildLease]:
        """A lease to build ``item``, ended at the end; waited for as long as it takes.

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
                # Being cancelled while it is asked for does not tell whether it was given.
                await finish(self._end(lease, item))

    async def _end(self, lease: BuildLease, item: str) -> None:
        try:
            await lease.end()
        except StoreUnusableError as error:
            # What has failed is told by another error; we may take this lease again, and who
            # recovers the store clears it.
            _log.warning("the lease to build %s could not be ended: %s", item, error)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
