"""The JobCoordinator: a job's life from submission to its terminal status.

Every queue and event transition is made here: planning, running the tasks in order, cancelling,
going on after a restart, retention. The work itself is the executor's; what may follow what is
written in ``lifecycle``.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from pgstrata.cancellation import to_the_end
from pgstrata.domain.deletion import DeleteNode, DeleteResult
from pgstrata.domain.instance import Instance
from pgstrata.domain.job import ErrorBody, Event, Job, Result, Status, Task, Transition
from pgstrata.domain.model import utc_now
from pgstrata.domain.plan import PrepareInstanceTask, StateExecuteTask, Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import (
    CancelledJobError,
    InvalidArgumentError,
    NotFoundError,
    PgstrataError,
    StoreUnusableError,
)
from pgstrata.kinds.base import Kind
from pgstrata.prepare import fingerprint, lifecycle, planner
from pgstrata.prepare.executor import InstanceOrder, StateOrder, TaskExecutor
from pgstrata.prepare.feeds import Feeds
from pgstrata.prepare.journal import Journal, journal
from pgstrata.queue.base import Queue
from pgstrata.settings import Settings

_log = logging.getLogger(__name__)

END_AGAIN_SECONDS = 0.5
"""How long to wait before a job's end that could not be written is written again."""


class _OvertakenError(Exception):
    """A job is not where this run of it believed it to be: the run is over, the job stays."""


class JobCoordinator:
    """Runs jobs, at most ``settings.max_parallel_jobs`` at a time, first come first served.

    Use it as an async context: leaving it stops the runs and leaves their jobs for ``recover``.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        kinds: Mapping[str, Kind],
        executor: TaskExecutor,
        settings: Settings,
    ) -> None:
        self._queue = queue
        self._kinds = kinds
        self._executor = executor
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.max_parallel_jobs)
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._feeds = Feeds(queue)
        self._trimmed: dict[str, float] = {}
        self._closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        if runs:
            await asyncio.wait(runs)

    @property
    def busy(self) -> bool:
        """Whether any job is queued or running."""
        return bool(self._runs)

    async def submit(self, request: PrepareRequest) -> Job:
        """Check a request, store it as a queued job and let it run when its turn comes.

        Raises ``InvalidArgumentError`` for a request that cannot be carried out and
        ``ConflictError`` for an instance name that is taken; there is no job then.
        """
        kind = self._kind(request)
        arguments = kind.normalize(request)
        await self._executor.resolve_image(request.image_id)
        steps = await kind.steps(request)
        if request.instance_name is not None:
            await self._executor.check_name(request.instance_name)
        job = Job(
            job_id=uuid.uuid4().hex,
            status=Status.QUEUED,
            request=request,
            prepare_args_normalized=arguments,
            created_at=utc_now(),
        )
        # Stored, it must run, even if the one who asked goes away this very moment.
        await to_the_end(self._enter(job, steps))
        return job

    async def recover(self) -> None:
        """Go on with every job that was queued or running when the engine last ended."""
        await self._executor.recover()
        for job in await self._queue.unfinished():
            self._feeds.open(job.job_id, await self._queue.count_events(job.job_id))
            await self._start(job.job_id)

    async def cancel(self, job_id: str) -> Job:
        """Ask for a job's end; the job as it is now. Harmless twice, and after the end.

        Raises ``NotFoundError``.
        """
        if await self._queue.request_cancel(job_id) and job_id in self._runs:
            self._runs[job_id].cancel()
        job = await self._queue.get(job_id)
        if job is None:
            raise NotFoundError(f"there is no job {job_id}")
        return job

    async def delete(self, job_id: str, *, force: bool, dry_run: bool) -> DeleteResult:
        """Remove a job with its tasks and events; with ``force`` one that is not at its end, too.

        Raises ``NotFoundError``.
        """
        job = await self._queue.get(job_id)
        if job is None:
            raise NotFoundError(f"there is no job {job_id}")
        if not job.status.terminal and not force:
            node = DeleteNode(kind="job", id=job_id, blocked="active_tasks")
            return DeleteResult(dry_run=dry_run, outcome="blocked", root=node)
        node = DeleteNode(kind="job", id=job_id)
        if dry_run:
            return DeleteResult(dry_run=True, outcome="would_delete", root=node)
        if not job.status.terminal:
            await self._stop(job_id)
        await self._queue.remove(job_id)
        return DeleteResult(dry_run=False, outcome="deleted", root=node)

    async def wait_for_event(self, job_id: str, number: int) -> bool:
        """Wait until the job's event ``number`` is there; False when it will never be."""
        return await self._feeds.wait_for(job_id, number)

    async def events_since(self, job_id: str, start: int, limit: int | None = None) -> list[Event]:
        """A job's events from number ``start`` on; see ``Feeds.since``."""
        return await self._feeds.since(job_id, start, limit)

    async def count_events(self, job_id: str) -> int:
        """How many events a job has; 0 when it is unknown."""
        return await self._feeds.count(job_id)

    # Running a job

    async def _enter(self, job: Job, steps: Sequence[Step]) -> None:
        events = lifecycle.submitted(job)
        # Whoever finds the job must find its feed, too.
        self._feeds.open(job.job_id)
        try:
            await self._feeds.write(job.job_id, self._add(job, events), events)
        except PgstrataError:
            self._feeds.close(job.job_id)
            raise
        await self._start(job.job_id, steps)

    async def _add(self, job: Job, events: Sequence[Event]) -> bool:
        await self._queue.add(job, events)
        return True

    async def _start(self, job_id: str, steps: Sequence[Step] | None = None) -> None:
        """Let a job run; ``steps`` are those its inputs were read for when it was submitted."""
        run = asyncio.create_task(self._run(job_id, steps), name=f"job {job_id}")
        self._runs[job_id] = run
        run.add_done_callback(lambda _: self._ended(job_id))
        # A task that is cancelled before its first step never runs at all, and nothing would then
        # end the job.
        await asyncio.sleep(0)

    def _ended(self, job_id: str) -> None:
        del self._runs[job_id]
        self._feeds.close(job_id)

    async def _stop(self, job_id: str) -> None:
        await self.cancel(job_id)
        if run := self._runs.get(job_id):
            await asyncio.wait((run,))

    async def _run(self, job_id: str, steps: Sequence[Step] | None) -> None:
        """One run of a job: however it ends, the job is at its end or left for ``recover``."""
        try:
            try:
                async with self._slots:
                    await self._carry_out(job_id, steps)
            finally:
                await to_the_end(self._executor.release(job_id))
        except asyncio.CancelledError:
            await self._written(lambda: self._end_cancelled(job_id))
            raise
        except _OvertakenError:
            _log.info("job %s ended elsewhere", job_id)
        except PgstrataError as error:
            body = error.body()
            await self._written(lambda: self._fail(job_id, body))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not leave a job running
            _log.exception("job %s failed unexpectedly", job_id)
            body = ErrorBody(
                code=PgstrataError.code,
                message=f"the engine failed at this job: {type(error).__name__}: {error}",
                remedy="see the engine's log (pgstrata engine logs), and report it as a bug",
            )
            await self._written(lambda: self._fail(job_id, body))

    async def _carry_out(self, job_id: str, steps: Sequence[Step] | None) -> None:
        job = await self._load(job_id)
        if job.cancel_requested:
            raise asyncio.CancelledError
        beginning = lifecycle.started(job, utc_now())
        if steps is None:
            # Reading everything again may take its time.
            await self._apply(beginning)
            [planning] = beginning.tasks
            async with self._journal(planning):
                steps = await self._kind(job.request).steps(job.request)
            plan, chain = await self._plan(beginning.job, steps)
        else:
            plan, chain = await self._plan(beginning.job, steps)
            plan = lifecycle.joined(beginning, plan)
        if job.request.plan_only:
            end = lifecycle.plan_succeeded(plan.job, utc_now())
            await self._apply(lifecycle.joined(plan, end))
        else:
            await self._execute(plan, chain)
        await self._trim(plan.job)

    async def _plan(self, job: Job, steps: Sequence[Step]) -> tuple[Transition, planner.Chain]:
        image = await self._executor.resolve_image(job.request.image_id)
        chain = planner.chain(
            image.image_id, steps, server_settings=self._settings.own_server_settings
        )
        specs = planner.tasks(
            job.request, chain, await self._executor.existing_states(chain.state_ids)
        )
        signature = fingerprint.signature(
            kind=job.request.prepare_kind,
            image_id=chain.image_id,
            state_id=chain.state_ids[-1],
            plan_only=job.request.plan_only,
        )
        plan = lifecycle.planned(
            job, specs, image_id=chain.image_id, signature=signature, now=utc_now()
        )
        return plan, chain

    async def _execute(self, plan: Transition, chain: planner.Chain) -> None:
        """Run the tasks in order. What is done is said together with what comes next."""
        executing = [task for task in plan.tasks if isinstance(task.spec, StateExecuteTask)]
        deepest = await self._executor.deepest_clean(chain.state_ids)
        todo = 0 if deepest is None else deepest + 1
        cached = [_done(task, cached=True) for task in executing[:todo]]
        said = lifecycle.joined(plan, lifecycle.tasks_moved(plan.job, cached, utc_now()))
        for task, step in zip(executing[todo:], chain.steps[todo:], strict=True):
            done = await self._execute_state(said, chain, task, step)
            said = lifecycle.tasks_moved(plan.job, [done], utc_now())
        await self._prepare_instance(said, chain, plan.tasks[-1])

    async def _execute_state(
        self, said: Transition, chain: planner.Chain, task: Task, step: Step
    ) -> Task:
        assert isinstance(task.spec, StateExecuteTask)
        order = StateOrder(
            job_id=task.job_id,
            image_id=chain.image_id,
            task=task.spec,
            step=step,
            last=task.spec.output_state_id == chain.state_ids[-1],
        )
        async with self._running(said, task) as book:
            built = await self._executor.execute_state(order, book.line)
        return _done(task, cached=not built)

    async def _prepare_instance(self, said: Transition, chain: planner.Chain, task: Task) -> None:
        assert isinstance(task.spec, PrepareInstanceTask)
        order = InstanceOrder(
            image_id=chain.image_id,
            state_id=task.spec.input.id,
            name=said.job.request.instance_name,
            ttl_seconds=said.job.request.instance_ttl,
        )
        async with self._running(said, task):
            instance = await self._executor.prepare_instance(order)
            # There is an instance now: a wish to cancel that comes later comes too late.
            await to_the_end(self._succeed(said.job, task, instance))

    async def _succeed(self, job: Job, task: Task, instance: Instance) -> None:
        result = Result(
            dsn=instance.dsn,
            instance_id=instance.instance_id,
            state_id=instance.state_id,
            image_id=instance.image_id,
            prepare_kind=job.request.prepare_kind,
            prepare_args_normalized=job.prepare_args_normalized,
        )
        await self._apply(lifecycle.succeeded(job, task, result, utc_now()))

    @asynccontextmanager
    async def _running(self, said: Transition, task: Task) -> AsyncIterator[Journal]:
        """A task's time of running: said at its start with all before, a journal until its end."""
        task = replace(task, status=Status.RUNNING)
        begun = lifecycle.tasks_moved(said.job, [task], utc_now())
        await self._apply(lifecycle.joined(said, begun))
        async with self._journal(task) as book:
            yield book

    @asynccontextmanager
    async def _journal(self, task: Task) -> AsyncIterator[Journal]:
        async def append(events: Sequence[Event]) -> None:
            commit = self._queue.append(task.job_id, events)
            await self._feeds.write(task.job_id, commit, events)

        seconds = self._settings.heartbeat_seconds
        async with journal(task, append, heartbeat_seconds=seconds) as book:
            yield book

    # Ending a job

    async def _written(self, end: Callable[[], Coroutine[None, None, None]]) -> None:
        """Write down a job's end, as soon as that can be: a disk that is full now will not stay so.

        Meanwhile the job is what it was; an engine that ends leaves it for ``recover``.
        """
        while True:
            try:
                return await to_the_end(end())
            except StoreUnusableError as error:
                if self._closing:
                    raise
                _log.error("the end of a job cannot be written yet: %s", error)
            try:
                await asyncio.sleep(END_AGAIN_SECONDS)
            except asyncio.CancelledError:
                with suppress(StoreUnusableError):
                    await to_the_end(end())
                raise

    async def _end_cancelled(self, job_id: str) -> None:
        """End a job whose run was cancelled, if it is the job that was meant, not the engine."""
        job = await self._queue.get(job_id)
        if job is not None and job.cancel_requested:
            error = CancelledJobError("the job was cancelled")
            await self._fail(job_id, error.body())

    async def _fail(self, job_id: str, error: ErrorBody) -> None:
        with suppress(_OvertakenError):
            job = await self._load(job_id)
            tasks = await self._queue.tasks(job_id)
            await self._apply(lifecycle.failed(job, tasks, error, utc_now()))
            await self._trim(job)

    async def _trim(self, job: Job) -> None:
        """Retention: of the finished jobs that ask for the same, keep the newest.

        One that has only just finished stays a while: its client may not have read the end yet.
        """
        limit = self._settings.max_identical_jobs
        grace = self._settings.finished_job_grace_seconds
        if not limit or job.signature is None or not self._trim_is_due(job.signature, grace):
            return
        latest = utc_now() - timedelta(seconds=grace)
        for old in (await self._queue.finished_alike(job.signature))[limit:]:
            if old.finished_at is not None and old.finished_at <= latest:
                await self._queue.remove(old.job_id)

    def _trim_is_due(self, signature: str, grace: float) -> bool:
        """Whether it is worth looking: within the grace after a look nothing new can be removed."""
        now = asyncio.get_running_loop().time()
        self._trimmed = {known: at for known, at in self._trimmed.items() if now - at < grace}
        due = signature not in self._trimmed
        self._trimmed.setdefault(signature, now)
        return due

    # Small things

    async def _load(self, job_id: str) -> Job:
        job = await self._queue.get(job_id)
        if job is None:
            raise _OvertakenError(job_id)
        return job

    async def _apply(self, transition: Transition) -> None:
        job_id = transition.job.job_id
        commit = self._queue.apply(transition)
        if not await self._feeds.write(job_id, commit, transition.events):
            raise _OvertakenError(job_id)

    def _kind(self, request: PrepareRequest) -> Kind:
        try:
            return self._kinds[request.prepare_kind]
        except KeyError:
            known = ", ".join(sorted(self._kinds))
            raise InvalidArgumentError(
                f"there is no prepare_kind {request.prepare_kind!r}",
                remedy=f"this engine knows: {known}",
            ) from None


def _done(task: Task, *, cached: bool) -> Task:
    assert isinstance(task.spec, StateExecuteTask)
    return replace(task, status=Status.SUCCEEDED, spec=replace(task.spec, cached=cached))
