"""Whole command lines: how much of a command is Python starting and importing."""

import os
import subprocess
import sys
import time
from statistics import median

from bench.engine import Engine
from bench.report import Row, median_row

STREAMED = "select repeat('x', 999) from generate_series(1, 100000)"
"""100 MB of lines."""

_STREAMS = 5
"""How often they are streamed each way: seconds, not milliseconds."""


def measure(engine: Engine, rounds: int) -> list[Row]:
    pgstrata = [sys.executable.replace("python3", "python").rpartition("/")[0] + "/pgstrata"]
    prepare = [*pgstrata, "prepare:psql", "--", "-q", "-f", str(engine.script)]
    environment = {**os.environ, "PGSTRATA_STORE": str(engine.store)}
    python, help_, ls, command, over_http = [], [], [], [], []
    for _ in range(rounds):
        python.append(_run([sys.executable, "-c", "pass"], environment))
        help_.append(_run([*pgstrata, "--help"], environment))
        ls.append(_run([*pgstrata, "ls"], environment))
        command.append(_run(prepare, environment))
        # An engine closes connections over which nothing comes.
        connection = engine.connect()
        started = time.perf_counter()
        engine.prepare(connection)
        over_http.append((time.perf_counter() - started) * 1000)
        for instance in engine.call(connection, "GET", "/v1/instances"):
            engine.remove(connection, instance["instance_id"])
    return [
        *_beyond_python("pgstrata --help", help_, python),
        *_beyond_python("pgstrata ls", ls, python),
        median_row(
            "cached prepare:psql as a process",
            command,
            against="the same over HTTP",
            base=over_http,
        ),
        Row(
            what="cached prepare:psql as a process, beyond HTTP",
            value=median(command) - median(over_http),
            limit=150,
        ),
        _streaming(engine, pgstrata, environment),
    ]


def _beyond_python(what: str, took: list[float], python: list[float]) -> list[Row]:
    return [
        median_row(what, took, against="python -c pass", base=python),
        median_row(f"{what}, as a whole", took, limit=120),
    ]


def _streaming(engine: Engine, pgstrata: list[str], environment: dict[str, str]) -> Row:
    made = engine.prepare(engine.connect())
    arguments = ["-At", "-c", STREAMED]
    ours = [*pgstrata, "run:psql", "--instance", made["instance_id"], "--", *arguments]
    alone = [str(engine.bin_dir / "psql"), made["dsn"], *arguments]
    streamed, by_psql = [], []
    for _ in range(_STREAMS):
        by_psql.append(_run(alone, environment))
        streamed.append(_run(ours, environment))
    engine.remove(engine.connect(), made["instance_id"])
    return median_row(
        "run:psql with 100 MB of output", streamed, against="psql alone", base=by_psql, limit=2
    )


def _run(argv: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        argv, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    return (time.perf_counter() - started) * 1000
