"""Requests, jobs and tasks as they travel, made from the domain's own at this edge."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from pgstrata.domain.job import ErrorBody, Job, Result, Status, Task
from pgstrata.domain.model import Model
from pgstrata.domain.plan import (
    PlanTask,
    PrepareInstanceTask,
    ResolveImageTask,
    StateExecuteTask,
    TaskSpec,
)

JOBS_PATH = "/v1/prepare-jobs"


class NameBinding(Model, frozen=True, kw_only=True):
    """Which instance shall bear a name."""

    instance_id: str


class JobAccepted(Model, frozen=True, kw_only=True):
    """The answer to a job request: where to look from now on."""

    job_id: str
    status_url: str
    events_url: str
    status: Literal["queued"]
    queue_place: int | None = None
    """Its place in the line for its turn, from 1, if there is no turn for it yet."""


class JobHead(Model, frozen=True, kw_only=True):
    """What is told of a job wherever it is shown."""

    job_id: str
    status: Status
    prepare_kind: str
    image_id: str
    plan_only: bool = False
    prepare_args_normalized: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class JobStatus(JobHead, frozen=True, kw_only=True):
    """A job with its tasks and what came of it."""

    queue_place: int | None = None
    """A queued job's place in the line for its turn, from 1."""
    tasks: tuple[TaskSpec, ...] = ()
    result: Result | None = None
    error: ErrorBody | None = None


class JobEntry(JobHead, frozen=True, kw_only=True):
    """A job, as it is listed."""

    queue_place: int | None = None
    """A queued job's place in the line for its turn, from 1."""
    resolved_image_id: str | None = None
    signature: str | None = None


class PlanTaskEntry(PlanTask, frozen=True, kw_only=True):
    """A ``plan`` task, as it is listed."""

    job_id: str
    status: Status
    image_id: str | None = None
    resolved_image_id: str | None = None
    args_summary: str | None = None


class ResolveImageTaskEntry(ResolveImageTask, frozen=True, kw_only=True):
    """A ``resolve_image`` task, as it is listed."""

    job_id: str
    status: Status
    args_summary: str | None = None


class StateExecuteTaskEntry(StateExecuteTask, frozen=True, kw_only=True):
    """A ``state_execute`` task, as it is listed."""

    job_id: str
    status: Status
    image_id: str | None = None
    resolved_image_id: str | None = None


class PrepareInstanceTaskEntry(PrepareInstanceTask, frozen=True, kw_only=True):
    """A ``prepare_instance`` task, as it is listed."""

    job_id: str
    status: Status
    image_id: str | None = None
    resolved_image_id: str | None = None
    args_summary: str | None = None


TaskEntry = PlanTaskEntry | ResolveImageTaskEntry | StateExecuteTaskEntry | PrepareInstanceTaskEntry

_ENTRIES: dict[type[TaskSpec], type[TaskEntry]] = {
    PlanTask: PlanTaskEntry,
    ResolveImageTask: ResolveImageTaskEntry,
    StateExecuteTask: StateExecuteTaskEntry,
    PrepareInstanceTask: PrepareInstanceTaskEntry,
}


def job_accepted(job: Job, queue_place: int | None) -> JobAccepted:
    """A new job, as the one who asked for it is told."""
    url = f"{JOBS_PATH}/{job.job_id}"
    return JobAccepted(
        job_id=job.job_id,
        status_url=url,
        events_url=f"{url}/events",
        status="queued",
        queue_place=queue_place,
    )


def job_status(job: Job, tasks: list[Task], queue_place: int | None) -> JobStatus:
    """A job with the plan its tasks make."""
    return JobStatus(
        **_head(job),
        queue_place=queue_place,
        tasks=tuple(task.spec for task in tasks),
        result=job.result,
        error=job.error,
    )


def job_entry(job: Job, queue_place: int | None) -> JobEntry:
    """A job as one of many."""
    return JobEntry(
        **_head(job),
        queue_place=queue_place,
        resolved_image_id=job.resolved_image_id,
        signature=job.signature,
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
    """A task as one of many; without its job's images when the job went in the meantime."""
    images = {} if job is None else _images(job)
    fields = images | msgspec.structs.asdict(task.spec)
    return _ENTRIES[type(task.spec)](**fields, job_id=task.job_id, status=task.status)


def _images(job: Job) -> dict[str, str | None]:
    return {"image_id": job.request.image_id, "resolved_image_id": job.resolved_image_id}
