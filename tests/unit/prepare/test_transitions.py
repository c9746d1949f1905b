"""Transitions: what each thing that happens makes of the job, its tasks and its events."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from pgstrata.domain.job import ErrorBody, Job, Result, Status, Task, Transition
from pgstrata.domain.plan import (
    CACHED,
    PlanTask,
    PrepareInstanceTask,
    Reason,
    StateExecuteTask,
    TaskInput,
    TaskSpec,
)
from pgstrata.domain.request import PrepareRequest
from pgstrata.prepare import transitions

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
ERROR = ErrorBody(code="step_failed", message="it broke")
RESULT = Result(
    dsn="postgresql://",
    instance_id="b" * 32,
    state_id="c" * 64,
    image_id="postgres@sha256:1",
    prepare_kind="psql",
    prepare_args_normalized="-f a.sql",
)

JOB = Job(
    job_id="a" * 32,
    status=Status.QUEUED,
    request=PrepareRequest(prepare_kind="psql", image_id="postgres"),
    prepare_args_normalized="-f a.sql",
    created_at=NOW,
)
RUNNING = replace(JOB, status=Status.RUNNING, started_at=NOW)
STEP = StateExecuteTask(
    task_id="execute-0",
    input=TaskInput(kind="image", id="postgres@sha256:1"),
    task_hash="d" * 64,
    output_state_id="c" * 64,
    cached=False,
)
INSTANCE = PrepareInstanceTask(
    task_id="prepare-instance",
    input=TaskInput(kind="state", id="c" * 64),
    instance_mode="ephemeral",
)


SECOND = replace(
    STEP,
    task_id="execute-1",
    input=TaskInput(kind="state", id="c" * 64),
    output_state_id="e" * 64,
)


def told(transition: Transition) -> list[str]:
    return [f"{event.task_id} {event.status}" for event in transition.events]


def task(spec: StateExecuteTask | PrepareInstanceTask, status: Status) -> Task:
    return Task(job_id=JOB.job_id, status=status, spec=spec)


def test_a_new_job_says_that_it_is_queued() -> None:
    [event] = transitions.submitted(JOB)
    assert (event.type, event.status, event.ts) == ("status", Status.QUEUED, NOW)


def test_a_job_that_starts_says_running_and_begins_to_plan() -> None:
    transition = transitions.started(JOB, LATER)
    assert transition.expected == {Status.QUEUED}
    assert transition.job.status is Status.RUNNING
    assert transition.job.started_at == LATER
    assert [(event.type, event.status) for event in transition.events] == [
        ("status", Status.RUNNING),
        ("task", Status.RUNNING),
    ]
    assert [one.task_id for one in transition.tasks] == ["plan"]


def test_a_plan_replaces_all_tasks_and_is_itself_done() -> None:
    specs = (PlanTask(task_id="plan", planner_kind="psql"), STEP, INSTANCE)
    transition = transitions.planned(RUNNING, specs, done=0, image_id="i", signature="s", now=LATER)
    assert transition.replace_tasks
    assert [one.status for one in transition.tasks] == [
        Status.SUCCEEDED,
        Status.QUEUED,
        Status.QUEUED,
    ]
    assert [event.task_id for event in transition.events] == ["plan"]
    assert (transition.job.resolved_image_id, transition.job.signature) == ("i", "s")


def test_steps_whose_states_are_there_are_done_as_soon_as_they_are_planned() -> None:
    specs = (PlanTask(task_id="plan", planner_kind="psql"), STEP, SECOND, INSTANCE)
    transition = transitions.planned(RUNNING, specs, done=1, image_id="i", signature="s", now=LATER)
    assert told(transition) == ["plan succeeded", "execute-0 succeeded"]
    done = transition.tasks[1].spec
    assert isinstance(done, StateExecuteTask)
    assert done.cached


def test_a_new_plan_in_place_of_one_that_does_not_hold_says_why() -> None:
    specs = (PlanTask(task_id="plan", planner_kind="psql"), STEP, INSTANCE)
    transition = transitions.planned(
        RUNNING, specs, done=0, image_id="i", signature="s", now=LATER, drift="a.sql changed"
    )
    assert transition.replace_tasks
    assert transition.events[0].message == "planned again: a.sql changed"


def specs(tasks: list[Task]) -> list[TaskSpec]:
    return [task.spec for task in tasks]


def test_a_step_whose_cached_state_was_lost_meanwhile_says_why_it_is_to_do() -> None:
    cached = replace(STEP, cached=True, reason=CACHED)
    dirty = replace(STEP, reason=Reason(code="dirty", text="its files were not whole"))
    tasks = [task(cached, Status.SUCCEEDED), task(SECOND, Status.QUEUED)]
    transition = transitions.resumed(RUNNING, tasks, [dirty, SECOND], done=0, now=LATER)
    assert [moved.spec for moved in transition.tasks] == [dirty]


def test_a_step_that_broke_off_keeps_the_reason_why_it_was_to_do() -> None:
    why = Reason(code="never_built", text="none like it is known")
    tasks = [task(replace(STEP, reason=why), Status.RUNNING)]
    now = [replace(STEP, cached=True, reason=CACHED)]
    [done] = transitions.resumed(RUNNING, tasks, now, done=1, now=LATER).tasks
    assert done.spec == replace(STEP, cached=False, reason=why)


def test_a_step_that_was_to_do_and_whose_state_is_there_now_is_a_hit() -> None:
    why = Reason(code="never_built", text="none like it is known")
    tasks = [task(replace(STEP, reason=why), Status.QUEUED)]
    [done] = transitions.resumed(RUNNING, tasks, specs(tasks), done=1, now=LATER).tasks
    assert done.spec == replace(STEP, cached=True, reason=CACHED)


def test_a_step_that_broke_off_is_done_if_its_state_is_there() -> None:
    tasks = [task(STEP, Status.RUNNING), task(SECOND, Status.QUEUED), task(INSTANCE, Status.QUEUED)]
    transition = transitions.resumed(RUNNING, tasks, specs(tasks), done=1, now=LATER)
    assert told(transition) == ["execute-0 succeeded"]
    done = transition.tasks[0].spec
    assert isinstance(done, StateExecuteTask)
    assert not done.cached


def test_a_step_that_broke_off_is_still_to_do_if_its_state_is_not_there() -> None:
    tasks = [
        task(STEP, Status.SUCCEEDED),
        task(SECOND, Status.RUNNING),
        task(INSTANCE, Status.QUEUED),
    ]
    assert told(transitions.resumed(RUNNING, tasks, specs(tasks), done=1, now=LATER)) == [
        "execute-1 queued"
    ]


def test_a_step_whose_state_was_lost_meanwhile_is_to_do_again() -> None:
    tasks = [
        task(STEP, Status.SUCCEEDED),
        task(SECOND, Status.RUNNING),
        task(INSTANCE, Status.QUEUED),
    ]
    transition = transitions.resumed(RUNNING, tasks, specs(tasks), done=0, now=LATER)
    assert told(transition) == ["execute-0 queued", "execute-1 queued"]


def test_a_job_that_cannot_be_read_ends_without_its_tasks() -> None:
    transition = transitions.unreadable(RUNNING, ERROR, LATER)
    assert transition.replace_tasks
    assert transition.tasks == ()
    assert [event.type for event in transition.events] == ["error", "status"]


def test_success_ends_with_the_task_the_result_and_the_status_in_this_order() -> None:
    transition = transitions.succeeded(RUNNING, task(INSTANCE, Status.RUNNING), RESULT, LATER)
    assert [event.type for event in transition.events] == ["task", "result", "status"]
    assert transition.job.result == RESULT
    assert transition.job.finished_at == LATER
    assert transition.expected == {Status.RUNNING}


def test_a_job_that_only_plans_ends_without_a_result() -> None:
    transition = transitions.plan_succeeded(RUNNING, LATER)
    assert [(event.type, event.status) for event in transition.events] == [
        ("status", Status.SUCCEEDED)
    ]
    assert transition.job.result is None


def test_failure_fails_the_running_task_and_leaves_those_that_never_began() -> None:
    tasks = [task(STEP, Status.RUNNING), task(INSTANCE, Status.QUEUED)]
    transition = transitions.failed(RUNNING, tasks, ERROR, LATER)
    assert [(one.task_id, one.status) for one in transition.tasks] == [("execute-0", Status.FAILED)]
    assert [event.type for event in transition.events] == ["task", "error", "status"]
    assert transition.events[1].error == ERROR
    assert transition.job.error == ERROR


def test_a_job_that_never_ran_can_fail() -> None:
    transition = transitions.failed(JOB, [], ERROR, LATER)
    assert transition.expected == {Status.QUEUED, Status.RUNNING}
    assert [event.type for event in transition.events] == ["error", "status"]


def test_joined_transitions_tell_the_same_story_in_one() -> None:
    started = transitions.started(JOB, NOW)
    specs = (PlanTask(task_id="plan", planner_kind="psql"), STEP, INSTANCE)
    planned = transitions.planned(
        started.job, specs, done=0, image_id="i", signature="s", now=LATER
    )
    begun = transitions.tasks_moved(planned.job, [task(STEP, Status.RUNNING)], LATER)
    whole = transitions.merge(transitions.merge(started, planned), begun)
    assert whole.expected == {Status.QUEUED}
    assert whole.replace_tasks
    assert whole.job == planned.job
    assert [(one.task_id, one.status) for one in whole.tasks] == [
        ("plan", Status.SUCCEEDED),
        ("execute-0", Status.RUNNING),
        ("prepare-instance", Status.QUEUED),
    ]
    assert whole.events == (*started.events, *planned.events, *begun.events)


def test_a_task_is_described_by_what_its_author_wrote() -> None:
    assert transitions.describe(replace(STEP, args_summary="-f seed.sql")) == "-f seed.sql"
    assert transitions.describe(STEP) == "execute-0"


def test_a_title_as_long_as_a_script_is_told_in_part_and_kept_whole() -> None:
    step = replace(STEP, args_summary="-c '" + 100_000 * "x" + "'", failures=("y",))
    task = Task(job_id=JOB.job_id, status=Status.RUNNING, spec=step)
    [event] = transitions.tasks_moved(JOB, [task], NOW).events
    assert event.weight < 1300
    assert (event.message or "").endswith("x… (1 failed)")
    assert transitions.tasks_moved(JOB, [task], NOW).tasks == (task,)
