"""The log of a running task: its tool's lines, and a heartbeat while the tool is silent."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress

from pgstrata.domain.job import Event, Task
from pgstrata.domain.model import utc_now
from pgstrata.errors import DiskFullError
from pgstrata.prepare.transitions import log_event, task_event
from pgstrata.runtime.base import Failed
from pgstrata.system.cancellation import cancel, finish

FLUSH_SECONDS = 0.05
"""How long a line may wait for more, so that a tool with much output costs few transactions."""

AGAIN_SECONDS = 0.5
"""How long to wait before trying again to append on a full disk."""

MAX_PENDING_LINES = 1000
MAX_PENDING_BYTES = 1024 * 1024
"""How many lines, and how many bytes, may be pending before the tool has to wait."""

MOST_LINES = 20_000
MOST_BYTES = 32 * 1024 * 1024
"""After so many lines, or bytes, of a tool's output the rest is left out but for its end."""
MOST_JOB_BYTES = 4 * MOST_BYTES
"""After so many bytes of all its tools' output the same holds for whatever else a job runs."""
MOST_HEARTBEAT_BYTES = MOST_BYTES
"""After so many bytes of heartbeats, which takes a silence of many hours, a job has fewer."""
RARE_HEARTBEAT_SECONDS = 5.0
"""How long a silence there is between two of those."""
LAST_LINES = 100
_LAST_CHARS = 1000
"""How much of each of the last lines is kept."""

Append = Callable[[Sequence[Event]], Coroutine[None, None, object]]


class LogRoom:
    """How much the tasks of one job may still log."""

    def __init__(self) -> None:
        self.left_bytes = MOST_JOB_BYTES
        self.left_heartbeat_bytes = MOST_HEARTBEAT_BYTES

    def heartbeat_seconds(self, usual: float) -> float:
        """After how long a silence there is a heartbeat, which ``usual`` says while there is room.

        All of them are stored, and a job may be silent for days.
        """
        return usual if self.left_heartbeat_bytes > 0 else max(usual, RARE_HEARTBEAT_SECONDS)


class TaskLog:
    """Collects one running task's lines and appends them as log events, in order.

    A tool may write more than anybody reads: then the log has the beginning, what failed, the end,
    and between them how much is left out.
    """

    def __init__(
        self, task: Task, append: Append, room: LogRoom, has_more: Callable[[], bool]
    ) -> None:
        """See ``open_task_log``."""
        self._task = task
        self._append = append
        self._room = room
        self._has_more = has_more
        self._pending: list[Event] = []
        self._weight = 0
        self._writing = asyncio.Lock()
        self._taken_lines = 0
        self._taken_bytes = 0
        self._left_out = 0
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        """The latest of those left out."""

    def begin(self, task: Task) -> None:
        """Go on as the log of another task, after the lines of the last one were taken."""
        self._task = task
        self._taken_lines = self._taken_bytes = 0

    async def line(self, text: str) -> None:
        """Add a line of the tool's output."""
        if isinstance(text, Failed):
            self.end_gap()
        elif (
            self._taken_lines >= MOST_LINES
            or self._taken_bytes >= MOST_BYTES
            or self._room.left_bytes <= 0
        ):
            self._left_out += 1
            self._last.append(text[:_LAST_CHARS])
            return
        self._take(text)
        if len(self._pending) >= MAX_PENDING_LINES or self._weight >= MAX_PENDING_BYTES:
            await self.flush_when_possible()

    async def tell(self, text: str) -> None:
        """Add a line of ours, and append it at once, unless the disk is full."""
        self._take(text)
        await self.flush_if_possible()

    def end_gap(self) -> None:
        """Add the last of the lines that were left out since the last call."""
        if gone := self._left_out - len(self._last):
            self._take(f"… {gone} lines are left out")
        for text in self._last:
            self._take(text)
        self._left_out = 0
        self._last.clear()

    def _take(self, text: str) -> None:
        event = log_event(self._task.task_id, str(text), utc_now())
        self._add(event)
        self._taken_lines += 1
        self._taken_bytes += event.weight
        self._room.left_bytes -= event.weight

    def _add(self, event: Event) -> None:
        self._pending.append(event)
        self._weight += event.weight

    async def flush(self) -> bool:
        """Append pending lines, and whatever else is to be stored. Returns whether there was any.

        Raises ``DiskFullError``; then they are still pending.
        """
        async with self._writing:
            lines, self._pending = self._pending, []
            weight, self._weight = self._weight, 0
            anything = bool(lines) or self._has_more()
            if anything:
                try:
                    # The pulse may be cancelled meanwhile, and its lines must not be lost.
                    await finish(self._append(lines))
                except DiskFullError:
                    self._pending = lines + self._pending
                    self._weight += weight
                    raise
            return anything

    async def take(self) -> Sequence[Event]:
        """Give the pending lines away, to be stored by the caller."""
        async with self._writing:
            lines, self._pending, self._weight = self._pending, [], 0
        return lines

    async def flush_lines(self) -> None:
        """Append pending lines, if there are any, on a full disk once there is room."""
        if self._pending or self._writing.locked():
            await self.flush_when_possible()

    async def flush_when_possible(self) -> None:
        """Append pending lines, on a full disk once there is room; waiting can be cancelled."""
        while True:
            try:
                await self.flush()
            except DiskFullError:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    async def flush_if_possible(self) -> None:
        """Append pending lines, unless the disk is full."""
        with suppress(DiskFullError):
            await self.flush()

    async def keep_alive(self, heartbeat_seconds: float) -> None:
        """Append lines as they come, forever; repeat the task's event while there are none.

        Events are numbered as they are stored, so that no watcher could be told of one that is not.
        """
        clock = asyncio.get_running_loop().time
        last_event = clock()
        while True:
            await asyncio.sleep(min(FLUSH_SECONDS, heartbeat_seconds))
            try:
                if await self.flush():
                    last_event = clock()
                elif clock() - last_event >= self._room.heartbeat_seconds(heartbeat_seconds):
                    # Among the lines, since the task may be done before it is stored.
                    heartbeat = task_event(self._task, utc_now())
                    self._room.left_heartbeat_bytes -= heartbeat.weight
                    self._add(heartbeat)
                    await self.flush()
                    last_event = clock()
            except DiskFullError:
                await asyncio.sleep(AGAIN_SECONDS)


@asynccontextmanager
async def open_task_log(
    task: Task,
    append: Append,
    room: LogRoom,
    *,
    heartbeat_seconds: float,
    has_more: Callable[[], bool] = lambda: False,
) -> AsyncIterator[TaskLog]:
    """Keep a log while the task runs; when the block ends, all its lines are appended.

    On a full disk that waits for room; if the block was cancelled, what is pending is lost.
    ``room``: what the job's tasks share. ``has_more``: whether ``append`` has more to store than it
    is given; then it is called without lines, too, meanwhile and after an error.
    """
    task_log = TaskLog(task, append, room, has_more)
    pulse = asyncio.create_task(
        task_log.keep_alive(heartbeat_seconds), name=f"log of {task.job_id} {task.task_id}"
    )
    flush = task_log.flush_lines
    try:
        yield task_log
    except asyncio.CancelledError:
        flush = task_log.flush_if_possible
        raise
    except BaseException:
        flush = task_log.flush_when_possible
        raise
    finally:
        await cancel(pulse)
        task_log.end_gap()
        await flush()
    if not pulse.cancelled():
        pulse.result()
