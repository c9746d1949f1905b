"""The service ports: everything that the HTTP API needs from an engine, and nothing else."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pgstrata.api.configuration import ConfigValue
from pgstrata.domain.cache import CacheStatus, StateCheck
from pgstrata.domain.comparison import Comparison, ComparisonRequest
from pgstrata.domain.deletion import DeleteResult
from pgstrata.domain.job import Event, Job, Task
from pgstrata.domain.listing import EngineStatus, Health, ImageEntry, InstanceEntry, NameEntry
from pgstrata.domain.reason import Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.run import Held, RunEvent, RunRequest, StartedInstance
from pgstrata.domain.state import State
from pgstrata.domain.warmth import Warmth
from pgstrata.httpapi.requests import JobRequests


class Jobs(Protocol):
    """Prepare jobs, from submission to deletion."""

    async def submit(self, request: PrepareRequest, *, patience: float = 0) -> Job:
        """Store a new job, queued; with ``patience`` wait so many seconds for it to end.

        Raises ``InvalidArgumentError`` for a bad request, ``EngineStoppingError`` if no more jobs
        are accepted.
        """

    async def explain(self, request: PrepareRequest) -> Explanation:
        """Whether a request would find its last state cached, and why. Raises like ``submit``."""

    async def get(self, job_id: str) -> Job | None:
        """The job, or None."""

    def queue_position(self, job_id: str) -> int | None:
        """A queued job's position in the queue for a slot, from 1; None for any other job."""

    async def list_jobs(self, *, prefix: str = "") -> list[Job]:
        """The jobs whose id starts with ``prefix``, newest first."""

    async def list_tasks(
        self, job_id: str | None = None, start: int = 0, limit: int | None = None
    ) -> list[Task]:
        """The tasks of one job in their order, or of all jobs, newest job first.

        From the one with number ``start`` on, counted from 0, at most ``limit``.
        """

    async def cancel(self, job_id: str) -> Job:
        """Request a job's cancellation. Returns the job as it is now. Raises ``NotFoundError``."""

    async def delete(self, job_id: str, *, force: bool, dry_run: bool) -> DeleteResult:
        """Delete a job, or say what blocks it. Raises ``NotFoundError``."""

    async def events_since(self, job_id: str, start: int, limit: int | None = None) -> list[Event]:
        """Events of a job from number ``start`` on, at most ``limit``; empty past the end.

        With ``limit`` there may be fewer than exist, so that memory stays bounded.
        """

    async def count_events(self, job_id: str) -> int:
        """How many events the job has; 0 if it is unknown."""

    async def wait_for_event(self, job_id: str, number: int) -> bool:
        """Wait until event ``number`` exists.

        Returns False if it never will: the job has ended without it, or is gone.
        """


class Registry(Protocol):
    """States, instances and names. Filters that are omitted match everything."""

    async def states(
        self,
        *,
        kind: str | None = None,
        image_id: str | None = None,
        id_prefix: str = "",
        name: str | None = None,
    ) -> list[State]:
        """The states that match all the filters given."""

    async def state(self, state_id: str) -> State | None:
        """The state, or None."""

    async def pin(self, state_id: str, *, pinned: bool) -> State | None:
        """Pin or unpin a state. Returns the state, or None if it does not exist."""

    async def instances(
        self, *, state_id: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[InstanceEntry]:
        """The instances that match all the filters given."""

    async def instance(self, id_or_name: str) -> InstanceEntry | None:
        """The instance with this id, otherwise the one with this name, otherwise None."""

    async def names(
        self,
        *,
        instance_id: str | None = None,
        state_id: str | None = None,
        image_id: str | None = None,
    ) -> list[NameEntry]:
        """The names that match all the filters given."""

    async def name(self, name: str) -> NameEntry | None:
        """The name with its instance, or None."""

    async def image(self, image_id: str) -> ImageEntry | None:
        """The PostgreSQL that an image stands for, or None if it is not installed."""

    async def bind_name(self, name: str, instance_id: str) -> NameEntry:
        """Give an instance this name, in place of any other.

        Raises ``InvalidArgumentError`` for what cannot be a name, ``NotFoundError`` for an unknown
        instance, ``ConflictError`` if another instance has the name.
        """

    async def unbind_name(self, name: str) -> bool:
        """Forget a name, and take it from its instance. Returns False if there is none."""


class Resetting(Protocol):
    """Putting instances back to their states."""

    async def reset(self, instance_id: str, *, force: bool) -> None:
        """Reset an instance. Raises ``NotFoundError``, ``ConflictError`` if it is in use."""


class Snapshots(Protocol):
    """Keeping what is in instances as states."""

    async def snapshot(self, instance_id: str, *, name: str | None = None, force: bool) -> State:
        """Keep what is in an instance as a new state, with this name.

        With ``force`` even if clients are disconnected by it. Raises ``InvalidArgumentError`` for
        what cannot be a name, ``NotFoundError``, ``ConflictError``, ``StateUnusableError``.
        """


class Comparing(Protocol):
    """Comparing states and instances."""

    async def compare(self, request: ComparisonRequest) -> Comparison:
        """How the two differ. Raises ``InvalidArgumentError``, ``NotFoundError``, and
        ``NotComparedError`` or others if they cannot be compared."""


class Deletion(Protocol):
    """Deletion of states and instances."""

    async def delete_state(
        self, state_id: str, *, recurse: bool, force: bool, dry_run: bool
    ) -> DeleteResult:
        """Delete a state, or say what blocks it. Raises ``NotFoundError``."""

    async def delete_instance(
        self, instance_id: str, *, force: bool, dry_run: bool
    ) -> DeleteResult:
        """Delete an instance, or say what blocks it. Raises ``NotFoundError``."""


class Cache(Protocol):
    """The space that states take."""

    async def status(self) -> CacheStatus:
        """How full the cache is. Raises ``CacheEnforcementUnavailableError``."""


class Verification(Protocol):
    """Checking the cache."""

    def verify(self, *, repair: bool, deep: bool = False) -> AsyncIterator[StateCheck]:
        """Yield the states with problems, and the progress of the check to its end."""


class Runs(Protocol):
    """Running tools against instances."""

    async def running(self, ref: str, *, anyway: bool = False) -> StartedInstance:
        """The instance with this id, name or beginning of its id, with its server running.

        ``anyway``: even from data that is not trusted. Raises ``InvalidArgumentError``,
        ``NotFoundError``, ``ConflictError`` if the server cannot be started again, ``ServerError``.
        """

    async def begin(self, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        """What happens as the request is carried out; closing it ends the tool.

        Raises like ``running``, and ``ProgramsNotAllowedError``.
        """


class Holds(Protocol):
    """Instances that live as long as their clients."""

    async def hold(self, instance_id: str) -> AsyncGenerator[Held, None]:
        """Keep an instance while the result is read. Raises ``NotFoundError``."""

    async def release(self, instance_id: str) -> None:
        """Remove an instance that is not held any more; it may be gone."""


class Configuration(Protocol):
    """The engine's settings, as plain data below paths such as ``cache.capacity.maxBytes``."""

    def get(self, path: str | None, *, effective: bool) -> Any:
        """What is stored below a path or, if ``effective``, what counts; None for no value.

        Raises ``InvalidArgumentError`` for an unknown path.
        """

    def set(self, path: str, value: Any) -> ConfigValue:
        """Store a setting or, given a map, several.

        Raises ``InvalidArgumentError``, ``ConflictError`` for what the engine was started with, and
        ``ProgramsNotAllowedError``; then nothing is changed.
        """

    def remove(self, path: str) -> ConfigValue:
        """Remove what is stored below a path. Raises like ``set``."""

    def schema(self) -> Mapping[str, Any]:
        """The JSON Schema of all settings."""


class Pool(Protocol):
    """Servers that wait for whoever asks next."""

    async def want(self, state_id: str, count: int) -> Warmth | None:
        """Keep so many ready for a state; None if it does not exist.

        Raises ``HostLimitError`` for more than there may be.
        """


class EngineInfo(Protocol):
    """The engine's health and status."""

    async def health(self) -> Health:
        """Which engine responds. Anyone may ask, so it reads nothing."""

    async def status(self) -> EngineStatus:
        """The engine, how it runs servers, and how many jobs, states and instances exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An engine, as the HTTP API sees it."""

    requests: JobRequests
    jobs: Jobs
    registry: Registry
    resetting: Resetting
    snapshots: Snapshots
    comparing: Comparing
    deletion: Deletion
    cache: Cache
    verification: Verification
    runs: Runs
    pool: Pool
    holds: Holds
    configuration: Configuration
    engine: EngineInfo
