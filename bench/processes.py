"""Whole command lines: how much of a command is Python starting and importing."""

import os
import subprocess
import sys
import time
from statistics import median

from bench.engine import Engine
from bench.report import Row


def measure(engine: Engine, rounds: int) -> list[Row]:
    pgstrata = [sys.executable.replace("python3", "python").rpartition("/")[0] + "/pgstrata"]
    prepare = [*pgstrata, "prepare:psql", "--", "-q", "-f", str(engine.script)]
    environment = {**os.environ, "PGSTRATA_STORE": str(engine.store)}
    connection = engine.connect()
    python, help_, command, over_http = [], [], [], []
    for _ in range(rounds):
        python.append(_run([sys.executable, "-c", "pass"], environment))
        help_.append(_run([*pgstrata, "--help"], environment))
        command.append(_run(prepare, environment))
        started = time.perf_counter()
        engine.prepare(connection)
        over_http.append((time.perf_counter() - started) * 1000)
        for instance in engine.call(connection, "GET", "/v1/instances"):
            engine.remove(connection, instance["instance_id"])
    return [
        Row(
            what="pgstrata --help",
            value=median(help_),
            against="python -c pass",
            base=median(python),
        ),
        Row(
            what="cached prepare:psql as a process, beyond HTTP",
            value=median(command) - median(over_http),
            limit=150,
        ),
    ]


def _run(argv: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(argv, check=True, env=environment, capture_output=True)
    return (time.perf_counter() - started) * 1000
