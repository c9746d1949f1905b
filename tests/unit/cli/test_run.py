"""``run:…`` and ``prepare:… run:…``: what is refused, and which instance is chosen."""

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pgstrata.system import foreground
from tests import needs
from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import FAILED, INSTANCE, script_job
from tests.unit.client.fake_engine import JOB_ID, FakeEngine

OTHER = "beef" * 8
COMPOSITE = ("prepare:psql", "-f", "schema.sql", "-f", "seed.sql")


def entry(instance_id: str, name: str | None = None, status: str = "active") -> dict[str, Any]:
    return {
        "instance_id": instance_id,
        "image_id": "postgres",
        "state_id": "a" * 64,
        "name": name,
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": None,
        "status": status,
    }


@pytest.mark.parametrize(
    "words",
    [
        ("run:psql", "-h", "elsewhere"),
        ("run:psql", "--", "shop"),
        ("run:pgbench", "-i", "-U", "me"),
        ("run:exec",),
        ("run:exec", "--", "", "x"),
        ("run:psql", "--instance=", "-c", "drop table t"),
        ("--output", "json", "run:psql", "-c", "select 1"),
        (*COMPOSITE, "run:psql", "-d", "shop"),
        (*COMPOSITE, "run:exec"),
        (*COMPOSITE, "run:psql", "--instance", "dev"),
        ("prepare:psql", "--ttl", "5m", *COMPOSITE[1:], "run:psql"),
        ("prepare:psql", "--no-watch", *COMPOSITE[1:], "run:psql"),
        ("--output", "json", *COMPOSITE, "run:psql"),
    ],
)
def test_what_cannot_be_run_is_refused_before_the_engine_is_asked(
    fake: FakeEngine, pgstrata: Pgstrata, words: tuple[str, ...]
) -> None:
    ran = pgstrata(*words)
    assert (ran.exit_code, fake.asked) == (2, [])
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize("command", ["run:psql", "run:pgbench", "run:exec"])
def test_help_is_ours_and_has_examples(pgstrata: Pgstrata, command: str) -> None:
    alone, after_prepare = pgstrata(command, "--help"), pgstrata(*COMPOSITE, command, "--help")
    assert (alone.exit_code, after_prepare) == (0, alone)
    assert alone.out.startswith(f"usage: pgstrata {command} ")
    assert f"examples:\n  pgstrata {command}" in alone.out


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ([entry(INSTANCE)], INSTANCE),
        ([entry(INSTANCE), entry(OTHER, status="orphaned")], INSTANCE),
        ([entry(OTHER, status="orphaned")], OTHER),
    ],
)
def test_the_only_instance_need_not_be_named(
    fake: FakeEngine, pgstrata: Pgstrata, found: list[Any], chosen: str
) -> None:
    fake.on("GET", "/v1/instances", found)
    pgstrata("run:psql", "-c", "select 1")
    [asked] = [asked.path for asked in fake.asked if asked.method == "POST"]
    assert asked == f"/v1/instances/{chosen}/start"


def test_of_several_instances_one_must_be_chosen(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    fake.on("GET", "/v1/instances", [entry(INSTANCE, "dev"), entry(OTHER)])
    ran = pgstrata("run:exec", "true")
    assert ran.exit_code == 2
    assert ran.err.splitlines()[2:] == [f"  {INSTANCE[:12]} dev", f"  {OTHER[:12]}"]


def test_without_an_instance_it_says_how_to_get_one(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    fake.on("GET", "/v1/instances", [])
    ran = pgstrata("run:psql")
    assert (ran.exit_code, "prepare:psql" in ran.err) == (2, True)


def test_nothing_is_run_if_the_preparation_fails_and_its_error_is_told_once(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, FAILED)
    ran = pgstrata(*COMPOSITE, "run:exec", "echo", "ran")
    assert (ran.exit_code, ran.out) == (1, "")
    assert ran.err.count("seed.sql failed") == 1
    assert fake.submitted["psql_args"][-1].endswith("seed.sql")
    assert 0 < fake.submitted["instance_ttl"] <= 600
    assert fake.requests("POST", f"/v1/prepare-jobs/{JOB_ID}/cancel")
    assert not [asked.path for asked in fake.asked if asked.path.endswith("/start")]


def test_how_a_program_ended_is_reported_as_a_shell_does() -> None:
    for script, code in (("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)):
        assert foreground.run(("/bin/sh", "-c", script), {}) == code


def test_a_copy_of_a_revision_goes_whenever_its_run_is_ended(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("git") is None:
        needs.missing("git")
    (project / "a.sql").write_text("select 1;")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-qm", "first")):
        subprocess.run(["git", *words], check=True)
    copies = tmp_path / "copies, of mine"
    copies.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as engine:
        monkeypatch.setenv("PGSTRATA_ENDPOINT", f"http://127.0.0.1:{engine.getsockname()[1]}")
        monkeypatch.setenv("PGSTRATA_TOKEN", "t")
        monkeypatch.setenv("TMPDIR", str(copies))
        program = [sys.executable, "-m", "pgstrata", "run:exec", "--ref", "HEAD", "--instance=dev"]
        with subprocess.Popen([*program, "--", "true"]) as running:
            asking, _ = engine.accept()  # it has its copy, and no tool yet
            with asking:
                assert list(copies.iterdir())
                running.send_signal(signal.SIGTERM)
                assert running.wait() == 128 + signal.SIGTERM
    assert list(copies.iterdir()) == []
