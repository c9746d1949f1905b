"""Feeds: what jobs say, handed on to everyone who watches them.

Whoever commits events does it through here. Those who watch the head of a job are then served from
memory; those who are further behind share what is read for one of them. What is kept is bounded:
a tail for each job, some batches of what came before.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from typing import Final

from pgstrata.domain.job import Event
from pgstrata.queue.base import Queue, up_to
from pgstrata.system.cancellation import to_the_end

TAIL_BYTES: Final = 1024 * 1024
"""How much of the latest that a job said stays in memory."""

BATCH_EVENTS: Final = 500
BATCH_BYTES: Final = 256 * 1024
"""How much is handed out at once, if it is more than one event."""

OLD_BYTES: Final = 8 * 1024 * 1024
"""How much of what was read again stays in memory, of all jobs together."""

CLOSED_FEEDS: Final = 32
"""How many jobs that have ended keep their tail: their watchers are about to ask for it."""


class Feed:
    """What one job has said, as far as it is in memory, and the news that there is more."""

    def __init__(self, said: int = 0) -> None:
        self.said = said
        """How many events the job has."""
        self.closed = False
        """Whether it will say nothing more here."""
        self.writing = asyncio.Lock()
        """Held while events are committed and told, so that both happen in one order."""
        self.doubtful = False
        """Whether a write failed, so that nobody knows how many events there are."""
        self._tail: list[Event] = []
        self._weight = 0
        self._news: asyncio.Future[None] | None = None

    @property
    def first(self) -> int:
        """The number of the first event that is in memory, or of the next to come."""
        return self.said - len(self._tail)

    def tell(self, events: Sequence[Event]) -> None:
        """Take events that were committed, and wake all who wait."""
        self.said += len(events)
        self._tail += events
        self._weight += sum(event.weight for event in events)
        surplus = 0
        while self._weight > TAIL_BYTES:
            self._weight -= self._tail[surplus].weight
            surplus += 1
        del self._tail[:surplus]
        self.wake()

    def recount(self, said: int) -> None:
        """Begin again with ``said`` events, none of them in memory."""
        self.said, self.doubtful = said, False
        self._tail, self._weight = [], 0
        self.wake()

    def since(self, start: int) -> list[Event]:
        """A batch of events from number ``start`` on, which is not below ``first``."""
        begin = start - self.first
        return up_to(BATCH_BYTES, self._tail[begin : begin + BATCH_EVENTS])

    def news(self) -> Awaitable[None]:
        """Something to await: done at the next change after this call."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._news)

    def wake(self) -> None:
        """Let all who await news look again."""
        if self._news is not None:
            self._news.set_result(None)
            self._news = None


class Feeds:
    """The feeds of all jobs that run here, and of those that ended a moment ago."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._open: dict[str, Feed] = {}
        self._closed: OrderedDict[str, Feed] = OrderedDict()
        self._reading: dict[tuple[str, int], asyncio.Task[list[Event]]] = {}
        self._old: OrderedDict[tuple[str, int], list[Event]] = OrderedDict()
        self._old_weight = 0

    def open(self, job_id: str, said: int = 0) -> None:
        """Begin the feed of a job that has ``said`` events so far, before anybody can find it."""
        self._open[job_id] = Feed(said)

    def close(self, job_id: str) -> None:
        """The job says nothing more here: whoever waits for more waits no longer. Twice is fine."""
        feed = self._open.pop(job_id, None)
        if feed is None:
            return
        feed.closed = True
        feed.wake()
        if not feed.doubtful:
            self._closed[job_id] = feed
        if len(self._closed) > CLOSED_FEEDS:
            self._closed.popitem(last=False)

    async def write(self, job_id: str, commit: Awaitable[bool], events: Sequence[Event]) -> bool:
        """Carry out a commit that adds ``events`` to a job, then tell them if it did.

        Both or neither: once begun, the caller's cancellation waits for the end.
        """
        return await to_the_end(self._write(job_id, commit, events))

    async def since(self, job_id: str, start: int, limit: int | None = None) -> list[Event]:
        """Events of a job from number ``start`` on; empty past the end.

        With ``limit`` at most as many, and no more than a batch, even where there are more.
        """
        if limit is None:
            return await self._queue.events(job_id, start)
        feed = self._feed(job_id)
        if feed is not None and start >= feed.first:
            return feed.since(start)[:limit]
        return (await self._older(job_id, start))[:limit]

    async def count(self, job_id: str) -> int:
        """How many events the job has; 0 when it is unknown."""
        feed = self._feed(job_id)
        return await self._queue.count_events(job_id) if feed is None else feed.said

    async def wait_for(self, job_id: str, number: int) -> bool:
        """Wait until the job's event ``number`` is there; False when it will never be."""
        while (feed := self._feed(job_id)) is not None:
            if feed.said > number:
                return True
            if feed.closed:
                return False
            await feed.news()
        return await self._queue.count_events(job_id) > number

    async def _write(self, job_id: str, commit: Awaitable[bool], events: Sequence[Event]) -> bool:
        feed = self._feed(job_id)
        if feed is None:
            return await commit
        async with feed.writing:
            try:
                done = await commit
            except BaseException:
                feed.doubtful = True
                raise
            if feed.doubtful:
                feed.recount(await self._queue.count_events(job_id))
            elif done:
                feed.tell(events)
        return done

    def _feed(self, job_id: str) -> Feed | None:
        return self._open.get(job_id) or self._closed.get(job_id)

    async def _older(self, job_id: str, start: int) -> list[Event]:
        """A batch that is no longer in its feed: read once for all who ask for it meanwhile."""
        key = (job_id, start)
        if key in self._old:
            self._old.move_to_end(key)
            return self._old[key]
        reading = self._reading.get(key)
        if reading is None:
            reading = asyncio.create_task(self._read(key), name=f"events of {job_id} from {start}")
            self._reading[key] = reading
            reading.add_done_callback(lambda task: self._was_read(key, task))
        return await asyncio.shield(reading)

    async def _read(self, key: tuple[str, int]) -> list[Event]:
        job_id, start = key
        batch = await self._queue.events(job_id, start, BATCH_EVENTS, max_bytes=BATCH_BYTES)
        feed = self._feed(job_id)
        # A batch with more behind it stays what it is.
        if feed is not None and start + len(batch) < feed.said:
            self._keep(key, batch)
        return batch

    def _was_read(self, key: tuple[str, int], task: asyncio.Task[list[Event]]) -> None:
        del self._reading[key]
        if not task.cancelled():
            task.exception()  # told to whoever still waits

    def _keep(self, key: tuple[str, int], batch: list[Event]) -> None:
        self._old[key] = batch
        self._old_weight += sum(event.weight for event in batch)
        while self._old_weight > OLD_BYTES:
            _, dropped = self._old.popitem(last=False)
            self._old_weight -= sum(event.weight for event in dropped)
