"""Job slots: how many jobs may run at once, and in which order the others follow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class JobSlots:
    """A fixed number of slots, granted first come, first served.

    A job that only waits for another job's work lends its slot. When it returns, it precedes all
    jobs that have not had a slot yet.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._free = number
        """Below 0 while there are more holders than slots."""
        self._holders: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._returning: dict[str, asyncio.Future[None]] = {}

    def resize(self, number: int) -> None:
        """Have another number of slots; who holds one keeps it."""
        self._free += number - self._number
        self._number = number
        while self._free > 0 and self._grant():
            self._free -= 1

    @property
    def waiting(self) -> tuple[str, ...]:
        """The jobs that have not had a slot yet, the next one first."""
        return tuple(self._waiting)

    def position(self, job_id: str) -> int | None:
        """Return a job's position in the queue for a slot, from 1; None if it is not queued."""
        positions = {waiting: position for position, waiting in enumerate(self._waiting, start=1)}
        return positions.get(job_id)

    @property
    def is_full(self) -> bool:
        """Whether another job would have to wait."""
        return self._free <= 0

    def is_alone(self, job_id: str) -> bool:
        """Whether no other job holds a slot."""
        return self._holders <= {job_id}

    @asynccontextmanager
    async def hold(self, job_id: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it until the block ends. Waiting can be cancelled."""
        await self._take(job_id, self._waiting)
        try:
            yield
        finally:
            self._release(job_id)

    @asynccontextmanager
    async def lend(self, job_id: str) -> AsyncIterator[None]:
        """Lend the job's slot to others until the block ends, then wait to get one back."""
        self._release(job_id)
        yield
        await self._take(job_id, self._returning)

    async def _take(self, job_id: str, queue: dict[str, asyncio.Future[None]]) -> None:
        if self._free > 0:
            self._free -= 1
            self._holders.add(job_id)
            return
        granted = queue[job_id] = asyncio.get_running_loop().create_future()
        try:
            await granted
        except asyncio.CancelledError:
            # The slot may have been granted just before the cancellation.
            self._release(job_id)
            raise
        finally:
            del queue[job_id]

    def _release(self, job_id: str) -> None:
        """Pass the job's slot, if it holds one, to the next job."""
        if job_id not in self._holders:
            return
        self._holders.remove(job_id)
        if self._free < 0 or not self._grant():
            self._free += 1

    def _grant(self) -> bool:
        """Grant a slot to the next job; False if none waits."""
        for queue in (self._returning, self._waiting):
            for next_id, granted in queue.items():
                if not granted.done():
                    granted.set_result(None)
                    self._holders.add(next_id)
                    return True
        return False
