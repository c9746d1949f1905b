"""A job's life: what each thing that happens makes of the job, its tasks and its events."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from pgstrata.domain.job import ErrorBody, Job, Result, Status, Task
from pgstrata.domain.plan import PlanTask, PrepareInstanceTask, StateExecuteTask, TaskInput
from pgstrata.domain.request import PrepareRequest
from pgstrata.prepare import lifecycle

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


def task(spec: StateExecuteTask | PrepareInstanceTask, status: Status) -> Task:
    return Task(job_id=JOB.job_id, status=status, spec=spec)


def test_a_new_job_says_that_it_is_queued() -> None:
    [event] = lifecycle.submitted(JOB)
    assert (event.type, event.status, event.ts) == ("status", Status.QUEUED, NOW)


def test_a_job_that_starts_says_running_and_begins_to_plan() -> None:
    transition = lifecycle.started(JOB, LATER)
    assert transition.expected == {Status.QUEUED}
    assert transition.job.status is Status.RUNNING
    assert transition.job.started_at == LATER
    assert [(event.type, event.status) for event in transition.events] == [
        ("status", Status.RUNNING),
        ("task", Status.RUNNING),
    ]
    assert [one.task_id for one in transition.tasks] == ["plan"]


def test_a_job_that_goes_on_after_a_restart_does_not_say_running_again() -> None:
    transition = lifecycle.started(RUNNING, LATER)
    assert transition.expected == {Status.RUNNING}
    assert transition.job.started_at == NOW
    assert [event.type for event in transition.events] == ["task"]


def test_a_plan_replaces_all_tasks_and_is_itself_done() -> None:
    specs = (PlanTask(task_id="plan", planner_kind="psql"), STEP, INSTANCE)
    transition = lifecycle.planned(RUNNING, specs, image_id="i", signature="s", now=LATER)
    assert transition.replace_tasks
    assert [one.status for one in transition.tasks] == [
        Status.SUCCEEDED,
        Status.QUEUED,
        Status.QUEUED,
    ]
    assert [event.task_id for event in transition.events] == ["plan"]
    assert (transition.job.resolved_image_id, transition.job.signature) == ("i", "s")


def test_success_ends_with_the_task_the_result_and_the_status_in_this_order() -> None:
    transition = lifecycle.succeeded(RUNNING, task(INSTANCE, Status.RUNNING), RESULT, LATER)
    assert [event.type for event in transition.events] == ["task", "result", "status"]
    assert transition.job.result == RESULT
    assert transition.job.finished_at == LATER
    assert transition.expected == {Status.RUNNING}


def test_a_job_that_only_plans_ends_without_a_result() -> None:
    transition = lifecycle.plan_succeeded(RUNNING, LATER)
    assert [(event.type, event.status) for event in transition.events] == [
        ("status", Status.SUCCEEDED)
    ]
    assert transition.job.result is None


def test_failure_fails_the_running_task_and_leaves_those_that_never_began() -> None:
    tasks = [task(STEP, Status.RUNNING), task(INSTANCE, Status.QUEUED)]
    transition = lifecycle.failed(RUNNING, tasks, ERROR, LATER)
    assert [(one.task_id, one.status) for one in transition.tasks] == [("execute-0", Status.FAILED)]
    assert [event.type for event in transition.events] == ["task", "error", "status"]
    assert transition.events[1].error == ERROR
    assert transition.job.error == ERROR


def test_a_job_that_never_ran_can_fail() -> None:
    transition = lifecycle.failed(JOB, [], ERROR, LATER)
    assert transition.expected == {Status.QUEUED, Status.RUNNING}
    assert [event.type for event in transition.events] == ["error", "status"]


def test_joined_transitions_tell_the_same_story_in_one() -> None:
    started = lifecycle.started(JOB, NOW)
    specs = (PlanTask(task_id="plan", planner_kind="psql"), STEP, INSTANCE)
    planned = lifecycle.planned(started.job, specs, image_id="i", signature="s", now=LATER)
    begun = lifecycle.tasks_moved(planned.job, [task(STEP, Status.RUNNING)], LATER)
    whole = lifecycle.joined(lifecycle.joined(started, planned), begun)
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
    assert lifecycle.describe(replace(STEP, args_summary="-f seed.sql")) == "-f seed.sql"
    assert lifecycle.describe(STEP) == "execute-0"
