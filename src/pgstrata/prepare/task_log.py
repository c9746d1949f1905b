"""What a task says while it runs: its tool's lines, and a sign of life when it is quiet."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager

from pgstrata.domain.job import Event, Task
from pgstrata.domain.model import utc_now
from pgstrata.prepare.transitions import log_event, task_event
from pgstrata.system.cancellation import to_the_end

FLUSH_SECONDS = 0.05
"""How long a line may wait for others, so that a talkative tool costs few transactions."""

MAX_PENDING_LINES = 1000
MAX_PENDING_BYTES = 1024 * 1024
"""How many lines, and how much of them, may wait; the tool is held back beyond that."""

Append = Callable[[Sequence[Event]], Coroutine[None, None, object]]


class TaskLog:
    """Collects one running task's lines and appends them as log events, in order."""

    def __init__(self, task: Task, append: Append) -> None:
        self._task = task
        self._append = append
        self._pending: list[Event] = []
        self._weight = 0
        self._writing = asyncio.Lock()

    async def line(self, text: str) -> None:
        """Note a line of the tool's output."""
        event = log_event(self._task.task_id, text, utc_now())
        self._pending.append(event)
        self._weight += event.weight
        if len(self._pending) >= MAX_PENDING_LINES or self._weight >= MAX_PENDING_BYTES:
            await self.flush()

    async def flush(self) -> bool:
        """Append what is pending; whether there was anything."""
        async with self._writing:
            lines, self._pending, self._weight = self._pending, [], 0
            if lines:
                # The pulse may be cancelled meanwhile; what it took would be lost.
                await to_the_end(self._append(lines))
            return bool(lines)

    async def keep_alive(self, heartbeat_seconds: float) -> None:
        """Append lines as they come, for ever; repeat the task's event when it stays quiet."""
        clock = asyncio.get_running_loop().time
        spoke = clock()
        while True:
            await asyncio.sleep(min(FLUSH_SECONDS, heartbeat_seconds))
            if await self.flush():
                spoke = clock()
            elif clock() - spoke >= heartbeat_seconds:
                await to_the_end(self._append([task_event(self._task, utc_now())]))
                spoke = clock()


@asynccontextmanager
async def journal(
    task: Task, append: Append, *, heartbeat_seconds: float
) -> AsyncIterator[TaskLog]:
    """A journal for as long as the task runs; everything it was told is appended at the end."""
    book = TaskLog(task, append)
    pulse = asyncio.create_task(
        book.keep_alive(heartbeat_seconds), name=f"journal of {task.job_id} {task.task_id}"
    )
    try:
        yield book
    finally:
        pulse.cancel()
        await asyncio.wait((pulse,))
        await book.flush()
    if not pulse.cancelled():
        pulse.result()
