"""An engine in memory: real jobs, events and registry entries, but nothing behind them.

A test scripts what its jobs say. With ``at_once`` a job is at its end as soon as it is submitted.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pgstrata.api.configuration import ConfigValue
from pgstrata.domain.cache import CacheStatus, StateCheck
from pgstrata.domain.comparison import Comparison, ComparisonRequest, RowCount
from pgstrata.domain.deletion import DeleteNode, DeleteResult
from pgstrata.domain.image import Installation
from pgstrata.domain.job import ErrorBody, Event, Job, Result, Status, Task
from pgstrata.domain.listing import (
    Counts,
    EngineIdentity,
    EngineStatus,
    Health,
    ImageEntry,
    InstanceEntry,
    NameEntry,
    RuntimeStatus,
    SnapshotStatus,
    StoreStatus,
)
from pgstrata.domain.plan import Reason
from pgstrata.domain.reason import Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.run import Held, RunEvent, RunRequest, StartedInstance
from pgstrata.domain.state import State
from pgstrata.domain.warmth import Warmth
from pgstrata.errors import (
    ConflictError,
    EngineStoppingError,
    HostLimitError,
    InvalidArgumentError,
    NotFoundError,
)
from pgstrata.httpapi.requests import JobRequests
from pgstrata.httpapi.service import Service
from pgstrata.kinds.liquibase.fields import LiquibaseFields
from pgstrata.kinds.psql.fields import PsqlFields
from tests.unit.httpapi.samples import IMAGE, NOON, REQUEST, STATE_ID, a_name, tasks_of

T = TypeVar("T")

REQUESTS = JobRequests({"psql": PsqlFields, "lb": LiquibaseFields})


class MemoryEngine:
    """Every part of a service, without an engine."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once
        self.stopping = False
        self.line: list[str] = []
        """The jobs that wait for their turn, by their places."""
        self.jobs: dict[str, Job] = {}
        self.events: dict[str, list[Event]] = {}
        self.all_tasks: dict[str, list[Task]] = {}
        self.state_rows: dict[str, State] = {}
        self.instance_rows: dict[str, InstanceEntry] = {}
        self.name_rows: dict[str, NameEntry] = {}
        self.in_use: set[str] = set()
        """Ids that cannot be deleted without force."""
        self.runs = Runs(self)
        self.resets: list[str] = []
        """The instances that were reset."""
        self.broken: set[str] = set()
        """States with files that are not whole."""
        self.waiting = 0
        """How many callers wait for an event right now."""
        self.reads: list[int | None] = []
        """The limits that events were read with."""
        self.waited = asyncio.Event()
        self._news = asyncio.Condition()

    @property
    def service(self) -> Service:
        return Service(
            requests=REQUESTS,
            jobs=self,
            registry=self,
            resetting=self,
            snapshots=self,
            comparing=self,
            deletion=self,
            engine=self,
            cache=Cache(self),
            verification=Verification(self),
            runs=self.runs,
            holds=self.runs,
            pool=Pool(self),
            configuration=Configuration(),
        )

    async def submit(self, request: PrepareRequest, *, patience: float = 0) -> Job:
        if self.stopping:
            raise EngineStoppingError("The engine is stopping.")
        job = Job(
            job_id=uuid.uuid4().hex,
            status=Status.QUEUED,
            request=request,
            prepare_args_normalized=" ".join(request.fields.get("psql_args", ())),
            created_at=NOON,
        )
        self.jobs = {job.job_id: job, **self.jobs}
        self.events[job.job_id] = [Event(type="status", ts=NOON, status=Status.QUEUED)]
        self.all_tasks[job.job_id] = []
        if self.at_once:
            await self.succeed(job.job_id)
        if patience:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self.wait_for_event(job.job_id, sys.maxsize)
            return self.jobs.get(job.job_id, job)
        return job

    async def job(self, *, status: Status = Status.QUEUED) -> Job:
        """A new job that is as far as ``status``."""
        job_id = (await self.submit(REQUEST)).job_id
        if status is not Status.QUEUED:
            await self.run(job_id)
        if status is Status.SUCCEEDED:
            await self.succeed(job_id)
        if status is Status.FAILED:
            await self.fail(job_id, ErrorBody(code="step_failed", message="psql failed"))
        return self.jobs[job_id]

    async def say(self, job_id: str, *events: Event) -> None:
        """Add events to a job and wake whoever waits for them."""
        async with self._news:
            self.events[job_id].extend(events)
            self._news.notify_all()

    async def log(self, job_id: str, messages: Iterable[str]) -> None:
        await self.say(job_id, *(Event(type="log", ts=NOON, message=text) for text in messages))

    async def run(self, job_id: str) -> None:
        self._change(job_id, status=Status.RUNNING, started_at=NOON)
        await self.say(job_id, Event(type="status", ts=NOON, status=Status.RUNNING))

    async def succeed(self, job_id: str) -> None:
        """Bring a job to its good end."""
        result = Result(
            dsn="postgresql://127.0.0.1/postgres",
            instance_id="d" * 32,
            state_id=STATE_ID,
            image_id=IMAGE,
            prepare_kind="psql",
            prepare_args_normalized="",
        )
        self.all_tasks[job_id] = tasks_of(job_id)
        self._change(
            job_id,
            status=Status.SUCCEEDED,
            finished_at=NOON,
            resolved_image_id=IMAGE,
            signature="e" * 64,
            result=result,
        )
        await self.say(
            job_id,
            Event(type="result", ts=NOON, result=result),
            Event(type="status", ts=NOON, status=Status.SUCCEEDED),
        )

    async def fail(self, job_id: str, error: ErrorBody) -> None:
        self._change(job_id, status=Status.FAILED, finished_at=NOON, error=error)
        await self.say(
            job_id,
            Event(type="error", ts=NOON, error=error),
            Event(type="status", ts=NOON, status=Status.FAILED),
        )

    def _change(self, job_id: str, **fields: object) -> None:
        self.jobs[job_id] = msgspec.structs.replace(self.jobs[job_id], **fields)

    async def explain(self, request: PrepareRequest) -> Explanation:
        reason = Reason(code="never_built", text="nothing is known")
        return Explanation(
            decision="miss",
            reason_code=reason.code,
            signature="ab" * 32,
            matched_state_id=None,
            resolved_image_id=request.image_id,
            reason=reason,
        )

    async def get(self, job_id: str) -> Job | None:
        return self.jobs.get(job_id)

    def queue_position(self, job_id: str) -> int | None:
        return self.line.index(job_id) + 1 if job_id in self.line else None

    async def list_jobs(self, *, prefix: str = "") -> list[Job]:
        return [job for job in self.jobs.values() if job.job_id.startswith(prefix)]

    async def list_tasks(
        self, job_id: str | None = None, start: int = 0, limit: int | None = None
    ) -> list[Task]:
        ids = list(self.jobs) if job_id is None else [job_id]
        found = [task for each in ids for task in self.all_tasks.get(each, [])]
        return found[start:][:limit]

    async def cancel(self, job_id: str) -> Job:
        job = self._known(job_id)
        if job.status is Status.QUEUED:
            await self.fail(job_id, ErrorBody(code="cancelled", message="The job was cancelled."))
        elif job.status is Status.RUNNING:
            self._change(job_id, cancel_requested=True)
        return self.jobs[job_id]

    async def delete(self, job_id: str, *, force: bool, dry_run: bool) -> DeleteResult:
        job = self._known(job_id)
        node = DeleteNode(kind="job", id=job_id)
        if not job.status.terminal and not force:
            node = DeleteNode(kind="job", id=job_id, blocked="active_tasks")
        result = _outcome(node, dry_run=dry_run)
        if result.outcome == "deleted":
            del self.jobs[job_id]
            await self.say(job_id)
        return result

    def _known(self, job_id: str) -> Job:
        if job_id not in self.jobs:
            raise NotFoundError(f"There is no job {job_id!r}.", remedy="List the jobs.")
        return self.jobs[job_id]

    async def events_since(self, job_id: str, start: int, limit: int | None = None) -> list[Event]:
        self.reads.append(limit)
        events = self.events.get(job_id, [])[start:]
        return events if limit is None else events[:limit]

    async def count_events(self, job_id: str) -> int:
        return len(self.events.get(job_id, []))

    async def wait_for_event(self, job_id: str, number: int) -> bool:
        self.waiting += 1
        self.waited.set()
        try:
            async with self._news:
                await self._news.wait_for(lambda: self._settled(job_id, number))
        finally:
            self.waiting -= 1
        return len(self.events[job_id]) > number

    def _settled(self, job_id: str, number: int) -> bool:
        job = self.jobs.get(job_id)
        return job is None or job.status.terminal or len(self.events[job_id]) > number

    async def states(
        self,
        *,
        kind: str | None = None,
        image_id: str | None = None,
        id_prefix: str = "",
        name: str | None = None,
    ) -> list[State]:
        return [
            state
            for state in self.state_rows.values()
            if kind in (None, state.prepare_kind)
            and image_id in (None, state.image_id)
            and state.state_id.startswith(id_prefix)
            and name in (None, state.name)
        ]

    async def state(self, state_id: str) -> State | None:
        return self.state_rows.get(state_id)

    async def pin(self, state_id: str, *, pinned: bool) -> State | None:
        if state_id in self.state_rows:
            row = msgspec.structs.replace(self.state_rows[state_id], pinned=pinned)
            self.state_rows[state_id] = row
        return self.state_rows.get(state_id)

    async def instances(
        self, *, state_id: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[InstanceEntry]:
        return [
            entry
            for entry in self.instance_rows.values()
            if state_id in (None, entry.state_id)
            and image_id in (None, entry.image_id)
            and entry.instance_id.startswith(id_prefix)
        ]

    async def instance(self, id_or_name: str) -> InstanceEntry | None:
        named = (entry for entry in self.instance_rows.values() if entry.name == id_or_name)
        return self.instance_rows.get(id_or_name) or next(named, None)

    async def names(
        self,
        *,
        instance_id: str | None = None,
        state_id: str | None = None,
        image_id: str | None = None,
    ) -> list[NameEntry]:
        return [
            entry
            for entry in self.name_rows.values()
            if instance_id in (None, entry.instance_id)
            and state_id in (None, entry.state_id)
            and image_id in (None, entry.image_id)
        ]

    async def name(self, name: str) -> NameEntry | None:
        return self.name_rows.get(name)

    async def image(self, image_id: str) -> ImageEntry | None:
        known = image_id == IMAGE
        return ImageEntry(image_id=image_id, version="18.4") if known else None

    async def bind_name(self, name: str, instance_id: str) -> NameEntry:
        if instance_id not in self.instance_rows:
            raise NotFoundError(f"There is no instance {instance_id!r}.", remedy="List them.")
        bearer = await self.instance(name)
        if bearer is not None and bearer.name == name and bearer.instance_id != instance_id:
            raise ConflictError(f"{name!r} is {bearer.instance_id}'s.", remedy="Take another.")
        named = msgspec.structs.replace(self.instance_rows[instance_id], name=name)
        self.instance_rows[instance_id] = named
        self.name_rows = {
            known: entry
            for known, entry in self.name_rows.items()
            if entry.instance_id != instance_id
        }
        self.name_rows[name] = a_name(name, instance_id=instance_id)
        return self.name_rows[name]

    async def unbind_name(self, name: str) -> bool:
        entry = self.name_rows.pop(name, None)
        bearer = None if entry is None else self.instance_rows.get(entry.instance_id or "")
        if bearer is not None:
            nameless = msgspec.structs.replace(bearer, name=None)
            self.instance_rows[bearer.instance_id] = nameless
        return entry is not None

    async def delete_state(
        self, state_id: str, *, recurse: bool, force: bool, dry_run: bool
    ) -> DeleteResult:
        if state_id not in self.state_rows:
            raise NotFoundError(f"There is no state {state_id!r}.", remedy="List the states.")
        children = [
            row.state_id for row in self.state_rows.values() if row.parent_state_id == state_id
        ]
        node = DeleteNode(
            kind="state",
            id=state_id,
            blocked="has_descendants" if children and not recurse else None,
            children=tuple(DeleteNode(kind="state", id=child) for child in children),
        )
        result = _outcome(node, dry_run=dry_run)
        if result.outcome == "deleted":
            for gone in (state_id, *children):
                del self.state_rows[gone]
        return result

    async def delete_instance(
        self, instance_id: str, *, force: bool, dry_run: bool
    ) -> DeleteResult:
        if instance_id not in self.instance_rows:
            raise NotFoundError(f"There is no instance {instance_id!r}.", remedy="List them.")
        connected = instance_id in self.in_use
        node = DeleteNode(
            kind="instance",
            id=instance_id,
            connections=int(connected),
            blocked="active_connections" if connected and not force else None,
        )
        result = _outcome(node, dry_run=dry_run)
        if result.outcome == "deleted":
            del self.instance_rows[instance_id]
        return result

    async def reset(self, instance_id: str, *, force: bool) -> None:
        if instance_id not in self.instance_rows:
            raise NotFoundError(f"There is no instance {instance_id!r}.", remedy="List them.")
        if instance_id in self.in_use and not force:
            raise ConflictError(f"{instance_id!r} is in use.", remedy="Use force.")
        self.resets.append(instance_id)

    async def snapshot(self, instance_id: str, *, name: str | None = None, force: bool) -> State:
        if instance_id not in self.instance_rows:
            raise NotFoundError(f"There is no instance {instance_id!r}.", remedy="List them.")
        if instance_id in self.in_use and not force:
            raise ConflictError(f"{instance_id!r} is in use.", remedy="Use force.")
        if name and any(state.name == name for state in self.state_rows.values()):
            raise ConflictError(f"{name!r} is taken.", remedy="Choose another.")
        state = State(
            state_id=uuid.uuid4().hex * 2,
            parent_state_id=None,
            image_id=IMAGE,
            prepare_kind="snapshot",
            prepare_args_normalized="snapshot of dev",
            created_at=NOON,
            pinned=True,
            refcount=0,
            name=name,
        )
        self.state_rows[state.state_id] = state
        return state

    async def compare(self, request: ComparisonRequest) -> Comparison:
        """Alike if they are called the same; ``hang`` is compared for ever."""
        if "hang" in (request.a, request.b):
            self.waiting += 1
            self.waited.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.waiting -= 1
        if "nope" in (request.a, request.b):
            raise NotFoundError("There is no 'nope'.", remedy="List them.")
        different = request.a != request.b
        return Comparison(
            different=different,
            schema="--- a\n+++ b\n" if different else "",
            added=("TABLE public.t",) if different else (),
            removed=(),
            changed=(),
            rows=(RowCount(database="d", table="t", a=1, b=None),) if request.rows else None,
        )

    async def health(self) -> Health:
        return Health(ok=True, version="0.1.0", instance_id="f" * 32, pid=42)

    async def status(self) -> EngineStatus:
        installation = Installation(
            version="16.4", major=16, bin_dir=Path("/opt/postgresql/bin"), source="PATH"
        )
        return EngineStatus(
            engine=EngineIdentity(version="0.1.0", instance_id="f" * 32, pid=42, started_at=NOON),
            store=StoreStatus(path=Path("/var/lib/pgstrata")),
            runtime=RuntimeStatus(server_user=None, installations=(installation,)),
            snapshots=SnapshotStatus(
                backend="copy", why="nothing faster works here", mounts="none: nobody may"
            ),
            counts=Counts(
                jobs_queued=0,
                jobs_running=0,
                jobs_finished=len(self.jobs),
                states=len(self.state_rows),
                instances=len(self.instance_rows),
            ),
        )


class Runs:
    """Says what a test scripts, and notes how it ended."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self.script: list[RunEvent] = []
        self.endless = False
        """Whether there is more to come when all was said."""
        self.silent = asyncio.Event()
        """Set when all was said."""
        self.requests: list[RunRequest] = []
        self.closed = 0
        """How many streams are at an end."""

    async def running(self, ref: str, *, anyway: bool = False) -> StartedInstance:
        entry = await self._engine.instance(ref)
        if entry is None:
            raise NotFoundError(f"There is no instance {ref!r}.", remedy="List them.")
        assert entry.dsn is not None
        return StartedInstance(
            instance_id=entry.instance_id, dsn=entry.dsn, programs=Path("/opt/postgresql/bin")
        )

    async def begin(self, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        await self.running(request.instance_ref)
        self.requests.append(request)
        return self._say(self.script)

    async def hold(self, instance_id: str) -> AsyncGenerator[Held, None]:
        await self.running(instance_id)
        return self._say([Held(instance_id=instance_id, expires_at=NOON)])

    async def release(self, instance_id: str) -> None:
        await self._engine.delete_instance(instance_id, force=True, dry_run=False)

    async def _say(self, script: list[T]) -> AsyncGenerator[T, None]:
        try:
            for item in script:
                yield item
            self.silent.set()
            if self.endless:
                await asyncio.get_running_loop().create_future()
        finally:
            self.closed += 1


class Verification:
    """Finds something wrong with every state it is told to."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def verify(self, *, repair: bool, deep: bool = False) -> AsyncIterator[StateCheck]:
        rows = list(self._engine.state_rows)
        for number, state_id in enumerate(rows, start=1):
            if state_id in self._engine.broken:
                yield StateCheck(
                    checked=number,
                    total=len(rows),
                    state_id=state_id,
                    problem="there is no marker",
                    outcome="removed" if repair else "would_remove",
                )
        yield StateCheck(checked=len(rows), total=len(rows), first_read=len(rows) if deep else 0)


class Configuration:
    """One setting, ``answer``, which is 42 unless told otherwise and needs a restart to change."""

    def get(self, path: str | None, *, effective: bool) -> Any:
        if path not in (None, "answer"):
            raise InvalidArgumentError(f"there is no {path}", remedy="did you mean answer?")
        value = 42 if effective else None
        return value if path else {"answer": value}

    def set(self, path: str, value: Any) -> ConfigValue:
        self.get(path, effective=False)
        return ConfigValue(path=path, value=value, restart_required=True)

    def remove(self, path: str) -> ConfigValue:
        return self.set(path, None)

    def schema(self) -> Mapping[str, Any]:
        return {"properties": {"answer": {"type": "integer"}}}


class Pool:
    """Has one server ready, whatever is wanted."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def want(self, state_id: str, count: int) -> Warmth | None:
        if count > 8:
            raise HostLimitError(f"{count} warm servers are more than there may be")
        if state_id not in self._engine.state_rows:
            return None
        return Warmth(state_id=state_id, wanted=count, ready=1)


class Cache:
    """The cache of an engine in memory, which is never full."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def status(self) -> CacheStatus:
        return CacheStatus(
            usage_bytes=10,
            effective_max_bytes=100,
            reserve_bytes=5,
            high_watermark=0.9,
            low_watermark=0.8,
            min_state_age="10m",
            store_total_bytes=200,
            store_free_bytes=150,
            state_count=len(self._engine.state_rows),
            reclaimable_bytes=0,
            blocked_count=0,
            pressure_reasons=(),
        )


def _outcome(root: DeleteNode, *, dry_run: bool) -> DeleteResult:
    if root.blocked:
        return DeleteResult(dry_run=dry_run, outcome="blocked", root=root)
    return DeleteResult(
        dry_run=dry_run, outcome="would_delete" if dry_run else "deleted", root=root
    )
