"""A client that asks for databases in one round trip each."""

import json
import time
from typing import Any

from bench.engine import Engine

_IDLE_SECONDS = 2.0
"""The engine closes connections over which nothing has come for longer."""


class Client:
    """Asks for databases in one round trip each, on a connection of its own."""

    def __init__(self, engine: Engine, *arguments: str) -> None:
        self._engine = engine
        self._connection = engine.connect()
        self._last_used = 0.0
        self._request = {
            "prepare_kind": "psql",
            "image_id": "postgres",
            "work_dir": "/",
            "psql_args": arguments or ["-q", "-f", str(engine.script)],
        }

    def prepare(self) -> tuple[dict[str, str], float]:
        """A database, and the milliseconds from the request to its answer."""
        started = time.perf_counter()
        job = self._call("POST", "/v1/prepare-jobs?wait=300", self._request)
        took = (time.perf_counter() - started) * 1000
        if "result" not in job:
            raise RuntimeError(job)
        result: dict[str, str] = job["result"]
        return result, took

    def remove(self, instance_id: str) -> None:
        self._call("DELETE", f"/v1/instances/{instance_id}?force")

    def keep_warm(self, state_id: str, count: int) -> None:
        """Have servers wait, and see that they do."""
        self._call("PUT", f"/v1/states/{state_id}/warm", {"count": count})
        while self._call("GET", "/v1/status")["pool"]["ready"] < count:
            time.sleep(0.01)

    def limit(self, count: int) -> None:
        """Let there be so many warm servers."""
        self._call("PATCH", "/v1/config", {"path": "pool.max", "value": count})

    def is_settling(self, state_id: str) -> bool:
        """Whether a state is to have a settled copy and has none yet."""
        [state] = self._call("GET", f"/v1/states?id_prefix={state_id}")
        return self._engine.backend in ("btrfs", "reflink") and "settled_bytes" not in state

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        text = None if body is None else json.dumps(body)
        if time.monotonic() - self._last_used > _IDLE_SECONDS:
            self._connection.close()  # the next request opens it again
        self._connection.request(method, path, text, self._engine.headers)
        answer = self._connection.getresponse().read()
        self._last_used = time.monotonic()
        return json.loads(answer)
