"""Room for tasks: one that finds none gives back what it holds, and is tried again once there is.

On a full disk every job fails otherwise, although a moment later somebody removes something, or
another job ends. A task that needs more room than there can be must not be tried for ever, though.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pgstrata.errors import DiskFullError, DiskLowError
from pgstrata.prepare.executor import Executor
from pgstrata.prepare.job_slots import JobSlots
from pgstrata.runtime.base import LineSink

T = TypeVar("T")

AGAIN_SECONDS: Final = 1.0
"""How long to wait before looking for room again."""


class Room:
    """Has the tasks of jobs wait for room."""

    def __init__(self, executor: Executor, job_slots: JobSlots, patience: float) -> None:
        """``patience``: for how many seconds a task waits; with 0 it is not tried again."""
        self._executor = executor
        self._job_slots = job_slots
        self.patience = patience
        self.waiting: set[str] = set()
        """The jobs that wait. They hold nothing, and may be cancelled at any time."""

    async def find(
        self, job_id: str, work: Callable[[], Awaitable[T]], say: LineSink, state_id: str | None
    ) -> T:
        """Do a task's work, which leaves nothing behind if it finds no room; if so, try again.

        ``state_id``: the state it makes, if it makes one. Other jobs go on meanwhile. If the work
        has run out of room, it is done once more, when no other job takes any; it fails if it runs
        out again, or if no room is found in time.
        """
        clock = asyncio.get_running_loop().time
        until: float | None = None
        ran_out = False
        while True:
            try:
                return await work()
            except (DiskFullError, DiskLowError) as error:
                failure = error
            # What its earlier steps have left takes room as well.
            await self._executor.close_workspace(job_id)
            began = isinstance(failure, DiskFullError) or await self._executor.has_room(state_id)
            first = until is None
            until = clock() + self.patience if until is None else until
            if (began and ran_out) or clock() >= until:
                raise failure
            ran_out |= began
            if first:
                await say(f"{failure.message}: the job waits for room")
            await self._wait(job_id, state_id, failure, until, alone=ran_out)

    async def _wait(
        self,
        job_id: str,
        state_id: str | None,
        failure: DiskFullError | DiskLowError,
        until: float,
        *,
        alone: bool,
    ) -> None:
        """Wait until there is room and, if possible, no other job runs; raise if there is none."""
        clock = asyncio.get_running_loop().time
        while True:
            room = await self._executor.has_room(state_id)
            late = clock() >= until
            if room and (late or not alone or self._job_slots.is_alone(job_id)):
                return
            if late:
                raise failure
            self.waiting.add(job_id)
            try:
                async with self._job_slots.lend(job_id):
                    await asyncio.sleep(AGAIN_SECONDS)
            finally:
                self.waiting.discard(job_id)
