"""Complaints: what the servers of instances log of damaged files puts their states under suspicion.

A job that finds its states does not read them. Whether a table's file is there is noticed by who
asks for its rows, of whom the engine hears nothing but what the server logs. Who reads a log
sees to it as well that it does not grow for ever.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from pgstrata.domain.instance import Instance
from pgstrata.errors import PgstrataError, ServerError
from pgstrata.prepare.suspicion import Suspicion, complains
from pgstrata.store.base import Store
from pgstrata.system.background import Background
from pgstrata.system.output import drop_beginning, end_of

_log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How long it takes at most to hear a complaint."""

_LONGEST_BYTES = 64 << 10
"""How much of what was logged since the last look is read: its end."""

MOST_BYTES, KEPT_BYTES = 64 << 20, 1 << 20
"""How large a log may be, and how much of its end is kept of a larger one."""


class Complaints(Background):
    """Reads what servers log. Use it as an async context."""

    task_name = "complaints"
    ended = "what servers say of damaged files is no longer heard"

    def __init__(
        self,
        *,
        store: Store,
        suspicion: Suspicion,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._suspicion = suspicion
        self._sleep = sleep
        self._sizes: dict[str, int] = {}
        """How large each log was at the last look, by the instance's id."""
        self._followed: set[str] = set()
        """Instances whose complaint was looked into: clients may ruin them in any way."""

    async def work(self) -> None:
        """Look at all logs, forever."""
        while True:
            try:
                await self.sweep()
            except (PgstrataError, OSError) as error:
                _log.warning("what servers say could not be heard: %s", error)
            await self._sleep(LOOK_SECONDS)

    async def sweep(self) -> None:
        """Look into the first complaint of each instance's server."""
        instances = {one.instance_id: one for one in await self._store.instances()}
        self._followed &= instances.keys()
        news = await asyncio.to_thread(self._news, tuple(instances.values()))
        for instance_id, said in news.items():
            complaint = ServerError("the server of an instance complains", details=said)
            if instance_id not in self._followed and complains(complaint):
                self._followed.add(instance_id)
                await self._follow(instances[instance_id], complaint)

    async def _follow(self, instance: Instance, complaint: ServerError) -> None:
        try:
            await self._suspicion.of_state(instance.state_id, complaint, instance.settings)
        except PgstrataError as error:
            _log.warning("the server of instance %s: %s", instance.known_as, error)

    def _news(self, instances: Sequence[Instance]) -> Mapping[str, str]:
        """What was logged since the last look, by instance."""
        news, sizes = {}, {}
        for instance in instances:
            log, before = Path(instance.server.log), self._sizes.get(instance.instance_id, 0)
            try:
                size = log.stat().st_size
                if size > before:
                    end = end_of(log, before, _LONGEST_BYTES)
                    news[instance.instance_id] = end.decode("utf-8", "replace")
                if size > MOST_BYTES:
                    drop_beginning(log, KEPT_BYTES)
                    size = log.stat().st_size
                sizes[instance.instance_id] = size
            except OSError:
                continue  # it is gone, or cannot be read by us
        self._sizes = sizes
        return news
