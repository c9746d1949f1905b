"""A long changelog, each changeset with a state of its own, beside Liquibase's own command line."""

import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench import planning
from bench.engine import Engine
from bench.report import Row
from tests import changelogs
from tests.liquibase import launcher, locked, plain_command

LENGTH = 144
"""Gives a little more than 150 changesets that run."""
_FORKS = 6


def measure(engine: Engine) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="pgstrata-bench-") as name:
        directory = Path(name)
        work = directory / "work"
        words = (
            "update",
            f"--changelog-file={changelogs.mixed(work, LENGTH, condition='')}",
            "--contexts=test",
        )
        return _measure(engine, directory, work, words)


def _measure(engine: Engine, directory: Path, work: Path, words: tuple[str, ...]) -> list[Row]:
    program = launcher(directory)
    empty = _prepared(engine, work, ("update", "--changelog-file=empty.xml"))
    steps = len(_plan(engine, work, words))
    # The Java is warm by now, as it is for whoever works with it; the command line never is.
    started = time.perf_counter()
    built = _prepared(engine, work, words)
    building = (time.perf_counter() - started) * 1000
    plain = _timed(plain_command(program, empty["dsn"], *words), work)
    assert not locked(built["dsn"])
    other = _prepared(engine, work, ("update", "--changelog-file=empty.xml"))
    forks = [
        _timed(plain_command(program, other["dsn"], *_one_more(words)), work) for _ in range(_FORKS)
    ]
    return [
        Row(
            what=f"{steps} changesets, each with its own state",
            value=building,
            against="one plain command-line update of all of them",
            base=plain,
            limit=2,
        ),
        Row(
            what="    the same",
            value=building,
            against="the command line for each of them (a few measured)",
            base=median(forks) * steps,
            limit=round(1 / 15, 3),
        ),
        Row(what="    per changeset", value=building / steps),
        Row(what="memory of the engine", value=_mib(engine.process), unit="MiB"),
        *(
            Row(what="memory of a Java with that changelog", value=_mib(java), unit="MiB")
            for java in engine.process.children(recursive=True)
            if java.name() == "java"
        ),
        *planning.measure(
            lambda: _plan(engine, work, words),
            engine.process,
            work,
            changelog=words[1].partition("=")[2],
            dsn=built["dsn"],
        ),
    ]


def _one_more(words: tuple[str, ...]) -> tuple[str, ...]:
    return ("update-count", "--count=1", *words[1:])


def _timed(command: list[str], work: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=work, check=True, capture_output=True)
    return (time.perf_counter() - started) * 1000


def _request(work: Path, words: tuple[str, ...], *, plan_only: bool) -> dict[str, Any]:
    (work / "empty.xml").write_text(changelogs.xml())
    return {
        "prepare_kind": "lb",
        "image_id": "postgres",
        "work_dir": str(work),
        "liquibase_args": list(words),
        "plan_only": plan_only,
    }


def _prepared(engine: Engine, work: Path, words: tuple[str, ...]) -> dict[str, str]:
    return engine.result(engine.connect(), _request(work, words, plan_only=False))


def _plan(engine: Engine, work: Path, words: tuple[str, ...]) -> list[dict[str, Any]]:
    status = engine.finished(engine.connect(), _request(work, words, plan_only=True))
    return [task for task in status["tasks"] if task["type"] == "state_execute"]


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20
