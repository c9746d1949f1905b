"""A job, its tasks and its events, and the one way they change: a transition."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pgstrata.domain.model import Model
from pgstrata.domain.plan import TaskSpec
from pgstrata.domain.request import PrepareRequest


class Status(StrEnum):
    """Where a job or a task is on its way. ``succeeded`` and ``failed`` are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        return self in (Status.SUCCEEDED, Status.FAILED)


class ErrorBody(Model, frozen=True, kw_only=True):
    """An error as clients see it. There is no other field: strict clients refuse one.

    ``message`` names what is wrong. The first line of ``details`` says what to do about it; if a
    tool said something, a blank line and its own words come next. Where nothing can be done about
    it, ``details`` begins with the blank line.
    """

    code: str
    message: str
    details: str | None = None


class Result(Model, frozen=True, kw_only=True):
    """What a job that succeeded hands out."""

    dsn: str
    instance_id: str
    state_id: str
    image_id: str
    prepare_kind: str
    prepare_args_normalized: str


class Job(Model, frozen=True, kw_only=True):
    """One prepare request on its way."""

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
    """Hex SHA-256 that jobs have in common when they ask for the same; known once planned."""
    cancel_requested: bool = False
    result: Result | None = None
    error: ErrorBody | None = None


class Task(Model, frozen=True, kw_only=True):
    """A step of a job: what it is, and how far it is."""

    job_id: str
    status: Status
    spec: TaskSpec

    @property
    def task_id(self) -> str:
        return self.spec.task_id


_EVENT_BYTES = 200
"""What an event takes beside the words in it."""

EventType = Literal["status", "task", "log", "result", "error"]


class Event(Model, frozen=True, kw_only=True):
    """What a job says as it goes. An event's number is its place among its job's events, from 0."""

    type: EventType
    ts: datetime
    task_id: str | None = None
    status: Status | None = None
    message: str | None = None
    result: Result | None = None
    error: ErrorBody | None = None

    @property
    def weight(self) -> int:
        """About how many bytes it takes, in memory or on its way."""
        error = self.error
        words = (self.message, *((error.message, error.details) if error is not None else ()))
        return _EVENT_BYTES + sum(len(text) for text in words if text is not None)


class Transition(Model, frozen=True, kw_only=True):
    """A change of a job with its tasks and events: carried out whole, or not at all.

    It applies only while the stored job's status is in ``expected``; a late one changes nothing.
    """

    job: Job
    """The job as it is afterwards."""
    expected: frozenset[Status]
    tasks: tuple[Task, ...] = ()
    """Tasks as they are afterwards, matched by task id; the others stay as they are."""
    replace_tasks: bool = False
    """Whether ``tasks`` are all the tasks there are (a new plan)."""
    events: tuple[Event, ...] = ()
