"""The engine as its clients see it: one method for each thing one can ask."""

from collections.abc import Iterator
from typing import Any

from pgstrata.client.answers import error_from
from pgstrata.client.http import Answer, Http, Json, segment
from pgstrata.errors import NotFoundError


class Engine:
    """An engine that was found, by its HTTP contract.

    Every method raises ``PgstrataError``: ``UnreachableError`` when the engine goes away, or the
    error that its answer stands for.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    @property
    def endpoint(self) -> str:
        """The engine's URL."""
        return self._http.address.url

    def another(self) -> "Engine":
        """The same engine over a connection of its own, for use beside a stream."""
        return Engine(self._http.another())

    def health(self) -> Json:
        """``{ok, version, instanceId, pid}``."""
        return self._object("GET", "/v1/health")

    def status(self) -> Json:
        """The engine, its store, its runtime and its snapshot backend."""
        return self._object("GET", "/v1/status")

    def cache_status(self) -> Json:
        """How full the cache is."""
        return self._object("GET", "/v1/cache/status")

    def verify_cache(self, *, repair: bool) -> Iterator[Json]:
        """What is wrong with states, and how far the check is, as it goes."""
        query = {"repair": "true"} if repair else {}
        return self._http.lines("/v1/cache/verify", {}, method="POST", query=query)

    def pin(self, state_id: str, *, pinned: bool) -> Json:
        """Let a state stay whatever room is wanted, or no longer; the state."""
        method = "PUT" if pinned else "DELETE"
        return self._object(method, f"/v1/states/{segment(state_id)}/pin")

    def submit(self, request: Json) -> Json:
        """Hand in a prepare request; ``{job_id, status_url, events_url, status}``."""
        return self._object("POST", "/v1/prepare-jobs", body=request)

    def job(self, job_id: str) -> Json:
        """A job's status, with its tasks and its result or error."""
        return self._object("GET", f"/v1/prepare-jobs/{segment(job_id)}")

    def cancel(self, job_id: str) -> None:
        """Wish a job to stop. One that is at its end is fine."""
        self._object("POST", f"/v1/prepare-jobs/{segment(job_id)}/cancel")

    def events(
        self, job_id: str, start: int = 0, *, silence: float | None = None
    ) -> Iterator[Json]:
        """A job's events from number ``start`` on, as they come, until its last one."""
        headers = {"Range": f"events={start}-"} if start else {}
        path = f"/v1/prepare-jobs/{segment(job_id)}/events"
        return self._http.lines(path, headers, silence=silence)

    def listing(self, route: str, **filters: str | None) -> list[Json]:
        """The rows of one list, such as ``states``; filters that are None do not filter."""
        rows = self._body(self._http.ask("GET", f"/v1/{route}", query=filters))
        return rows if isinstance(rows, list) else []

    def name(self, name: str) -> Json | None:
        """A name's entry, or None."""
        try:
            return self._object("GET", f"/v1/names/{segment(name)}")
        except NotFoundError:
            return None

    def remove(self, route: str, item_id: str, **flags: bool) -> Json:
        """Remove one thing; the answer is a *delete result*, also when that says ``blocked``."""
        wanted = {flag: "true" for flag, on in flags.items() if on}
        answer = self._http.ask("DELETE", f"/v1/{route}/{segment(item_id)}", query=wanted)
        if isinstance(answer.body, dict) and "outcome" in answer.body:
            return answer.body
        return _as_object(self._body(answer))

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def _object(self, method: str, path: str, *, body: Json | None = None) -> Json:
        return _as_object(self._body(self._http.ask(method, path, body=body)))

    @staticmethod
    def _body(answer: Answer) -> Any:
        if answer.status >= 400:
            raise error_from(answer.status, answer.body)
        return answer.body


def _as_object(body: Any) -> Json:
    return body if isinstance(body, dict) else {}
