"""Small scripts, each a step with a state of its own, beside psql alone."""

import subprocess
from functools import partial
from pathlib import Path
from time import time_ns

from bench.engine import Engine
from bench.report import Row, median_row, timed

_STEPS = 20
_ROUNDS = 5


def measure(engine: Engine, place: Path) -> list[Row]:
    """Steps that were never built, and the same scripts through psql in a database as it is."""
    base = _prepared(engine, place, [])
    ours, alone = [], []
    for number in range(_ROUNDS):
        scripts = [_script(place, number, step) for step in range(_STEPS)]
        alone.append(timed(partial(_by_psql, engine, base["dsn"], scripts)) / _STEPS)
        ours.append(timed(partial(_build, engine, place, scripts)) / _STEPS)
    beyond = [whole - psql for whole, psql in zip(ours, alone, strict=True)]
    return [
        median_row(
            f"one of {_STEPS} small psql steps, each with a state",
            ours,
            against="psql alone",
            base=alone,
        ),
        median_row(
            "    beyond psql alone", beyond, limit=45 if engine.backend == "overlay" else 25
        ),
    ]


def _script(place: Path, round_number: int, step: int) -> Path:
    script = place / f"{round_number}-{step}.sql"
    table = f"t{round_number}_{step}"
    script.write_text(
        f"-- {time_ns()}\n"
        f"create table {table} (id serial primary key, name text);\n"
        f"insert into {table} (name) select 'n' || n from generate_series(1, 100) n;\n"
    )
    return script


def _by_psql(engine: Engine, dsn: str, scripts: list[Path]) -> None:
    for script in scripts:
        subprocess.run([engine.bin_dir / "psql", "-X", "-q", "-f", script, dsn], check=True)


def _build(engine: Engine, place: Path, scripts: list[Path]) -> None:
    result = _prepared(engine, place, [word for script in scripts for word in ("-f", str(script))])
    engine.remove(engine.connect(), result["instance_id"])


def _prepared(engine: Engine, place: Path, words: list[str]) -> dict[str, str]:
    request = {
        "prepare_kind": "psql",
        "image_id": "postgres",
        "work_dir": str(place),
        "psql_args": ["-q", *words] if words else ["-q", "-c", "select 1"],
    }
    return engine.result(engine.connect(), request)
