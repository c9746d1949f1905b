"""A job's life as pure functions: each gives the transition for one thing that happened.

They are the only makers of transitions, so the order of events is theirs: ``status queued``,
``status running``, tasks and logs, one ``result`` or ``error``, the terminal ``status``. Nothing
here reads a clock or touches the queue; the coordinator carries out what they return.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from pgstrata.domain.job import ErrorBody, Event, Job, Result, Status, Task, Transition
from pgstrata.domain.plan import (
    PlanTask,
    PrepareInstanceTask,
    ResolveImageTask,
    StateExecuteTask,
    TaskSpec,
)

UNFINISHED = frozenset({Status.QUEUED, Status.RUNNING})
_RUNNING = frozenset({Status.RUNNING})


def submitted(job: Job) -> tuple[Event, ...]:
    """The first events of a new job."""
    return (Event(type="status", ts=job.created_at, status=Status.QUEUED),)


def started(job: Job, now: datetime) -> Transition:
    """A queued job's turn has come, or a job that was running goes on: planning begins."""
    planning = Task(
        job_id=job.job_id,
        status=Status.RUNNING,
        spec=PlanTask(task_id="plan", planner_kind=job.request.prepare_kind),
    )
    begins = (
        (Event(type="status", ts=now, status=Status.RUNNING),)
        if job.status is Status.QUEUED
        else ()
    )
    return Transition(
        job=replace(job, status=Status.RUNNING, started_at=job.started_at or now),
        expected=frozenset({job.status}),
        tasks=(planning,),
        replace_tasks=True,
        events=(*begins, task_event(planning, now)),
    )


def planned(
    job: Job, specs: Sequence[TaskSpec], *, image_id: str, signature: str, now: datetime
) -> Transition:
    """The plan is made: it replaces the tasks of any earlier plan. Planning itself is done."""
    tasks = tuple(
        Task(
            job_id=job.job_id,
            status=(
                Status.SUCCEEDED if isinstance(spec, PlanTask | ResolveImageTask) else Status.QUEUED
            ),
            spec=spec,
        )
        for spec in specs
    )
    return Transition(
        job=replace(job, resolved_image_id=image_id, signature=signature),
        expected=_RUNNING,
        tasks=tasks,
        replace_tasks=True,
        events=tuple(task_event(task, now) for task in tasks if task.status.terminal),
    )


def tasks_moved(job: Job, tasks: Sequence[Task], now: datetime) -> Transition:
    """Some of a running job's tasks are where ``tasks`` say now."""
    return Transition(
        job=job,
        expected=_RUNNING,
        tasks=tuple(tasks),
        events=tuple(task_event(task, now) for task in tasks),
    )


def plan_succeeded(job: Job, now: datetime) -> Transition:
    """A job that only plans is done; it has no result beside its tasks."""
    return Transition(
        job=replace(job, status=Status.SUCCEEDED, finished_at=now),
        expected=_RUNNING,
        events=(Event(type="status", ts=now, status=Status.SUCCEEDED),),
    )


def succeeded(job: Job, last: Task, result: Result, now: datetime) -> Transition:
    """The instance is there: with its task the job is done."""
    done = replace(last, status=Status.SUCCEEDED)
    return Transition(
        job=replace(job, status=Status.SUCCEEDED, finished_at=now, result=result),
        expected=_RUNNING,
        tasks=(done,),
        events=(
            task_event(done, now),
            Event(type="result", ts=now, result=result),
            Event(type="status", ts=now, status=Status.SUCCEEDED),
        ),
    )


def failed(job: Job, tasks: Sequence[Task], error: ErrorBody, now: datetime) -> Transition:
    """The job ends with an error. The task that was running failed; later ones never began."""
    broken = tuple(
        replace(task, status=Status.FAILED) for task in tasks if task.status is Status.RUNNING
    )
    return Transition(
        job=replace(job, status=Status.FAILED, finished_at=now, error=error),
        expected=UNFINISHED,
        tasks=broken,
        events=(
            *(task_event(task, now) for task in broken),
            Event(type="error", ts=now, error=error),
            Event(type="status", ts=now, status=Status.FAILED),
        ),
    )


def joined(first: Transition, second: Transition) -> Transition:
    """Two transitions that follow each other at once, as one: half the writing, the same story."""
    tasks = {task.task_id: task for task in (*first.tasks, *second.tasks)}
    return replace(
        first,
        job=second.job,
        tasks=tuple(tasks.values()),
        events=(*first.events, *second.events),
    )


def task_event(task: Task, now: datetime) -> Event:
    """What a job says of a task that has come to a new status, or is still at it."""
    return Event(
        type="task",
        ts=now,
        task_id=task.task_id,
        status=task.status,
        message=describe(task.spec),
    )


def describe(spec: TaskSpec) -> str:
    """A task in a few words, for people."""
    match spec:
        case PlanTask():
            return "plan the steps"
        case ResolveImageTask():
            return f"{spec.image_id} is {spec.resolved_image_id}"
        case StateExecuteTask():
            return spec.args_summary or spec.task_id
        case PrepareInstanceTask():
            return "start an instance"
