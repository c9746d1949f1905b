"""The runner: takes one job from wherever it is to its end, move by move.

``lifecycle`` decides what comes next, ``transitions`` how it is recorded, and the executor does the
work. A result is stored together with the start of what comes next, so that a prepare whose states
are all cached takes few transactions.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import replace

from pgstrata.domain import identity
from pgstrata.domain.image import ResolvedImage
from pgstrata.domain.instance import Instance
from pgstrata.domain.job import Job, Result, Task
from pgstrata.domain.model import utc_now
from pgstrata.domain.plan import (
    CACHED,
    PrepareInstanceTask,
    Reason,
    StateExecuteTask,
    Step,
    TaskSpec,
)
from pgstrata.domain.reason import Evidence, Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.state import State
from pgstrata.errors import CancelledJobError, JobTimeoutError, StateDamagedError
from pgstrata.instances.starting import InstanceOrder
from pgstrata.kinds.base import RecipeSide, lookup, reads_directories
from pgstrata.kinds.sources.git import Revisions
from pgstrata.prepare import lifecycle, planner, reasons, server_settings, spans, transitions
from pgstrata.prepare.building import Builder
from pgstrata.prepare.executor import Executor, Known
from pgstrata.prepare.job_log import JobLog
from pgstrata.prepare.job_run import JobRun, StepLogs, Submission
from pgstrata.prepare.job_slots import JobSlots
from pgstrata.prepare.retention import Retention
from pgstrata.prepare.room import Room
from pgstrata.prepare.task_list import TaskList
from pgstrata.runtime.base import LineSink
from pgstrata.system.cancellation import finish
from pgstrata.system.computing import compute


class JobRunner:
    """Runs jobs, each in a call of ``run``."""

    def __init__(
        self,
        *,
        job_log: JobLog,
        kinds: Mapping[str, RecipeSide],
        revisions: Revisions,
        executor: Executor,
        retention: Retention,
        job_slots: JobSlots,
        timeout_seconds: float | None,
        room: Room,
        heartbeat_seconds: float,
        server_settings: Mapping[str, str],
    ) -> None:
        """``timeout_seconds``: how long any job may run; None for no limit.
        ``heartbeat_seconds``: time without an event after which a task's last event is repeated.
        ``server_settings``: those that differ from our defaults."""
        self._job_log = job_log
        self._kinds = kinds
        self._revisions = revisions
        self._executor = executor
        self._retention = retention
        self._job_slots = job_slots
        self._room = room
        self.timeout_seconds = timeout_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._server_settings = server_settings
        self._builder = Builder(executor, job_slots)
        self._draining = False

    def drain(self) -> None:
        """Make every run return before its job's next step."""
        self._draining = True
        self._builder.drain()

    async def run(self, job_id: str, submission: Submission | None = None) -> None:
        """Wait for a slot, then run the job to its end or, when draining, to the end of a step.

        ``submission``: given for a job that was submitted to this engine; other jobs are loaded.
        Raises the ``PgstrataError`` with which the job should fail, and ``OvertakenError`` if it
        has ended elsewhere.
        """
        async with self._job_slots.hold(job_id):
            tasks = TaskList()
            if submission is not None:
                job = submission.job
            else:
                job = await self._job_log.load(job_id)
                tasks = TaskList(await self._job_log.tasks(job_id))
            kind = lookup(self._kinds, job.request.prepare_kind)
            async with self._revisions.of(
                job.request, in_directory=reads_directories(kind)
            ) as sources:
                run = JobRun(
                    job,
                    tasks,
                    kind,
                    sources,
                    submission,
                    job_log=self._job_log,
                    heartbeat_seconds=self._heartbeat_seconds,
                )
                try:
                    async with self._limit_time(job):
                        await self._advance(run)
                finally:
                    if run.lease_id is not None:
                        await finish(self._executor.release(run.lease_id))
            await self._retention.trim(run.job.signature)

    @asynccontextmanager
    async def _limit_time(self, job: Job) -> AsyncIterator[None]:
        """Stop the block with ``JobTimeoutError`` once the job has run for too long."""
        limit = lifecycle.time_limit(job.request.timeout, self.timeout_seconds)
        try:
            async with asyncio.timeout(lifecycle.time_left(job, limit, utc_now())) as timer:
                yield
        except TimeoutError:
            if not timer.expired():
                raise
            raise JobTimeoutError(
                f"the job was stopped: it ran for longer than {limit:g} s",
                remedy="allow more time, or prepare again: the states it has built are cached",
            ) from None

    async def _advance(self, run: JobRun) -> None:
        while move := lifecycle.next_move(run.job, run.tasks.next, planned=run.chain is not None):
            match move:
                case lifecycle.Begin():
                    run.record(transitions.started(run.job, utc_now()))
                case lifecycle.Plan():
                    await self._plan(run)
                case lifecycle.Execute() if self._draining:
                    return await run.flush()
                case lifecycle.Execute():
                    await self._execute(run)
                case lifecycle.PrepareInstance(task):
                    await self._prepare_instance(run, task)
                case lifecycle.SucceedPlanned():
                    await run.flush(transitions.plan_succeeded(run.job, utc_now()))
                case lifecycle.Cancel():
                    raise CancelledJobError("the job was cancelled")
        return None

    # Planning

    async def _plan(self, run: JobRun) -> None:
        if run.submission is not None:
            _, image, steps, start = run.submission
        else:
            steps = await self._reread_steps(run)
            image = await self._executor.resolve_image(run.job.request.image_id)
            ref = run.job.request.start_from
            start = None if ref is None else await self._executor.find_state(ref)
        request, size = run.job.request, len(steps)
        chain = await compute(size, lambda: self._chain(request, image, steps, start))
        # From before the cached states are looked up until the instance exists.
        run.lease_id = await self._executor.acquire(chain.held)
        known = await self._executor.look_up(chain.state_ids)
        done = 0 if request.plan_only else known.clean
        specs = await self._tasks(request, chain, known)
        before = [task.spec for task in run.tasks]
        drift = planner.drift(before, specs) if run.job.signature is not None else None
        run.chain = chain
        run.positions = {state_id: step for step, state_id in enumerate(chain.state_ids)}
        job, now = run.job, utc_now()
        if job.signature is not None and drift is None:
            earlier = tuple(run.tasks)
            run.record(
                await compute(
                    size, lambda: transitions.resumed(job, earlier, specs, done=done, now=now)
                )
            )
            return
        run.record(
            await compute(
                size,
                lambda: transitions.planned(
                    job,
                    specs,
                    done=done,
                    image_id=chain.image_id,
                    signature=_signature(request, chain),
                    now=now,
                    drift=drift,
                ),
            )
        )
        await self._retention.trim(run.job.signature)

    def _chain(
        self,
        request: PrepareRequest,
        image: ResolvedImage,
        steps: Sequence[Step],
        start: State | None,
    ) -> planner.Chain:
        return planner.chain(
            image.image_id,
            steps,
            server_settings=server_settings.own(self._server_settings, request.settings),
            image_parts=image.parts,
            initdb=request.initdb.own,
            start=start,
        )

    async def explain(
        self,
        request: PrepareRequest,
        image: ResolvedImage,
        steps: Sequence[Step],
        start: State | None,
    ) -> Explanation:
        """Say whether the request's last state is cached, and why."""
        chain = await compute(len(steps), lambda: self._chain(request, image, steps, start))
        lease_id = await self._executor.acquire(chain.held)
        try:
            known = await self._executor.look_up(chain.state_ids)
            tasks = await self._tasks(request, chain, known)
        finally:
            await finish(self._executor.release(lease_id))
        executing = tuple(task for task in tasks if isinstance(task, StateExecuteTask))
        clean, decisive = known.clean, _decisive(executing, known)
        reason = CACHED if decisive is None else decisive.reason
        assert reason is not None
        return Explanation(
            decision="miss" if clean < len(executing) else "hit",
            reason_code=reason.code,
            signature=_signature(request, chain),
            matched_state_id=chain.state_ids[clean - 1] if clean else request.start_from,
            resolved_image_id=chain.image_id,
            reason=reason,
            step=None if decisive is None else decisive.args_summary,
            tasks=executing,
        )

    async def _tasks(
        self, request: PrepareRequest, chain: planner.Chain, known: Known
    ) -> tuple[TaskSpec, ...]:
        size, cached = len(chain.steps), frozenset(chain.state_ids[: known.clean])
        why = await self._explain(chain, cached, frozenset(chain.state_ids[: known.run_before]))
        failures = await self._failures(request, chain.state_ids[: known.clean])
        kept = await compute(size, lambda: self._kept(request, chain, known))
        return await compute(
            size, lambda: planner.tasks(request, chain, cached, why, failures, kept)
        )

    def _kept(self, request: PrepareRequest, chain: planner.Chain, known: Known) -> frozenset[str]:
        """Which states of a chain are there, or are to be."""
        failed = self._builder.has_failed
        worked_on = {at for at, start in enumerate(chain.inputs) if failed(start.id)}
        if known.clean < known.run_before < len(chain.steps):
            worked_on.add(known.run_before)
        chosen = spans.choose(request.states, chain.steps, worked_on)
        to_be = (chain.state_ids[at] for at in chosen if at >= known.clean)
        return frozenset((*known.stored, *to_be))

    async def _explain(
        self, chain: planner.Chain, cached: frozenset[str], run_before: frozenset[str]
    ) -> dict[str, Reason]:
        """Explain why each state is cached or not. Costs a read only if one is missing."""
        evidence, size, repeated = Evidence(), len(chain.steps), run_before - cached
        if missing := reasons.missing(chain, cached):
            first = await compute(size, lambda: reasons.first_missing(chain, cached, repeated))
            evidence = await self._executor.evidence(missing, first)
        return await compute(size, lambda: reasons.explain(chain, cached, evidence, repeated))

    async def _failures(
        self, request: PrepareRequest, state_ids: Sequence[str]
    ) -> dict[str, tuple[str, ...]]:
        """What failed when states were made. Costs a read only if steps went on after errors."""
        if request.on_error == "stop" or not state_ids:
            return {}
        return await self._executor.failures(state_ids)

    async def _reread_steps(self, run: JobRun) -> Sequence[Step]:
        """Make the steps from the current inputs, which may take a while."""
        await run.flush()
        request = run.job.request
        if (stdin := await self._job_log.stdin(run.job.job_id)) is not None:
            request = replace(request, stdin=stdin)
        async with run.open_log(run.tasks.first):
            return await run.kind.steps(request, run.sources)

    # The tasks

    async def _execute(self, run: JobRun) -> None:
        span = run.tasks.span
        target = span[-1].spec
        assert isinstance(target, StateExecuteTask)
        async with StepLogs(run, span[0]) as logs:
            try:
                await self._room.find(
                    run.job.job_id,
                    lambda: self._builder.build(run, span, logs),
                    logs.tell,
                    target.output_state_id,
                )
            except StateDamagedError as error:
                await self._plan_again(run, error, logs.line)

    async def _prepare_instance(self, run: JobRun, task: Task) -> None:
        assert isinstance(task.spec, PrepareInstanceTask)
        order = InstanceOrder(
            job_id=run.job.job_id,
            image_id=_chain(run).image_id,
            state_id=task.spec.input.id,
            name=run.job.request.instance_name,
            ttl_seconds=run.job.request.instance_ttl,
            replace=run.job.request.replace,
            settings=run.job.request.settings,
        )
        # The log stores that it has begun meanwhile: its client would wait for one after the other.
        async with run.open_log(run.begin(task)) as task_log:
            try:
                instance = await self._room.find(
                    task.job_id,
                    lambda: self._executor.start_instance(order),
                    task_log.tell,
                    None,
                )
            except StateDamagedError as error:
                await self._plan_again(run, error, task_log.line)
                return
            result = _result(run.job, instance)
            # There is an instance now: once that can be stored, it is too late to cancel.
            await run.flush(transitions.succeeded(run.job, task, result, utc_now()))

    async def _plan_again(self, run: JobRun, error: StateDamagedError, line: LineSink) -> None:
        """Go on from what is left after a damaged state was removed, unless that has no end."""
        assert run.chain is not None
        run.damages += 1
        if run.damages > len(run.chain.steps) + 1:
            raise error
        await line(f"{error.message}; it is built again")
        await self._executor.close_workspace(run.job.job_id)
        lease_id, run.lease_id, run.chain = run.lease_id, None, None
        if lease_id is not None:
            await self._executor.release(lease_id)


def _chain(run: JobRun) -> planner.Chain:
    assert run.chain is not None
    return run.chain


def _decisive(tasks: Sequence[StateExecuteTask], known: Known) -> StateExecuteTask | None:
    """The step that says why a plan is a hit or a miss: the first that is new, if there is one."""
    if not tasks:
        return None
    at = known.run_before if known.run_before < len(tasks) else known.clean
    return tasks[min(at, len(tasks) - 1)]


def _signature(request: PrepareRequest, chain: planner.Chain) -> str:
    return identity.signature(
        kind=request.prepare_kind,
        image_id=chain.image_id,
        state_id=chain.last,
        plan_only=request.plan_only,
    )


def _result(job: Job, instance: Instance) -> Result:
    return Result(
        dsn=instance.dsn,
        instance_id=instance.instance_id,
        state_id=instance.state_id,
        image_id=instance.image_id,
        prepare_kind=job.request.prepare_kind,
        prepare_args_normalized=job.prepare_args_normalized,
    )
