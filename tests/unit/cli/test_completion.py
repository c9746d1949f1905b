"""Completion: what may come next, and the scripts that ask for it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pgstrata.cli import command_table, completing
from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import INSTANCE, JOB, STATE
from tests.unit.client.fake_engine import JOB_ID, FakeEngine
from tests.unit.httpapi.samples import a_name, a_state, an_instance


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is, answers count."""
    monkeypatch.setattr(completing, "_SECONDS", 300.0)


@pytest.fixture
def stocked(fake: FakeEngine) -> FakeEngine:
    """An engine with one of everything."""
    fake.on("GET", "/v1/names", [a_name("shop", instance_id=INSTANCE)])
    fake.on("GET", "/v1/instances", [an_instance(INSTANCE, name="shop")])
    fake.on("GET", "/v1/states", [a_state(STATE)])
    fake.on("GET", "/v1/prepare-jobs", [JOB])
    return fake


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (("sta",), ["start", "status"]),
        (("prepare:p",), ["prepare:psql"]),
        (("eng",), ["engine"]),
        (("engine", "st"), ["start", "stop", "status"]),
        (("help", "wat"), ["watch"]),
        (("--out",), ["--output"]),
        (("--output", ""), ["human", "json"]),
        (("--output", "json", "uns"), []),
        (("--output", "json", "unp"), ["unpin"]),
        (("ls", "--ima"), ["--image"]),
        (("ls", "--output", "j"), ["json"]),
        (("ls", "--instance", ""), ["shop", INSTANCE[:12]]),
        (("rm", ""), ["shop", INSTANCE[:12], STATE[:12], JOB_ID]),
        (("rm", "sh"), ["shop"]),
        (("watch", ""), [JOB_ID]),
        (("run:psql", "--instance", "s"), ["shop"]),
        (("prepare:psql", "--na"), ["--name"]),
        (("prepare:psql", "--image", "postgres:17"), ["postgres:17"]),
        (("prepare:psql", "-f", ""), []),
        (("prepare:psql", "-f", "a.sql", "--na"), []),
        (("prepare:psql", "--", "--na"), []),
        (("cache", "explain", "prepare:l"), ["prepare:lb"]),
        (("config", "get", "cache.capacity.maxB"), ["cache.capacity.maxBytes"]),
        (("no-such-command", ""), []),
        (("engine", "no-such", ""), []),
    ],
)
def test_the_last_word_is_completed_by_what_stands_before_it(
    stocked: FakeEngine, pgstrata: Pgstrata, typed: tuple[str, ...], found: list[str]
) -> None:
    ran = pgstrata("completion", "of", "--", *typed)
    assert (ran.exit_code, ran.err) == (0, "")
    assert [line.partition("\t")[0] for line in ran.out.splitlines()] == found


TAKES_WHAT_THERE_IS = re.compile(r" (STATE|INSTANCE|JOB|ID…|A B|MAJOR|PATH)")
"""In a command's usage: what the shell is to know."""


def test_each_command_that_takes_what_there_is_completes_it(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    taking = [
        name for name in command_table.overview() if TAKES_WHAT_THERE_IS.search(usage_of(name))
    ]
    assert len(taking) > 12
    for name in taking:
        assert pgstrata("completion", "of", "--", *name.split(), "").out, name


def usage_of(name: str) -> str:
    command = command_table.load(name)
    assert command is not None
    return command.usage


def test_a_failure_completes_nothing_and_says_nothing(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    assert pgstrata("completion", "of", "--", "rm", "") == (0, "", "")


def test_no_engine_is_started_for_it(project: Path, pgstrata: Pgstrata, tmp_path: Path) -> None:
    assert pgstrata("completion", "of", "--", "rm", "") == (0, "", "")
    assert not (tmp_path / "store").exists()


def test_another_shell_is_refused_with_those_there_are(pgstrata: Pgstrata) -> None:
    ran = pgstrata("completion", "tcsh")
    assert ran.exit_code == 2
    assert "bash, zsh, fish" in ran.err


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("pgstrata prepare:p", ["psql"]),
        ("pgstrata prepare", ["prepare:psql", "prepare:lb", "prepare:exec", "prepare"]),
        ("pgstrata ls --image postgres:1", [str(major) for major in range(18, 9, -1)]),
        ("pgstrata engine lo", ["logs"]),
        ("pgstrata prepare:psql -f ", []),
    ],
)
def test_bash_replaces_what_follows_its_last_word_break(
    project: Path, tmp_path: Path, line: str, completed: list[str]
) -> None:
    program = tmp_path / "bin" / "pgstrata"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pgstrata "$@"\n')
    program.chmod(0o755)
    script = """
PATH=$1:$PATH
eval "$(pgstrata completion bash)"
COMP_LINE=$2 COMP_POINT=${#2}
_pgstrata
printf '%s\\n' "${COMPREPLY[@]}"
"""
    words = ["bash", "--norc", "-c", script, "bash", str(program.parent), line]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == (completed or [""])


def test_an_engine_that_is_too_slow_completes_nothing(
    stocked: FakeEngine, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completing, "_SECONDS", 1e-6)
    assert pgstrata("completion", "of", "--", "rm", "") == (0, "", "")
