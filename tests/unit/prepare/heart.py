"""The heart of pgstrata on in-memory adapters, for component tests."""

import asyncio
import inspect
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec.structs import replace

from pgstrata.cache.capacity import Disk
from pgstrata.cache.eviction import Evictor
from pgstrata.cache.in_use import InUse
from pgstrata.cache.removal import StateRemoval
from pgstrata.cache.settled import SettledCopies
from pgstrata.cache.trash import Trash
from pgstrata.dbms.memory import MemoryDbms
from pgstrata.domain.durations import Seconds
from pgstrata.domain.instance import Server
from pgstrata.domain.job import Job
from pgstrata.domain.model import utc_now
from pgstrata.domain.plan import StateExecuteTask
from pgstrata.domain.request import PrepareRequest
from pgstrata.instances.limits import HostLimits
from pgstrata.instances.pool import WarmPool
from pgstrata.instances.resetting import Resetting
from pgstrata.instances.starting import InstanceStarter
from pgstrata.kinds.memory import MemoryRecipe, MemoryRunner
from pgstrata.kinds.sources.git import Revisions
from pgstrata.kinds.sources.memory import MemorySources
from pgstrata.prepare.build_leases import BuildLeases
from pgstrata.prepare.coordinator import JobCoordinator
from pgstrata.prepare.instance_snapshots import InstanceSnapshots
from pgstrata.prepare.job_log import JobLog
from pgstrata.prepare.local_executor import LocalExecutor
from pgstrata.prepare.manager import Manager
from pgstrata.prepare.settling import Settling
from pgstrata.prepare.snapshots import SnapshotOrchestrator
from pgstrata.prepare.state_files import StateFiles
from pgstrata.prepare.suspicion import Suspicion
from pgstrata.queue.memory import MemoryQueue
from pgstrata.runtime.base import ToolCommand, ToolExit
from pgstrata.runtime.memory import MemoryRuntime, ToolRun
from pgstrata.settings import CacheCapacity, JobLimits, OrchestratorSettings, PoolSettings, Settings
from pgstrata.statefs.memory import MemoryStateFS
from pgstrata.store.memory import MemoryStore
from pgstrata.system.memory_disk import MemoryDisk
from pgstrata.system.turns import Turns
from tests.servers import data_dir_of

JOBS = JobLimits(finished_grace=0, max_parallel=4, room_timeout=Seconds(0))
SETTINGS = Settings(orchestrator=OrchestratorSettings(JOBS), pool=PoolSettings(max=0))


def with_jobs(**limits: Any) -> Settings:
    """The settings with other limits for jobs."""
    return SETTINGS._replace(orchestrator=OrchestratorSettings(JOBS._replace(**limits)))


_ALL_OR_NOTHING = ("clone", "start")
"""What leaves nothing behind when it is cut off, by its port's contract."""


class GivingWay:
    """An adapter whose calls can be cut off before and after what they do."""

    def __init__(self, adapter: object) -> None:
        self._adapter = adapter

    def __getattr__(self, name: str) -> object:
        found = getattr(self._adapter, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def giving_way(*args: object, **kwargs: object) -> object:
            await asyncio.sleep(0)
            done = await found(*args, **kwargs)
            if name not in _ALL_OR_NOTHING:
                await asyncio.sleep(0)
            return done

        return giving_way


class Heart:
    """Everything that outlives an engine (disk, queue, store, servers), and one engine on it.

    A step's tool writes its arguments to a file in the data directory, so a state's content shows
    which steps made it. A step whose text contains ``fail`` fails, one with ``hang`` never ends,
    one with ``chatter`` has something to say, one with ``gate`` says so and waits until it opens.
    """

    def __init__(self, root: Path, settings: Settings = SETTINGS) -> None:
        self.root = root
        self.disk = MemoryDisk()
        self.runtime = MemoryRuntime(self.disk, tool=self._tool)
        self.statefs = MemoryStateFS(self.disk)
        self.dbms = MemoryDbms(self.disk)
        self.store = MemoryStore()
        self.queue = MemoryQueue()
        self.settings = settings
        self.recipe = MemoryRecipe()
        self.runner = MemoryRunner()
        self.sources = MemorySources()
        self.hanging = asyncio.Event()
        self.gate = asyncio.Event()
        self.at_gate = asyncio.Event()
        self.limits = CacheCapacity()
        self.space = Disk(total_bytes=1 << 40, free_bytes=1 << 39)
        self.memory = 1 << 34
        self.monotonic = 0.0
        self.measure: Callable[[], Disk] = lambda: self.space
        self.now: Callable[[], datetime] = utc_now
        self.start_engine()

    def give_way(self) -> None:
        """Let everything that an engine asks for take a moment before it is done, and one after."""
        for name in ("runtime", "statefs", "store", "queue"):
            setattr(self, name, GivingWay(getattr(self, name)))
        self.start_engine()

    def start_engine(self) -> None:
        """Put an engine together; a second call is what a restart is."""
        self.in_use = InUse()
        self.trash = Trash(self.statefs)
        self.turns = Turns()
        self.settled = SettledCopies(root=self.root, statefs=self.statefs, store=self.store)
        self.removal = StateRemoval(
            states=self.root / "states",
            statefs=self.statefs,
            store=self.store,
            in_use=self.in_use,
            settled=self.settled,
        )
        self.evictor = Evictor(
            limits=self.limits,
            store=self.store,
            removal=self.removal,
            in_use=self.in_use,
            settled=self.settled,
            disk=lambda: self.measure(),
            now=lambda: self.now(),
        )
        leases = BuildLeases(self.store, uuid.uuid4().hex)
        self.files = StateFiles(
            root=self.root,
            statefs=self.statefs,
            dbms=self.dbms,
            store=self.store,
            in_use=self.in_use,
            settled=self.settled,
            leases=leases,
        )
        self.snapshots = SnapshotOrchestrator(
            root=self.root,
            files=self.files,
            leases=leases,
            statefs=self.statefs,
            runtime=self.runtime,
            dbms=self.dbms,
            in_use=self.in_use,
            evictor=self.evictor,
            consistency=self.settings.snapshot.consistency,
        )
        self.host_limits = HostLimits(
            store=self.store,
            max_instances=self.settings.instances.max,
            min_free_memory_bytes=self.settings.instances.min_free_memory,
            available_memory=lambda: self.memory,
        )
        self.pool = WarmPool(
            root=self.root,
            statefs=self.statefs,
            runtime=self.runtime,
            store=self.store,
            in_use=self.in_use,
            settled=self.settled,
            trash=self.trash,
            host=self.host_limits,
            limits=self.settings.pool,
            server_settings=self.settings.own_server_settings,
            available_memory=lambda: self.memory,
            now=lambda: self.monotonic,
        )
        self.instances = InstanceStarter(
            root=self.root,
            statefs=self.statefs,
            runtime=self.runtime,
            store=self.store,
            limits=self.host_limits,
            trash=self.trash,
            turns=self.turns,
            pool=self.pool,
            settled=self.settled,
            default_ttl_seconds=self.settings.instances.default_ttl,
        )
        self.suspicion = Suspicion(
            files=self.files, snapshots=self.snapshots, runtime=self.runtime, dbms=self.dbms
        )
        self.executor = LocalExecutor(
            runtime=self.runtime,
            dbms=self.dbms,
            kinds={self.recipe.name: self.runner},
            files=self.files,
            snapshots=self.snapshots,
            store=self.store,
            in_use=self.in_use,
            limits=self.host_limits,
            suspicion=self.suspicion,
            settled=self.settled,
            instances=self.instances,
        )
        self.resetting = Resetting(
            root=self.root,
            statefs=self.statefs,
            runtime=self.runtime,
            dbms=self.dbms,
            store=self.store,
            limits=self.host_limits,
            trash=self.trash,
            turns=self.turns,
            suspect=self.suspicion.of_state,
            settled=self.settled,
        )
        self.settling = Settling(
            files=self.files,
            settled=self.settled,
            snapshots=self.snapshots,
            statefs=self.statefs,
            runtime=self.runtime,
            dbms=self.dbms,
            store=self.store,
            in_use=self.in_use,
            evictor=self.evictor,
            limits=self.host_limits,
            wanted=self.settings.snapshot,
        )
        self.instance_snapshots = InstanceSnapshots(
            root=self.root,
            snapshots=self.snapshots,
            runtime=self.runtime,
            dbms=self.dbms,
            store=self.store,
            limits=self.host_limits,
            turns=self.turns,
            suspicion=self.suspicion,
        )
        job_log = JobLog(self.queue)
        self.coordinator = JobCoordinator(
            queue=self.queue,
            job_log=job_log,
            kinds={self.recipe.name: self.recipe},
            revisions=Revisions(self.sources),
            executor=self.executor,
            limits=self.settings.orchestrator.jobs,
            server_settings=self.settings.own_server_settings,
        )
        self.manager = Manager(coordinator=self.coordinator, queue=self.queue, job_log=job_log)

    def request(self, *steps: str, **more: object) -> PrepareRequest:
        for step in steps:
            path = PurePosixPath("/", step)
            if self.sources.look(path).input.digest is None:
                self.sources.write(str(path), step.encode())
        draft = PrepareRequest(
            prepare_kind=self.recipe.name,
            image_id="postgres:17",
            fields={"scripts": list(steps)},
        )
        return replace(draft, **more)

    async def finish(self, *steps: str, **more: object) -> Job:
        """Submit and see a job through to its end."""
        job = await self.manager.submit(self.request(*steps, **more))
        return await self.end_of(job.job_id)

    async def end_of(self, job_id: str) -> Job:
        number = 0
        while await self.manager.wait_for_event(job_id, number):
            number += 1
        job = await self.manager.get(job_id)
        assert job is not None
        return job

    async def hangs_or_ends(self, job: Job) -> None:
        """Wait until a step hangs, or the job's time was over before it came to that."""
        ways = [
            asyncio.create_task(self.hanging.wait(), name="hangs"),
            asyncio.create_task(self.end_of(job.job_id), name="ends"),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()

    async def said(self, job_id: str) -> list[str]:
        """What a job said, as ``type status`` or ``type task status``, logs by their text."""
        events = await self.manager.events_since(job_id, 0)
        return [
            " ".join(
                filter(None, [event.type, event.task_id, event.status])
                if event.type != "log"
                else ["log", event.message or ""]
            )
            for event in events
        ]

    async def cached(self, job_id: str) -> list[bool]:
        tasks = await self.manager.list_tasks(job_id)
        return [task.spec.cached for task in tasks if isinstance(task.spec, StateExecuteTask)]

    def steps_in(self, place: Path) -> list[str]:
        """The steps that were run on the data directory in a place."""
        log = self.disk.read(place / "data" / "steps") or b""
        return log.decode().split()

    def without_hanging(self, server: Server, command: ToolCommand) -> ToolRun:
        """The tool, for a second try that goes well."""
        return replace(self._tool(server, command), hangs=False)

    def _tool(self, server: Server, command: ToolCommand) -> ToolRun:
        text = command.args[-1]
        log = self.disk.read(data_dir_of(server) / "steps") or b""
        self.disk.write(data_dir_of(server) / "steps", log + text.encode() + b"\n")
        if "gate" in text:
            self.at_gate.set()
            ended = ToolExit(exit_code=3 if "fail" in text else 0, stderr_tail=f"ERROR: {text}")
            return ToolRun(lines=("at the gate",), gate=self.gate, ended=ended)
        if "fail" in text:
            return ToolRun(ended=ToolExit(exit_code=3, stderr_tail=f"ERROR: {text}"))
        if "hang" in text:
            self.hanging.set()
            return ToolRun(hangs=True)
        return ToolRun(lines=("hello", "world") if "chatter" in text else ())


@contextmanager
def holding(in_use: InUse, state_ids: Iterable[str]) -> Iterator[None]:
    """A lease on states for as long as this lasts."""
    lease_id = in_use.acquire(state_ids)
    yield
    in_use.release(lease_id)


def run(scenario: Coroutine[None, None, None], *, seconds: float = 120) -> None:
    """Run a scenario; one that hangs is a failure that says so."""

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await scenario

    asyncio.run(bounded())


@asynccontextmanager
async def engine(heart: Heart) -> AsyncIterator[Heart]:
    """An engine's time of running; leaving it is what SIGTERM does."""
    await heart.settled.load()
    await heart.manager.recover()
    async with heart.coordinator, heart.pool, heart.settling:
        yield heart
