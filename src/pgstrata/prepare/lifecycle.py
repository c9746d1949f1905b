"""A job's life in one function: given a job and its tasks, what happens next. Pure.

``next_move`` decides. The runner makes the move, records the result with one of ``transitions``,
and asks again. A job left by an earlier engine takes the same path, so there is only one way
through a job's life: what is done is not repeated, and what was interrupted starts again.
"""

from collections.abc import Sequence
from datetime import datetime

from pgstrata.domain.job import Job, Status, Task
from pgstrata.domain.model import Model
from pgstrata.domain.plan import PrepareInstanceTask, StateExecuteTask


class Begin(Model, frozen=True):
    """The job has a slot: record that it is running."""


class Plan(Model, frozen=True):
    """Read the inputs, and make a plan or check that the existing one is still valid."""


class Execute(Model, frozen=True):
    """Make a step's state."""

    task: Task


class PrepareInstance(Model, frozen=True):
    """Start the instance, which completes the job."""

    task: Task


class SucceedPlanned(Model, frozen=True):
    """The job only needed a plan, which is made."""


class Cancel(Model, frozen=True):
    """Cancellation was requested before the job had ended."""


Move = Begin | Plan | Execute | PrepareInstance | SucceedPlanned | Cancel


def next_move(job: Job, tasks: Sequence[Task], *, planned: bool) -> Move | None:
    """Decide what to do next for a job; None if it has ended.

    ``tasks``: at least the first of its tasks that has not ended, unless all have.
    ``planned``: whether this run of the job has made its plan, or has found that an earlier run's
    plan is still valid.
    """
    if job.status.terminal:
        return None
    if job.cancel_requested:
        return Cancel()
    if job.status is Status.QUEUED:
        return Begin()
    if not planned:
        return Plan()
    if job.request.plan_only:
        return SucceedPlanned()
    return _next_task(tasks)


def _next_task(tasks: Sequence[Task]) -> Move:
    task = next(task for task in tasks if not task.status.terminal)
    match task.spec:
        case StateExecuteTask():
            return Execute(task)
        case PrepareInstanceTask():
            return PrepareInstance(task)
    raise AssertionError(f"{task.task_id} is not a task to carry out")


def time_limit(asked: float | None, allowed: float | None) -> float | None:
    """Return how many seconds a job may run: what was asked for, but no more than is allowed."""
    return min((limit for limit in (asked, allowed) if limit is not None), default=None)


def time_left(job: Job, limit: float | None, now: datetime) -> float | None:
    """Return how many seconds of its limit a job has left; None for no limit.

    If the clock was set back, that is no more than the whole limit.
    """
    if limit is None or job.started_at is None:
        return limit
    spent = (now - job.started_at).total_seconds()
    return min(limit, max(0.0, limit - spent))
