"""The queue port: stores jobs, tasks and events, so that no reader ever sees half a change."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from msgspec.structs import replace

from pgstrata.domain.job import Event, Job, Task, Transition
from pgstrata.domain.model import Model


class JobCounts(Model, frozen=True, kw_only=True):
    """How many jobs there are."""

    queued: int
    running: int
    finished: int


class Kept(Model, frozen=True, kw_only=True):
    """Which finished jobs are kept, of those that are not older than ``since``."""

    number: int | None
    """At most how many, the last to finish; None for any."""
    max_bytes: int | None
    """At most how much they may take together, but for the very last; None for any."""
    since: datetime | None
    """When the first of them finished; None for any time."""


class Queue(Protocol):
    """Stores jobs with their tasks and events.

    The jobs that it returns are without their requests' standard input, which may be large.

    Every method that writes is one transaction, which survives a kill completely or not at all. The
    end of a job survives a power cut as well, with all that was written before it.
    """

    async def add(self, job: Job, events: Sequence[Event]) -> None:
        """Store a new job, with an unused id, and its first events."""

    async def apply(self, transition: Transition) -> bool:
        """Carry out a transition if the job's stored status is one that it expects.

        Returns False, and changes nothing, if it is not or the job is unknown. A stored request to
        cancel is never lost: once true, ``cancel_requested`` stays true.
        """

    async def append(self, job_id: str, events: Sequence[Event]) -> bool:
        """Add events to a job. Returns False, and adds nothing, if it has ended or is unknown."""

    async def sync(self) -> None:
        """Return once everything that was written before would survive a power cut."""

    async def request_cancel(self, job_id: str) -> bool:
        """Record a request to cancel. Returns False if the job has ended or is unknown."""

    async def get(self, job_id: str) -> Job | None:
        """The job, or None."""

    async def stdin(self, job_id: str) -> str | None:
        """The standard input of the request of a job that has not ended; None if it has none."""

    async def jobs(self, *, prefix: str = "") -> list[Job]:
        """The jobs whose id starts with ``prefix``, newest first."""

    async def counts(self) -> JobCounts:
        """The numbers of jobs, counted without reading each job."""

    async def unfinished(self) -> list[Job]:
        """The jobs that are queued or running, oldest first, except for ``unreadable`` ones."""

    async def unreadable(self) -> list[Job]:
        """The readable remains of queued or running jobs that cannot be read completely.

        Another version wrote them, or they are damaged. The caller must end them.
        """

    async def finished_alike(self, signature: str) -> list[Job]:
        """The finished jobs with this signature, the last to finish first."""

    async def surplus(self, kept: Kept, *, finished_before: datetime) -> list[str]:
        """The ids of jobs that finished before then and are not among those kept.

        The first to finish first. The time this takes does not grow with what jobs said.
        """

    async def tasks(
        self, job_id: str | None = None, start: int = 0, limit: int | None = None
    ) -> list[Task]:
        """The tasks of one job in their order, or of all jobs, newest job first.

        From the one with number ``start`` on, counted from 0, at most ``limit``.
        """

    async def events(
        self,
        job_id: str,
        start: int = 0,
        limit: int | None = None,
        *,
        max_bytes: int | None = None,
    ) -> list[Event]:
        """Events of a job from number ``start`` on, at most ``limit``; empty past the end.

        ``max_bytes``: a limit on their total size; the first event is returned even if it exceeds
        that.
        """

    async def count_events(self, job_id: str) -> int:
        """How many events the job has; 0 if it is unknown."""

    async def remove(self, job_id: str) -> bool:
        """Remove a finished job, with its tasks and events.

        Returns False, and removes nothing, if it has not ended or is unknown.
        """


def without_stdin(job: Job) -> Job:
    """Return the job as a queue keeps it."""
    if job.request.stdin is None:
        return job
    return replace(job, request=replace(job.request, stdin=None))


def up_to(max_bytes: int | None, events: Iterable[Event]) -> list[Event]:
    """Return the first events of at most ``max_bytes`` in total, but at least one."""
    if max_bytes is None:
        return list(events)
    taken: list[Event] = []
    for event in events:
        max_bytes -= event.weight
        if taken and max_bytes < 0:
            break
        taken.append(event)
    return taken
