"""The job log: stores changes and events of jobs, and then passes events on to watchers.

All changes of jobs go through it. Watchers of a job's latest events are served from memory; those
further behind share what is read for one of them. The memory is bounded: a tail for each job, and
some batches of earlier events.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from typing import Final

from pgstrata.domain.job import Event, Job, Task, Transition
from pgstrata.errors import DiskFullError, PgstrataError, StoreUnusableError
from pgstrata.queue.base import Queue, up_to
from pgstrata.system.cancellation import finish

_log = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 0.5
"""How long to wait before trying again to store what could not be."""

TAIL_BYTES: Final = 1024 * 1024
"""The size of a job's latest events that are kept in memory."""

BATCH_EVENTS: Final = 500
BATCH_BYTES: Final = 256 * 1024
"""The largest size of a batch, unless it is a single event."""

OLD_BYTES: Final = 8 * 1024 * 1024
"""The size of the older events of all jobs that are kept in memory after reading."""

CLOSED_TAILS: Final = 32
"""How many ended jobs keep their tail, which their watchers are about to ask for."""


class OvertakenError(Exception):
    """A job was changed by someone else than its run: the run ends, and the job stays as it is."""


class Tail:
    """One job's latest events, and a wake-up for watchers that wait for more."""

    def __init__(self, count: int = 0) -> None:
        self.count = count
        """How many events the job has."""
        self.ended = False
        """Whether the job has its terminal status, although its run may still tidy up."""
        self.closed = False
        """Whether there will be no more."""
        self.writing = asyncio.Lock()
        """Held while events are committed and added here, so that both have the same order."""
        self.doubtful = False
        """Whether a write failed, so that the number of events is unknown."""
        self._events: list[Event] = []
        self._weight = 0
        self._change: asyncio.Future[None] | None = None

    @property
    def first(self) -> int:
        """The number of the first event in memory, or of the next one if there is none."""
        return self.count - len(self._events)

    def extend(self, events: Sequence[Event]) -> None:
        """Add committed events, and wake all watchers."""
        self.count += len(events)
        self._events += events
        self._weight += sum(event.weight for event in events)
        surplus = 0
        while self._weight > TAIL_BYTES:
            self._weight -= self._events[surplus].weight
            surplus += 1
        del self._events[:surplus]
        self.wake()

    def recount(self, count: int) -> None:
        """Start again with ``count`` events, none of them in memory."""
        self.count, self.doubtful = count, False
        self._events, self._weight = [], 0
        self.wake()

    def since(self, start: int) -> list[Event]:
        """Return a batch of events from number ``start`` on, which is not below ``first``."""
        begin = start - self.first
        return up_to(BATCH_BYTES, self._events[begin : begin + BATCH_EVENTS])

    def next_change(self) -> Awaitable[None]:
        """Return an awaitable for the next change after this call."""
        if self._change is None:
            self._change = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._change)

    def wake(self) -> None:
        """Wake all watchers that await a change."""
        if self._change is not None:
            self._change.set_result(None)
            self._change = None


class JobLog:
    """Stores changes of jobs, and serves their events to any number of watchers."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._open: dict[str, Tail] = {}
        self._closed: OrderedDict[str, Tail] = OrderedDict()
        self._reading: dict[tuple[str, int], asyncio.Task[list[Event]]] = {}
        self._old: OrderedDict[tuple[str, int], list[Event]] = OrderedDict()
        self._old_weight = 0
        self._waiting = False
        """Whether the log said that a change could not be stored, and none was since."""

    # Writing

    async def add(self, job: Job, events: Sequence[Event]) -> None:
        """Store a new job and open its log."""
        # Once the job can be found, its tail must be found, too.
        self._open[job.job_id] = Tail()
        try:
            await finish(self._write(job.job_id, self._add(job, events), events))
        except PgstrataError:
            self.close(job.job_id)
            raise

    async def reopen(self, job_id: str) -> None:
        """Open the log of a job that an earlier engine left."""
        self._open[job_id] = Tail(await self._queue.count_events(job_id))

    def close(self, job_id: str) -> None:
        """Close a job's log: no more events follow, and no one waits for any. May be repeated."""
        tail = self._open.pop(job_id, None)
        if tail is None:
            return
        tail.closed = True
        tail.wake()
        if not tail.doubtful:
            self._closed[job_id] = tail
        if len(self._closed) > CLOSED_TAILS:
            self._closed.popitem(last=False)

    async def apply(self, transition: Transition) -> None:
        """Carry out a transition. Raises ``OvertakenError`` if the job has another status by now.

        It is stored and passed on, or neither: cancelling the caller does not interrupt it.
        """
        job_id = transition.job.job_id
        commit = self._queue.apply(transition)
        applied = await finish(self._write(job_id, commit, transition.events))
        self._waiting = False
        if not applied:
            raise OvertakenError(job_id)
        if transition.job.status.terminal and (tail := self._tail(job_id)) is not None:
            tail.ended = True
            tail.wake()

    async def apply_when_possible(self, transition: Transition) -> None:
        """Like ``apply``, but on a full disk once there is room; waiting can be cancelled."""
        while True:
            try:
                return await self.apply_if_possible(transition)
            except DiskFullError as error:
                await self.wait_for_room(error)

    async def apply_if_possible(self, transition: Transition) -> None:
        """Like ``apply``, but raises ``DiskFullError`` only if nothing was stored.

        The log says so once.
        """
        job_id = transition.job.job_id
        before = await self.count_events(job_id)
        try:
            await self.apply(transition)
        except DiskFullError as error:
            self._tell(error)
            if not await self._stored_after_all(job_id, before, len(transition.events)):
                raise

    async def wait_for_room(self, error: StoreUnusableError) -> None:
        """Wait a moment before storing once more what could not be; the log says so once."""
        self._tell(error)
        await asyncio.sleep(AGAIN_SECONDS)

    async def append(self, job_id: str, events: Sequence[Event]) -> bool:
        """Append to a job's events. Returns False, and adds nothing, if the job has ended.

        Raises ``DiskFullError``, which the log says once; then nothing is added.
        """
        before = await self.count_events(job_id)
        try:
            done = await finish(self._write(job_id, self._queue.append(job_id, events), events))
        except DiskFullError as error:
            self._tell(error)
            if await self._stored_after_all(job_id, before, len(events)):
                return True
            raise
        self._waiting = False
        return done

    def _tell(self, error: StoreUnusableError) -> None:
        if not self._waiting:
            _log.error("jobs wait until they can be stored again: %s", error)
        self._waiting = True

    async def _stored_after_all(self, job_id: str, before: int, number: int) -> bool:
        """Whether events were stored, though the disk was said to be full.

        SQLite says so also if only what follows a commit has failed.
        """
        after = await self._queue.count_events(job_id)
        if not number or after != before + number:
            return False
        if (tail := self._tail(job_id)) is not None:
            tail.recount(after)
        return True

    async def remove(self, job_id: str) -> bool:
        """Remove a finished job. Its watchers find that nothing more follows.

        Returns False, and removes nothing, if it has not ended or is unknown.
        """
        removed = await finish(self._queue.remove(job_id))
        if removed:
            self.close(job_id)
            self._closed.pop(job_id, None)
        return removed

    # Reading

    async def load(self, job_id: str) -> Job:
        """Load a job. Raises ``OvertakenError`` if it no longer exists."""
        job = await self._queue.get(job_id)
        if job is None:
            raise OvertakenError(job_id)
        return job

    async def stdin(self, job_id: str) -> str | None:
        """See ``Queue.stdin``."""
        return await self._queue.stdin(job_id)

    async def tasks(self, job_id: str) -> tuple[Task, ...]:
        """Load a job's tasks."""
        return tuple(await self._queue.tasks(job_id))

    async def events_since(self, job_id: str, start: int, limit: int | None = None) -> list[Event]:
        """Return events of a job from number ``start`` on; empty past the end.

        With ``limit`` at most that many, and no more than a batch, even if there are more.
        """
        if limit is None:
            return await self._queue.events(job_id, start)
        tail = self._tail(job_id)
        if tail is not None and start >= tail.first:
            return tail.since(start)[:limit]
        return (await self._older(job_id, start))[:limit]

    async def count_events(self, job_id: str) -> int:
        """Return how many events the job has; 0 if it is unknown."""
        if (tail := self._tail(job_id)) is not None:
            # What is stored, such as a job's end, is counted, although not added here yet.
            async with tail.writing:
                if not tail.doubtful:
                    return tail.count
        return await self._queue.count_events(job_id)

    async def wait_for_event(self, job_id: str, number: int) -> bool:
        """Wait until the job's event ``number`` exists. Returns False if it never will."""
        while (tail := self._tail(job_id)) is not None:
            if tail.count > number:
                return True
            if tail.closed:
                return False
            await tail.next_change()
        return await self._queue.count_events(job_id) > number

    async def wait_for_end(self, job_id: str) -> None:
        """Wait until a job that runs here has ended."""
        while (tail := self._tail(job_id)) is not None and not (tail.ended or tail.closed):
            await tail.next_change()

    def _tail(self, job_id: str) -> Tail | None:
        return self._open.get(job_id) or self._closed.get(job_id)

    async def _add(self, job: Job, events: Sequence[Event]) -> bool:
        await self._queue.add(job, events)
        return True

    async def _write(self, job_id: str, commit: Awaitable[bool], events: Sequence[Event]) -> bool:
        tail = self._tail(job_id)
        if tail is None:
            return await commit
        async with tail.writing:
            try:
                done = await commit
            except BaseException:
                tail.doubtful = True
                raise
            if tail.doubtful:
                tail.recount(await self._queue.count_events(job_id))
            elif done:
                tail.extend(events)
        return done

    async def _older(self, job_id: str, start: int) -> list[Event]:
        """Return a batch that is no longer in the tail; concurrent calls share one read."""
        key = (job_id, start)
        if key in self._old:
            self._old.move_to_end(key)
            return self._old[key]
        reading = self._reading.get(key)
        if reading is None:
            reading = asyncio.create_task(self._read(key), name=f"events of {job_id} from {start}")
            self._reading[key] = reading
            reading.add_done_callback(lambda task: self._forget_reading(key, task))
        return await asyncio.shield(reading)

    async def _read(self, key: tuple[str, int]) -> list[Event]:
        job_id, start = key
        batch = await self._queue.events(job_id, start, BATCH_EVENTS, max_bytes=BATCH_BYTES)
        tail = self._tail(job_id)
        # A batch with events after it never changes.
        if tail is not None and start + len(batch) < tail.count:
            self._keep(key, batch)
        return batch

    def _forget_reading(self, key: tuple[str, int], task: asyncio.Task[list[Event]]) -> None:
        del self._reading[key]
        if not task.cancelled():
            task.exception()  # whoever still waits gets it, too

    def _keep(self, key: tuple[str, int], batch: list[Event]) -> None:
        self._old[key] = batch
        self._old_weight += sum(event.weight for event in batch)
        while self._old_weight > OLD_BYTES:
            _, dropped = self._old.popitem(last=False)
            self._old_weight -= sum(event.weight for event in dropped)
