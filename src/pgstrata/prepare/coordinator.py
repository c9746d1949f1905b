"""The JobCoordinator: a job's life from submission to its terminal status.

It accepts jobs, has the runner carry them out, ends them when they fail or are cancelled, continues
those of an earlier engine, and deletes them. ``lifecycle`` decides what comes next for a job.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import NamedTuple, Self

from msgspec.structs import replace

from pgstrata.domain import name
from pgstrata.domain.deletion import DeleteNode, DeleteResult
from pgstrata.domain.image import ResolvedImage
from pgstrata.domain.job import ErrorBody, Job, Status
from pgstrata.domain.model import utc_now
from pgstrata.domain.plan import Step
from pgstrata.domain.reason import Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.state import State
from pgstrata.errors import (
    CancelledJobError,
    ConflictError,
    EngineStoppingError,
    InvalidArgumentError,
    InvalidNameError,
    NotFoundError,
    PgstrataError,
    StoreUnusableError,
    UnreadableJobError,
    machine_error,
)
from pgstrata.kinds.base import (
    RecipeSide,
    check_on_error,
    check_states,
    lookup,
    reads_directories,
)
from pgstrata.kinds.sources.git import Revisions
from pgstrata.prepare import server_settings, transitions
from pgstrata.prepare.executor import Executor
from pgstrata.prepare.job_log import JobLog, OvertakenError
from pgstrata.prepare.job_run import Submission
from pgstrata.prepare.job_slots import JobSlots
from pgstrata.prepare.retention import Retention
from pgstrata.prepare.room import Room
from pgstrata.prepare.runner import JobRunner
from pgstrata.queue.base import Queue
from pgstrata.settings import JobLimits
from pgstrata.system.cancellation import cancel, finish
from pgstrata.system.computing import compute

_log = logging.getLogger(__name__)

LONG_STDIN = 1 << 20
"""A job with a longer standard input (in characters) does not wait for its turn in memory, but is
read again when that comes."""

_UNREADABLE = UnreadableJobError(
    "the job cannot continue: this engine cannot read what is stored of it",
    remedy="prepare again",
).body()


class _Read(NamedTuple):
    """A request that was checked, with what was read for it."""

    request: PrepareRequest
    arguments: str
    image: ResolvedImage
    steps: Sequence[Step]
    start: State | None
    """What the first step starts from, if that is not the image."""


class JobCoordinator:
    """Runs jobs, at most ``limits.max_parallel`` at a time, first come, first served.

    Use it as an async context: leaving it cancels the runs and leaves their jobs to ``recover``.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        job_log: JobLog,
        kinds: Mapping[str, RecipeSide],
        revisions: Revisions,
        executor: Executor,
        limits: JobLimits,
        server_settings: Mapping[str, str],
    ) -> None:
        """``server_settings``: those that differ from our defaults."""
        self._queue = queue
        self._kinds = kinds
        self._revisions = revisions
        self._executor = executor
        self._job_log = job_log
        self._retention = Retention(queue, job_log, limits)
        self._job_slots = JobSlots(limits.max_parallel)
        self._room = Room(executor, self._job_slots, limits.room_timeout)
        self._runner = JobRunner(
            job_log=job_log,
            kinds=kinds,
            revisions=self._revisions,
            executor=executor,
            retention=self._retention,
            job_slots=self._job_slots,
            timeout_seconds=limits.timeout,
            room=self._room,
            heartbeat_seconds=limits.heartbeat,
            server_settings=server_settings,
        )
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._start_leases: dict[str, str] = {}
        """The leases that keep the states that jobs start from, by job."""
        self._stopping = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping = True
        await cancel(*self._runs.values())

    @property
    def busy(self) -> bool:
        """Whether any job is queued or running."""
        return bool(self._runs)

    def limit(self, limits: JobLimits) -> None:
        """Work within other limits from now on; what runs already goes on."""
        self._retention.limits = limits
        self._runner.timeout_seconds = limits.timeout
        self._room.patience = limits.room_timeout
        self._job_slots.resize(limits.max_parallel)

    def queue_position(self, job_id: str) -> int | None:
        """A queued job's position in the queue for a slot, from 1; None for any other job."""
        return self._job_slots.position(job_id)

    async def submit(self, request: PrepareRequest, *, patience: float = 0) -> Job:
        """Check a request, store it as a queued job, and run it once a slot is free.

        Returns the job as it is then or, with ``patience``, once it has ended or so many seconds
        are over. Raises ``InvalidArgumentError`` for a request that cannot be carried out,
        ``ConflictError`` if the instance name is in use, ``HostLimitError``,
        ``EngineStoppingError``; then there is no job.
        """
        async with self._holding_start(request) as start:
            job = await self._submit(await self._read(request, start))
        if patience:
            # Whatever an ended job wrote is durable.
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._job_log.wait_for_end(job.job_id)
            job = await self._queue.get(job.job_id) or job
        if not job.status.terminal:
            # It runs already, while its client waits for the disk.
            await self._keep(job)
        return job

    async def _submit(self, read: _Read) -> Job:
        request = read.request
        taken = request.instance_name if request.replace else None
        if not request.plan_only:
            await self._executor.check_limits(taken)
        if request.instance_name is not None and taken is None:
            await self._executor.check_name(request.instance_name)
        if self._stopping:
            raise EngineStoppingError(
                "the engine is stopping and accepts no more jobs",
                remedy="try again in a moment: the next command starts another engine",
            )
        job = Job(
            job_id=uuid.uuid4().hex,
            status=Status.QUEUED,
            request=request,
            prepare_args_normalized=read.arguments,
            created_at=utc_now(),
        )
        # Once stored it must run, even if the client disconnects at this very moment.
        await finish(self._add(Submission(job, read.image, read.steps, read.start)))
        return job

    async def explain(self, request: PrepareRequest) -> Explanation:
        """Say whether a request would find its last state in the cache, and why.

        Changes nothing. Raises ``InvalidArgumentError`` for a request that cannot be carried out.
        """
        async with self._holding_start(request) as start:
            read = await self._read(request, start)
            return await self._runner.explain(read.request, read.image, read.steps, start)

    @asynccontextmanager
    async def _holding_start(self, request: PrepareRequest) -> AsyncIterator[State | None]:
        """Keep the state that a request starts from in the block, if it starts from one."""
        if request.start_from is None:
            yield None
            return
        try:
            found = await self._executor.find_state(request.start_from)
        except NotFoundError as error:
            raise InvalidArgumentError(error.message, remedy=error.remedy) from error
        lease_id = await self._executor.acquire((found.state_id,))
        try:
            # It may have been removed before it was held.
            yield await self._executor.find_state(found.state_id)
        finally:
            await finish(self._executor.release(lease_id))

    async def _read(self, request: PrepareRequest, start: State | None) -> _Read:
        kind = lookup(self._kinds, request.prepare_kind)
        check_on_error(kind, request)
        check_states(kind, request)
        _check_instance_name(request)
        request = replace(request, settings=server_settings.check(request.settings))
        arguments = await compute(_words(request), lambda: kind.normalize(request))
        if start is not None:
            request = _from_state(request, start)
        image = await self._executor.resolve_image(request.image_id)
        if start is not None and image.image_id != start.image_id:
            raise InvalidArgumentError(
                f"state {start.state_id} is of another image than {request.image_id}: "
                f"{start.image_id}",
                remedy="omit `image_id` (--image)",
            )
        request = await self._revisions.pin(request)
        async with self._revisions.of(request, in_directory=reads_directories(kind)) as sources:
            steps = await kind.steps(request, sources)
            return _Read(request, arguments, image, steps, start)

    async def recover(self) -> None:
        """Continue every job that was queued or running when the engine last stopped.

        A job that can no longer be read fails, with the reason.
        """
        await self._executor.recover()
        for job in await self._queue.unreadable():
            _log.error("job %s can no longer be read and has failed", job.job_id)
            await self._job_log.apply(transitions.unreadable(job, _UNREADABLE, utc_now()))
        for job in await self._queue.unfinished():
            await self._job_log.reopen(job.job_id)
            await self._start(job)

    async def trim_history(self) -> None:
        """Remove finished jobs that are not to be kept any longer."""
        await self._retention.trim_all()

    async def drain(self, seconds: float) -> None:
        """Accept no more jobs and let running steps reach their state, for at most ``seconds``.

        Jobs that have not ended by then are left to ``recover``.
        """
        self._stopping = True
        self._runner.drain()
        for job_id in (*self._job_slots.waiting, *self._room.waiting):
            self._runs[job_id].cancel()
        if self._runs:
            await asyncio.wait(self._runs.values(), timeout=seconds)

    async def cancel(self, job_id: str) -> Job:
        """Request a job's cancellation. Returns the job as it is now.

        May be repeated, also after the job has ended. Raises ``NotFoundError``.
        """
        if await self._queue.request_cancel(job_id) and job_id in self._runs:
            self._runs[job_id].cancel()
        return await self._known(job_id)

    async def delete(self, job_id: str, *, force: bool, dry_run: bool) -> DeleteResult:
        """Remove a job with its tasks and events; with ``force`` also one that has not ended.

        Raises ``NotFoundError``.
        """
        job = await self._known(job_id)
        if not job.status.terminal and not force:
            node = DeleteNode(kind="job", id=job_id, blocked="active_tasks")
            return DeleteResult(dry_run=dry_run, outcome="blocked", root=node)
        node = DeleteNode(kind="job", id=job_id)
        if dry_run:
            return DeleteResult(dry_run=True, outcome="would_delete", root=node)
        if not job.status.terminal:
            await self._stop(job_id)
        if not await self._job_log.remove(job_id):
            await self._known(job_id)  # somebody else may have removed it
            raise ConflictError(
                f"job {job_id} has not ended", remedy="wait until it has, and remove it then"
            )
        return DeleteResult(dry_run=False, outcome="deleted", root=node)

    async def _known(self, job_id: str) -> Job:
        job = await self._queue.get(job_id)
        if job is None:
            raise NotFoundError(f"there is no job {job_id}")
        return job

    # Runs of jobs

    async def _add(self, submission: Submission) -> None:
        job = submission.job
        await self._job_log.add(job, transitions.submitted(job))
        read_again = self._job_slots.is_full and len(job.request.stdin or "") > LONG_STDIN
        await self._start(job, None if read_again else submission)

    async def _keep(self, job: Job) -> None:
        """Have a job survive a power cut, if the disk can be written."""
        try:
            await self._queue.sync()
        except StoreUnusableError as error:
            # Refused now, it would be sent once more, and run twice.
            _log.warning("job %s would not outlive the machine: %s", job.job_id, error)

    async def _start(self, job: Job, submission: Submission | None = None) -> None:
        job_id = job.job_id
        if (state_id := job.request.start_from) is not None:
            self._start_leases[job_id] = await self._executor.acquire((state_id,))
        run = asyncio.create_task(self._run(job_id, submission), name=f"job {job_id}")
        self._runs[job_id] = run
        run.add_done_callback(lambda _: self._forget(job_id))
        # A task that is cancelled before its first step never runs at all, and so would never end
        # the job.
        await asyncio.sleep(0)

    def _forget(self, job_id: str) -> None:
        del self._runs[job_id]
        self._job_log.close(job_id)

    async def _stop(self, job_id: str) -> None:
        await self.cancel(job_id)
        if run := self._runs.get(job_id):
            await asyncio.wait((run,))

    async def _run(self, job_id: str, submission: Submission | None) -> None:
        """Run a job. Whatever happens, afterwards it has ended or is left to ``recover``."""
        try:
            try:
                await self._runner.run(job_id, submission)
            finally:
                await finish(self._end_use(job_id))
        except asyncio.CancelledError:
            await self._store_end(lambda: self._end_cancelled(job_id))
            raise
        except OvertakenError:
            _log.info("job %s ended elsewhere", job_id)
        except PgstrataError as error:
            body = error.body()
            await self._store_end(lambda: self._fail(job_id, body))
        except Exception as error:  # noqa: BLE001 - a bug of ours must not leave a job running
            _log.exception("job %s failed unexpectedly", job_id)
            known = machine_error(error) if isinstance(error, OSError) else None
            failure = known or PgstrataError(
                f"the engine failed while running the job: {type(error).__name__}: {error}",
                remedy="see the engine's log (pgstrata engine logs), and report it as a bug",
            )
            body = failure.body()
            await self._store_end(lambda: self._fail(job_id, body))

    async def _end_use(self, job_id: str) -> None:
        """Give up everything that a run needed."""
        try:
            await self._executor.close_workspace(job_id)
        finally:
            if (lease_id := self._start_leases.pop(job_id, None)) is not None:
                await self._executor.release(lease_id)

    # Ending a job

    async def _store_end(self, end: Callable[[], Coroutine[None, None, None]]) -> None:
        """Store the end of a job, trying until it succeeds: a full disk does not stay full forever.

        Until then the job does not change; an engine that stops leaves it to ``recover``.
        """
        while True:
            try:
                return await finish(end())
            except StoreUnusableError as error:
                if self._stopping:
                    raise
                failure = error
            try:
                await self._job_log.wait_for_room(failure)
            except asyncio.CancelledError:
                with suppress(StoreUnusableError):
                    await finish(end())
                raise

    async def _end_cancelled(self, job_id: str) -> None:
        """End a job whose run was cancelled, unless that is because the engine stops."""
        job = await self._queue.get(job_id)
        if job is not None and job.cancel_requested:
            await self._fail(job_id, CancelledJobError("the job was cancelled").body())

    async def _fail(self, job_id: str, error: ErrorBody) -> None:
        with suppress(OvertakenError):
            job = await self._job_log.load(job_id)
            if job.status.terminal:
                return
            # There may be an instance already, if the job's success could not be stored.
            await self._executor.discard_instance(job_id)
            tasks = await self._job_log.tasks(job_id)
            await self._job_log.apply(transitions.failed(job, tasks, error, utc_now()))
            await self._retention.trim(job.signature)


def _from_state(request: PrepareRequest, start: State) -> PrepareRequest:
    """What a request means that goes on from a state: it keeps that one's image and settings."""
    if request.initdb.own:
        raise InvalidArgumentError(
            f"state {start.state_id} is a cluster already, with its own locale and encoding",
            remedy="omit `initdb` (--locale, --encoding and the like), or `from` (--from)",
        )
    return replace(
        request,
        image_id=request.image_id or start.image_id,
        start_from=start.state_id,
        settings={**start.settings, **request.settings},
    )


def _words(request: PrepareRequest) -> int:
    """How many words the fields of a request's kind have."""
    return sum(len(each) for each in request.fields.values() if isinstance(each, list))


def _check_instance_name(request: PrepareRequest) -> None:
    if request.instance_name is not None:
        if reason := name.invalid(request.instance_name):
            raise InvalidNameError(request.instance_name, reason)
    elif request.replace:
        raise InvalidArgumentError(
            "`replace` is given without the name of an instance",
            remedy="say which with `instance_name` (--name)",
        )
