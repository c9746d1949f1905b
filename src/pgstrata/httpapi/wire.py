"""Converts jobs and tasks to their models on the wire."""

from typing import Any

import msgspec

from pgstrata.api.jobs import (
    JOBS_PATH,
    JobAccepted,
    JobEntry,
    JobStatus,
    PlanTaskEntry,
    PrepareInstanceTaskEntry,
    ResolveImageTaskEntry,
    StateExecuteTaskEntry,
    TaskEntry,
)
from pgstrata.domain.job import Job, Task
from pgstrata.domain.plan import (
    PlanTask,
    PrepareInstanceTask,
    ResolveImageTask,
    StateExecuteTask,
    TaskSpec,
)
from pgstrata.errors import CancelledJobError

_ENTRIES: dict[type[TaskSpec], type[TaskEntry]] = {
    PlanTask: PlanTaskEntry,
    ResolveImageTask: ResolveImageTaskEntry,
    StateExecuteTask: StateExecuteTaskEntry,
    PrepareInstanceTask: PrepareInstanceTaskEntry,
}


def job_accepted(job: Job, queue_place: int | None) -> JobAccepted:
    """Make the response to a job request."""
    url = f"{JOBS_PATH}/{job.job_id}"
    return JobAccepted(
        job_id=job.job_id,
        status_url=url,
        events_url=f"{url}/events",
        status="queued",
        queue_place=queue_place,
    )


def job_status(job: Job, queue_place: int | None) -> JobStatus:
    """Make the view of a job, without its tasks."""
    return JobStatus(
        **_head(job),
        queue_place=queue_place,
        result=job.result,
        error=job.error,
    )


def job_entry(job: Job, queue_place: int | None) -> JobEntry:
    """Make the view of a job in a list."""
    return JobEntry(
        **_head(job),
        queue_place=queue_place,
        resolved_image_id=job.resolved_image_id,
        signature=job.signature,
        cancelled=job.error is not None and job.error.code == CancelledJobError.code,
    )


def _head(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "status": job.status,
        "prepare_kind": job.request.prepare_kind,
        "image_id": job.request.image_id,
        "plan_only": job.request.plan_only,
        "prepare_args_normalized": job.prepare_args_normalized,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def task_entry(task: Task, job: Job | None) -> TaskEntry:
    """Make the view of a task in a list; without images if its job was deleted meanwhile."""
    images = {} if job is None else _images(job)
    fields = images | msgspec.structs.asdict(task.spec)
    return _ENTRIES[type(task.spec)](**fields, job_id=task.job_id, status=task.status)


def _images(job: Job) -> dict[str, str | None]:
    return {"image_id": job.request.image_id, "resolved_image_id": job.resolved_image_id}
