"""Holds instances for clients that want them only as long as they are there themselves.

A held instance has a lease that is short, and extended while its client is connected. A client that
goes away in whatever way takes the instance with it; if the engine goes away, the lease ends.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta

from pgstrata.deletion.deletion import Deletion
from pgstrata.domain.instance import Instance
from pgstrata.domain.model import utc_now
from pgstrata.domain.run import LEASE_SECONDS, Held
from pgstrata.errors import NotFoundError, StoreUnusableError
from pgstrata.instances.again import gone
from pgstrata.store.base import Store

_AGAIN_SECONDS = 5.0
"""When a lease that could not be extended is tried again."""


class Holds:
    """Keeps instances while they are held, and removes them then."""

    def __init__(
        self,
        *,
        store: Store,
        deletion: Deletion,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._deletion = deletion
        self._now = now
        self._sleep = sleep

    async def hold(self, instance_id: str) -> AsyncGenerator[Held, None]:
        """Hold an instance: its lease is extended while the result is read.

        It ends when the instance is gone. Raises ``NotFoundError``, and while the result is read
        ``StoreUnusableError`` if the lease could not be extended until it was over.
        """
        instance = await self._store.instance(instance_id)
        if instance is None:
            raise gone(instance_id)
        return self._held(instance)

    async def _held(self, instance: Instance) -> AsyncGenerator[Held, None]:
        ends = instance.expires_at
        while True:
            until = self._now() + timedelta(seconds=LEASE_SECONDS)
            try:
                if not await self._store.extend(instance.instance_id, until):
                    return
            except StoreUnusableError:
                if ends is not None and self._now() >= ends:
                    raise
                await self._sleep(_AGAIN_SECONDS)
                continue
            ends = until
            yield Held(instance_id=instance.instance_id, expires_at=until)
            await self._sleep(LEASE_SECONDS / 2)

    async def release(self, instance_id: str) -> None:
        """Remove an instance that is not held any more, whoever is connected to it."""
        with suppress(NotFoundError):
            await self._deletion.delete_instance(instance_id, force=True, dry_run=False)
