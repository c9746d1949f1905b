"""The runner: takes one job from wherever it is to its end, move by move.

``lifecycle`` decides what comes next, ``transitions`` how it is recorded, and the executor does the
work. A result is stored together with the start of what comes next, so that a prepare whose states
are all cached takes few transactions.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from pgstrata.domain import identity
from pgstrata.domain.image import ResolvedImage
from pgstrata.domain.instance import Instance
from pgstrata.domain.job import Job, Result, Status, Task, Transition
from pgstrata.domain.model import utc_now
from pgstrata.domain.plan import CACHED, PrepareInstanceTask, Reason, StateExecuteTask, Step
from pgstrata.domain.reason import Evidence, Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.state import State
from pgstrata.errors import CancelledJobError, JobTimeoutError, StateDamagedError
from pgstrata.instances.starting import InstanceOrder
from pgstrata.kinds.base import RecipeSide, lookup, reads_directories
from pgstrata.kinds.sources.base import Sources
from pgstrata.kinds.sources.git import Revisions
from pgstrata.prepare import lifecycle, planner, reasons, server_settings, transitions
from pgstrata.prepare.executor import Executor, StateOrder
from pgstrata.prepare.in_flight import InFlight
from pgstrata.prepare.job_log import JobLog
from pgstrata.prepare.job_slots import JobSlots
from pgstrata.prepare.retention import Retention
from pgstrata.prepare.task_list import TaskList
from pgstrata.prepare.task_log import Room, TaskLog, open_task_log
from pgstrata.runtime.base import LineSink
from pgstrata.system.cancellation import finish
from pgstrata.system.computing import compute


class Submission(NamedTuple):
    """A submitted job, with what was determined in order to accept it."""

    job: Job
    image: ResolvedImage
    steps: Sequence[Step]
    """According to the inputs at that time."""
    start: State | None = None
    """What the first step starts from, if that is not the image."""


@dataclass
class _Run:
    """One run of a job: the job and its tasks as this run knows them."""

    job: Job
    tasks: TaskList
    kind: RecipeSide
    sources: Sources
    submission: Submission | None
    """None after a restart."""
    lease_id: str | None = None
    """The lease that keeps the states of the chain from being evicted."""
    chain: planner.Chain | None = None
    """Known once this run has planned."""
    positions: Mapping[str, int] = field(default_factory=dict)
    """The step that makes each state of the chain, counted from 0."""
    damages: int = 0
    """How often a state was found to be damaged, and the job planned again."""
    log_room: Room = field(default_factory=Room)
    pending: Transition | None = None
    """What is recorded but not stored yet."""

    def record(self, transition: Transition) -> None:
        """Record a transition; the next flush stores it."""
        self.job = transition.job
        self.tasks.apply(transition)
        self.pending = (
            transition if self.pending is None else transitions.merge(self.pending, transition)
        )


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
        self.timeout_seconds = timeout_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._server_settings = server_settings
        self._in_flight = InFlight()
        self._draining = False

    def drain(self) -> None:
        """Make every run return before its job's next step."""
        self._draining = True

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
                run = _Run(job, tasks, kind, sources, submission)
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

    async def _advance(self, run: _Run) -> None:
        while move := lifecycle.next_move(run.job, run.tasks.next, planned=run.chain is not None):
            match move:
                case lifecycle.Begin():
                    run.record(transitions.started(run.job, utc_now()))
                case lifecycle.Plan():
                    await self._plan(run)
                case lifecycle.Execute() if self._draining:
                    return await self._flush(run)
                case lifecycle.Execute(task):
                    await self._execute(run, task)
                case lifecycle.PrepareInstance(task):
                    await self._prepare_instance(run, task)
                case lifecycle.SucceedPlanned():
                    await self._flush(run, transitions.plan_succeeded(run.job, utc_now()))
                case lifecycle.Cancel():
                    raise CancelledJobError("the job was cancelled")
        return None

    # Planning

    async def _plan(self, run: _Run) -> None:
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
        done, cached = await self._find_cached(run, chain)
        why = await self._explain(chain, cached)
        failures = await self._failures(run, [each for each in chain.state_ids if each in cached])
        specs = await compute(size, lambda: planner.tasks(request, chain, cached, why, failures))
        before = [task.spec for task in run.tasks]
        drift = planner.drift(before, specs) if run.job.signature is not None else None
        run.chain = chain
        run.positions = {state_id: step for step, state_id in enumerate(chain.state_ids)}
        job, now = run.job, utc_now()
        if job.signature is not None and drift is None:
            known = tuple(run.tasks)
            run.record(
                await compute(
                    size, lambda: transitions.resumed(job, known, specs, done=done, now=now)
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
            clean = await self._executor.count_clean(chain.state_ids)
            cached = frozenset(chain.state_ids[:clean])
            why = await self._explain(chain, cached)
        finally:
            await finish(self._executor.release(lease_id))
        tasks = await compute(len(steps), lambda: planner.tasks(request, chain, cached, why))
        executing = tuple(task for task in tasks if isinstance(task, StateExecuteTask))
        decisive = executing[min(clean, len(executing) - 1)] if executing else None
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

    async def _find_cached(self, run: _Run, chain: planner.Chain) -> tuple[int, frozenset[str]]:
        """Return how many steps of a chain are done, and which of its states are cached."""
        clean = await self._executor.count_clean(chain.state_ids)
        done = 0 if run.job.request.plan_only else clean
        return done, frozenset(chain.state_ids[:clean])

    async def _explain(self, chain: planner.Chain, cached: frozenset[str]) -> dict[str, Reason]:
        """Explain why each state is cached or not. Costs a read only if one is missing."""
        evidence = Evidence()
        if missing := reasons.missing(chain, cached):
            first = await compute(len(chain.steps), lambda: reasons.first_missing(chain, cached))
            evidence = await self._executor.evidence(missing, first)
        return await compute(len(chain.steps), lambda: reasons.explain(chain, cached, evidence))

    async def _failures(self, run: _Run, state_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """What failed when states were made. Costs a read only if steps went on after errors."""
        if run.job.request.on_error == "stop" or not state_ids:
            return {}
        return await self._executor.failures(state_ids)

    async def _reread_steps(self, run: _Run) -> Sequence[Step]:
        """Make the steps from the current inputs, which may take a while."""
        await self._flush(run)
        request = run.job.request
        if (stdin := await self._job_log.stdin(run.job.job_id)) is not None:
            request = replace(request, stdin=stdin)
        async with self._open_log(run, run.tasks.first):
            return await run.kind.steps(request, run.sources)

    # The tasks

    async def _execute(self, run: _Run, task: Task) -> None:
        async with self._run_task(run, task) as task_log:
            try:
                built = await self._ensure_built(run, task, task_log)
            except StateDamagedError as error:
                await self._plan_again(run, error, task_log)
                return
        assert isinstance(task.spec, StateExecuteTask)
        spec = replace(task.spec, cached=False) if built else transitions.found_cached(task.spec)
        failures = await self._failures(run, (spec.output_state_id,))
        spec = replace(spec, failures=failures.get(spec.output_state_id, ()))
        done = replace(task, status=Status.SUCCEEDED, spec=spec)
        run.record(transitions.tasks_moved(run.job, [done], utc_now()))

    async def _ensure_built(self, run: _Run, task: Task, task_log: TaskLog) -> bool:
        """Make sure that the task's state exists. Returns whether this job built it.

        If another job is building it, this one follows that build.
        """
        order = _state_order(run, task)
        while build := self._in_flight.find(order.task.output_state_id):
            await self._executor.close_workspace(order.job_id)
            async with self._job_slots.lend(order.job_id):
                await task_log.line(f"job {build.job_id} is building this state")
                exists = await build.follow(task_log.line)
            if exists:
                return False
        with self._in_flight.register(order.task.output_state_id, order.job_id) as build:
            return await self._build(run, order, build.broadcast(task_log.line))

    async def _build(self, run: _Run, order: StateOrder, line: LineSink) -> bool:
        """Build a state while its inputs stay what was hashed. Returns False if it exists."""
        async with run.sources.hold(order.step.inputs) as held:
            ran = await self._executor.run_step(replace(order, root=held.local_root), line)
        if ran:
            await self._executor.keep_state(order.job_id)
        else:
            for failures in (await self._failures(run, (order.task.output_state_id,))).values():
                for text in transitions.failures_again(failures):
                    await line(text)
        return ran

    async def _prepare_instance(self, run: _Run, task: Task) -> None:
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
        async with self._run_task(run, task) as task_log:
            try:
                instance = await self._executor.start_instance(order)
            except StateDamagedError as error:
                await self._plan_again(run, error, task_log)
                return
            result = _result(run.job, instance)
            # There is an instance now: once that can be stored, it is too late to cancel.
            await self._flush(run, transitions.succeeded(run.job, task, result, utc_now()))

    async def _plan_again(self, run: _Run, error: StateDamagedError, task_log: TaskLog) -> None:
        """Go on from what is left after a damaged state was removed, unless that has no end."""
        assert run.chain is not None
        run.damages += 1
        if run.damages > len(run.chain.steps) + 1:
            raise error
        await task_log.line(f"{error.message}; it is built again")
        await self._executor.close_workspace(run.job.job_id)
        lease_id, run.lease_id, run.chain = run.lease_id, None, None
        if lease_id is not None:
            await self._executor.release(lease_id)

    @asynccontextmanager
    async def _run_task(self, run: _Run, task: Task) -> AsyncIterator[TaskLog]:
        """Store the start of a task with everything pending, and keep a log until its end."""
        running = replace(task, status=Status.RUNNING)
        await self._flush(run, transitions.tasks_moved(run.job, [running], utc_now()))
        async with self._open_log(run, running) as task_log:
            yield task_log

    @asynccontextmanager
    async def _open_log(self, run: _Run, task: Task) -> AsyncIterator[TaskLog]:
        append = partial(self._job_log.append, task.job_id)
        async with open_task_log(
            task, append, run.log_room, heartbeat_seconds=self._heartbeat_seconds
        ) as task_log:
            yield task_log

    async def _flush(self, run: _Run, transition: Transition | None = None) -> None:
        """Store everything recorded, and this transition, in one transaction.

        A full disk does not stay full forever: until then the job waits.
        """
        if transition is not None:
            run.record(transition)
        if run.pending is not None:
            pending, run.pending = run.pending, None
            await self._job_log.apply_when_possible(pending)


def _chain(run: _Run) -> planner.Chain:
    assert run.chain is not None
    return run.chain


def _state_order(run: _Run, task: Task) -> StateOrder:
    assert isinstance(task.spec, StateExecuteTask)
    chain = _chain(run)
    position = run.positions[task.spec.output_state_id]
    return StateOrder(
        job_id=task.job_id,
        image_id=chain.image_id,
        task=task.spec,
        step=chain.steps[position],
        last=position + 1 == len(chain.steps),
        image_parts=dict(chain.image_parts),
        initdb=run.job.request.initdb,
        settings=run.job.request.settings,
        own_settings=dict(chain.settings),
    )


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
