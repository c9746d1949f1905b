"""What every queue does, whichever keeps it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from pgstrata.domain.job import ErrorBody, Event, Job, Result, Status, Task, Transition
from pgstrata.domain.plan import (
    PlanTask,
    PrepareInstanceTask,
    ResolveImageTask,
    StateExecuteTask,
    TaskInput,
    TaskSpec,
)
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import ConflictError
from pgstrata.queue.base import JobCounts, Kept, Queue, without_stdin
from pgstrata.queue.memory import MemoryQueue
from pgstrata.queue.sqlite import SqliteQueue
from pgstrata.sqlite.database import Database

Adapter = Literal["memory", "sqlite"]

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
UNFINISHED = frozenset({Status.QUEUED, Status.RUNNING})


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["memory", "sqlite"])
def queue(
    request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path: Path
) -> Iterator[Queue]:
    adapter: Adapter = request.param
    if adapter == "memory":
        yield MemoryQueue()
        return
    database = runner.run(Database.open(tmp_path / "pgstrata.db"))
    yield SqliteQueue(database)
    runner.run(database.close())


def job(
    number: int,
    status: Status = Status.QUEUED,
    *,
    signature: str | None = None,
    created_at: datetime = NOON,
) -> Job:
    return Job(
        job_id=f"{number:032x}",
        status=status,
        request=PrepareRequest(
            prepare_kind="psql", image_id="postgres", fields={"psql_args": ["-f", "a.sql"]}
        ),
        prepare_args_normalized="-f a.sql",
        created_at=created_at,
        signature=signature,
    )


def moved(before: Job, status: Status) -> Job:
    return msgspec.structs.replace(before, status=status)


def said(message: str) -> Event:
    return Event(type="log", ts=NOON, message=message)


def task(owner: Job, task_id: str, status: Status = Status.QUEUED) -> Task:
    return Task(
        job_id=owner.job_id, status=status, spec=PlanTask(task_id=task_id, planner_kind="psql")
    )


def messages(events: list[Event]) -> list[str | None]:
    return [event.message for event in events]


def test_a_job_comes_back_as_it_was_stored(runner: asyncio.Runner, queue: Queue) -> None:
    stored = Job(
        job_id="f" * 32,
        status=Status.SUCCEEDED,
        request=PrepareRequest(
            prepare_kind="psql",
            image_id="postgres:16",
            stdin="select 'ä';\n",
            labels={"team": "blue"},
            instance_ttl=60,
        ),
        prepare_args_normalized="-f -",
        created_at=NOON + timedelta(microseconds=1),
        started_at=NOON + timedelta(seconds=1),
        finished_at=NOON + timedelta(seconds=2),
        resolved_image_id="postgres@sha256:" + "0" * 64,
        signature="5" * 64,
        cancel_requested=True,
        result=Result(
            dsn="postgresql://u:p@127.0.0.1:5000/d",
            instance_id="1" * 32,
            state_id="2" * 64,
            image_id="postgres@sha256:" + "0" * 64,
            prepare_kind="psql",
            prepare_args_normalized="-f -",
        ),
        error=ErrorBody(code="step_failed", message="it broke", details="mend it\n\nERROR"),
    )
    runner.run(queue.add(stored, []))
    assert runner.run(queue.get(stored.job_id)) == without_stdin(stored)


def test_standard_input_is_kept_apart_until_the_job_has_ended(
    runner: asyncio.Runner, queue: Queue
) -> None:
    request = msgspec.structs.replace(job(1).request, stdin="select 'ä\0';\n")
    waiting = msgspec.structs.replace(job(1), request=request)
    runner.run(queue.add(waiting, []))
    runner.run(queue.add(job(2), []))
    running = moved(waiting, Status.RUNNING)
    change = Transition(job=running, expected=frozenset({Status.QUEUED}))
    assert runner.run(queue.apply(change))
    assert runner.run(queue.stdin(waiting.job_id)) == request.stdin
    assert runner.run(queue.stdin(job(2).job_id)) is None
    for found in (*runner.run(queue.jobs()), *runner.run(queue.unfinished())):
        assert found.request.stdin is None
    ended = moved(waiting, Status.FAILED)
    runner.run(queue.apply(Transition(job=ended, expected=frozenset({Status.RUNNING}))))
    assert runner.run(queue.stdin(waiting.job_id)) is None
    assert runner.run(queue.get(waiting.job_id)) == moved(job(1), Status.FAILED)


def test_a_job_is_stored_with_its_first_events(runner: asyncio.Runner, queue: Queue) -> None:
    events = [
        Event(type="status", ts=NOON, status=Status.QUEUED),
        Event(type="error", ts=NOON, error=ErrorBody(code="conflict", message="in the way")),
    ]
    runner.run(queue.add(job(1), events))
    assert runner.run(queue.events(job(1).job_id)) == events


def test_an_id_that_is_not_new_is_refused_and_changes_nothing(
    runner: asyncio.Runner, queue: Queue
) -> None:
    runner.run(queue.add(job(1), [said("first")]))
    with pytest.raises(ConflictError, match=job(1).job_id) as refusal:
        runner.run(queue.add(job(1, Status.RUNNING), [said("second")]))
    assert refusal.value.remedy
    assert runner.run(queue.get(job(1).job_id)) == job(1)
    assert messages(runner.run(queue.events(job(1).job_id))) == ["first"]


def test_a_transition_changes_job_tasks_and_events_together(
    runner: asyncio.Runner, queue: Queue
) -> None:
    runner.run(queue.add(job(1), [said("queued")]))
    running = moved(job(1), Status.RUNNING)
    tasks = (task(running, "plan"), task(running, "execute-0"))
    applied = runner.run(
        queue.apply(
            Transition(
                job=running,
                expected=frozenset({Status.QUEUED}),
                tasks=tasks,
                events=(said("running"), said("planning")),
            )
        )
    )
    assert applied
    assert runner.run(queue.get(running.job_id)) == running
    assert runner.run(queue.tasks(running.job_id)) == list(tasks)
    assert messages(runner.run(queue.events(running.job_id))) == ["queued", "running", "planning"]


@pytest.mark.parametrize("expected", [frozenset({Status.QUEUED}), frozenset[Status]()])
def test_a_late_transition_changes_nothing(
    runner: asyncio.Runner, queue: Queue, expected: frozenset[Status]
) -> None:
    runner.run(queue.add(job(1, Status.RUNNING), [said("running")]))
    late = Transition(
        job=moved(job(1), Status.FAILED),
        expected=expected,
        tasks=(task(job(1), "plan"),),
        events=(said("failed"),),
    )
    assert not runner.run(queue.apply(late))
    assert runner.run(queue.get(job(1).job_id)) == job(1, Status.RUNNING)
    assert runner.run(queue.tasks(job(1).job_id)) == []
    assert messages(runner.run(queue.events(job(1).job_id))) == ["running"]


def test_a_transition_of_an_unknown_job_stores_nothing(
    runner: asyncio.Runner, queue: Queue
) -> None:
    stray = Transition(job=job(1), expected=frozenset(Status), events=(said("hello"),))
    assert not runner.run(queue.apply(stray))
    assert runner.run(queue.jobs()) == []
    assert runner.run(queue.count_events(job(1).job_id)) == 0


def test_of_two_transitions_at_once_exactly_one_applies(
    runner: asyncio.Runner, queue: Queue
) -> None:
    async def race() -> tuple[bool, bool]:
        await queue.add(job(1), [])
        claim = Transition(
            job=moved(job(1), Status.RUNNING),
            expected=frozenset({Status.QUEUED}),
            events=(said("mine"),),
        )
        return await asyncio.gather(queue.apply(claim), queue.apply(claim))

    assert sorted(runner.run(race())) == [False, True]
    assert messages(runner.run(queue.events(job(1).job_id))) == ["mine"]


def test_tasks_are_matched_by_id_and_the_others_stay_as_they_are(
    runner: asyncio.Runner, queue: Queue
) -> None:
    owner = job(1, Status.RUNNING)
    runner.run(queue.add(owner, []))
    first = (task(owner, "plan"), task(owner, "execute-0"))
    runner.run(queue.apply(Transition(job=owner, expected=UNFINISHED, tasks=first)))
    second = (task(owner, "plan", Status.SUCCEEDED), task(owner, "execute-1"))
    runner.run(queue.apply(Transition(job=owner, expected=UNFINISHED, tasks=second)))
    assert runner.run(queue.tasks(owner.job_id)) == [second[0], first[1], second[1]]


def test_a_new_plan_replaces_all_tasks(runner: asyncio.Runner, queue: Queue) -> None:
    owner = job(1, Status.RUNNING)
    runner.run(queue.add(owner, []))
    old = (task(owner, "plan"), task(owner, "execute-0"), task(owner, "execute-1"))
    runner.run(queue.apply(Transition(job=owner, expected=UNFINISHED, tasks=old)))
    new = (task(owner, "execute-1"), task(owner, "plan"))
    runner.run(
        queue.apply(Transition(job=owner, expected=UNFINISHED, tasks=new, replace_tasks=True))
    )
    assert runner.run(queue.tasks(owner.job_id)) == list(new)


def test_every_type_of_task_comes_back_as_it_was_stored(
    runner: asyncio.Runner, queue: Queue
) -> None:
    owner = job(1, Status.RUNNING)
    specs: tuple[TaskSpec, ...] = (
        PlanTask(task_id="plan", planner_kind="psql"),
        ResolveImageTask(task_id="image", image_id="postgres", resolved_image_id="postgres@x"),
        StateExecuteTask(
            task_id="execute-0",
            input=TaskInput(kind="image", id="postgres@x"),
            task_hash="1" * 64,
            output_state_id="2" * 64,
            cached=True,
            args_summary="-f a.sql",
        ),
        PrepareInstanceTask(
            task_id="instance",
            input=TaskInput(kind="state", id="2" * 64),
            instance_mode="ephemeral",
        ),
    )
    tasks = tuple(Task(job_id=owner.job_id, status=Status.QUEUED, spec=spec) for spec in specs)
    runner.run(queue.add(owner, []))
    runner.run(queue.apply(Transition(job=owner, expected=UNFINISHED, tasks=tasks)))
    assert runner.run(queue.tasks(owner.job_id)) == list(tasks)


def test_all_tasks_are_listed_newest_job_first(runner: asyncio.Runner, queue: Queue) -> None:
    older, newer = job(2, Status.RUNNING), job(1, Status.RUNNING)
    for owner in (older, newer):
        runner.run(queue.add(owner, []))
    for owner in (newer, older):
        tasks = (task(owner, "plan"), task(owner, "execute-0"))
        runner.run(queue.apply(Transition(job=owner, expected=UNFINISHED, tasks=tasks)))
    listed = runner.run(queue.tasks())
    assert [(found.job_id, found.task_id) for found in listed] == [
        (newer.job_id, "plan"),
        (newer.job_id, "execute-0"),
        (older.job_id, "plan"),
        (older.job_id, "execute-0"),
    ]


@pytest.mark.parametrize("job_id", [job(1).job_id, None])
def test_tasks_come_by_pages_however_many_there_are(
    runner: asyncio.Runner, queue: Queue, job_id: str | None
) -> None:
    runner.run(queue.add(job(1), []))
    tasks = [task(job(1), f"execute-{number}") for number in range(1000)]
    change = Transition(job=job(1), expected=UNFINISHED, tasks=tuple(tasks))
    runner.run(queue.apply(change))
    assert runner.run(queue.tasks(job_id)) == tasks
    for start, limit in ((0, 1), (0, 200), (1, 199), (150, 500), (990, 100), (1000, 1), (7, 0)):
        assert runner.run(queue.tasks(job_id, start, limit)) == tasks[start : start + limit]


def test_an_unknown_job_has_no_tasks_events_or_row(runner: asyncio.Runner, queue: Queue) -> None:
    runner.run(queue.add(job(1), [said("queued")]))
    assert runner.run(queue.get(job(2).job_id)) is None
    assert runner.run(queue.tasks(job(2).job_id)) == []
    assert runner.run(queue.events(job(2).job_id)) == []
    assert runner.run(queue.count_events(job(2).job_id)) == 0


@pytest.mark.parametrize("status", sorted(UNFINISHED))
def test_events_are_added_to_a_job_on_its_way(
    runner: asyncio.Runner, queue: Queue, status: Status
) -> None:
    runner.run(queue.add(job(1, status), [said("a")]))
    assert runner.run(queue.append(job(1).job_id, [said("b"), said("c")]))
    assert messages(runner.run(queue.events(job(1).job_id))) == ["a", "b", "c"]


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_no_event_is_added_to_a_job_at_its_end(
    runner: asyncio.Runner, queue: Queue, status: Status
) -> None:
    runner.run(queue.add(job(1, status), [said("a")]))
    assert not runner.run(queue.append(job(1).job_id, [said("b")]))
    assert messages(runner.run(queue.events(job(1).job_id))) == ["a"]


def test_no_event_is_added_to_an_unknown_job(runner: asyncio.Runner, queue: Queue) -> None:
    assert not runner.run(queue.append(job(1).job_id, [said("a")]))
    assert runner.run(queue.count_events(job(1).job_id)) == 0


@pytest.mark.parametrize(
    ("start", "limit", "expected"),
    [
        (0, None, ["0", "1", "2", "3"]),
        (2, None, ["2", "3"]),
        (1, 2, ["1", "2"]),
        (3, 10, ["3"]),
        (1, 0, []),
        (4, None, []),
        (99, 1, []),
    ],
)
def test_events_are_read_from_a_number_on(
    runner: asyncio.Runner, queue: Queue, start: int, limit: int | None, expected: list[str]
) -> None:
    runner.run(queue.add(job(1), [said(str(number)) for number in range(4)]))
    runner.run(queue.add(job(2), [said("another job's")]))
    assert messages(runner.run(queue.events(job(1).job_id, start, limit))) == expected


@pytest.mark.parametrize(
    ("start", "max_bytes", "expected"), [(0, 10**9, 4), (0, 700_000, 2), (1, 1, 1), (4, 1, 0)]
)
def test_a_reading_may_be_bounded_by_bytes_but_one_event_comes_in_any_case(
    runner: asyncio.Runner, queue: Queue, start: int, max_bytes: int, expected: int
) -> None:
    runner.run(queue.add(job(1), [said("long " * 60_000)] * 4))
    batch = runner.run(queue.events(job(1).job_id, start, 10, max_bytes=max_bytes))
    assert len(batch) == expected


def test_events_added_at_once_are_numbered_without_gaps(
    runner: asyncio.Runner, queue: Queue
) -> None:
    async def talk() -> None:
        await queue.add(job(1), [])
        await asyncio.gather(
            *(queue.append(job(1).job_id, [said(f"{n}a"), said(f"{n}b")]) for n in range(20))
        )

    runner.run(talk())
    assert runner.run(queue.count_events(job(1).job_id)) == 40
    one_by_one = [
        event.message
        for number in range(40)
        for event in runner.run(queue.events(job(1).job_id, number, 1))
    ]
    assert sorted(str(message) for message in one_by_one) == sorted(
        f"{n}{letter}" for n in range(20) for letter in "ab"
    )
    for n in range(20):
        assert one_by_one.index(f"{n}b") == one_by_one.index(f"{n}a") + 1


@pytest.mark.parametrize("status", sorted(UNFINISHED))
def test_a_wish_to_cancel_is_noted_and_twice_is_fine(
    runner: asyncio.Runner, queue: Queue, status: Status
) -> None:
    runner.run(queue.add(job(1, status), []))
    assert runner.run(queue.request_cancel(job(1).job_id))
    assert runner.run(queue.request_cancel(job(1).job_id))
    wished = msgspec.structs.replace(job(1, status), cancel_requested=True)
    assert runner.run(queue.get(job(1).job_id)) == wished
    assert runner.run(queue.unfinished()) == [wished]


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_a_job_at_its_end_cannot_be_cancelled(
    runner: asyncio.Runner, queue: Queue, status: Status
) -> None:
    runner.run(queue.add(job(1, status), []))
    assert not runner.run(queue.request_cancel(job(1).job_id))
    assert runner.run(queue.get(job(1).job_id)) == job(1, status)


def test_an_unknown_job_cannot_be_cancelled(runner: asyncio.Runner, queue: Queue) -> None:
    assert not runner.run(queue.request_cancel(job(1).job_id))


def test_a_wish_to_cancel_outlives_a_transition_that_does_not_know_of_it(
    runner: asyncio.Runner, queue: Queue
) -> None:
    runner.run(queue.add(job(1), []))
    runner.run(queue.request_cancel(job(1).job_id))
    for status in (Status.RUNNING, Status.FAILED):
        runner.run(queue.apply(Transition(job=moved(job(1), status), expected=UNFINISHED)))
        stored = runner.run(queue.get(job(1).job_id))
        assert stored == msgspec.structs.replace(job(1, status), cancel_requested=True)


def test_a_transition_can_bring_the_wish_to_cancel(runner: asyncio.Runner, queue: Queue) -> None:
    runner.run(queue.add(job(1), []))
    wished = msgspec.structs.replace(job(1), cancel_requested=True)
    runner.run(queue.apply(Transition(job=wished, expected=UNFINISHED)))
    runner.run(queue.apply(Transition(job=job(1), expected=UNFINISHED)))
    assert runner.run(queue.get(job(1).job_id)) == wished


def test_jobs_are_listed_newest_first_whatever_the_clock_said(
    runner: asyncio.Runner, queue: Queue
) -> None:
    jobs = [job(number, created_at=NOON - timedelta(hours=number)) for number in (2, 3, 1)]
    for stored in jobs:
        runner.run(queue.add(stored, []))
    assert runner.run(queue.jobs()) == jobs[::-1]


def test_jobs_are_found_by_the_start_of_their_id(runner: asyncio.Runner, queue: Queue) -> None:
    ids = ["ab" + "0" * 30, "ab" + "f" * 30, "ac" + "0" * 30, "aa" + "f" * 30]
    for job_id in ids:
        runner.run(queue.add(msgspec.structs.replace(job(1), job_id=job_id), []))
    found = runner.run(queue.jobs(prefix="ab"))
    assert [stored.job_id for stored in found] == [ids[1], ids[0]]
    assert [stored.job_id for stored in runner.run(queue.jobs(prefix=ids[2]))] == [ids[2]]
    assert runner.run(queue.jobs(prefix="b")) == []


def test_unfinished_jobs_are_listed_oldest_first(runner: asyncio.Runner, queue: Queue) -> None:
    jobs = [
        job(3, Status.QUEUED),
        job(2, Status.SUCCEEDED),
        job(1, Status.RUNNING),
        job(4, Status.FAILED),
    ]
    for stored in jobs:
        runner.run(queue.add(stored, []))
    assert runner.run(queue.unfinished()) == [jobs[0], jobs[2]]
    assert runner.run(queue.counts()) == JobCounts(queued=1, running=1, finished=2)


def test_of_no_jobs_there_are_none(runner: asyncio.Runner, queue: Queue) -> None:
    assert runner.run(queue.counts()) == JobCounts(queued=0, running=0, finished=0)


def test_jobs_with_one_signature_are_listed_the_latest_to_finish_first(
    runner: asyncio.Runner, queue: Queue
) -> None:
    for number in (1, 2, 3, 4, 5):
        signature = "b" if number == 4 else "a"
        runner.run(queue.add(job(number, Status.RUNNING, signature=signature), []))
    for number, status in ((3, Status.SUCCEEDED), (1, Status.FAILED), (4, Status.SUCCEEDED)):
        ended = job(number, status, signature="b" if number == 4 else "a")
        runner.run(queue.apply(Transition(job=ended, expected=UNFINISHED)))
    # The latest to finish is the oldest job, and one of the five is still on its way.
    ended = job(2, Status.SUCCEEDED, signature="a")
    runner.run(queue.apply(Transition(job=ended, expected=UNFINISHED)))
    alike = runner.run(queue.finished_alike("a"))
    assert alike == [
        ended,
        job(1, Status.FAILED, signature="a"),
        job(3, Status.SUCCEEDED, signature="a"),
    ]
    assert runner.run(queue.finished_alike("c")) == []


def test_the_signature_that_counts_is_the_one_the_job_ended_with(
    runner: asyncio.Runner, queue: Queue
) -> None:
    runner.run(queue.add(job(1, Status.RUNNING, signature="early"), []))
    ended = job(1, Status.SUCCEEDED, signature="late")
    runner.run(queue.apply(Transition(job=ended, expected=UNFINISHED)))
    assert runner.run(queue.finished_alike("early")) == []
    assert runner.run(queue.finished_alike("late")) == [ended]


@pytest.mark.parametrize(
    ("kept", "surplus"),
    [
        (Kept(number=None, max_bytes=None, since=None), []),
        (Kept(number=3, max_bytes=None, since=None), [1, 2, 3]),
        (Kept(number=0, max_bytes=None, since=None), [1, 2, 3, 4]),
        (Kept(number=None, max_bytes=None, since=NOON + timedelta(hours=3)), [1, 2]),
        # The third said the most, and more than all may take; the last stays whatever it takes.
        (Kept(number=None, max_bytes=20_000, since=None), [1, 2, 3]),
        (Kept(number=None, max_bytes=1, since=None), [1, 2, 3, 4]),
        (Kept(number=4, max_bytes=100_000, since=NOON + timedelta(hours=3)), [1, 2]),
    ],
)
def test_of_all_finished_jobs_the_last_are_kept_by_number_size_and_age(
    runner: asyncio.Runner, queue: Queue, kept: Kept, surplus: list[int]
) -> None:
    # They finish in another order than they came in; the sixth only just now.
    for number in (6, 3, 1, 5, 4, 2):
        runner.run(queue.add(job(number, Status.RUNNING, signature=str(number % 2)), []))
    for number in range(1, 7):
        ended = msgspec.structs.replace(
            job(number, Status.FAILED if number % 3 else Status.SUCCEEDED, signature=str(number)),
            finished_at=NOON + timedelta(hours=number),
        )
        said_last = (said("x" * (30_000 if number == 3 else 1000)),)
        runner.run(queue.apply(Transition(job=ended, expected=UNFINISHED, events=said_last)))
    runner.run(queue.add(job(7, Status.RUNNING), [said("x" * 100_000)]))
    latest = NOON + timedelta(hours=4)
    found = runner.run(queue.surplus(kept, finished_before=latest))
    assert found == [job(number).job_id for number in surplus]


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_a_job_at_its_end_is_removed_with_its_tasks_and_events(
    runner: asyncio.Runner, queue: Queue, status: Status
) -> None:
    running = job(1, Status.RUNNING, signature="a")
    runner.run(queue.add(running, [said("running")]))
    runner.run(queue.add(job(2, Status.RUNNING), [said("another")]))
    ended = Transition(
        job=moved(running, status),
        expected=UNFINISHED,
        tasks=(task(running, "plan"),),
        events=(said("ended"),),
    )
    runner.run(queue.apply(ended))
    assert runner.run(queue.remove(running.job_id))
    assert runner.run(queue.get(running.job_id)) is None
    assert runner.run(queue.tasks()) == []
    assert runner.run(queue.count_events(running.job_id)) == 0
    assert runner.run(queue.finished_alike("a")) == []
    assert messages(runner.run(queue.events(job(2).job_id))) == ["another"]


def test_an_id_can_be_used_again_after_its_job_was_removed(
    runner: asyncio.Runner, queue: Queue
) -> None:
    runner.run(queue.add(job(1, Status.FAILED), [said("a"), said("b")]))
    runner.run(queue.remove(job(1).job_id))
    runner.run(queue.add(job(1), [said("c")]))
    assert messages(runner.run(queue.events(job(1).job_id))) == ["c"]


@pytest.mark.parametrize("status", sorted(UNFINISHED))
def test_a_job_on_its_way_is_not_removed(
    runner: asyncio.Runner, queue: Queue, status: Status
) -> None:
    runner.run(queue.add(job(1, status), [said("a")]))
    assert not runner.run(queue.remove(job(1).job_id))
    assert runner.run(queue.get(job(1).job_id)) == job(1, status)
    assert runner.run(queue.count_events(job(1).job_id)) == 1


def test_an_unknown_job_is_not_removed(runner: asyncio.Runner, queue: Queue) -> None:
    assert not runner.run(queue.remove(job(1).job_id))
