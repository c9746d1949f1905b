"""The executor on this machine.

It starts, reuses and stops a job's server, and runs steps with their tools. It leaves snapshots to
the SnapshotOrchestrator, instances to the InstanceStarter, and the order of tasks and their events
to the coordinator.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from pgstrata.cache.in_use import InUse
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
from pgstrata.kinds.base import RunnerSide
from pgstrata.kinds.sources.base import LocalSources
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.prepare.executor import StateOrder
from pgstrata.prepare.snapshots import SnapshotOrchestrator, Workspace
from pgstrata.prepare.suspicion import Suspicion
from pgstrata.runtime.base import Failed, LineSink, Runtime
from pgstrata.store.base import Store
from pgstrata.store.finding import find_state
from pgstrata.system.cancellation import finish


class _Step(NamedTuple):
    """A step that was run and is not kept yet."""

    order: StateOrder
    flushed: str | None
    """What the dbms's ``flush_query`` returned to its tool."""
    failures: tuple[str, ...]
    """What failed in it, and it went on."""
    building: AsyncExitStack
    """Holds the lease to build its state."""


class _Work:
    """A job's workspace, the state it is at, and the server on it, if one is running."""

    def __init__(self, workspace: Workspace, at: TaskInput) -> None:
        self.workspace = workspace
        self.at = at
        self.server: Server | None = None
        self.step: _Step | None = None
        self.remarked = False
        """Whether the job's log has the runtime's remark."""


class LocalExecutor:
    """An ``Executor`` whose runtime and disk are this machine's."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        dbms: Dbms,
        kinds: Mapping[str, RunnerSide],
        snapshots: SnapshotOrchestrator,
        store: Store,
        in_use: InUse,
        limits: HostLimits,
        instances: InstanceStarter,
        suspicion: Suspicion,
        make_areas: Callable[[], None] = lambda: None,
    ) -> None:
        """``make_areas``: makes those directories of the store again that are missing."""
        self._runtime = runtime
        self._dbms = dbms
        self._kinds = kinds
        self._snapshots = snapshots
        self._store = store
        self._in_use = in_use
        self._limits = limits
        self._instances = instances
        self._suspicion = suspicion
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
        await self._snapshots.check_clean(state.state_id)
        return state

    async def count_clean(self, state_ids: Sequence[str]) -> int:
        deepest = await self._snapshots.deepest_clean(state_ids)
        return 0 if deepest is None else deepest + 1

    async def evidence(self, state_ids: Sequence[str], step: StepRecord | None) -> Evidence:
        found = await self._store.evidence(state_ids, step)
        dirty = {
            state_id: Removal(why="dirty", at=utc_now())
            for state_id in found.stored
            if not self._in_use.is_leaving(state_id)
            and not await self._snapshots.is_clean(state_id)
        }
        return replace(found, removals={**found.removals, **dirty})

    async def failures(self, state_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        return await self._store.failures(state_ids)

    async def acquire(self, state_ids: Sequence[str]) -> str:
        return self._in_use.acquire(state_ids)

    async def release(self, lease_id: str) -> None:
        self._in_use.release(lease_id)

    async def run_step(self, order: StateOrder, log: LineSink) -> bool:
        self._make_areas()
        failures: list[str] = []

        async def hear(text: str) -> None:
            if isinstance(text, Failed):
                failures.append(str(text))
            await log(text)

        async with AsyncExitStack() as building:
            already_there = await building.enter_async_context(
                self._snapshots.building(order.task.output_state_id)
            )
            if already_there:
                await self.close_workspace(order.job_id)
                return False
            try:
                work, flushed = await self._run_from_its_start(order, hear)
            except StepInterruptedError as error:
                # Nothing is left of what it did, if it could do nothing elsewhere.
                if order.step.uncacheable or order.step.tool is not None:
                    raise
                await log(f"{error.message}: the step is run once more")
                failures.clear()
                work, flushed = await self._run_from_its_start(order, hear)
            work.step = _Step(order, flushed, tuple(failures), building.pop_all())
        return True

    async def _run_from_its_start(
        self, order: StateOrder, log: LineSink
    ) -> tuple[_Work, str | None]:
        try:
            async with self._undo_on_failure(order.job_id):
                work = await self._work(order)
                async with self._runtime.unchanged(order.image_id):
                    return work, await self._run(order, work, log)
        except (ServerError, StepFailedError) as error:
            start = order.task.input
            if start.kind == "image":
                await self._suspicion.of_base(start.id, order.initdb.own, error)
            else:
                await self._suspicion.of_state(start.id, error, order.settings)
            raise

    async def keep_state(self, job_id: str) -> None:
        work = self._works.get(job_id)
        if work is None or work.step is None or work.server is None:
            raise ConflictError(
                f"job {job_id} has no step to keep", remedy="run the step, then keep its state"
            )
        order, flushed, failures, building = work.step
        work.step = None
        async with building, self._undo_on_failure(job_id):
            still_runs = await self._snapshots.take(
                work.workspace,
                _state_of(order),
                work.server,
                step=step_record(
                    order.task.output_state_id,
                    order.task.input,
                    order.step,
                    order.image_parts,
                    failures,
                ),
                last=order.last,
                flushed=flushed,
            )
            if not still_runs:
                work.server = None
            work.at = TaskInput(kind="state", id=order.task.output_state_id)
            if order.last:
                await self.close_workspace(job_id)

    async def close_workspace(self, job_id: str) -> None:
        work = self._works.pop(job_id, None)
        if work is None:
            return
        try:
            if work.server is not None:
                await self._runtime.stop(work.server, clean=False)
            await self._snapshots.discard(work.workspace)
        finally:
            if work.step is not None:
                await work.step.building.aclose()

    async def start_instance(self, order: InstanceOrder) -> Instance:
        self._make_areas()
        try:
            return await self._instances.start(order)
        except ServerError as error:
            await self._suspicion.of_state(order.state_id, error, order.settings)
            raise

    async def discard_instance(self, job_id: str) -> None:
        await self._instances.discard(job_id)

    async def recover(self) -> None:
        # Servers first, then their files.
        await self._runtime.clear_orphans([one.server for one in await self._store.instances()])
        await self._instances.recover()
        await self._snapshots.recover()

    async def _run(self, order: StateOrder, work: _Work, log: LineSink) -> str | None:
        try:
            return await self._run_in(order, work, log)
        except PgstrataError as error:
            stopped = None if work.server is None else self._runtime.stopped_for(work.server)
            if stopped is None:
                raise
            raise LimitExceededError(
                f"{order.step.title}: {stopped}",
                remedy="have the step take less, or raise that limit",
                details=error.details,
            ) from error

    async def _run_in(self, order: StateOrder, work: _Work, log: LineSink) -> str | None:
        if not work.remarked and (remark := self._runtime.remark):
            await log(remark)
        work.remarked = True
        if work.server is None:
            self._limits.check_server()
            work.server = await self._runtime.start(
                order.image_id, work.workspace.data_dir, building=True, settings=order.settings
            )
        witness = self._runtime.witness(work.server)
        try:
            flushed = await self._kinds[order.step.kind].execute(
                order.step,
                self._sources(order.root),
                work.server,
                self._runtime,
                log,
                flush_query=None if order.last else self._dbms.flush_query,
            )
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
            error.remedy = await self._runtime.remedy_for(work.server, text) or error.remedy
            raise
        for slot in await self._dbms.drop_replication_slots(work.server, work.workspace.data_dir):
            await log(f"replication slot {slot} was dropped: states do not keep them")
        return flushed

    def _sources(self, root: Path) -> LocalSources:
        return self._tree if root == self._tree.local_root else LocalTree(root)

    async def _work(self, order: StateOrder) -> _Work:
        """Return the job's workspace at the step's start: the current one, if it is there."""
        current = self._works.get(order.job_id)
        if current is not None and current.at == order.task.input and current.step is None:
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
            await finish(self.close_workspace(job_id))
            raise


def _state_of(order: StateOrder) -> State:
    start = order.task.input
    return State(
        state_id=order.task.output_state_id,
        parent_state_id=start.id if start.kind == "state" else None,
        image_id=order.image_id,
        prepare_kind=order.step.kind,
        prepare_args_normalized=order.step.title,
        created_at=utc_now(),
        refcount=0,
        settings=order.own_settings,
    )
