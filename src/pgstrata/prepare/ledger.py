"""The ledger: every change of a job is stored first, then told to those who wait for it."""

from collections.abc import Sequence

from pgstrata.domain.job import Event, Job, Task, Transition
from pgstrata.errors import PgstrataError
from pgstrata.prepare.feeds import Feeds
from pgstrata.queue.base import Queue


class OvertakenError(Exception):
    """A job is not where a run of it believed it to be: the run is over, the job stays."""


class Ledger:
    """Writes to the queue, and feeds those who watch a job."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._feeds = Feeds(queue)

    async def add(self, job: Job, events: Sequence[Event]) -> None:
        """Store a new job, open from now on."""
        # Whoever finds the job must find its feed, too.
        self._feeds.open(job.job_id)
        try:
            await self._feeds.write(job.job_id, self._add(job, events), events)
        except PgstrataError:
            self._feeds.close(job.job_id)
            raise

    async def reopen(self, job_id: str) -> None:
        """Take up a job that an earlier engine left."""
        self._feeds.open(job_id, await self._queue.count_events(job_id))

    def close(self, job_id: str) -> None:
        """Nothing more will be said of a job here: nobody need wait."""
        self._feeds.close(job_id)

    async def load(self, job_id: str) -> Job:
        """The job as it is stored. Raises ``OvertakenError`` when it is not there any more."""
        job = await self._queue.get(job_id)
        if job is None:
            raise OvertakenError(job_id)
        return job

    async def tasks(self, job_id: str) -> tuple[Task, ...]:
        """The job's tasks as they are stored."""
        return tuple(await self._queue.tasks(job_id))

    async def apply(self, transition: Transition) -> None:
        """Carry out a transition. Raises ``OvertakenError`` when the job was elsewhere already."""
        job_id = transition.job.job_id
        commit = self._queue.apply(transition)
        if not await self._feeds.write(job_id, commit, transition.events):
            raise OvertakenError(job_id)

    async def append(self, job_id: str, events: Sequence[Event]) -> None:
        """Note what a task said; nothing when the job is at its end meanwhile."""
        await self._feeds.write(job_id, self._queue.append(job_id, events), events)

    async def wait_for_event(self, job_id: str, number: int) -> bool:
        """Wait until the job's event ``number`` is there; False when it will never be."""
        return await self._feeds.wait_for(job_id, number)

    async def events_since(self, job_id: str, start: int, limit: int | None = None) -> list[Event]:
        """A job's events from number ``start`` on; see ``Feeds.since``."""
        return await self._feeds.since(job_id, start, limit)

    async def count_events(self, job_id: str) -> int:
        """How many events a job has; 0 when it is unknown."""
        return await self._feeds.count(job_id)

    async def _add(self, job: Job, events: Sequence[Event]) -> bool:
        await self._queue.add(job, events)
        return True
