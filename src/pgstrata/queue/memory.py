"""The queue in memory: for tests, and for engines that store nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

import msgspec

from pgstrata.domain.job import Event, Job, Status, Task, Transition
from pgstrata.errors import ConflictError
from pgstrata.queue.base import JobCounts, Kept, up_to, without_stdin


@dataclass
class _Entry:
    job: Job
    tasks: dict[str, Task] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    stdin: str | None = None


class MemoryQueue:
    """A ``Queue`` that lives as long as its process.

    No method awaits anything between its first read and its last write, so each is a transaction.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._finished: dict[str, None] = {}
        """The ids of finished jobs, in the order in which they finished."""

    async def add(self, job: Job, events: Sequence[Event]) -> None:
        """See ``Queue.add``. Raises ``ConflictError`` if the id is in use."""
        if job.job_id in self._entries:
            raise ConflictError(
                f"job {job.job_id} exists already", remedy="give the new job a unique id"
            )
        self._entries[job.job_id] = _Entry(
            without_stdin(job), events=list(events), stdin=job.request.stdin
        )
        self._note_end(job)

    async def apply(self, transition: Transition) -> bool:
        entry = self._entries.get(transition.job.job_id)
        if entry is None or entry.job.status not in transition.expected:
            return False
        entry.job = msgspec.structs.replace(
            without_stdin(transition.job),
            cancel_requested=transition.job.cancel_requested or entry.job.cancel_requested,
        )
        if transition.replace_tasks:
            entry.tasks.clear()
        entry.tasks.update((task.task_id, task) for task in transition.tasks)
        entry.events.extend(transition.events)
        self._note_end(entry.job)
        return True

    async def append(self, job_id: str, events: Sequence[Event]) -> bool:
        entry = self._unfinished_entry(job_id)
        if entry is None:
            return False
        entry.events.extend(events)
        return True

    async def sync(self) -> None:
        """Do nothing: it survives nothing in any case."""

    async def request_cancel(self, job_id: str) -> bool:
        entry = self._unfinished_entry(job_id)
        if entry is None:
            return False
        entry.job = msgspec.structs.replace(entry.job, cancel_requested=True)
        return True

    async def get(self, job_id: str) -> Job | None:
        entry = self._entries.get(job_id)
        return None if entry is None else entry.job

    async def stdin(self, job_id: str) -> str | None:
        entry = self._unfinished_entry(job_id)
        return None if entry is None else entry.stdin

    async def jobs(self, *, prefix: str = "") -> list[Job]:
        return [
            entry.job
            for job_id, entry in reversed(self._entries.items())
            if job_id.startswith(prefix)
        ]

    async def counts(self) -> JobCounts:
        statuses = Counter(entry.job.status for entry in self._entries.values())
        return JobCounts(
            queued=statuses[Status.QUEUED],
            running=statuses[Status.RUNNING],
            finished=statuses[Status.SUCCEEDED] + statuses[Status.FAILED],
        )

    async def unfinished(self) -> list[Job]:
        return [entry.job for entry in self._entries.values() if not entry.job.status.terminal]

    async def unreadable(self) -> list[Job]:
        """Return none: objects are stored as they are, so nothing can be unreadable."""
        return []

    async def finished_alike(self, signature: str) -> list[Job]:
        finished = (self._entries[job_id].job for job_id in reversed(self._finished))
        return [job for job in finished if job.signature == signature]

    async def surplus(self, kept: Kept, *, finished_before: datetime) -> list[str]:
        surplus: list[str] = []
        size = 0
        for place, job_id in enumerate(reversed(self._finished)):
            entry = self._entries[job_id]
            finished_at = entry.job.finished_at or entry.job.created_at
            size += sum(event.weight for event in entry.events)
            is_kept = (
                (kept.number is None or place < kept.number)
                and (kept.max_bytes is None or place == 0 or size <= kept.max_bytes)
                and (kept.since is None or finished_at >= kept.since)
            )
            if not is_kept and finished_at <= finished_before:
                surplus.append(job_id)
        return surplus[::-1]

    async def tasks(
        self, job_id: str | None = None, start: int = 0, limit: int | None = None
    ) -> list[Task]:
        found = (
            task
            for entry in reversed(self._entries.values())
            if job_id in (None, entry.job.job_id)
            for task in entry.tasks.values()
        )
        return list(islice(found, start, None if limit is None else start + limit))

    async def events(
        self,
        job_id: str,
        start: int = 0,
        limit: int | None = None,
        *,
        max_bytes: int | None = None,
    ) -> list[Event]:
        entry = self._entries.get(job_id)
        if entry is None:
            return []
        end = None if limit is None else start + limit
        return up_to(max_bytes, entry.events[start:end])

    async def count_events(self, job_id: str) -> int:
        entry = self._entries.get(job_id)
        return 0 if entry is None else len(entry.events)

    async def remove(self, job_id: str) -> bool:
        if job_id not in self._finished:
            return False
        del self._finished[job_id]
        del self._entries[job_id]
        return True

    def _unfinished_entry(self, job_id: str) -> _Entry | None:
        entry = self._entries.get(job_id)
        return None if entry is None or entry.job.status.terminal else entry

    def _note_end(self, job: Job) -> None:
        self._finished.pop(job.job_id, None)
        if job.status.terminal:
            self._finished[job.job_id] = None
            self._entries[job.job_id].stdin = None
