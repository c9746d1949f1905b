"""Real engines, started with the installed command, to be killed and started again."""

import http.client
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from tests.acceptance.conftest import PGSTRATA

Json = dict[str, Any]

ANSWER_SECONDS = 300
"""Longer than anything takes that is asked for here: one who waits for it has found a hang."""

SMALL = ("shared_buffers=1MB", "max_connections=10")
"""Settings of servers that are started by the hundred."""


class GoneError(Exception):
    """The engine went away before it had answered."""


class RefusedError(Exception):
    """The engine answered with an error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class Process(Protocol):
    """What is asked of an engine's process."""

    @property
    def pid(self) -> int: ...

    @property
    def stderr(self) -> IO[str] | None: ...

    def send_signal(self, sig: int, /) -> None: ...

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, as ``subprocess`` tells it. Raises after that many seconds."""


class Engine:
    """The engine of one store: any number of processes, one after the other."""

    def __init__(self, store: Path, backend: str = "auto", *, max_parallel: int = 4) -> None:
        self.store = store
        self.options = (
            f"--snapshot-backend={backend}",
            f"--max-parallel={max_parallel}",
            "--max-identical=0",
            *(f"--server-setting={setting}" for setting in SMALL),
        )
        self.said: list[str] = []
        """What its processes wrote, line by line."""
        self.process: Process | None = None
        self._reader: threading.Thread | None = None
        self._address: tuple[str, int] | None = None
        self._token = ""

    # Its process

    def start(self, environment: Mapping[str, str] | None = None) -> bool:
        """Start it; whether it came so far as to answer. False when it ended before that."""
        assert self.process is None, "one at a time"
        self.process = self._spawn(
            ("engine", "serve", f"--store={self.store}", *self.options),
            {"PATH": os.environ["PATH"], "HOME": str(self.store.parent), **(environment or {})},
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip())
            if " answers at http" in line:
                self._find()
                self._reader = threading.Thread(target=self._drain, name="engine's output")
                self._reader.start()
                return True
        self.wait()
        return False

    def kill(self) -> None:
        """``kill -9``."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """SIGTERM, and a good end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.wait() == 0, "\n".join(self.said[-20:])

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        process, self.process = self.process, None
        exit_code = process.wait(ANSWER_SECONDS)
        if self._reader is not None:
            self._reader.join()
            self._reader = None
        assert process.stderr is not None
        process.stderr.close()
        return exit_code

    @property
    def pid(self) -> int | None:
        """Its process's id while it has one."""
        return None if self.process is None else self.process.pid

    def _spawn(self, words: Sequence[str], environment: Mapping[str, str]) -> "Process":
        return subprocess.Popen(
            [PGSTRATA, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def _find(self) -> None:
        file = json.loads((self.store / "engine.json").read_bytes())
        host, _, port = file["endpoint"].removeprefix("http://").rpartition(":")
        self._address = (host, int(port))
        self._token = file["authToken"]

    def _drain(self) -> None:
        process = self.process
        assert process is not None
        assert process.stderr is not None
        self.said.extend(line.rstrip() for line in process.stderr)

    # Asking it

    def ask(self, method: str, path: str, body: Json | None = None) -> Any:
        """The JSON it answers. Raises ``GoneError`` and ``RefusedError``."""
        with self._asking(method, path, body) as response:
            data = response.read()
            answer = json.loads(data) if data else None
            if response.status >= 400:
                raise RefusedError(response.status, answer)
            return answer

    def has(self, path: str) -> bool:
        """Whether there is something to be told of at a path."""
        try:
            self.ask("GET", path)
        except RefusedError as error:
            if error.status != 404:
                raise
            return False
        return True

    def submit(self, *psql_args: str, **more: object) -> str:
        """Ask for a prepare; the job's id."""
        request = {"prepare_kind": "psql", "image_id": "postgres", "psql_args": list(psql_args)}
        job_id: str = self.ask("POST", "/v1/prepare-jobs", request | more)["job_id"]
        return job_id

    def events(self, job_id: str) -> Iterator[Json]:
        """A job's events as they come, to the last. Raises ``GoneError``."""
        return self.lines("GET", f"/v1/prepare-jobs/{job_id}/events")

    def lines(self, method: str, path: str) -> Iterator[Json]:
        """What it streams, line by line. Raises ``GoneError``."""
        with self._asking(method, path) as response:
            while line := response.readline():
                if not line.endswith(b"\n"):
                    raise GoneError
                yield json.loads(line)

    def job(self, job_id: str) -> Json:
        """A job as it is now."""
        job: Json = self.ask("GET", f"/v1/prepare-jobs/{job_id}")
        return job

    def ended(self, job_id: str) -> Json:
        """A job, once it is at its end."""
        for _ in self.events(job_id):
            pass
        job = self.job(job_id)
        if job["status"] not in ("succeeded", "failed"):
            raise GoneError  # a stream that was cut off between two lines
        return job

    @contextmanager
    def _asking(
        self, method: str, path: str, body: Json | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        assert self._address is not None
        connection = http.client.HTTPConnection(*self._address, timeout=ANSWER_SECONDS)
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            yield connection.getresponse()
        except TimeoutError:
            raise
        except (ConnectionError, http.client.HTTPException) as error:
            raise GoneError from error
        finally:
            connection.close()
