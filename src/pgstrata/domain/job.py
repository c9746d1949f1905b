"""A job, its tasks and its events, which change only by transitions."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pgstrata.domain.model import Model
from pgstrata.domain.plan import TaskSpec
from pgstrata.domain.request import PrepareRequest


class Status(StrEnum):
    """The status of a job or a task. ``succeeded`` and ``failed`` are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        return self in (Status.SUCCEEDED, Status.FAILED)


class ErrorBody(Model, frozen=True, kw_only=True):
    """An error as clients see it. It has no other field, since strict clients refuse one.

    ``message`` says what is wrong. The first line of ``details`` says what to do about it; a
    tool's own output, if there is any, follows after a blank line. Without a remedy, ``details``
    starts with the blank line.
    """

    code: str
    message: str
    details: str | None = None


class Result(Model, frozen=True, kw_only=True):
    """The result of a job that succeeded."""

    dsn: str
    instance_id: str
    state_id: str
    image_id: str
    prepare_kind: str
    prepare_args_normalized: str


class Job(Model, frozen=True, kw_only=True):
    """One prepare request and its progress."""

    job_id: str
    """32 lower-case hex characters."""
    status: Status
    request: PrepareRequest
    prepare_args_normalized: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    resolved_image_id: str | None = None
    signature: str | None = None
    """A hex SHA-256 that identical jobs have in common; known once planned."""
    cancel_requested: bool = False
    result: Result | None = None
    error: ErrorBody | None = None


# There may be tens of thousands, which the collector need not look at: none is part of a circle.
class Task(Model, frozen=True, kw_only=True, gc=False):
    """A step of a job: what it does, and its status."""

    job_id: str
    status: Status
    spec: TaskSpec

    @property
    def task_id(self) -> str:
        return self.spec.task_id


_EVENT_BYTES = 200
"""The size of an event without its text."""

EventType = Literal["status", "task", "log", "result", "error"]


class Event(Model, frozen=True, kw_only=True):
    """An event of a job. Its number is its position among the job's events, from 0."""

    type: EventType
    ts: datetime
    task_id: str | None = None
    status: Status | None = None
    message: str | None = None
    result: Result | None = None
    error: ErrorBody | None = None

    @property
    def weight(self) -> int:
        """About how many bytes it takes, in memory or on the wire."""
        error = self.error
        texts = (self.message, *((error.message, error.details) if error is not None else ()))
        return _EVENT_BYTES + sum(len(text) for text in texts if text is not None)


class Transition(Model, frozen=True, kw_only=True):
    """A change of a job with its tasks and events, carried out as a whole or not at all.

    It applies only if the stored job's status is in ``expected``; a late one changes nothing.
    """

    job: Job
    """The job afterwards."""
    expected: frozenset[Status]
    tasks: tuple[Task, ...] = ()
    """Changed tasks afterwards, matched by task id; the others do not change."""
    replace_tasks: bool = False
    """Whether ``tasks`` replace all tasks (a new plan)."""
    events: tuple[Event, ...] = ()
