"""A job's life: what comes next, wherever the job is."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgstrata.domain.job import Job, Status, Task
from pgstrata.domain.plan import (
    PlanTask,
    PrepareInstanceTask,
    StateExecuteTask,
    TaskInput,
    TaskSpec,
)
from pgstrata.domain.request import PrepareRequest
from pgstrata.prepare import lifecycle, transitions
from pgstrata.prepare.lifecycle import next_move

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUEUED = Job(
    job_id="a" * 32,
    status=Status.QUEUED,
    request=PrepareRequest(prepare_kind="psql", image_id="postgres"),
    prepare_args_normalized="-f a.sql",
    created_at=NOW,
)
RUNNING = replace(QUEUED, status=Status.RUNNING, started_at=NOW)
SPECS: tuple[TaskSpec, ...] = (
    PlanTask(task_id="plan", planner_kind="psql"),
    *(
        StateExecuteTask(
            task_id=f"execute-{number}",
            input=TaskInput(kind="state", id=f"{number:064}"),
            task_hash="d" * 64,
            output_state_id=f"{number + 1:064}",
            cached=False,
        )
        for number in range(2)
    ),
    PrepareInstanceTask(
        task_id="prepare-instance",
        input=TaskInput(kind="state", id=f"{2:064}"),
        instance_mode="ephemeral",
    ),
)


def tasks(*statuses: Status) -> tuple[Task, ...]:
    return tuple(
        Task(job_id=QUEUED.job_id, status=status, spec=spec)
        for status, spec in zip(statuses, SPECS, strict=True)
    )


DONE, TO_DO, AT_IT = Status.SUCCEEDED, Status.QUEUED, Status.RUNNING


def test_a_queued_job_begins() -> None:
    assert next_move(QUEUED, (), planned=False) == lifecycle.Begin()


def test_a_job_that_runs_is_planned_before_anything_is_done() -> None:
    assert next_move(RUNNING, (), planned=False) == lifecycle.Plan()


def test_a_job_of_an_earlier_engine_is_planned_again_however_far_it_was() -> None:
    assert next_move(RUNNING, tasks(DONE, DONE, AT_IT, TO_DO), planned=False) == lifecycle.Plan()


@pytest.mark.parametrize("broken_off", [TO_DO, AT_IT])
def test_the_first_step_that_is_not_done_comes_next(broken_off: Status) -> None:
    plan = tasks(DONE, DONE, broken_off, TO_DO)
    assert next_move(RUNNING, plan, planned=True) == lifecycle.Execute(plan[2])


def test_when_every_step_is_done_the_instance_is_made() -> None:
    plan = tasks(DONE, DONE, DONE, TO_DO)
    assert next_move(RUNNING, plan, planned=True) == lifecycle.PrepareInstance(plan[3])


def test_a_job_that_is_only_to_be_planned_succeeds_then() -> None:
    job = replace(RUNNING, request=replace(RUNNING.request, plan_only=True))
    plan = tasks(DONE, TO_DO, TO_DO, TO_DO)
    assert next_move(job, plan, planned=True) == lifecycle.SucceedPlanned()


@pytest.mark.parametrize("job", [QUEUED, RUNNING])
def test_a_wish_to_cancel_comes_before_everything_else(job: Job) -> None:
    wished = replace(job, cancel_requested=True)
    assert next_move(wished, (), planned=False) == lifecycle.Cancel()


@pytest.mark.parametrize("end", [Status.SUCCEEDED, Status.FAILED])
def test_nothing_comes_after_the_end(end: Status) -> None:
    assert next_move(replace(RUNNING, status=end), (), planned=True) is None


@given(
    done_before=st.integers(0, 2),
    at_it=st.booleans(),
    done_on_disk=st.integers(0, 2),
)
def test_from_wherever_it_broke_off_a_job_does_what_is_missing_and_nothing_twice(
    done_before: int, at_it: bool, done_on_disk: int
) -> None:
    statuses = [DONE, *[DONE] * done_before, *([AT_IT] if at_it else []), *[TO_DO] * 3][:4]
    job, plan = RUNNING, tasks(*statuses)
    resumed = transitions.resumed(
        job, plan, [task.spec for task in plan], done=done_on_disk, now=NOW
    )
    plan = transitions.tasks_after(plan, resumed)
    carried_out = []
    while isinstance(move := next_move(job, plan, planned=True), lifecycle.Execute):
        carried_out.append(move.task.task_id)
        done = transitions.tasks_moved(job, [replace(move.task, status=DONE)], NOW)
        plan = transitions.tasks_after(plan, done)
    assert carried_out == ["execute-0", "execute-1"][done_on_disk:]
    assert isinstance(move, lifecycle.PrepareInstance)


def test_of_two_limits_the_shorter_holds() -> None:
    assert lifecycle.time_limit(None, None) is None
    assert lifecycle.time_limit(5, None) == 5
    assert lifecycle.time_limit(None, 7) == 7
    assert lifecycle.time_limit(9, 7) == 7


@pytest.mark.parametrize(
    ("passed", "left"),
    [
        pytest.param(timedelta(0), 60, id="at its start"),
        pytest.param(timedelta(seconds=45), 15, id="after a restart"),
        pytest.param(timedelta(days=1), 0, id="long over"),
        pytest.param(timedelta(days=-1), 60, id="the clock was set back"),
    ],
)
def test_a_job_has_what_is_left_of_its_time(passed: timedelta, left: float) -> None:
    assert lifecycle.time_left(RUNNING, 60, NOW + passed) == left


def test_a_job_that_has_not_begun_has_all_its_time() -> None:
    assert lifecycle.time_left(QUEUED, 60, NOW + timedelta(days=1)) == 60
    assert lifecycle.time_left(RUNNING, None, NOW + timedelta(days=1)) is None
