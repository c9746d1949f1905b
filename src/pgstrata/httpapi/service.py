"""The service ports: everything the HTTP face asks of an engine, and nothing else."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from pgstrata.domain.cache import CacheStatus, StateCheck
from pgstrata.domain.deletion import DeleteResult
from pgstrata.domain.job import Event, Job, Task
from pgstrata.domain.listing import EngineStatus, Health, InstanceEntry, NameEntry
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.state import State
from pgstrata.httpapi.requests import JobRequests


class Jobs(Protocol):
    """Prepare jobs, from being asked for to being forgotten."""

    async def submit(self, request: PrepareRequest) -> Job:
        """Store a new job, queued.

        Raises ``InvalidArgumentError`` for a request that is bad, ``EngineStoppingError`` when no
        more jobs are taken.
        """

    async def get(self, job_id: str) -> Job | None:
        """The job, or None."""

    def queue_position(self, job_id: str) -> int | None:
        """A queued job's position in the queue for a slot, from 1; None for any other job."""

    async def list_jobs(self, *, prefix: str = "") -> list[Job]:
        """The jobs whose id starts with ``prefix``, newest first."""

    async def list_tasks(self, job_id: str | None = None) -> list[Task]:
        """The tasks of one job in their order, or of all jobs, newest job first."""

    async def cancel(self, job_id: str) -> Job:
        """Ask for a job's end; the job as it is afterwards. Raises ``NotFoundError``."""

    async def delete(self, job_id: str, *, force: bool, dry_run: bool) -> DeleteResult:
        """Delete a job, or say what is in the way. Raises ``NotFoundError``."""

    async def events_since(self, job_id: str, start: int, limit: int | None = None) -> list[Event]:
        """Events of a job from number ``start`` on, at most ``limit``; empty past the end.

        With ``limit`` it may be fewer than there are, so that what is in memory stays bounded.
        """

    async def count_events(self, job_id: str) -> int:
        """How many events the job has; 0 when it is unknown."""

    async def wait_for_event(self, job_id: str, number: int) -> bool:
        """Wait until event ``number`` exists: True; False once it never will.

        That is so when the job has ended without it, or is gone.
        """


class Registry(Protocol):
    """States, instances and names, looked up, listed and named. Filters left out match all."""

    async def states(
        self, *, kind: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[State]:
        """The states that match every filter given."""

    async def state(self, state_id: str) -> State | None:
        """The state, or None."""

    async def pin(self, state_id: str, *, pinned: bool) -> State | None:
        """Pin or unpin a state. Returns the state, or None when there is none."""

    async def instances(
        self, *, state_id: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[InstanceEntry]:
        """The instances that match every filter given."""

    async def instance(self, id_or_name: str) -> InstanceEntry | None:
        """The instance with this id, else the one that bears this name, else None."""

    async def names(
        self,
        *,
        instance_id: str | None = None,
        state_id: str | None = None,
        image_id: str | None = None,
    ) -> list[NameEntry]:
        """The names that match every filter given."""

    async def name(self, name: str) -> NameEntry | None:
        """What the name stands for, or None."""

    async def bind_name(self, name: str, instance_id: str) -> NameEntry:
        """Give an instance this name, in place of the one it has.

        Raises ``NotFoundError`` for an unknown instance, ``ConflictError`` for a name that is
        another one's.
        """

    async def unbind_name(self, name: str) -> bool:
        """Take the name from the instance that bears it. False when none does."""


class Deletion(Protocol):
    """The end of states and instances."""

    async def delete_state(
        self, state_id: str, *, recurse: bool, force: bool, dry_run: bool
    ) -> DeleteResult:
        """Delete a state, or say what is in the way. Raises ``NotFoundError``."""

    async def delete_instance(
        self, instance_id: str, *, force: bool, dry_run: bool
    ) -> DeleteResult:
        """Delete an instance, or say what is in the way. Raises ``NotFoundError``."""


class Cache(Protocol):
    """The room that states take."""

    async def status(self) -> CacheStatus:
        """How full the cache is. Raises ``CacheEnforcementUnavailableError``."""


class Verification(Protocol):
    """Looking the cache over."""

    def verify(self, *, repair: bool) -> AsyncIterator[StateCheck]:
        """What is wrong with which states, and how far the check is, to its end."""


class EngineInfo(Protocol):
    """What an engine says of itself."""

    async def health(self) -> Health:
        """Who answers. Anyone may ask, so it reads nothing."""

    async def status(self) -> EngineStatus:
        """The engine, described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An engine, as its HTTP face sees it."""

    requests: JobRequests
    jobs: Jobs
    registry: Registry
    deletion: Deletion
    cache: Cache
    verification: Verification
    engine: EngineInfo
