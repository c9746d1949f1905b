"""One run of a job: the job and its tasks as the run knows them, what is stored of it, its logs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import NamedTuple

from msgspec.structs import replace

from pgstrata.domain.image import ResolvedImage
from pgstrata.domain.job import Job, Status, Task, Transition
from pgstrata.domain.model import utc_now
from pgstrata.domain.plan import Step
from pgstrata.domain.state import State
from pgstrata.kinds.base import RecipeSide
from pgstrata.kinds.sources.base import Sources
from pgstrata.prepare import planner, transitions
from pgstrata.prepare.job_log import JobLog
from pgstrata.prepare.task_list import TaskList
from pgstrata.prepare.task_log import LogRoom, TaskLog, open_task_log


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
        if self._pending is not None:
            pending, self._pending = self._pending, None
            await self._job_log.apply_when_possible(pending)

    @asynccontextmanager
    async def run_task(self, task: Task) -> AsyncIterator[TaskLog]:
        """Store the start of a task with everything pending, and keep a log until its end."""
        running = replace(task, status=Status.RUNNING)
        await self.flush(transitions.tasks_moved(self.job, [running], utc_now()))
        async with self.open_log(running) as task_log:
            yield task_log

    @asynccontextmanager
    async def open_log(self, task: Task) -> AsyncIterator[TaskLog]:
        """Keep a task's log until the end of the block."""
        append = partial(self._job_log.append, task.job_id)
        async with open_task_log(
            task, append, self._log_room, heartbeat_seconds=self._heartbeat_seconds
        ) as task_log:
            yield task_log


class StepLogs:
    """The logs of steps that are run one after another. Use it as an async context."""

    def __init__(self, run: JobRun, first: Task) -> None:
        self._run = run
        self._open = AsyncExitStack()
        self._first = first
        self._task_log: TaskLog | None = None
        self.task_id = first.task_id
        """The task whose log is open."""

    async def __aenter__(self) -> "StepLogs":
        await self.move_to(self._first)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._open.__aexit__(kind, error, traceback)

    async def move_to(self, task: Task) -> None:
        """End the log that is open; store the start of the next task, and open its log."""
        await self._open.aclose()
        self.task_id = task.task_id
        self._task_log = await self._open.enter_async_context(self._run.run_task(task))

    async def line(self, text: str) -> None:
        """Add a line to the log that is open."""
        assert self._task_log is not None
        await self._task_log.line(text)

    async def tell(self, text: str) -> None:
        """Add a line of ours at once, unless the disk is full."""
        assert self._task_log is not None
        await self._task_log.tell(text)
