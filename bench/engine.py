"""A real engine in a process of its own, and the cheapest possible client of it."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from pgstrata.statefs.detect import BackendName
from tests.liquibase import liquibase_home

PASSWORD = "bench"
"""What the superuser has where a server is started without us."""

SCRIPT = f"""
alter role postgres password '{PASSWORD}';
create table customer (id int primary key, name text not null);
create table orders (id int primary key, customer int not null references customer, total numeric);
insert into customer select n, 'customer ' || n from generate_series(1, 2000) n;
insert into orders select n, 1 + n % 2000, n * 1.5 from generate_series(1, 10000) n;
"""

QUERY = "select count(*) from customer"


_HOME = "PGSTRATA_POSTGRES_HOME"


def postgres_home() -> Path | None:
    """Where `pgstrata postgres install` has put what is measured, if that is said."""
    home = os.environ.get(_HOME)
    return None if home is None else Path(home)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine that answers, and how to reach it."""

    endpoint: str
    token: str
    process: psutil.Process
    store: Path
    backend: BackendName
    version: str
    bin_dir: Path
    script: Path

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.endpoint.removeprefix("http://"))

    def call(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any = None
    ) -> Any:
        connection.request(method, path, body and json.dumps(body), headers=self.headers)
        return json.loads(connection.getresponse().read())

    def prepare(self, connection: http.client.HTTPConnection) -> dict[str, str]:
        """Ask for the bench's database and follow the job to its result."""
        request = {
            "prepare_kind": "psql",
            "image_id": "postgres",
            "work_dir": "/",
            "psql_args": ["-q", "-f", str(self.script)],
        }
        return self.result(connection, request)

    def result(
        self, connection: http.client.HTTPConnection, request: dict[str, Any]
    ) -> dict[str, str]:
        """Submit a request and follow the job to its result."""
        for event in self._events(connection, request)[1]:
            if event["type"] == "result":
                result: dict[str, str] = event["result"]
        return result

    def finished(
        self, connection: http.client.HTTPConnection, request: dict[str, Any]
    ) -> dict[str, Any]:
        """Submit a request and follow the job to its end; its status with its tasks."""
        url, _events = self._events(connection, request)
        status: dict[str, Any] = self.call(connection, "GET", url)
        return status

    def _events(
        self, connection: http.client.HTTPConnection, request: dict[str, Any]
    ) -> tuple[str, list[dict[str, Any]]]:
        connection.request("POST", "/v1/prepare-jobs", json.dumps(request), self.headers)
        job = json.loads(connection.getresponse().read())
        if "status_url" not in job:
            raise RuntimeError(job)
        connection.request("GET", job["events_url"], headers=self.headers)
        with connection.getresponse() as answer:
            events = [json.loads(line) for line in answer]
        for event in events:
            if event["type"] == "error":
                raise RuntimeError(event["error"])
        return job["status_url"], events

    def remove(self, connection: http.client.HTTPConnection, instance_id: str) -> None:
        self.call(connection, "DELETE", f"/v1/instances/{instance_id}?force")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}


def answer(dsn: str, query: str = QUERY) -> None:
    """Be a client: connect, ask, go."""
    with psycopg.connect(dsn) as connection:
        connection.execute(query)


@contextlib.contextmanager
def running_engine(store: Path) -> Iterator[Engine]:
    """An engine on its own store, stopped with all its instances at the end."""
    store.mkdir(mode=0o711, parents=True, exist_ok=True)
    script = store.parent / "bench.sql"
    script.write_text(SCRIPT)
    pgstrata = [sys.executable, "-m", "pgstrata"]
    environment = {
        "PGSTRATA_STORE": str(store),
        "PGSTRATA_LIQUIBASE_HOME": str(liquibase_home()),
        "PATH": "/usr/bin:/bin",
        **({} if (home := postgres_home()) is None else {_HOME: str(home)}),
    }
    subprocess.run([*pgstrata, "engine", "start"], check=True, env=environment, capture_output=True)
    try:
        engine = _describe(json.loads((store / "engine.json").read_bytes()), store, script)
        try:
            yield engine
        finally:
            connection = engine.connect()
            for instance in engine.call(connection, "GET", "/v1/instances"):
                engine.remove(connection, instance["instance_id"])
    finally:
        subprocess.run([*pgstrata, "engine", "stop"], env=environment, capture_output=True)


def _describe(file: dict[str, Any], store: Path, script: Path) -> Engine:
    draft = Engine(
        endpoint=file["endpoint"],
        token=file["authToken"],
        process=psutil.Process(file["pid"]),
        store=store,
        backend="copy",
        version="",
        bin_dir=Path(),
        script=script,
    )
    status = draft.call(draft.connect(), "GET", "/v1/status")
    usable = [one for one in status["runtime"]["installations"] if "problem" not in one]
    # What the image ``postgres`` stands for.
    best = min(usable, key=lambda one: len(one.get("lacks", ())))
    return Engine(
        **{
            **draft.__dict__,
            "backend": status["snapshots"]["backend"],
            "version": best["version"],
            "bin_dir": Path(best["bin_dir"]),
        }
    )
