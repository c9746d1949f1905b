"""A cached prepare, from the request to a database that has answered a query."""

import asyncio
import time
from pathlib import Path

import psutil
import psycopg

from bench.bare import BareServer
from bench.engine import Engine, answer, postgres_home
from bench.report import Row, median_row
from pgstrata.runtime.native import NativeRuntime
from pgstrata.settings import THROW_AWAY_SETTINGS
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
    for _ in range(rounds):
        before = cpu_seconds(engine.process)
        started = time.perf_counter()
        result = engine.prepare(connection)
        answer(result["dsn"])
        times["prepare"].append((time.perf_counter() - started) * 1000)
        cpu += (cpu_seconds(engine.process) - before) * 1000 / rounds
        engine.remove(connection, result["instance_id"])
        times["bare"].append(bare.time_start())
    # Apart from the others: what it writes, the file system would have to flush for them.
    times["template"] = [_create_database(first["dsn"], number) for number in range(rounds)]
    cloning, starting = asyncio.run(_cpu_of_parts(engine, bare, first["image_id"], rounds))
    initdb = bare.time_from_scratch()
    prepare = times["prepare"]
    return [
        median_row(
            "cached prepare over HTTP, submit to first answer",
            prepare,
            against="a bare server start on the same clone, to first answer",
            base=times["bare"],
            limit=1.15 if engine.backend == "overlay" else 1.0,
        ),
        Row(
            what="engine's CPU per cached job, server start apart",
            value=cpu - starting,
            limit=8,
        ),
        Row(what="    of that, the file system's clone of the state", value=cloning),
        Row(what="engine's CPU for starting a server", value=starting),
        median_row(
            "cached prepare over HTTP",
            prepare,
            against="CREATE DATABASE … TEMPLATE in a running server, to first answer",
            base=times["template"],
        ),
        median_row(
            "cached prepare over HTTP",
            prepare,
            against="initdb, start and psql -f, as test fixtures do it",
            base=[initdb],
        ),
        Row(
            what="first prepare: base state, one step, instance",
            value=building,
            against="initdb, start and psql -f",
            base=initdb,
        ),
    ]


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time by the kernel's own clock of a process, which has nanoseconds.

    The number of such a clock is made as in the kernel's ``include/linux/posix-timers_types.h``.
    """
    return time.clock_gettime(~process.pid << 3 | 2)


async def _cpu_of_parts(
    engine: Engine, bare: BareServer, image_id: str, rounds: int
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
    for _ in range(rounds):
        begun = time.process_time()
        async with bare.clone() as place:
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
