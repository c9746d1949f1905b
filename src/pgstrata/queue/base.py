"""The queue port: jobs, tasks and events, kept so that no reader ever sees half a change."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from pgstrata.domain.job import Event, Job, Task, Transition
from pgstrata.domain.model import Model


class JobCounts(Model, frozen=True, kw_only=True):
    """How many jobs there are."""

    queued: int
    running: int
    finished: int


class Queue(Protocol):
    """Keeps jobs with their tasks and events.

    Every method that writes is one transaction: it survives a kill whole or leaves no trace.
    """

    async def add(self, job: Job, events: Sequence[Event]) -> None:
        """Store a new job with its first events. Its id must be new."""

    async def apply(self, transition: Transition) -> bool:
        """Carry out a transition if the job's stored status is one of those it expects.

        False, and nothing changed, when it is not, or when there is no such job. A stored wish to
        cancel is never lost: ``cancel_requested`` stays true once it was true.
        """

    async def append(self, job_id: str, events: Sequence[Event]) -> bool:
        """Add events to a job that is not at its end. False, and nothing added, otherwise."""

    async def request_cancel(self, job_id: str) -> bool:
        """Note the wish to cancel. False when the job is at its end or unknown; twice is fine."""

    async def get(self, job_id: str) -> Job | None:
        """The job, or None."""

    async def jobs(self, *, prefix: str = "") -> list[Job]:
        """The jobs whose id starts with ``prefix``, newest first."""

    async def counts(self) -> JobCounts:
        """How many jobs there are, without looking at each."""

    async def unfinished(self) -> list[Job]:
        """The jobs that are queued or running, oldest first, but for ``unreadable`` ones."""

    async def unreadable(self) -> list[Job]:
        """What can still be told of jobs that are queued or running but cannot be read whole.

        Another version wrote them, or they were damaged. They are to be brought to an end.
        """

    async def finished_alike(self, signature: str) -> list[Job]:
        """The jobs at their end that have this signature, the latest to finish first."""

    async def tasks(self, job_id: str | None = None) -> list[Task]:
        """The tasks of one job in their order, or of all jobs, newest job first."""

    async def events(
        self,
        job_id: str,
        start: int = 0,
        limit: int | None = None,
        *,
        max_bytes: int | None = None,
    ) -> list[Event]:
        """Events of a job from number ``start`` on, at most ``limit``; empty past the end.

        ``max_bytes``: no more than weigh that much together, but one in any case if there is one.
        """

    async def count_events(self, job_id: str) -> int:
        """How many events the job has; 0 when it is unknown."""

    async def remove(self, job_id: str) -> bool:
        """Remove a job that is at its end, with its tasks and events.

        False, and nothing removed, when it is not at its end or unknown.
        """


def up_to(max_bytes: int | None, events: Iterable[Event]) -> list[Event]:
    """The first of the events that weigh at most ``max_bytes`` together; one in any case."""
    if max_bytes is None:
        return list(events)
    taken: list[Event] = []
    for event in events:
        max_bytes -= event.weight
        if taken and max_bytes < 0:
            break
        taken.append(event)
    return taken
