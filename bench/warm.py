"""Servers that wait: how soon one is handed over, and how many clients they serve."""

import statistics
import time
from functools import partial
from pathlib import Path

import psycopg

from bench.bare import BareServer
from bench.cached import cpu_seconds
from bench.client import Client
from bench.crowd import CLIENTS, at_once
from bench.engine import Engine, answer
from bench.report import Row, median_row, p95

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


def _one_client(engine: Engine, place: Path, rounds: int) -> list[Row]:
    client = Client(engine)
    client.limit(8)
    first, _ = client.prepare()
    client.remove(first["instance_id"])
    bare = BareServer(engine, engine.store / "states" / first["state_id"], place / "bare-warm")
    warm, base, cpu = [], [], 0.0
    for _ in range(rounds):
        base.append(bare.time_start())
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
        median_row(
            "warm hand-over, submit to the answer, median",
            warm,
            against=against,
            base=base,
            limit=1 / 12,
        ),
        Row(
            what="warm hand-over, submit to the answer, p95",
            value=p95(warm),
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
    base = statistics.median(bare.time_start() for _ in range(5))
    taken: list[float] = []

    def hold(client: Client) -> None:
        result, took = client.prepare()
        taken.append(took)
        time.sleep(_HOLD_SECONDS)
        client.remove(result["instance_id"])

    clients = [Client(engine) for _ in range(CLIENTS)]
    at_once([partial(hold, each) for each in clients], _SECONDS)
    settled = taken[len(taken) // 4 :]
    return [
        Row(
            what=f"{CLIENTS} clients that hold each instance for 400 ms, p95",
            value=p95(settled),
            against="a bare server start on the same clone, to first answer",
            base=base,
            limit=1 / 4,
        ),
        median_row("    median of the same", settled, base=[base]),
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
        median_row(
            "warm hand-over of a state with 100 MB",
            warm,
            against=f"CREATE DATABASE … TEMPLATE … STRATEGY {strategy.upper()} of them",
            base=times,
            limit=1 / 20,
        )
        for strategy, times in copied.items()
    ]
