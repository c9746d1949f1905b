"""Job slots: who may work now, when only so many may at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class JobSlots:
    """A number of turns for jobs, given first come, first served.

    A job that only waits for another's work lends its turn, and is before all who never had one
    when it comes back.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._holders: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._returning: dict[str, asyncio.Future[None]] = {}

    @property
    def waiting(self) -> tuple[str, ...]:
        """The jobs that have not had a turn yet, the next one first."""
        return tuple(self._waiting)

    def place(self, job_id: str) -> int | None:
        """A job's place in the line, from 1; None when it does not stand in it."""
        places = {waiting: place for place, waiting in enumerate(self._waiting, start=1)}
        return places.get(job_id)

    @asynccontextmanager
    async def turn(self, job_id: str) -> AsyncIterator[None]:
        """A turn, as soon as one is free. Waiting for it can be cancelled."""
        await self._take(job_id, self._waiting)
        try:
            yield
        finally:
            self._give_back(job_id)

    @asynccontextmanager
    async def lent(self, job_id: str) -> AsyncIterator[None]:
        """Let someone else have the job's turn meanwhile; have it again at the end."""
        self._give_back(job_id)
        yield
        await self._take(job_id, self._returning)

    async def _take(self, job_id: str, line: dict[str, asyncio.Future[None]]) -> None:
        if self._free:
            self._free -= 1
            self._holders.add(job_id)
            return
        given = line[job_id] = asyncio.get_running_loop().create_future()
        try:
            await given
        except asyncio.CancelledError:
            # It may have been given in the very moment of being cancelled.
            self._give_back(job_id)
            raise
        finally:
            del line[job_id]

    def _give_back(self, job_id: str) -> None:
        """Hand the job's turn on, if it has one."""
        if job_id not in self._holders:
            return
        self._holders.remove(job_id)
        for line in (self._returning, self._waiting):
            for next_id, given in line.items():
                if not given.done():
                    given.set_result(None)
                    self._holders.add(next_id)
                    return
        self._free += 1
