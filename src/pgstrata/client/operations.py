# mypy: disable-error-code="empty-body"
"""Every operation of the engine, once, for all clients.

Each raises ``PgstrataError`` where a client sends it. Filters that are None do not filter.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pgstrata.api.configuration import ConfigChange, ConfigValue
from pgstrata.api.jobs import JobAccepted, JobEntry, JobStatus, TaskEntry
from pgstrata.api.names import NameBinding, SnapshotRequest
from pgstrata.client.operation import operation
from pgstrata.domain.cache import CacheStatus, StateCheck
from pgstrata.domain.comparison import Comparison, ComparisonRequest
from pgstrata.domain.deletion import DeleteResult
from pgstrata.domain.job import Event
from pgstrata.domain.listing import EngineStatus, Health, ImageEntry, InstanceEntry, NameEntry
from pgstrata.domain.reason import Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.run import Held, RunEvent, RunKind, RunRequest, RunStep, StartedInstance
from pgstrata.domain.state import State
from pgstrata.domain.warmth import Warmth, WarmthRequest


@operation("GET", "/v1/health")
def get_health() -> Health:
    """Which engine answers."""


@operation("GET", "/v1/status")
def get_status() -> EngineStatus:
    """The engine, its store, its PostgreSQLs and its snapshot backend."""


# Jobs


@operation("POST", "/v1/prepare-jobs", results={200: JobStatus, 201: JobAccepted})
def submit_job(
    request: PrepareRequest, /, *, wait: int | None = None, tasks: bool | None = None
) -> JobAccepted | JobStatus:
    """Submit a job; its status, if it ends within ``wait`` seconds, without tasks if False."""


@operation("GET", "/v1/prepare-jobs")
def list_jobs(*, job: str | None = None) -> Iterator[JobEntry]:
    """The jobs whose ids begin with ``job``, newest first."""


@operation("GET", "/v1/prepare-jobs/{job_id}")
def get_job(job_id: str, *, tasks: bool | None = None) -> JobStatus:
    """A job with its tasks, unless that is False, and its result or error."""


@operation("DELETE", "/v1/prepare-jobs/{job_id}")
def delete_job(job_id: str, *, force: bool = False, dry_run: bool = False) -> DeleteResult:
    """Remove a job. Raises ``ConflictError`` if it runs, unless ``force`` is given."""


@operation("POST", "/v1/prepare-jobs/{job_id}/cancel", repeatable=True)
def cancel_job(job_id: str) -> JobStatus:
    """Ask a job to stop, and return its status now. It may have ended already."""


@operation("GET", "/v1/prepare-jobs/{job_id}/events", headers={"start": ("Range", "events={}-")})
def follow_events(job_id: str, *, start: int = 0) -> Iterator[Event]:
    """A job's events from number ``start`` on, as they come, up to its last."""


@operation("GET", "/v1/tasks")
def list_tasks(
    *, job: str | None = None, start: int | None = None, limit: int | None = None
) -> Iterator[TaskEntry]:
    """The tasks of one job, or of all: ``limit`` of them, from number ``start`` on."""


# States, instances and names


@operation("GET", "/v1/states")
def list_states(
    *,
    kind: str | None = None,
    image: str | None = None,
    id_prefix: str | None = None,
    name: str | None = None,
) -> Iterator[State]:
    """The states in the cache."""


@operation("GET", "/v1/states/{state_id}")
def get_state(state_id: str) -> State:
    """A state."""


@operation("DELETE", "/v1/states/{state_id}")
def delete_state(
    state_id: str, *, recurse: bool = False, force: bool = False, dry_run: bool = False
) -> DeleteResult:
    """Remove a state and, with ``recurse``, all that was made from it.

    Raises ``ConflictError`` if something is in the way of that; then nothing is removed.
    """


@operation("PUT", "/v1/states/{state_id}/pin", repeatable=True)
def pin_state(state_id: str) -> State:
    """Keep a state from being evicted."""


@operation("DELETE", "/v1/states/{state_id}/pin", repeatable=True)
def unpin_state(state_id: str) -> State:
    """Let a state be evicted again."""


@operation("PUT", "/v1/states/{state_id}/warm", body=WarmthRequest, repeatable=True)
def warm_state(state_id: str, *, count: int) -> Warmth:
    """Keep so many servers ready for a state, 0 for none but those that demand calls for."""


@operation("GET", "/v1/images/{image}")
def get_image(image: str) -> ImageEntry:
    """The PostgreSQL that an image stands for."""


@operation("GET", "/v1/instances")
def list_instances(
    *, state: str | None = None, image: str | None = None, id_prefix: str | None = None
) -> Iterator[InstanceEntry]:
    """The instances."""


@operation("GET", "/v1/instances/{instance_id}")
def get_instance(instance_id: str) -> InstanceEntry:
    """An instance, by its id."""


@operation("DELETE", "/v1/instances/{instance_id}")
def delete_instance(
    instance_id: str, *, force: bool = False, dry_run: bool = False
) -> DeleteResult:
    """Remove an instance. Raises ``ConflictError`` if clients are connected, without ``force``."""


@operation("POST", "/v1/instances/{instance_id}/reset")
def reset_instance(instance_id: str, *, force: bool = False) -> InstanceEntry:
    """Put an instance back to its state; its DSN stays.

    Raises ``ConflictError`` if clients are connected, unless ``force`` is given.
    """


@operation("POST", "/v1/instances/{instance_id}/snapshot", body=SnapshotRequest)
def snapshot_instance(instance_id: str, *, name: str | None = None, force: bool = False) -> State:
    """Keep what is in an instance as a state, which may have a name.

    Raises ``ConflictError`` if clients are in the way of that, unless ``force`` is given.
    """


@operation("POST", "/v1/instances/{instance}/start", repeatable=True)
def start_instance(instance: str, *, anyway: bool = False) -> StartedInstance:
    """Have an instance's server run. ``instance``: its id, its name, or its id's beginning.

    ``anyway``: even if the machine was booted since, and its data may not be whole.
    """


@operation("POST", "/v1/instances/{instance_id}/hold")
def hold_instance(instance_id: str) -> Iterator[Held]:
    """Keep an instance for as long as the result is open; then it is removed."""


@operation("GET", "/v1/names")
def list_names(
    *, instance: str | None = None, state: str | None = None, image: str | None = None
) -> Iterator[NameEntry]:
    """The names of instances."""


@operation("GET", "/v1/names/{name}")
def get_name(name: str) -> NameEntry:
    """What a name stands for."""


@operation("PUT", "/v1/names/{name}", body=NameBinding, repeatable=True)
def bind_name(name: str, instance_id: str) -> NameEntry:
    """Give an instance a name."""


@operation("DELETE", "/v1/names/{name}")
def unbind_name(name: str) -> None:
    """Give a name up."""


# All else


@operation("POST", "/v1/diff", body=ComparisonRequest, repeatable=True)
def diff(a: str, b: str, *, rows: bool = False, database: str | None = None) -> Comparison:
    """How two states or instances differ, each given by its id, its id's beginning, or its name.

    ``rows``: also how many rows their tables have. ``database``: the only one to compare.
    """


@operation("POST", "/v1/runs", body=RunRequest)
def run(
    instance_ref: str,
    kind: RunKind,
    args: Sequence[str] = (),
    *,
    command: str | None = None,
    stdin: str | None = None,
    steps: Sequence[RunStep] = (),
) -> Iterator[RunEvent]:
    """Run psql or pgbench against an instance, where the engine is; what happens, as it does.

    ``instance_ref``: its id, its id's beginning, or its name. ``steps``, for psql: several calls.
    """


@operation("GET", "/v1/cache/status")
def get_cache_status() -> CacheStatus:
    """How full the cache is."""


@operation("POST", "/v1/cache/explain/prepare", repeatable=True)
def explain_prepare(request: PrepareRequest, /) -> Explanation:
    """Whether a job would find its last state in the cache, and why."""


@operation("POST", "/v1/cache/verify")
def verify_cache(*, repair: bool = False, deep: bool = False) -> Iterator[StateCheck]:
    """Check every state: progress and defects, as they come.

    ``repair``: remove what cannot be used. ``deep``: also compare the contents of files with what
    they were.
    """


@operation("GET", "/v1/config")
def get_config(*, path: str | None = None, effective: bool = False) -> dict[str, Any]:
    """What is set in the engine's configuration, or in effect.

    With a ``path``, a map of that and its ``value``.
    """


@operation("PATCH", "/v1/config", body=ConfigChange)
def set_config(path: str, value: Any) -> ConfigValue:
    """Set a setting, or several with a map."""


@operation("DELETE", "/v1/config")
def remove_config(*, path: str) -> ConfigValue:
    """Remove what is set below a path."""


@operation("GET", "/v1/config/schema")
def get_config_schema() -> dict[str, Any]:
    """The JSON Schema of the engine's settings."""
