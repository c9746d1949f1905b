"""The TaskExecutor: doing what a task says.

It acquires, reuses, starts and cleans up a job's server and runs a step with its tool. What to do
about snapshots it asks the SnapshotOrchestrator, instances it has started by the InstanceStarter;
when a task runs and what is said about it is the coordinator's business.

What crosses its interface is plain data, and lines of log going back: along this line the work
can be spread over machines.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

from pgstrata.dbms.base import Dbms
from pgstrata.domain.image import ResolvedImage
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.model import Model, utc_now
from pgstrata.domain.plan import StateExecuteTask, Step, TaskInput
from pgstrata.domain.state import State
from pgstrata.errors import StepFailedError
from pgstrata.instances.limits import Host
from pgstrata.instances.starting import InstanceOrder, InstanceStarter
from pgstrata.kinds.base import Kind
from pgstrata.prepare.snapshots import SnapshotOrchestrator, Workspace
from pgstrata.runtime.base import LineSink, Runtime
from pgstrata.store.base import Store
from pgstrata.system.cancellation import to_the_end


class StateOrder(Model, frozen=True, kw_only=True):
    """What is needed to make one state."""

    job_id: str
    image_id: str
    """The resolved image."""
    task: StateExecuteTask
    step: Step
    last: bool
    """Whether no step of the same job follows."""


class _Work:
    """A job's workspace, the state it is at, and the server on it while one runs."""

    def __init__(self, workspace: Workspace, at: TaskInput) -> None:
        self.workspace = workspace
        self.at = at
        self.server: Server | None = None


class TaskExecutor:
    """Carries out tasks of type ``state_execute`` and ``prepare_instance``."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        dbms: Dbms,
        kinds: Mapping[str, Kind],
        snapshots: SnapshotOrchestrator,
        store: Store,
        host: Host,
        instances: InstanceStarter,
    ) -> None:
        self._runtime = runtime
        self._dbms = dbms
        self._kinds = kinds
        self._snapshots = snapshots
        self._store = store
        self._host = host
        self._instances = instances
        self._works: dict[str, _Work] = {}

    async def resolve_image(self, image_id: str) -> ResolvedImage:
        """The PostgreSQL an image stands for. Raises ``InvalidArgumentError``."""
        return await self._runtime.resolve(image_id)

    async def check_host(self) -> None:
        """Raise ``HostLimitError`` when the machine is not to be asked for a further instance."""
        await self._instances.check_host()

    async def check_name(self, name: str) -> None:
        """Raise ``ConflictError`` when an instance bears this name already."""
        await self._instances.check_name(name)

    async def existing_states(self, state_ids: Sequence[str]) -> frozenset[str]:
        """Which of these states are in the cache, as far as a plan needs to know."""
        return await self._snapshots.existing(state_ids)

    async def count_clean(self, state_ids: Sequence[str]) -> int:
        """How many states of a chain, from its start, need no building."""
        deepest = await self._snapshots.deepest_clean(state_ids)
        return 0 if deepest is None else deepest + 1

    def using(self, state_ids: Sequence[str]) -> AbstractContextManager[None]:
        """Keep these states from being removed to make room, until this is left."""
        return self._snapshots.using(state_ids)

    async def execute_state(self, order: StateOrder, log: LineSink) -> bool:
        """Make the state that the order's task names, unless it is there meanwhile.

        Returns whether it was built here. Raises ``StepFailedError`` when the tool fails,
        ``InputChangedError`` when an input changed meanwhile; whatever happens, the step is undone
        then and nothing of it is left.
        """
        async with self._snapshots.building(order.task.output_state_id) as already_there:
            if already_there:
                await self.release(order.job_id)
                return False
            async with self._undone_on_failure(order.job_id):
                with self._snapshots.full_disk_told():
                    await self._build(order, log)
            return True

    async def start_instance(self, order: InstanceOrder) -> Instance:
        """Start an instance of a state; a job's one, if it has been started already."""
        return await self._instances.start(order)

    async def discard_instance(self, job_id: str) -> None:
        """Remove the instance started for a job, if there is one: nobody was told of it."""
        await self._instances.discard(job_id)

    async def release(self, job_id: str) -> None:
        """Let go of a job's server and data directory. Twice is fine."""
        work = self._works.pop(job_id, None)
        if work is not None:
            if work.server is not None:
                await self._runtime.stop(work.server, clean=False)
            await self._snapshots.discard(work.workspace)

    async def recover(self) -> None:
        """Clear away what an engine that was killed left: servers first, then their files."""
        await self._runtime.clear_orphans([one.server for one in await self._store.instances()])
        await self._instances.recover()
        await self._snapshots.recover()

    async def _build(self, order: StateOrder, log: LineSink) -> None:
        kind = self._kinds[order.step.kind]
        work = await self._work(order)
        if work.server is None:
            self._host.check_memory()
            work.server = await self._runtime.start(order.image_id, work.workspace.data_dir)
        await kind.check_unchanged(order.step)
        try:
            flushed = await kind.execute(
                order.step,
                work.server,
                self._runtime,
                log,
                flush_query=None if order.last else self._dbms.flush_query,
            )
        except StepFailedError as error:
            # A tool that stumbled over a half-written input reports nonsense: inputs come first.
            await kind.check_unchanged(order.step)
            said = f"{error.message}\n{error.details or ''}"
            error.remedy = await self._runtime.remedy_for(work.server, said) or error.remedy
            raise
        await kind.check_unchanged(order.step)
        for slot in await self._dbms.drop_replication_slots(work.server, work.workspace.data_dir):
            await log(f"replication slot {slot} was dropped: a state keeps none")
        still_runs = await self._snapshots.take(
            work.workspace, _state_of(order), work.server, last=order.last, flushed=flushed
        )
        if not still_runs:
            work.server = None
        work.at = TaskInput(kind="state", id=order.task.output_state_id)
        if order.last:
            await self.release(order.job_id)

    async def _work(self, order: StateOrder) -> _Work:
        """The job's workspace at the step's start: the one in use, if it is just there."""
        current = self._works.get(order.job_id)
        if current is not None and current.at == order.task.input:
            return current
        await self.release(order.job_id)

        async def initialise(data_dir: Path) -> None:
            await self._runtime.initialise(order.image_id, data_dir)

        workspace = await self._snapshots.workspace(order.job_id, order.task.input, initialise)
        work = self._works[order.job_id] = _Work(workspace, order.task.input)
        return work

    @asynccontextmanager
    async def _undone_on_failure(self, job_id: str) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            await to_the_end(self.release(job_id))
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
    )
