"""One run of a job: the job and its tasks as the run knows them, what is stored of it, its logs."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import NamedTuple

from msgspec.structs import replace

from pgstrata.domain.image import ResolvedImage
from pgstrata.domain.job import Event, Job, Status, Task, Transition
from pgstrata.domain.model import utc_now
from pgstrata.domain.plan import Step
from pgstrata.domain.state import State
from pgstrata.errors import StoreUnusableError
from pgstrata.kinds.base import RecipeSide
from pgstrata.kinds.sources.base import Sources
from pgstrata.prepare import planner, transitions
from pgstrata.prepare.job_log import JobLog, OvertakenError
from pgstrata.prepare.task_list import TaskList
from pgstrata.prepare.task_log import MAX_PENDING_LINES, LogRoom, TaskLog, open_task_log


class Submission(NamedTuple):
    """A submitted job, with what was determined in order to accept it."""

    job: Job
    image: ResolvedImage
    steps: Sequence[Step]
    """According to the inputs at that time."""
    start: State | None = None
    """What the first step starts from, if that is not the image."""


class JobRun:
    """A run of a job, from when it has a slot until it ends or the engine does."""

    def __init__(
        self,
        job: Job,
        tasks: TaskList,
        kind: RecipeSide,
        sources: Sources,
        submission: Submission | None,
        *,
        job_log: JobLog,
        heartbeat_seconds: float,
    ) -> None:
        """``submission``: None after a restart. ``heartbeat_seconds``: see ``JobRunner``."""
        self.job = job
        self.tasks = tasks
        self.kind = kind
        self.sources = sources
        self.submission = submission
        self.lease_id: str | None = None
        """The lease that keeps the states of the chain from being evicted."""
        self.chain: planner.Chain | None = None
        """Known once this run has planned."""
        self.positions: Mapping[str, int] = {}
        """The step that makes each state of the chain, counted from 0."""
        self.damages = 0
        """How often a state was found to be damaged, and the job planned again."""
        self.keeping_seconds = 0.0
        """How long it took to keep a state last."""
        self._job_log = job_log
        self._heartbeat_seconds = heartbeat_seconds
        self._log_room = LogRoom()
        self._pending: Transition | None = None
        self._storing = asyncio.Lock()
        """Held while something is stored, so that all is stored in its order."""

    def record(self, transition: Transition) -> None:
        """Record a transition; the next flush stores it."""
        self.job = transition.job
        self.tasks.apply(transition)
        self._pending = (
            transition if self._pending is None else transitions.merge(self._pending, transition)
        )

    async def flush(self, transition: Transition | None = None) -> None:
        """Store everything recorded, and this transition, in one transaction.

        A full disk does not stay full forever: until then the job waits.
        """
        if transition is not None:
            self.record(transition)
        async with self._storing:
            if self._pending is not None:
                pending, self._pending = self._pending, None
                await self._job_log.apply_when_possible(pending)

    @property
    def has_much_to_store(self) -> bool:
        """Whether more was recorded than should be in one transaction."""
        return self._pending is not None and len(self._pending.events) >= MAX_PENDING_LINES

    async def append(self, events: Sequence[Event]) -> None:
        """Store everything recorded, and after it these events, in one transaction.

        Raises ``StoreUnusableError``; then the events are not stored, and the rest is still
        recorded.
        """
        async with self._storing:
            if self._pending is None:
                if events:
                    await self._job_log.append(self.job.job_id, events)
                return
            before, self._pending = self._pending, None
            said = transitions.said(self.job, events)
            try:
                await self._job_log.apply_if_possible(transitions.merge(before, said))
            except (StoreUnusableError, OvertakenError) as error:
                later = self._pending
                self._pending = before if later is None else transitions.merge(before, later)
                # Like events alone, it is left to who carries the job on to notice.
                if isinstance(error, StoreUnusableError):
                    raise

    @asynccontextmanager
    async def run_task(self, task: Task) -> AsyncIterator[TaskLog]:
        """Store the start of a task with everything pending, and keep a log until its end."""
        running = self.begin(task)
        await self.flush()
        async with self.open_log(running) as task_log:
            yield task_log

    def begin(self, task: Task) -> Task:
        """Record that a task runs. Open its log next, which stores it."""
        running = replace(task, status=Status.RUNNING)
        self.record(transitions.tasks_moved(self.job, [running], utc_now()))
        return running

    @asynccontextmanager
    async def open_log(self, task: Task) -> AsyncIterator[TaskLog]:
        """Keep a task's log until the end of the block."""
        async with open_task_log(
            task,
            self.append,
            self._log_room,
            heartbeat_seconds=self._heartbeat_seconds,
            has_more=lambda: self._pending is not None,
        ) as task_log:
            yield task_log


class StepLogs:
    """The logs of steps that are run one after another. Use it as an async context.

    What is recorded of them is stored within moments, with what they say.
    """

    def __init__(self, run: JobRun, first: Task) -> None:
        self._run = run
        self._open = AsyncExitStack()
        self._first = first
        self._task_log: TaskLog | None = None
        self.task_id = first.task_id
        """The task whose log is open."""

    async def __aenter__(self) -> "StepLogs":
        self._task_log = await self._open.enter_async_context(self._run.run_task(self._first))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._open.__aexit__(kind, error, traceback)

    async def record(self, tasks: Sequence[Task]) -> None:
        """Record that tasks have changed, after all that was said so far."""
        await self._record_lines()
        self._run.record(transitions.tasks_moved(self._run.job, tasks, utc_now()))
        if self._run.has_much_to_store:
            await self._run.flush()

    async def move_to(self, task: Task) -> None:
        """End the log that is open; record the start of the next task, and open its log."""
        running = replace(task, status=Status.RUNNING)
        await self.record([running])
        self._log.begin(running)
        self.task_id = task.task_id

    async def store(self) -> None:
        """Store all that was recorded and said so far."""
        await self._record_lines()
        await self._run.flush()

    async def _record_lines(self) -> None:
        self._log.end_gap()
        if lines := await self._log.take():
            self._run.record(transitions.said(self._run.job, lines))

    async def line(self, text: str) -> None:
        """Add a line to the log that is open."""
        await self._log.line(text)

    async def tell(self, text: str) -> None:
        """Add a line of ours at once, unless the disk is full."""
        await self._log.tell(text)

    @property
    def _log(self) -> TaskLog:
        assert self._task_log is not None
        return self._task_log
