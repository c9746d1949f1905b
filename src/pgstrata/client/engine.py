"""The engine as the command line sees it: what it asks, of the operations that there are."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from pgstrata.api.configuration import ConfigValue
from pgstrata.api.jobs import JobAccepted, JobEntry, JobStatus, TaskEntry
from pgstrata.client import calling, operations
from pgstrata.client.http import Http
from pgstrata.client.operation import Call, Operation
from pgstrata.domain.cache import CacheStatus, StateCheck
from pgstrata.domain.comparison import Comparison, ComparisonRequest
from pgstrata.domain.deletion import DeleteKind, DeleteResult
from pgstrata.domain.job import Event
from pgstrata.domain.listing import EngineStatus, Health, ImageEntry, InstanceEntry, NameEntry
from pgstrata.domain.reason import Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.run import LEASE_SECONDS, Held, StartedInstance
from pgstrata.domain.state import State
from pgstrata.domain.warmth import Warmth
from pgstrata.errors import NotFoundError, UnreachableError

T = TypeVar("T")

_REMOVALS: Mapping[DeleteKind, Operation[..., DeleteResult]] = {
    "instance": operations.delete_instance,
    "state": operations.delete_state,
    "job": operations.delete_job,
}


class Engine:
    """An engine that was found, through its HTTP contract.

    Every method raises ``PgstrataError``: ``UnreachableError`` if the engine goes away, or the
    error in its response. Filters that are None do not filter.
    """

    def __init__(self, http: Http, version: str | None = None) -> None:
        """``version``: the engine's, if it is known."""
        self._http = http
        self.version = version

    @property
    def endpoint(self) -> str:
        """The engine's URL."""
        return self._http.address.url

    @property
    def http(self) -> Http:
        """What it is talked to through."""
        return self._http

    def another(self) -> "Engine":
        """The same engine over another connection, for use beside a stream."""
        return Engine(self._http.another(), self.version)

    def health(self) -> Health:
        """The identity of the engine that answers."""
        return self._ask(operations.get_health())

    def status(self) -> EngineStatus:
        """The engine, its store, its runtime and its snapshot backend."""
        return self._ask(operations.get_status())

    def cache_status(self) -> CacheStatus:
        """How full the cache is."""
        return self._ask(operations.get_cache_status())

    def config(self, path: str | None = None, *, effective: bool = False) -> Any:
        """What is set in the engine's configuration, or in effect; below ``path``, if given."""
        found = self._ask(operations.get_config(path=path, effective=effective))
        return found if path is None else found["value"]

    def set_config(self, path: str, value: Any) -> ConfigValue:
        """Set a setting, or several with a map."""
        return self._ask(operations.set_config(path, value))

    def remove_config(self, path: str) -> ConfigValue:
        """Remove what is set below a path."""
        return self._ask(operations.remove_config(path=path))

    def config_schema(self) -> dict[str, Any]:
        """The JSON Schema of the engine's settings."""
        return self._ask(operations.get_config_schema())

    def verify_cache(self, *, repair: bool, deep: bool = False) -> Iterator[StateCheck]:
        """Check all states, with the defects found and the progress as they come.

        ``deep``: also read the content of their files, and compare it with what was read before.
        """
        return self._stream(operations.verify_cache(repair=repair, deep=deep))

    def pin(self, state_id: str, *, pinned: bool) -> State:
        """Pin or unpin a state. Returns the state."""
        change = operations.pin_state if pinned else operations.unpin_state
        return self._ask(change(state_id))

    def warm(self, state_id: str, count: int) -> Warmth:
        """Keep so many servers ready for a state."""
        return self._ask(operations.warm_state(state_id, count=count))

    def submit(self, request: PrepareRequest) -> JobAccepted:
        """Submit a prepare request."""
        accepted = self._ask(operations.submit_job(request))
        assert isinstance(accepted, JobAccepted), "only a request that waits is told the end"
        return accepted

    def explain(self, request: PrepareRequest) -> Explanation:
        """Whether a request would find its last state cached, and why."""
        return self._ask(operations.explain_prepare(request))

    def job(self, job_id: str) -> JobStatus:
        """A job's status, with its tasks and its result or error."""
        return self._ask(operations.get_job(job_id))

    def cancel(self, job_id: str) -> None:
        """Request that a job stop. It may have ended already."""
        self._ask(operations.cancel_job(job_id))

    def events(
        self, job_id: str, start: int = 0, *, silence: float | None = None
    ) -> Iterator[Event]:
        """A job's events from number ``start`` on, as they come, to the last one."""
        return self._stream(operations.follow_events(job_id, start=start), silence)

    def names(
        self,
        *,
        instance: str | None = None,
        state: str | None = None,
        image: str | None = None,
    ) -> list[NameEntry]:
        """The names of an instance, of a state's instances, or of an image's instances."""
        return self._all(operations.list_names(instance=instance, state=state, image=image))

    def instances(
        self, *, id_prefix: str | None = None, state: str | None = None, image: str | None = None
    ) -> list[InstanceEntry]:
        """The instances."""
        return self._all(operations.list_instances(id_prefix=id_prefix, state=state, image=image))

    def instance(self, instance_id: str) -> InstanceEntry:
        """One instance, by its id."""
        return self._ask(operations.get_instance(instance_id))

    def image(self, image_id: str) -> ImageEntry | None:
        """The PostgreSQL that an image stands for, or None if it is not installed."""
        with suppress(NotFoundError):
            return self._ask(operations.get_image(image_id))
        return None

    def states(
        self,
        *,
        id_prefix: str | None = None,
        kind: str | None = None,
        image: str | None = None,
        name: str | None = None,
    ) -> list[State]:
        """The cached states."""
        return self._all(
            operations.list_states(id_prefix=id_prefix, kind=kind, image=image, name=name)
        )

    def jobs(self, *, job: str | None = None) -> list[JobEntry]:
        """The jobs whose id begins with ``job``, newest first."""
        return self._all(operations.list_jobs(job=job))

    def tasks(self, *, job: str | None = None) -> list[TaskEntry]:
        """The tasks of one job, or of all."""
        return self._all(operations.list_tasks(job=job))

    def name(self, name: str) -> NameEntry | None:
        """A name's entry, or None."""
        with suppress(NotFoundError):
            return self._ask(operations.get_name(name))
        return None

    def reset(self, instance_id: str, *, force: bool) -> InstanceEntry:
        """Put an instance back to its state."""
        return self._ask(operations.reset_instance(instance_id, force=force))

    def snapshot(self, instance_id: str, *, name: str | None, force: bool) -> State:
        """Keep what is in an instance as a state, with this name."""
        return self._ask(operations.snapshot_instance(instance_id, name=name, force=force))

    def compare(self, request: ComparisonRequest) -> Comparison:
        """How two states or instances differ."""
        return self._ask(
            operations.diff(request.a, request.b, rows=request.rows, database=request.database)
        )

    def unbind_name(self, name: str) -> None:
        """Give a name up."""
        self._ask(operations.unbind_name(name))

    def remove(self, kind: DeleteKind, item_id: str, **flags: bool) -> DeleteResult:
        """Remove one item; the result may also say that it is ``blocked``."""
        call = _REMOVALS[kind](item_id, **{flag: True for flag, on in flags.items() if on})
        answer = calling.send(self._http, call)
        if answer.status == 409:
            # Unless it is an error.
            with suppress(UnreachableError):
                return answer.read(DeleteResult)
        return call.read(answer)

    def start(self, ref: str, *, anyway: bool = False) -> StartedInstance:
        """Have an instance's server run. ``ref``: its id, its name, or the beginning of its id.

        ``anyway``: even from data that is not trusted.
        """
        return self._ask(operations.start_instance(ref, anyway=anyway))

    def hold(self, instance_id: str) -> Iterator[Held]:
        """Keep an instance while the result is read; it is removed if this connection ends."""
        return self._stream(operations.hold_instance(instance_id), LEASE_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _ask(self, call: Call[T]) -> T:
        return calling.ask(self._http, call)

    def _all(self, call: Call[Iterator[T]]) -> list[T]:
        return calling.ask_all(self._http, call)

    def _stream(self, call: Call[Iterator[T]], silence: float | None = None) -> Iterator[T]:
        return calling.stream(self._http, call, silence=silence)
