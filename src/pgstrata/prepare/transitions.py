"""The transitions of jobs, as pure functions: one for each thing that can happen to a job.

All transitions are made here, which fixes the order of events: ``status queued``, ``status
running``, tasks and logs, one ``result`` or ``error``, the terminal ``status``. Nothing here reads
a clock or the queue; ``lifecycle`` decides what happens next.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec.structs import replace

from pgstrata.domain.job import ErrorBody, Event, Job, Result, Status, Task, Transition
from pgstrata.domain.plan import (
    CACHED,
    PlanTask,
    PrepareInstanceTask,
    ResolveImageTask,
    StateExecuteTask,
    TaskSpec,
)

MOST_TITLE = 1000
"""How many characters of a step's title are told, again and again while the step runs."""

_UNFINISHED = frozenset({Status.QUEUED, Status.RUNNING})
_RUNNING = frozenset({Status.RUNNING})


def submitted(job: Job) -> tuple[Event, ...]:
    """Return the first events of a new job."""
    return (Event(type="status", ts=job.created_at, status=Status.QUEUED),)


def started(job: Job, now: datetime) -> Transition:
    """A queued job got a slot: planning begins."""
    planning = Task(
        job_id=job.job_id,
        status=Status.RUNNING,
        spec=PlanTask(task_id="plan", planner_kind=job.request.prepare_kind),
    )
    return Transition(
        job=replace(job, status=Status.RUNNING, started_at=now),
        expected=frozenset({Status.QUEUED}),
        tasks=(planning,),
        replace_tasks=True,
        events=(
            Event(type="status", ts=now, status=Status.RUNNING),
            task_event(planning, now),
        ),
    )


def planned(
    job: Job,
    specs: Sequence[TaskSpec],
    *,
    done: int,
    image_id: str,
    signature: str,
    now: datetime,
    drift: str | None = None,
) -> Transition:
    """The plan was made: it replaces the tasks of any earlier plan.

    Planning itself is done, and so are the first ``done`` steps, whose states are cached. If there
    was an earlier plan, ``drift`` says why it is no longer valid.
    """
    tasks = [Task(job_id=job.job_id, status=Status.QUEUED, spec=spec) for spec in specs]
    settled = _settled(tasks, done)
    notes = () if drift is None else (log_event("plan", f"planned again: {drift}", now),)
    return Transition(
        job=replace(job, resolved_image_id=image_id, signature=signature),
        expected=_RUNNING,
        tasks=settled,
        replace_tasks=True,
        events=(
            *notes,
            *(
                event
                for task in settled
                if task.status.terminal
                for event in (*_failures_again(task, now), task_event(task, now))
            ),
        ),
    )


def resumed(
    job: Job, tasks: Sequence[Task], specs: Sequence[TaskSpec], *, done: int, now: datetime
) -> Transition:
    """A job continues with its earlier plan; the disk decides which steps are done.

    The states of the first ``done`` steps exist, so these steps are done. All others must be run,
    whatever their status was when the job's last run was interrupted. ``specs``: the same plan if
    it were made now, which says why a step that was cached at the time must be run.
    """
    settled = _settled(_replan_lost(tasks, specs), done)
    moved = [task for before, task in zip(tasks, settled, strict=True) if task != before]
    return tasks_moved(job, moved, now)


def _failures_again(task: Task, now: datetime) -> Iterator[Event]:
    """The events that tell what failed when the state of a cached step was made."""
    if isinstance(task.spec, StateExecuteTask):
        for text in failures_again(task.spec.failures):
            yield log_event(task.task_id, text, now)


def failures_again(failures: Sequence[str]) -> tuple[str, ...]:
    """The lines that tell again what failed when a state was made that is cached now."""
    return (f"{len(failures)} failed when this state was made:", *failures) if failures else ()


def _settled(tasks: Sequence[Task], done: int) -> tuple[Task, ...]:
    """Return the tasks of a plan when only its first ``done`` steps are done."""
    steps = 0
    settled = []
    for task in tasks:
        status = Status.QUEUED
        if isinstance(task.spec, PlanTask | ResolveImageTask):
            status = Status.SUCCEEDED
        elif isinstance(task.spec, StateExecuteTask):
            steps += 1
            if steps <= done:
                settled.append(_done_before(task))
                continue
        settled.append(replace(task, status=status))
    return tuple(settled)


def _replan_lost(tasks: Sequence[Task], specs: Sequence[TaskSpec]) -> list[Task]:
    """Return the tasks, with those whose cached states are gone as they would be planned now.

    The others have what failed when their states were made, since the job may have been interrupted
    before it was told, and are kept as it would be planned now.
    """
    planned = {spec.task_id: spec for spec in specs if isinstance(spec, StateExecuteTask)}
    current: list[Task] = []
    for task in tasks:
        now = planned.get(task.task_id)
        if isinstance(task.spec, StateExecuteTask) and now is not None:
            lost = task.spec.cached and not now.cached
            still = replace(task.spec, failures=now.failures, kept=now.kept)
            task = replace(task, spec=now if lost else still)
        current.append(task)
    return current


def _done_before(task: Task) -> Task:
    """A step whose state exists: built by this job if it had begun the step, otherwise cached."""
    assert isinstance(task.spec, StateExecuteTask)
    cached = task.spec.cached if task.status is Status.SUCCEEDED else task.status is Status.QUEUED
    spec = found_cached(task.spec) if cached else replace(task.spec, cached=False)
    return replace(task, status=Status.SUCCEEDED, spec=spec)


def found_cached(spec: StateExecuteTask) -> StateExecuteTask:
    """Mark a step as a hit: its state was found, even if it was planned as a miss."""
    return replace(spec, cached=True, reason=CACHED)


def tasks_moved(job: Job, tasks: Sequence[Task], now: datetime) -> Transition:
    """Some tasks of a running job changed to ``tasks``."""
    return Transition(
        job=job,
        expected=_RUNNING,
        tasks=tuple(tasks),
        events=tuple(task_event(task, now) for task in tasks),
    )


def said(job: Job, events: Sequence[Event]) -> Transition:
    """Something was said while a job runs."""
    return Transition(job=job, expected=_RUNNING, events=tuple(events))


def plan_succeeded(job: Job, now: datetime) -> Transition:
    """A job that only plans is done; it has no result except its tasks."""
    return Transition(
        job=replace(job, status=Status.SUCCEEDED, finished_at=now),
        expected=_RUNNING,
        events=(Event(type="status", ts=now, status=Status.SUCCEEDED),),
    )


def succeeded(job: Job, last: Task, result: Result, now: datetime) -> Transition:
    """The instance was started: its task and with it the job are done."""
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
    """The job failed, and with it the task that was running; later ones never began."""
    broken = tuple(
        replace(task, status=Status.FAILED) for task in tasks if task.status is Status.RUNNING
    )
    return Transition(
        job=replace(job, status=Status.FAILED, finished_at=now, error=error),
        expected=_UNFINISHED,
        tasks=broken,
        events=(
            *(task_event(task, now) for task in broken),
            Event(type="error", ts=now, error=error),
            Event(type="status", ts=now, status=Status.FAILED),
        ),
    )


def unreadable(remains: Job, error: ErrorBody, now: datetime) -> Transition:
    """A job of which only ``remains`` can be read failed; its tasks cannot be read, either."""
    return replace(failed(remains, (), error, now), replace_tasks=True)


def merge(first: Transition, second: Transition) -> Transition:
    """Merge two consecutive transitions: half the writes, the same events."""
    return replace(
        first,
        job=second.job,
        tasks=tasks_after(first.tasks, second),
        replace_tasks=first.replace_tasks or second.replace_tasks,
        events=(*first.events, *second.events),
    )


def tasks_after(tasks: Sequence[Task], transition: Transition) -> tuple[Task, ...]:
    """Return a job's tasks after a transition."""
    if transition.replace_tasks:
        return transition.tasks
    kept = {task.task_id: task for task in tasks}
    return tuple((kept | {task.task_id: task for task in transition.tasks}).values())


def log_event(task_id: str, text: str, now: datetime) -> Event:
    """Make the event of a line that was logged while a task ran."""
    return Event(type="log", ts=now, task_id=task_id, message=text)


def task_event(task: Task, now: datetime) -> Event:
    """Make the event of a task that has changed its status, or is still running."""
    return Event(
        type="task",
        ts=now,
        task_id=task.task_id,
        status=task.status,
        message=describe(task.spec),
    )


def describe(spec: TaskSpec) -> str:
    """Describe a task in a few words, for people: what its author wrote may be a whole script."""
    match spec:
        case PlanTask():
            return "plan the steps"
        case ResolveImageTask():
            return f"{spec.image_id} is {spec.resolved_image_id}"
        case StateExecuteTask():
            failed = f" ({len(spec.failures)} failed)" if spec.failures else ""
            return _cut(spec.args_summary or spec.task_id) + failed
        case PrepareInstanceTask():
            return "start an instance"


def _cut(title: str) -> str:
    return title if len(title) <= MOST_TITLE else title[: MOST_TITLE - 1] + "…"
