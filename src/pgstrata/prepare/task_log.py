"""The log of a running task: its tool's lines, and a heartbeat while the tool is silent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager

from pgstrata.domain.job import Event, Task
from pgstrata.domain.model import utc_now
from pgstrata.prepare.transitions import log_event, task_event
from pgstrata.runtime.base import Failed
from pgstrata.system.cancellation import cancel, finish

FLUSH_SECONDS = 0.05
"""How long a line may wait for more, so that a tool with much output costs few transactions."""

MAX_PENDING_LINES = 1000
MAX_PENDING_BYTES = 1024 * 1024
"""How many lines, and how many bytes, may be pending before the tool has to wait."""

Append = Callable[[Sequence[Event]], Coroutine[None, None, object]]


class TaskLog:
    """Collects one running task's lines and appends them as log events, in order."""

    def __init__(self, task: Task, append: Append) -> None:
        self._task = task
        self._append = append
        self._pending: list[Event] = []
        self._weight = 0
        self._writing = asyncio.Lock()
        self.failures: list[str] = []
        """What failed in a step that went on."""

    async def line(self, text: str) -> None:
        """Add a line of the tool's output."""
        if isinstance(text, Failed):
            self.failures.append(text)
        event = log_event(self._task.task_id, str(text), utc_now())
        self._pending.append(event)
        self._weight += event.weight
        if len(self._pending) >= MAX_PENDING_LINES or self._weight >= MAX_PENDING_BYTES:
            await self.flush()

    async def flush(self) -> bool:
        """Append pending lines. Returns whether there were any."""
        async with self._writing:
            lines, self._pending, self._weight = self._pending, [], 0
            if lines:
                # The pulse may be cancelled meanwhile, and the lines it has taken must not be lost.
                await finish(self._append(lines))
            return bool(lines)

    async def keep_alive(self, heartbeat_seconds: float) -> None:
        """Append lines as they come, forever; repeat the task's event while there are none."""
        clock = asyncio.get_running_loop().time
        last_event = clock()
        while True:
            await asyncio.sleep(min(FLUSH_SECONDS, heartbeat_seconds))
            if await self.flush():
                last_event = clock()
            elif clock() - last_event >= heartbeat_seconds:
                await finish(self._append([task_event(self._task, utc_now())]))
                last_event = clock()


@asynccontextmanager
async def open_task_log(
    task: Task, append: Append, *, heartbeat_seconds: float
) -> AsyncIterator[TaskLog]:
    """Keep a log while the task runs; when the block ends, all its lines are appended."""
    task_log = TaskLog(task, append)
    pulse = asyncio.create_task(
        task_log.keep_alive(heartbeat_seconds), name=f"log of {task.job_id} {task.task_id}"
    )
    try:
        yield task_log
    finally:
        await cancel(pulse)
        await task_log.flush()
    if not pulse.cancelled():
        pulse.result()
