"""Supervision: where that is wanted, an instance's server that ended is started again by itself.

Not where somebody has to decide: after a boot, or if the engine stopped it. One that ends again
within a minute would do so for ever.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from pgstrata.domain.instance import Instance
from pgstrata.errors import HostLimitError, NotFoundError, PgstrataError
from pgstrata.instances.restarting import Restarting
from pgstrata.runtime.base import Runtime
from pgstrata.store.base import Store
from pgstrata.system.background import Background

_log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How long it takes at most to notice that a server has ended."""

LEAST_SECONDS = 60.0
"""How long a server that was started again must have run to be started once more."""

_STAYS_DOWN = "has ended, and is not started again"


class Supervision(Background):
    """Starts servers again. Use it as an async context."""

    task_name = "supervision"
    ended = "servers that end are no longer started again"

    def __init__(
        self,
        *,
        store: Store,
        runtime: Runtime,
        restarting: Restarting,
        wanted: bool = False,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._restarting = restarting
        self._now = now
        self._sleep = sleep
        self._wanted = asyncio.Event()
        self._started_at: dict[str, float] = {}
        """When it was last started again by itself, by an instance's id."""
        self._told: set[str] = set()
        """The handles of servers that the log told of, since something is wrong with them."""
        self._given_up: set[str] = set()
        self.want(wanted)

    def want(self, wanted: bool) -> None:
        """Begin or end to start servers again."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def work(self) -> None:
        """Look after all servers, forever."""
        while await self._wanted.wait():
            try:
                await self.sweep()
            except (PgstrataError, OSError) as error:
                _log.warning("servers could not be looked after: %s", error)
            await self._sleep(LOOK_SECONDS)

    async def sweep(self) -> None:
        """Start every server again that has ended, unless it is known that it would not help."""
        instances = await self._store.instances()
        handles = {instance.server.handle for instance in instances}
        self._told &= handles
        self._given_up &= handles
        for instance in instances:
            if instance.server.handle in self._given_up:
                continue
            try:
                alive = await self._runtime.alive(instance.server)
            except (PgstrataError, OSError) as error:
                self._tell(instance, "cannot be looked after", error)  # until it can be
                continue
            if not alive:
                await self._start(instance)

    async def _start(self, instance: Instance) -> None:
        handle, now = instance.server.handle, self._now()
        if now - self._started_at.get(instance.instance_id, -LEAST_SECONDS) < LEAST_SECONDS:
            self._given_up.add(handle)
            self._tell(instance, _STAYS_DOWN, "it ended again within a minute")
            return
        try:
            running = await self._restarting.running(instance.instance_id)
        except NotFoundError:
            return  # it was removed meanwhile
        except (HostLimitError, OSError) as error:
            # Until there is memory again, or whatever else was wanting.
            self._tell(instance, _STAYS_DOWN, error)
        except PgstrataError as error:
            self._given_up.add(handle)
            self._tell(instance, _STAYS_DOWN, error)
        else:
            if running.restarted:
                self._started_at[instance.instance_id] = now
                _log.info(
                    "the server of instance %s had ended, and was started again",
                    instance.known_as,
                )

    def _tell(self, instance: Instance, what: str, why: object) -> None:
        if instance.server.handle not in self._told:
            self._told.add(instance.server.handle)
            _log.warning("the server of instance %s %s: %s", instance.known_as, what, why)
