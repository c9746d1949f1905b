"""Jobs and tasks on the wire.

Requests are a flattened ``domain.request.PrepareRequest``; events, results and errors are the
domain's own models.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from pgstrata.domain.job import ErrorBody, Result, Status
from pgstrata.domain.model import Model
from pgstrata.domain.plan import (
    PlanTask,
    PrepareInstanceTask,
    ResolveImageTask,
    StateExecuteTask,
    TaskSpec,
)
from pgstrata.domain.request import PrepareRequest

JOBS_PATH = "/v1/prepare-jobs"


def request_body(request: PrepareRequest) -> dict[str, Any]:
    """Flatten a request for the wire: its kind's own fields are next to the others."""
    body: dict[str, Any] = msgspec.to_builtins(request)
    own = body.pop("fields", {})
    return {**body, **own}


class JobAccepted(Model, frozen=True, kw_only=True):
    """The response to a job request."""

    job_id: str
    status_url: str
    events_url: str
    status: Literal["queued"]
    queue_place: int | None = None
    """Its position in the queue for a job slot, from 1, while it has none."""


class JobHead(Model, frozen=True, kw_only=True):
    """The fields common to all views of a job."""

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
    """A job with its tasks and its result or error."""

    queue_place: int | None = None
    """A queued job's position in the queue for a job slot, from 1."""
    tasks: tuple[TaskSpec, ...] = ()
    result: Result | None = None
    error: ErrorBody | None = None


class JobEntry(JobHead, frozen=True, kw_only=True):
    """A job, as it is listed."""

    queue_place: int | None = None
    """A queued job's position in the queue for a job slot, from 1."""
    resolved_image_id: str | None = None
    signature: str | None = None
    cancelled: bool = False
    """Whether it failed because somebody wanted it to."""


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
