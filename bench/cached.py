"""A cached prepare, from the request to a database that has answered a query."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median

import psutil
import psycopg

from bench.engine import PASSWORD, QUERY, Engine, answer, postgres_home
from bench.report import Row
from pgstrata.runtime.native import NativeRuntime
from pgstrata.settings import THROW_AWAY_SETTINGS
from pgstrata.statefs import detect
from pgstrata.statefs.base import DATA


def measure(engine: Engine, place: Path, rounds: int) -> list[Row]:
    connection = engine.connect()
    # Every prepare starts a server.
    engine.call(connection, "PATCH", "/v1/config", {"path": "pool.max", "value": 0})
    started = time.perf_counter()
    first = engine.prepare(connection)
    building = (time.perf_counter() - started) * 1000
    answer(first["dsn"])
    bare = BareServer(engine, engine.store / "states" / first["state_id"], place / "bare")
    times: dict[str, list[float]] = {"prepare": [], "bare": [], "template": []}
    cpu = 0.0
    for number in range(rounds):
        before = cpu_seconds(engine.process)
        started = time.perf_counter()
        result = engine.prepare(connection)
        answer(result["dsn"])
        times["prepare"].append((time.perf_counter() - started) * 1000)
        cpu += (cpu_seconds(engine.process) - before) * 1000 / rounds
        engine.remove(connection, result["instance_id"])
        times["bare"].append(bare.time_start(number))
    # Apart from the others: what it writes, the file system would have to flush for them.
    times["template"] = [_create_database(first["dsn"], number) for number in range(rounds)]
    cloning, starting = asyncio.run(_cpu_of_parts(engine, bare, first["image_id"], rounds))
    initdb = bare.time_from_scratch()
    prepare, limit = median(times["prepare"]), median(times["bare"])
    return [
        Row(
            what="cached prepare over HTTP, submit to first answer",
            value=prepare,
            against="a bare server start on the same clone, to first answer",
            base=limit,
            limit=1.15 if engine.backend == "overlay" else 1.0,
        ),
        Row(
            what="engine's CPU per cached job, server start apart",
            value=cpu - starting,
            limit=10,
        ),
        Row(what="    of that, the file system's clone of the state", value=cloning),
        Row(what="engine's CPU for starting a server", value=starting),
        Row(
            what="cached prepare over HTTP",
            value=prepare,
            against="CREATE DATABASE … TEMPLATE in a running server, to first answer",
            base=median(times["template"]),
        ),
        Row(
            what="cached prepare over HTTP",
            value=prepare,
            against="initdb, start and psql -f, as test fixtures do it",
            base=initdb,
        ),
        Row(
            what="first prepare: base state, one step, instance",
            value=building,
            against="initdb, start and psql -f",
            base=initdb,
        ),
    ]


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _cpu_of_parts(
    engine: Engine, bare: "BareServer", image_id: str, rounds: int
) -> tuple[float, float]:
    """Milliseconds of CPU that a clone, and starting a server on it, take in their process."""
    runtime = NativeRuntime(
        store=engine.store.parent,
        run_dir=engine.store.parent / "run",
        server_user=None,
        server_settings=THROW_AWAY_SETTINGS,
        postgres_home=postgres_home(),
    )
    await runtime.resolve(image_id)
    cloning = starting = 0.0
    for number in range(rounds):
        begun = time.process_time()
        async with bare.clone(number) as place:
            cloned = time.process_time()
            server = await runtime.start(image_id, place / DATA)
            starting += time.process_time() - cloned
            cloning += cloned - begun
            await runtime.stop(server, clean=False)
    await runtime.close()
    return cloning * 1000 / rounds, starting * 1000 / rounds


def _create_database(dsn: str, number: int) -> float:
    """The usual way of handing out copies: a database from a template that no one may use."""
    with psycopg.connect(dsn, autocommit=True, dbname="template1", connect_timeout=5) as connection:
        started = time.perf_counter()
        connection.execute(f"create database copy_{number} template postgres")
        answer(psycopg.conninfo.make_conninfo(dsn, dbname=f"copy_{number}"))
        took = (time.perf_counter() - started) * 1000
        connection.execute(f"drop database copy_{number} with (force)")
    return took


class BareServer:
    """PostgreSQL with its own defaults and nothing around it, on clones of the same state."""

    def __init__(self, engine: Engine, state: Path, directory: Path) -> None:
        self._engine = engine
        self._state = state
        self._directory = directory
        self._fs = detect.backend(engine.backend)
        self._user = self._state.joinpath(DATA).owner()
        directory.mkdir(mode=0o711, exist_ok=True)
        self._port = _free_port()
        self._sockets = directory / "sockets"
        self._sockets.mkdir(exist_ok=True)
        shutil.chown(self._sockets, self._user)

    def time_start(self, number: int) -> float:
        """Milliseconds from starting the server to its first answer; the clone is there before."""
        return asyncio.run(self._time_start(number))

    async def _time_start(self, number: int) -> float:
        async with self.clone(number) as place:
            started = time.perf_counter()
            with self._server(place / DATA):
                # The same client, coming the same way as with a prepared instance.
                self._ask(f"host=127.0.0.1 password={PASSWORD}", QUERY)
                return (time.perf_counter() - started) * 1000

    @contextlib.asynccontextmanager
    async def clone(self, number: int) -> AsyncIterator[Path]:
        """A clone of the state, for as long as it is needed."""
        place = self._directory / f"clone-{number}"
        await self._fs.clone(self._state, place)
        try:
            yield place
        finally:
            await self._fs.remove(place)

    def time_from_scratch(self) -> float:
        """Milliseconds for a cluster made, started and filled without any copy to start from."""
        data = self._directory / "scratch"
        started = time.perf_counter()
        subprocess.run(
            [
                self._engine.bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "trust",
                "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8",
            ],
            check=True, capture_output=True, user=self._own(self._directory),
        )  # fmt: skip
        with self._server(data):
            self._ask(f"host={self._sockets}", "select 1")
            subprocess.run(
                [
                    self._engine.bin_dir / "psql", "-X", "-q", "-h", self._sockets,
                    "-p", str(self._port), "-U", "postgres", "-f", self._engine.script,
                ],
                check=True, capture_output=True,
            )  # fmt: skip
            return (time.perf_counter() - started) * 1000

    def _own(self, directory: Path) -> str | None:
        if os.geteuid() != 0:
            return None
        shutil.chown(directory, self._user)
        return self._user

    @contextlib.contextmanager
    def _server(self, data: Path) -> Iterator[None]:
        hba = self._directory / "pg_hba.conf"
        hba.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server = subprocess.Popen(
            [
                self._engine.bin_dir / "postgres", "-D", data, "-k", self._sockets,
                "-p", str(self._port), "-c", f"hba_file={hba}",
                "-c", "listen_addresses=127.0.0.1",
            ],
            stderr=subprocess.DEVNULL, user=self._own(self._directory),
        )  # fmt: skip
        try:
            yield
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait()

    def _ask(self, conninfo: str, query: str) -> None:
        """Ask until there is an answer, as fast as a client can."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                answer(f"{conninfo} port={self._port} user=postgres dbname=postgres", query)
                return
            time.sleep(0.001)
        raise RuntimeError("the bare server did not answer within a minute")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
