"""Leases: expired instances are removed, unless clients are connected.

One with clients gets more time, and its entry says so; so does one whose server cannot be asked,
since clients may have all its connections. Instances that expired while no engine ran are removed
when the next one starts.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from pgstrata.deletion.deletion import Deletion
from pgstrata.domain.instance import Instance
from pgstrata.domain.model import utc_now
from pgstrata.errors import NotFoundError, PgstrataError, ServerError
from pgstrata.store.base import Store
from pgstrata.system.background import Background

_log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How long it takes at most to notice a new lease or the end of one."""

_LEAST_PAUSE_SECONDS = 0.2
_SHORTEST_EXTENSION = timedelta(minutes=1)
_LONGEST_EXTENSION = timedelta(minutes=10)


class Leases(Background):
    """Ends or extends leases when they expire. Use it as an async context."""

    task_name = "leases"
    ended = "leases are no longer watched"

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

    async def work(self) -> None:
        """End or extend each lease when it expires, forever."""
        while True:
            began = self._now()
            try:
                await self.sweep()
                ends = await self._store.next_expiry()
            except (PgstrataError, OSError) as error:
                _log.warning("leases could not be checked: %s", error)
                ends = None
            if ends is not None and ends <= began:
                ends = None  # it could not be ended just now
            await self._sleep(pause(ends, self._now()))

    async def sweep(self) -> None:
        """Remove each expired instance, or give it more time."""
        for instance in await self._store.expired(self._now()):
            try:
                await self._end(instance)
            except NotFoundError:
                continue  # it was removed meanwhile
            except (PgstrataError, OSError) as error:
                _log.warning(
                    "instance %s could not be removed when its lease expired: %s",
                    instance.instance_id,
                    error,
                )

    async def _end(self, instance: Instance) -> None:
        try:
            result = await self._deletion.delete_expired(instance.instance_id, self._now())
        except (ServerError, OSError) as error:
            until = await self._extend(instance)
            if until is None:
                raise  # it is gone, but for what could not be cleared away
            _log.warning(
                "instance %s could not be removed when its lease expired, which was extended "
                "until %s: %s",
                instance.instance_id,
                until,
                error,
            )
            return
        if result is None:
            return  # it was extended since it was found
        if result.outcome == "deleted":
            _log.info("instance %s was removed: its lease expired", instance.instance_id)
            return
        until = await self._extend(instance)
        if until is None:
            return  # it was removed meanwhile
        _log.info(
            "instance %s is still used by %d clients; its lease was extended until %s",
            instance.instance_id,
            result.root.connections or 0,
            until,
        )

    async def _extend(self, instance: Instance) -> str | None:
        """Give an instance more time: until when, for people; None if it is gone."""
        until = self._now() + extension(instance)
        if not await self._store.extend(instance.instance_id, until):
            return None
        return until.isoformat(timespec="seconds")


def extension(instance: Instance) -> timedelta:
    """Return how much longer a used instance may live: as long as before, within bounds."""
    assert instance.expires_at is not None
    lived = instance.expires_at - instance.created_at
    return min(max(lived, _SHORTEST_EXTENSION), _LONGEST_EXTENSION)


def pause(next_end: datetime | None, now: datetime) -> float:
    """Return how many seconds to wait before checking leases again."""
    if next_end is None:
        return LOOK_SECONDS
    return min(max((next_end - now).total_seconds(), _LEAST_PAUSE_SECONDS), LOOK_SECONDS)
