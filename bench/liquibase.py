"""A long changelog, each changeset with a state of its own, beside Liquibase's own command line."""

import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench import planning
from bench.engine import Engine
from bench.report import Row, timed
from tests import changelogs
from tests.liquibase import launcher, locked, plain_command

LENGTH = 144
"""Gives a little more than 150 changesets that run."""
_ROUNDS = 3
_FORKS = 6
_EMPTY = ("update", "--changelog-file=empty.xml")


def measure(engine: Engine) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="pgstrata-bench-") as name:
        return _measure(engine, Path(name))


def _measure(engine: Engine, directory: Path) -> list[Row]:
    program = launcher(directory)
    rounds: list[tuple[float, float, float]] = []
    for number in range(_ROUNDS):
        work = directory / f"round-{number}"
        words = _changelog(work, number)
        rounds.append(_round(engine, program, work, words))
    plain, planning_it, building = (median(times) for times in zip(*rounds, strict=True))
    result = _prepared(engine, work, words)
    assert not locked(result["dsn"])
    steps = len(_plan(engine, work, words))
    other = _prepared(engine, work, _EMPTY)
    one_more = plain_command(program, other["dsn"], "update-count", "--count=1", *words[1:])
    forks = [timed(lambda: _run(one_more, work)) for _ in range(_FORKS)]
    return [
        Row(
            what=f"{steps} changesets, each with its own state",
            value=building,
            against="one plain command-line update of all of them",
            base=plain,
            limit=2,
        ),
        Row(
            what="    the same, the changelog read before by a Java just started",
            value=planning_it + building,
            against="one plain command-line update of all of them",
            base=plain,
        ),
        Row(
            what="    the same",
            value=building,
            against="the command line for each of them (a few measured)",
            base=median(forks) * steps,
            limit=round(1 / 15, 3),
        ),
        Row(
            what="    per changeset",
            value=building / steps,
            limit=50 if engine.backend == "overlay" else 25,
        ),
        Row(what="memory of the engine", value=_mib(engine.process), unit="MiB"),
        *(
            Row(what="memory of a Java with that changelog", value=_mib(java), unit="MiB")
            for java in planning.javas(engine.process)
        ),
        *planning.measure(
            lambda: _plan(engine, work, words),
            engine.process,
            work,
            changelog=words[1].partition("=")[2],
            dsn=result["dsn"],
        ),
    ]


def _round(
    engine: Engine, program: Path, work: Path, words: tuple[str, ...]
) -> tuple[float, float, float]:
    """How long a plain update takes, a plan, and building what was planned."""
    empty = _prepared(engine, work, _EMPTY)
    plain = plain_command(program, empty["dsn"], *words)
    return (
        timed(lambda: _run(plain, work)),
        timed(lambda: _plan(engine, work, words)),
        timed(lambda: _prepared(engine, work, words)),
    )


def _changelog(work: Path, number: int) -> tuple[str, ...]:
    """Write a changelog none of whose states is there; the words to update to it.

    The first changeset checks the changelog's own preconditions, and all others stem from it.
    """
    condition = f'<not><tableExists tableName="round{number}"/></not>'
    name = changelogs.mixed(work, LENGTH, condition=condition)
    return ("update", f"--changelog-file={name}", "--contexts=test")


def _run(command: list[str], work: Path) -> None:
    subprocess.run(command, cwd=work, check=True, capture_output=True)


def _request(work: Path, words: tuple[str, ...], *, plan_only: bool) -> dict[str, Any]:
    (work / "empty.xml").write_text(changelogs.xml())
    return {
        "prepare_kind": "lb",
        "image_id": "postgres",
        "work_dir": str(work),
        "liquibase_args": list(words),
        "states": "all",
        "plan_only": plan_only,
    }


def _prepared(engine: Engine, work: Path, words: tuple[str, ...]) -> dict[str, str]:
    return engine.result(engine.connect(), _request(work, words, plan_only=False))


def _plan(engine: Engine, work: Path, words: tuple[str, ...]) -> list[dict[str, Any]]:
    status = engine.finished(engine.connect(), _request(work, words, plan_only=True))
    return [task for task in status["tasks"] if task["type"] == "state_execute"]


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20
