"""Whatever is done to them, the queue in SQLite answers as the queue in memory does."""

import asyncio
import tempfile
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pgstrata.domain.job import Event, Job, Status, Task, Transition
from pgstrata.domain.plan import PlanTask
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import ConflictError
from pgstrata.queue.base import Queue
from pgstrata.queue.memory import MemoryQueue
from pgstrata.queue.sqlite import SqliteQueue
from pgstrata.sqlite.database import Database

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
JOB_IDS = ("a" * 32, "a" * 31 + "b", "c" * 32)
SIGNATURES = ("5" * 64, "6" * 64)

job_ids = st.sampled_from(JOB_IDS)
statuses = st.sampled_from(Status)
events = st.lists(
    st.builds(Event, type=st.just("log"), ts=st.just(NOON), message=st.text(max_size=3)),
    max_size=3,
)
jobs = st.builds(
    Job,
    job_id=job_ids,
    status=statuses,
    request=st.just(PrepareRequest(prepare_kind="psql", image_id="postgres")),
    prepare_args_normalized=st.just("-f a.sql"),
    created_at=st.just(NOON),
    signature=st.none() | st.sampled_from(SIGNATURES),
    cancel_requested=st.booleans(),
)


@st.composite
def transitions(draw: st.DrawFn) -> Transition:
    job = draw(jobs)
    task = st.builds(
        Task,
        job_id=st.just(job.job_id),
        status=statuses,
        spec=st.builds(
            PlanTask,
            task_id=st.sampled_from(["plan", "execute-0", "execute-1"]),
            planner_kind=st.just("psql"),
        ),
    )
    return Transition(
        job=job,
        expected=frozenset(draw(st.sets(statuses))),
        tasks=tuple(draw(st.lists(task, max_size=4))),
        replace_tasks=draw(st.booleans()),
        events=tuple(draw(events)),
    )


async def added(queue: Queue, job: Job, first: list[Event]) -> bool:
    try:
        await queue.add(job, first)
    except ConflictError:
        return False
    return True


class QueuesAgree(RuleBasedStateMachine):
    """The same is done to both queues; each answer, and all that can be read, is the same."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.database = self.runner.run(Database.open(Path(self.directory.name) / "pgstrata.db"))
        self.memory: Queue = MemoryQueue()
        self.sqlite: Queue = SqliteQueue(self.database)

    def teardown(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()
        self.directory.cleanup()

    def agree(
        self, memory: Coroutine[Any, Any, object], sqlite: Coroutine[Any, Any, object]
    ) -> None:
        assert self.runner.run(memory) == self.runner.run(sqlite)

    @rule(job=jobs, first=events)
    def add(self, job: Job, first: list[Event]) -> None:
        self.agree(added(self.memory, job, first), added(self.sqlite, job, first))

    @rule(transition=transitions())
    def apply(self, transition: Transition) -> None:
        self.agree(self.memory.apply(transition), self.sqlite.apply(transition))

    @rule(job_id=job_ids, more=events)
    def append(self, job_id: str, more: list[Event]) -> None:
        self.agree(self.memory.append(job_id, more), self.sqlite.append(job_id, more))

    @rule(job_id=job_ids)
    def request_cancel(self, job_id: str) -> None:
        self.agree(self.memory.request_cancel(job_id), self.sqlite.request_cancel(job_id))

    @rule(job_id=job_ids)
    def remove(self, job_id: str) -> None:
        self.agree(self.memory.remove(job_id), self.sqlite.remove(job_id))

    @rule(
        job_id=job_ids,
        start=st.integers(0, 5),
        limit=st.none() | st.integers(0, 5),
        max_bytes=st.none() | st.integers(0, 1000),
    )
    def read_some_events(
        self, job_id: str, start: int, limit: int | None, max_bytes: int | None
    ) -> None:
        self.agree(
            self.memory.events(job_id, start, limit, max_bytes=max_bytes),
            self.sqlite.events(job_id, start, limit, max_bytes=max_bytes),
        )

    @rule(prefix=job_ids, length=st.integers(0, 32))
    def find_by_prefix(self, prefix: str, length: int) -> None:
        short = prefix[:length]
        self.agree(self.memory.jobs(prefix=short), self.sqlite.jobs(prefix=short))

    @invariant()
    def all_that_can_be_read_is_the_same(self) -> None:
        self.agree(everything(self.memory), everything(self.sqlite))


async def everything(queue: Queue) -> list[object]:
    return [
        await queue.jobs(),
        await queue.unfinished(),
        await queue.tasks(),
        *[await queue.finished_alike(signature) for signature in SIGNATURES],
        *[await queue.events(job_id) for job_id in JOB_IDS],
        *[await queue.count_events(job_id) for job_id in JOB_IDS],
    ]


TestQueuesAgree = QueuesAgree.TestCase
TestQueuesAgree.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
