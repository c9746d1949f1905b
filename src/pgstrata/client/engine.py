"""The engine as its clients see it: one method for each request."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from pgstrata.api.configuration import ConfigChange, ConfigValue
from pgstrata.api.jobs import JOBS_PATH, JobAccepted, JobEntry, JobStatus, TaskEntry, request_body
from pgstrata.api.names import SnapshotRequest
from pgstrata.client.answers import error_from
from pgstrata.client.http import Answer, Http, segment
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

_CONFIG = "/v1/config"

_PATHS: dict[DeleteKind, str] = {
    "instance": "/v1/instances",
    "state": "/v1/states",
    "job": JOBS_PATH,
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
        return self._get("/v1/health", Health)

    def status(self) -> EngineStatus:
        """The engine, its store, its runtime and its snapshot backend."""
        return self._get("/v1/status", EngineStatus)

    def cache_status(self) -> CacheStatus:
        """How full the cache is."""
        return self._get("/v1/cache/status", CacheStatus)

    def config(self, path: str | None = None, *, effective: bool = False) -> Any:
        """What is set in the engine's configuration, or in effect; below ``path``, if given."""
        query = {"path": path, "effective": "true" if effective else None}
        if path is None:
            return self._get(_CONFIG, dict[str, Any], **query)
        return self._get(_CONFIG, ConfigValue, **query).value

    def set_config(self, path: str, value: Any) -> ConfigValue:
        """Set a setting, or several with a map."""
        change = msgspec.to_builtins(ConfigChange(path=path, value=value))
        return self._read(self._http.ask("PATCH", _CONFIG, body=change), ConfigValue)

    def remove_config(self, path: str) -> ConfigValue:
        """Remove what is set below a path."""
        return self._read(self._http.ask("DELETE", _CONFIG, query={"path": path}), ConfigValue)

    def config_schema(self) -> dict[str, Any]:
        """The JSON Schema of the engine's settings."""
        return self._get(f"{_CONFIG}/schema", dict[str, Any])

    def verify_cache(self, *, repair: bool, deep: bool = False) -> Iterator[StateCheck]:
        """Check all states, with the defects found and the progress as they come.

        ``deep``: also read the content of their files, and compare it with what was read before.
        """
        flags = {"repair": repair, "deep": deep}
        query = {name: "true" for name, given in flags.items() if given}
        return self._http.lines("/v1/cache/verify", StateCheck, method="POST", query=query)

    def pin(self, state_id: str, *, pinned: bool) -> State:
        """Pin or unpin a state. Returns the state."""
        method = "PUT" if pinned else "DELETE"
        return self._read(self._http.ask(method, f"/v1/states/{segment(state_id)}/pin"), State)

    def warm(self, state_id: str, count: int) -> Warmth:
        """Keep so many servers ready for a state."""
        path = f"/v1/states/{segment(state_id)}/warm"
        return self._read(self._http.ask("PUT", path, body={"count": count}), Warmth)

    def submit(self, request: PrepareRequest) -> JobAccepted:
        """Submit a prepare request."""
        return self._read(
            self._http.ask("POST", JOBS_PATH, body=request_body(request)), JobAccepted
        )

    def explain(self, request: PrepareRequest) -> Explanation:
        """Whether a request would find its last state cached, and why."""
        answer = self._http.ask("POST", "/v1/cache/explain/prepare", body=request_body(request))
        return self._read(answer, Explanation)

    def job(self, job_id: str) -> JobStatus:
        """A job's status, with its tasks and its result or error."""
        return self._get(f"{JOBS_PATH}/{segment(job_id)}", JobStatus)

    def cancel(self, job_id: str) -> None:
        """Request that a job stop. It may have ended already."""
        _raise_for(self._http.ask("POST", f"{JOBS_PATH}/{segment(job_id)}/cancel"))

    def events(
        self, job_id: str, start: int = 0, *, silence: float | None = None
    ) -> Iterator[Event]:
        """A job's events from number ``start`` on, as they come, to the last one."""
        headers = {"Range": f"events={start}-"} if start else {}
        path = f"{JOBS_PATH}/{segment(job_id)}/events"
        return self._http.lines(path, Event, headers=headers, silence=silence)

    def names(
        self,
        *,
        instance: str | None = None,
        state: str | None = None,
        image: str | None = None,
    ) -> list[NameEntry]:
        """The names of an instance, of a state's instances, or of an image's instances."""
        filters = {"instance": instance, "state": state, "image": image}
        return self._get("/v1/names", list[NameEntry], **filters)

    def instances(
        self, *, id_prefix: str | None = None, state: str | None = None, image: str | None = None
    ) -> list[InstanceEntry]:
        """The instances."""
        filters = {"id_prefix": id_prefix, "state": state, "image": image}
        return self._get("/v1/instances", list[InstanceEntry], **filters)

    def instance(self, instance_id: str) -> InstanceEntry:
        """One instance, by its id."""
        return self._get(f"/v1/instances/{segment(instance_id)}", InstanceEntry)

    def image(self, image_id: str) -> ImageEntry | None:
        """The PostgreSQL that an image stands for, or None if it is not installed."""
        try:
            return self._get(f"/v1/images/{segment(image_id)}", ImageEntry)
        except NotFoundError:
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
        filters = {"id_prefix": id_prefix, "kind": kind, "image": image, "name": name}
        return self._get("/v1/states", list[State], **filters)

    def jobs(self, *, job: str | None = None) -> list[JobEntry]:
        """The jobs whose id begins with ``job``, newest first."""
        return self._get(JOBS_PATH, list[JobEntry], job=job)

    def tasks(self, *, job: str | None = None) -> list[TaskEntry]:
        """The tasks of one job, or of all."""
        return self._get("/v1/tasks", list[TaskEntry], job=job)

    def name(self, name: str) -> NameEntry | None:
        """A name's entry, or None."""
        try:
            return self._get(f"/v1/names/{segment(name)}", NameEntry)
        except NotFoundError:
            return None

    def reset(self, instance_id: str, *, force: bool) -> InstanceEntry:
        """Put an instance back to its state."""
        path = f"/v1/instances/{segment(instance_id)}/reset"
        query = {"force": "true"} if force else {}
        return self._read(self._http.ask("POST", path, query=query), InstanceEntry)

    def snapshot(self, instance_id: str, *, name: str | None, force: bool) -> State:
        """Keep what is in an instance as a state, with this name."""
        path = f"/v1/instances/{segment(instance_id)}/snapshot"
        query = {"force": "true"} if force else {}
        body = msgspec.to_builtins(SnapshotRequest(name=name))
        return self._read(self._http.ask("POST", path, body=body, query=query), State)

    def compare(self, request: ComparisonRequest) -> Comparison:
        """How two states or instances differ."""
        body = msgspec.to_builtins(request)
        return self._read(self._http.ask("POST", "/v1/diff", body=body), Comparison)

    def unbind_name(self, name: str) -> None:
        """Give a name up."""
        _raise_for(self._http.ask("DELETE", f"/v1/names/{segment(name)}"))

    def remove(self, kind: DeleteKind, item_id: str, **flags: bool) -> DeleteResult:
        """Remove one item; the result may also say that it is ``blocked``."""
        wanted = {flag: "true" for flag, on in flags.items() if on}
        answer = self._http.ask("DELETE", f"{_PATHS[kind]}/{segment(item_id)}", query=wanted)
        if answer.status == 409:
            # Unless it is an error.
            with suppress(UnreachableError):
                return answer.read(DeleteResult)
        return self._read(answer, DeleteResult)

    def start(self, ref: str, *, anyway: bool = False) -> StartedInstance:
        """Have an instance's server run. ``ref``: its id, its name, or the beginning of its id.

        ``anyway``: even from data that is not trusted.
        """
        query = {"anyway": "true"} if anyway else {}
        answer = self._http.ask("POST", f"/v1/instances/{segment(ref)}/start", query=query)
        return self._read(answer, StartedInstance)

    def hold(self, instance_id: str) -> Iterator[Held]:
        """Keep an instance while the result is read; it is removed if this connection ends."""
        path = f"/v1/instances/{segment(instance_id)}/hold"
        return self._http.lines(path, Held, method="POST", silence=LEASE_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _get(self, path: str, kind: type[T], /, **filters: str | None) -> T:
        return self._read(self._http.ask("GET", path, query=filters), kind)

    @staticmethod
    def _read(answer: Answer, kind: type[T]) -> T:
        _raise_for(answer)
        return answer.read(kind)


def _raise_for(answer: Answer) -> None:
    if answer.status >= 400:
        raise error_from(answer.status, answer.data)
