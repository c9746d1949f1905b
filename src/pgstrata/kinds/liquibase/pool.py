"""A pool of Java processes: each serves one call at a time, and ends when it has been idle."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar

from pgstrata.kinds.liquibase.jvm import Jvm
from pgstrata.system.cancellation import finish

E = TypeVar("E")


class Pool(Generic[E]):
    """Lends Java processes for an environment, at most ``limit`` at once, and keeps a few idle."""

    def __init__(
        self,
        start: Callable[[E], Awaitable[Jvm]],
        *,
        limit: int,
        idle_limit: int,
        idle_seconds: float,
    ) -> None:
        self._start = start
        self._slots = asyncio.Semaphore(limit)
        self._idle_limit = idle_limit
        self._idle_seconds = idle_seconds
        self._idle: list[tuple[float, E, Jvm]] = []
        self._reaper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def lent(
        self, environment: E, fits: Callable[[Jvm], bool], *, no_other: bool = False
    ) -> AsyncIterator[Jvm]:
        """A Java process for this environment, preferably one that ``fits``.

        ``no_other``: a new one rather than one that does not. Raises ``ProgramError`` if none can
        be started.
        """
        async with self._slots:
            jvm = self._take(environment, fits, no_other) or await self._start(environment)
            try:
                yield jvm
            finally:
                await finish(self._give_back(environment, jvm))

    async def close(self) -> None:
        """End all that are idle."""
        if self._reaper is not None:
            self._reaper.cancel()
            with suppress(asyncio.CancelledError):
                await self._reaper
        await self._keep(0)

    def _take(self, environment: E, fits: Callable[[Jvm], bool], no_other: bool) -> Jvm | None:
        usable = [one for one in self._idle if one[1] == environment and one[2].alive]
        fitting = [one for one in usable if fits(one[2])]
        if not (fitting if no_other else usable):
            return None
        chosen = fitting[0] if fitting else usable[-1]
        self._idle.remove(chosen)
        return chosen[2]

    async def _give_back(self, environment: E, jvm: Jvm) -> None:
        if not jvm.alive:
            await jvm.close()
            return
        self._idle.append((asyncio.get_running_loop().time(), environment, jvm))
        await self._keep(self._idle_limit)
        if self._reaper is None or self._reaper.done():
            self._reaper = asyncio.create_task(self._reap(), name="reaper of idle Javas")

    async def _keep(self, number: int) -> None:
        """End all idle ones except the latest few."""
        excess = len(self._idle) - number
        dropped, self._idle = self._idle[: max(excess, 0)], self._idle[max(excess, 0) :]
        for _, _, jvm in dropped:
            await jvm.close()

    async def _reap(self) -> None:
        """End each one that has been idle for too long, until none are left."""
        while self._idle:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(self._idle[0][0] + self._idle_seconds - now, 0.01))
            now = asyncio.get_running_loop().time()
            due = [one for one in self._idle if one[0] + self._idle_seconds <= now]
            self._idle = [one for one in self._idle if one not in due]
            for _, _, jvm in due:
                await jvm.close()
