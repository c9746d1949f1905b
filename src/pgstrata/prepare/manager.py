"""The Manager: the only way from outside to prepare jobs."""

from pgstrata.domain.deletion import DeleteResult
from pgstrata.domain.job import Event, Job, Task
from pgstrata.domain.reason import Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.prepare.coordinator import JobCoordinator
from pgstrata.prepare.job_log import JobLog
from pgstrata.queue.base import Queue


class Manager:
    """Passes each call on to the component for it; it has no logic of its own."""

    def __init__(self, *, coordinator: JobCoordinator, queue: Queue, job_log: JobLog) -> None:
        self._coordinator = coordinator
        self._queue = queue
        self._job_log = job_log

    async def submit(self, request: PrepareRequest, *, patience: float = 0) -> Job:
        """See ``JobCoordinator.submit``."""
        return await self._coordinator.submit(request, patience=patience)

    async def explain(self, request: PrepareRequest) -> Explanation:
        """See ``JobCoordinator.explain``."""
        return await self._coordinator.explain(request)

    async def recover(self) -> None:
        """See ``JobCoordinator.recover``."""
        await self._coordinator.recover()

    async def cancel(self, job_id: str) -> Job:
        """See ``JobCoordinator.cancel``."""
        return await self._coordinator.cancel(job_id)

    async def delete(self, job_id: str, *, force: bool, dry_run: bool) -> DeleteResult:
        """See ``JobCoordinator.delete``."""
        return await self._coordinator.delete(job_id, force=force, dry_run=dry_run)

    async def wait_for_event(self, job_id: str, number: int) -> bool:
        """See ``JobLog.wait_for_event``."""
        return await self._job_log.wait_for_event(job_id, number)

    def queue_position(self, job_id: str) -> int | None:
        """See ``JobCoordinator.queue_position``."""
        return self._coordinator.queue_position(job_id)

    async def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        return await self._queue.get(job_id)

    async def list_jobs(self, *, prefix: str = "") -> list[Job]:
        """The jobs whose id starts with ``prefix``, newest first."""
        return await self._queue.jobs(prefix=prefix)

    async def list_tasks(
        self, job_id: str | None = None, start: int = 0, limit: int | None = None
    ) -> list[Task]:
        """See ``Queue.tasks``."""
        return await self._queue.tasks(job_id, start, limit)

    async def events_since(self, job_id: str, start: int, limit: int | None = None) -> list[Event]:
        """See ``JobLog.events_since``."""
        return await self._job_log.events_since(job_id, start, limit)

    async def count_events(self, job_id: str) -> int:
        """See ``JobLog.count_events``."""
        return await self._job_log.count_events(job_id)
