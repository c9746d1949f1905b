"""The executor on this machine.

It starts, reuses and stops a job's server, and runs steps with their tools. It leaves snapshots to
the SnapshotOrchestrator, instances to the InstanceStarter, and the order of tasks and their events
to the coordinator.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from pgstrata.cache.in_use import InUse
from pgstrata.cache.settled import SettledCopies
from pgstrata.dbms.base import Dbms
from pgstrata.domain.image import ResolvedImage
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.model import utc_now
from pgstrata.domain.plan import TaskInput
from pgstrata.domain.reason import Evidence, Removal, StepRecord, step_record
from pgstrata.domain.state import State
from pgstrata.errors import (
    PREPARE_AGAIN,
    ConflictError,
    LimitExceededError,
    PgstrataError,
    ServerError,
    StepFailedError,
    StepInterruptedError,
)
from pgstrata.instances.limits import HostLimits
from pgstrata.instances.starting import InstanceOrder, InstanceStarter
from pgstrata.kinds.base import RunnerSide, RunsMany, keeps_session
from pgstrata.kinds.sources.base import LocalSources
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.prepare.executor import Known, StateOrder, StepRun
from pgstrata.prepare.snapshots import SnapshotOrchestrator, Workspace
from pgstrata.prepare.state_files import StateFiles
from pgstrata.prepare.suspicion import Suspicion
from pgstrata.runtime.base import Failed, LineSink, Passed, Runtime, Witness
from pgstrata.store.base import Store
from pgstrata.store.finding import find_state
from pgstrata.system.cancellation import finish

_log = logging.getLogger(__name__)

AT_ONCE_SECONDS = 2.0
"""For how long steps are begun in one call: an engine that stops waits until it ends."""


class _Heard:
    """What is heard of steps that are run in one call."""

    def __init__(self, log: LineSink) -> None:
        self._log = log
        self.passed = 0
        """How many are done, but for the last."""
        self.failures: list[str] = []
        """What failed in the step that runs, or was run last, and it went on."""

    async def line(self, text: str) -> None:
        """Pass on what the tool says."""
        if isinstance(text, Passed):
            self.passed += 1
        elif isinstance(text, Failed):
            self.failures.append(str(text))
        await self._log(text)


class _Step(NamedTuple):
    """A step that was run and is not kept yet."""

    order: StateOrder
    failures: tuple[str, ...]
    """What failed in it, and it went on."""

    @property
    def state_id(self) -> str:
        return self.order.task.output_state_id


class _Span(NamedTuple):
    """The steps that were run since the last state was kept, on the way to the next."""

    target: str
    """The state that is to be kept."""
    building: AsyncExitStack
    """Holds the lease to build it."""
    steps: list[_Step]


class _Running(NamedTuple):
    """A server, and who has watched it since it was started."""

    server: Server
    witness: Witness


class _Work:
    """A job's workspace, and the server on it, if one is running."""

    def __init__(self, workspace: Workspace, start: TaskInput) -> None:
        self.workspace = workspace
        self.start = start
        """What was kept last, or cloned, of what it contains."""
        self.span: _Span | None = None
        self.running: _Running | None = None
        self.remarked = False
        """Whether the job's log has the runtime's remark."""

    def goes_on(self, order: StateOrder) -> bool:
        """Whether it is where a step starts, and not on the way to another state."""
        if self.span is not None and self.span.target != order.target:
            return False
        passed = self.span.steps if self.span is not None else ()
        at = passed[-1].state_id if passed else self.start.id
        return at == order.task.input.id


class LocalExecutor:
    """An ``Executor`` whose runtime and disk are this machine's."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        dbms: Dbms,
        kinds: Mapping[str, RunnerSide],
        files: StateFiles,
        snapshots: SnapshotOrchestrator,
        store: Store,
        in_use: InUse,
        limits: HostLimits,
        instances: InstanceStarter,
        suspicion: Suspicion,
        settled: SettledCopies,
        make_areas: Callable[[], None] = lambda: None,
    ) -> None:
        """``make_areas``: makes those directories of the store again that are missing."""
        self._runtime = runtime
        self._dbms = dbms
        self._kinds = kinds
        self._files = files
        self._snapshots = snapshots
        self._store = store
        self._in_use = in_use
        self._limits = limits
        self._instances = instances
        self._suspicion = suspicion
        self._settled = settled
        self._make_areas = make_areas
        self._tree = LocalTree()
        self._works: dict[str, _Work] = {}

    async def resolve_image(self, image_id: str) -> ResolvedImage:
        return await self._runtime.resolve(image_id)

    async def check_limits(self, replaced: str | None = None) -> None:
        await self._instances.check_limits(replaced)

    async def check_name(self, name: str) -> None:
        await self._instances.check_name(name)

    async def find_state(self, ref: str) -> State:
        state = await find_state(self._store, ref)
        await self._files.check_clean(state.state_id)
        return state

    async def look_up(self, state_ids: Sequence[str]) -> Known:
        clean, stored = await self._files.find_clean(state_ids)
        rest = state_ids[clean:]
        run = await self._store.run_before(rest) if rest else frozenset()
        repeated = next((n for n, state_id in enumerate(rest) if state_id not in run), len(rest))
        return Known(
            clean=clean,
            stored=tuple(state_id for state_id in state_ids[:clean] if state_id in stored),
            run_before=clean + repeated,
        )

    async def evidence(self, state_ids: Sequence[str], step: StepRecord | None) -> Evidence:
        found = await self._store.evidence(state_ids, step)
        dirty = {
            state_id: Removal(why="dirty", at=utc_now())
            for state_id in found.stored
            if not self._in_use.is_leaving(state_id) and not await self._files.is_clean(state_id)
        }
        return replace(found, removals={**found.removals, **dirty})

    async def failures(self, state_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        return await self._store.failures(state_ids)

    async def acquire(self, state_ids: Sequence[str]) -> str:
        return self._in_use.acquire(state_ids)

    async def release(self, lease_id: str) -> None:
        self._in_use.release(lease_id)

    async def has_room(self, state_id: str | None) -> bool:
        return await self._snapshots.has_room(state_id)

    async def run_steps(self, orders: Sequence[StateOrder], log: LineSink) -> StepRun | None:
        self._make_areas()
        order, heard = orders[0], _Heard(log)
        async with AsyncExitStack() as building:
            work = self._works.get(order.job_id)
            if work is None or work.span is None or not work.goes_on(order):
                if work is not None and work.span is not None:
                    await self.close_workspace(order.job_id)
                already_there = await building.enter_async_context(
                    self._snapshots.building(order.target)
                )
                if already_there:
                    await self.close_workspace(order.job_id)
                    return None
            work = await self._run_or_undo(orders, heard)
            if work.span is None:
                work.span = _Span(order.target, building.pop_all(), [])
            failures = tuple(heard.failures)
            passed = orders[: heard.passed]
            work.span.steps.extend(_Step(one, ()) for one in passed)
            work.span.steps.append(_Step(orders[heard.passed], failures))
        return StepRun(failures=failures)

    async def _run_or_undo(self, orders: Sequence[StateOrder], heard: _Heard) -> _Work:
        order = orders[0]
        start = order.task.input
        try:
            async with self._undo_on_failure(order.job_id):
                work = await self._work(order)
                start = work.start
                async with self._runtime.unchanged(order.image_id):
                    await self._run(orders, work, heard)
                    return work
        except (ServerError, StepFailedError) as error:
            if start.kind == "image":
                await self._suspicion.of_base(start.id, order.initdb.own, error)
            else:
                await self._suspicion.of_state(start.id, error, order.settings)
            raise

    async def keep_state(self, job_id: str) -> bool:
        work = self._works.get(job_id)
        if work is None or work.span is None or work.running is None or not work.span.steps:
            raise ConflictError(
                f"job {job_id} has no step to keep", remedy="run the step, then keep its state"
            )
        span, state_id = work.span, work.span.steps[-1].state_id
        if state_id == span.target:
            work.span = None
            async with span.building, self._undo_on_failure(job_id):
                await self._keep(work, work.running, span.steps)
            return True
        async with (
            self._undo_on_failure(job_id),
            self._snapshots.building_on_the_way(state_id, span.target) as builds,
        ):
            if builds:
                await self._keep(work, work.running, span.steps)
            return builds

    async def _keep(self, work: _Work, running: _Running, steps: list[_Step]) -> None:
        """Keep what the last of these steps has led to."""
        order = steps[-1].order
        still_runs = await self._snapshots.take(
            work.workspace,
            _state_of(order, work.start, len(steps)),
            running.server,
            running.witness,
            steps=[_record_of(step) for step in steps],
            last=order.last,
        )
        steps.clear()
        if not still_runs:
            work.running = None
        work.start = TaskInput(kind="state", id=order.task.output_state_id)
        if order.last:
            await self.close_workspace(order.job_id)

    async def close_workspace(self, job_id: str) -> None:
        work = self._works.pop(job_id, None)
        if work is not None:
            await finish(self._close(work))

    async def _close(self, work: _Work) -> None:
        async with AsyncExitStack() as whatever_happens:
            if work.span is not None:
                whatever_happens.push_async_callback(work.span.building.aclose)
            whatever_happens.push_async_callback(self._snapshots.discard, work.workspace)
            if work.running is not None:
                await self._runtime.stop(work.running.server, clean=False)

    async def start_instance(self, order: InstanceOrder) -> Instance:
        self._make_areas()
        try:
            return await self._start_instance(order)
        except ServerError as error:
            await self._suspicion.of_state(order.state_id, error, order.settings)
            raise

    async def _start_instance(self, order: InstanceOrder) -> Instance:
        try:
            return await self._instances.start(order)
        except ServerError as error:
            if self._settled.of(order.state_id) is None:
                raise
            instance = await self._instances.start(replace(order, plain=True))
            _log.warning(
                "the settled copy of state %s is removed, since no server starts on it: %s",
                order.state_id,
                error,
            )
            await self._settled.remove(order.state_id)
            return instance

    async def discard_instance(self, job_id: str) -> None:
        await self._instances.discard(job_id)

    async def recover(self) -> None:
        # Servers first, then their files.
        await self._runtime.clear_orphans([one.server for one in await self._store.instances()])
        await self._instances.recover()
        await self._snapshots.recover()

    async def _run(self, orders: Sequence[StateOrder], work: _Work, heard: _Heard) -> None:
        try:
            await self._run_in(orders, work, heard)
        except PgstrataError as error:
            running = work.running
            stopped = None if running is None else self._runtime.stopped_for(running.server)
            if stopped is None:
                raise
            raise LimitExceededError(
                f"{orders[heard.passed].step.title}: {stopped}",
                remedy="have the step take less, or raise that limit",
                details=error.details,
            ) from error

    async def _run_in(self, orders: Sequence[StateOrder], work: _Work, heard: _Heard) -> None:
        order, log = orders[0], heard.line
        if not work.remarked and (remark := self._runtime.remark):
            await log(remark)
        work.remarked = True
        if work.running is not None and work.span is not None and work.span.steps:
            passed = work.span.steps[-1]
            if not await self._snapshots.pass_over(
                work.workspace,
                _state_of(passed.order, work.start, len(work.span.steps)),
                work.running.server,
                work.running.witness,
                connected=keeps_session(self._kinds[passed.order.step.kind], passed.order.step),
            ):
                work.running = None
        if work.running is None:
            self._limits.check_server()
            server = await self._runtime.start(
                order.image_id, work.workspace.data_dir, building=True, settings=order.settings
            )
            work.running = _Running(server, self._runtime.witness(server))
        server = work.running.server
        witness = self._runtime.witness(server)
        try:
            await self._execute(orders, work, server, heard)
        except StepInterruptedError as error:
            error.message += witness.memory
            raise
        except StepFailedError as error:
            text = f"{error.message}\n{error.details or ''}"
            harm = await witness.harm(text)
            if harm is not None and harm.from_outside:
                raise StepInterruptedError(
                    harm.what, remedy=PREPARE_AGAIN, details=error.details or error.message
                ) from error
            if harm is not None:
                error.message = f"PostgreSQL crashed, {harm.what}: {error.message}"
            error.remedy = await self._runtime.remedy_for(server, text) or error.remedy
            raise
        for slot in await self._dbms.drop_replication_slots(server, work.workspace.data_dir):
            await log(f"replication slot {slot} was dropped: states do not keep them")

    async def _execute(
        self, orders: Sequence[StateOrder], work: _Work, server: Server, heard: _Heard
    ) -> None:
        """Run the first step, and as many others as can be run in the same call."""
        step, sources = orders[0].step, self._sources(orders[0].root)
        kind, until = self._kinds[step.kind], time.monotonic() + AT_ONCE_SECONDS
        if not keeps_session(kind, step) or not isinstance(kind, RunsMany):
            await kind.execute(step, sources, server, self._runtime, heard.line)
            return

        def goes_on() -> bool:
            return (
                time.monotonic() < until
                and not heard.failures
                and self._snapshots.can_go_on(work.workspace, server)
            )

        alike = takewhile(lambda one: one.kind == step.kind, (order.step for order in orders))
        await kind.execute_many(tuple(alike), sources, server, self._runtime, heard.line, goes_on)

    def _sources(self, root: Path) -> LocalSources:
        return self._tree if root == self._tree.local_root else LocalTree(root)

    async def _work(self, order: StateOrder) -> _Work:
        """Return the job's workspace at the step's start: the current one, if it is there."""
        current = self._works.get(order.job_id)
        if current is not None and current.goes_on(order):
            return current
        await self.close_workspace(order.job_id)

        async def initialise(data_dir: Path) -> None:
            await self._runtime.initialise(order.image_id, data_dir, order.initdb)

        workspace = await self._snapshots.workspace(
            order.job_id, order.task.input, initialise, order.initdb.own, order.settings
        )
        work = self._works[order.job_id] = _Work(workspace, order.task.input)
        return work

    @asynccontextmanager
    async def _undo_on_failure(self, job_id: str) -> AsyncIterator[None]:
        try:
            with self._snapshots.map_full_disk():
                yield
        except BaseException:
            await self.close_workspace(job_id)
            raise


def _record_of(step: _Step) -> StepRecord:
    order = step.order
    return step_record(
        step.state_id, order.task.input, order.step, order.image_parts, step.failures
    )


def _state_of(order: StateOrder, start: TaskInput, steps: int) -> State:
    """The state that a step leads to, so many steps after the last one that was kept."""
    return State(
        state_id=order.task.output_state_id,
        parent_state_id=start.id if start.kind == "state" else None,
        image_id=order.image_id,
        prepare_kind=order.step.kind,
        prepare_args_normalized=order.step.title,
        created_at=utc_now(),
        refcount=0,
        steps=steps,
        settings=order.own_settings,
    )
