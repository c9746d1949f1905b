"""Servers that wait: how soon one is handed over, and how many clients they serve."""

import json
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from bench.cached import BareServer, cpu_seconds
from bench.engine import Engine, answer
from bench.report import Row

_CLIENTS = 8
_HOLD_SECONDS = 0.4
_SECONDS = 20.0
_PAUSE_SECONDS = 0.1
"""What the engine does after it started or removed a server is no part of the next hand-over."""

_LARGE = """
create table filler as select n, repeat(md5(n::text), 3) as text from generate_series(1, 700000) n;
create database original;
\\c original
create table filler as select n, repeat(md5(n::text), 3) as text from generate_series(1, 700000) n;
"""
"""About 100 MB in each of two databases."""


def measure(engine: Engine, place: Path, rounds: int) -> list[Row]:
    return [*_one_client(engine, place, rounds), *_many_clients(engine, place), *_large(engine)]


class Client:
    """Asks for databases in one round trip each, on a connection of its own."""

    def __init__(self, engine: Engine, *arguments: str) -> None:
        self._engine = engine
        self._connection = engine.connect()
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

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, self._engine.headers)
        return json.loads(self._connection.getresponse().read())


def _one_client(engine: Engine, place: Path, rounds: int) -> list[Row]:
    client = Client(engine)
    client.limit(8)
    first, _ = client.prepare()
    client.remove(first["instance_id"])
    bare = BareServer(engine, engine.store / "states" / first["state_id"], place / "bare-warm")
    warm, base, cpu = [], [], 0.0
    for number in range(rounds):
        base.append(bare.time_start(number))
        client.keep_warm(first["state_id"], 1)
        time.sleep(_PAUSE_SECONDS)
        before = cpu_seconds(engine.process)
        result, took = client.prepare()
        cpu += (cpu_seconds(engine.process) - before) * 1000 / rounds
        warm.append(took)
        answer(result["dsn"])
        client.remove(result["instance_id"])
    client.keep_warm(first["state_id"], 0)
    against = "a bare server start on the same clone, to first answer"
    return [
        Row(
            what="warm hand-over, submit to the answer, median",
            value=statistics.median(warm),
            against=against,
            base=statistics.median(base),
            limit=1 / 12,
        ),
        Row(
            what="warm hand-over, submit to the answer, p95",
            value=_p95(warm),
            against=against,
            base=statistics.median(base),
            limit=1 / 5,
        ),
        Row(what="engine's CPU for a warm job", value=cpu, limit=4),
    ]


def _many_clients(engine: Engine, place: Path) -> list[Row]:
    """Clients that each hold an instance for a while, mostly waiting."""
    first, _ = Client(engine).prepare()
    bare = BareServer(engine, engine.store / "states" / first["state_id"], place / "bare-many")
    base = statistics.median(bare.time_start(number) for number in range(5))
    taken: list[float] = []
    until = time.monotonic() + _SECONDS

    def work() -> None:
        client = Client(engine)
        while time.monotonic() < until:
            result, took = client.prepare()
            taken.append(took)
            time.sleep(_HOLD_SECONDS)
            client.remove(result["instance_id"])

    _at_once(work, _CLIENTS)
    settled = taken[len(taken) // 4 :]
    return [
        Row(
            what=f"{_CLIENTS} clients that hold each instance for 400 ms, p95",
            value=_p95(settled),
            against="a bare server start on the same clone, to first answer",
            base=base,
            limit=1 / 4,
        ),
        Row(
            what="    median of the same",
            value=statistics.median(settled),
            against="the same",
            base=base,
        ),
        Row(what="    instances a second", value=len(taken) / _SECONDS, unit="/s"),
    ]


def _large(engine: Engine) -> list[Row]:
    """A database of 100 MB, against the copy of a template in a server that runs."""
    script = engine.script.with_name("large.sql")
    script.write_text(_LARGE)
    client = Client(engine, "-q", "-f", str(script))
    first, _ = client.prepare()
    warm, copied = [], {"wal_log": [0.0], "file_copy": [0.0]}
    # Before the copies, whose pages the disk is busy with for a while.
    for _ in range(5):
        client.keep_warm(first["state_id"], 1)
        time.sleep(_PAUSE_SECONDS)
        result, took = client.prepare()
        warm.append(took)
        client.remove(result["instance_id"])
    client.keep_warm(first["state_id"], 0)
    with psycopg.connect(first["dsn"], autocommit=True) as connection:
        major = connection.info.server_version // 10_000
        for strategy, times in copied.items():
            clause = f" strategy {strategy}" if major >= 15 else ""
            times.clear()
            for _ in range(3):
                started = time.perf_counter()
                connection.execute(f"create database copied template original{clause}")
                times.append((time.perf_counter() - started) * 1000)
                connection.execute("drop database copied with (force)")
    return [
        Row(
            what="warm hand-over of a state with 100 MB",
            value=statistics.median(warm),
            against=f"CREATE DATABASE … TEMPLATE … STRATEGY {strategy.upper()} of them",
            base=statistics.median(times),
            limit=1 / 20,
        )
        for strategy, times in copied.items()
    ]


def _at_once(work: Callable[[], None], number: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]
