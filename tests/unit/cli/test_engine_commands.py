"""``status`` and the ``engine`` commands that do not start one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pgstrata.cli import differences
from pgstrata.cli.commands.engine_serve import listen_address
from pgstrata.cli.commands.engine_stop import stop
from tests.unit.cli.conftest import Pgstrata
from tests.unit.client.discovered import engine_file, write_engine_file
from tests.unit.client.fake_engine import FakeEngine

STATUS = {
    "engine": {
        "version": "0.1.0",
        "instanceId": "e" * 32,
        "pid": 4711,
        "startedAt": "2020-01-01T00:00:00Z",
        "endpoint": "http://127.0.0.1:8700",
    },
    "store": {"path": "/srv/pgstrata"},
    "runtime": {
        "server_user": "postgres",
        "installations": [
            {"version": "16.4", "major": 16, "bin_dir": "/pg16/bin", "source": "PATH"},
            {
                "version": "9.6",
                "major": 9,
                "bin_dir": "/pg9/bin",
                "source": "PATH",
                "problem": "too old",
            },
        ],
    },
    "snapshots": {
        "backend": "reflink",
        "why": "the fastest that works here",
        "mounts": "none: nobody may",
    },
    "sandbox": {
        "level": "partial",
        "missing": ["Landlock: the kernel has none"],
        "open_attacks": ["connect to TCP ports of others"],
    },
    "counts": {
        "jobs_queued": 0,
        "jobs_running": 1,
        "jobs_finished": 7,
        "states": 3,
        "instances": 2,
    },
}


def test_status_names_engine_store_postgresql_and_snapshots(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    fake.on("GET", "/v1/status", STATUS)
    out = pgstrata("status").out
    wanted = ("4711", "/srv/pgstrata", "reflink", "16.4", "too old", "3 states, 2 instances")
    sandbox = (
        "partial: servers are kept from the engine",
        "the kernel has none",
        "can connect to TCP ports of others",
    )
    assert [words for words in (*wanted, *sandbox) if words not in out] == []


def test_the_status_of_an_engine_without_a_sandbox_is_shown_as_well(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    earlier = {name: part for name, part in STATUS.items() if name != "sandbox"}
    fake.on("GET", "/v1/status", earlier)
    assert "reflink" in pgstrata("status").out


def test_status_as_json_is_the_engines_own(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    fake.on("GET", "/v1/status", STATUS)
    assert json.loads(pgstrata("--output", "json", "status").out) == STATUS


CACHE: dict[str, Any] = {
    "usage_bytes": 45_000_000_000,
    "configured_max_bytes": 60_000_000_000,
    "effective_max_bytes": 50_000_000_000,
    "reserve_bytes": 5_000_000_000,
    "high_watermark": 0.9,
    "low_watermark": 0.8,
    "min_state_age": "10m",
    "store_total_bytes": 55_000_000_000,
    "store_free_bytes": 4_000_000_000,
    "state_count": 12,
    "reclaimable_bytes": 7_000_000_000,
    "blocked_count": 3,
    "pressure_reasons": ["free_below_reserve"],
    "last_eviction": {
        "completed_at": "2020-01-01T00:00:00Z",
        "trigger": "before_step",
        "evicted_count": 2,
        "freed_bytes": 3_000_000_000,
        "blocked_count": 1,
        "reclaimable_bytes": 1_000_000_000,
        "usage_bytes_before": 48_000_000_000,
        "usage_bytes_after": 45_000_000_000,
        "free_bytes_before": 1_000_000_000,
        "free_bytes_after": 4_000_000_000,
    },
}


def test_status_of_the_cache_says_how_full_it_is_and_what_went_last(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    fake.on("GET", "/v1/cache/status", CACHE)
    out = pgstrata("status", "--cache").out
    wanted = (
        "12, using 45.0 GB",
        "50.0 GB (90%), 60.0 GB configured",
        "4.0 GB of 55.0 GB free",
        "7.0 GB now; 3 states could not",
        "less of the disk is free",
        "2 states, 3.0 GB",
        "before step",
    )
    assert [words for words in wanted if words not in out] == []
    assert json.loads(pgstrata("--output", "json", "status", "--cache").out) == CACHE


@pytest.fixture
def running(fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """A scripted engine that the store's file leads to."""
    monkeypatch.delenv("PGSTRATA_ENDPOINT")
    monkeypatch.delenv("PGSTRATA_TOKEN")
    (tmp_path / "store").mkdir()
    write_engine_file(tmp_path / "store" / "engine.json", engine_file(fake))
    return fake


def test_a_command_finds_the_engine_by_its_store(running: FakeEngine, pgstrata: Pgstrata) -> None:
    running.on("GET", "/v1/states", [])
    assert pgstrata("ls", "-s").out == "no states\n"
    assert [asked.path for asked in running.asked] == ["/v1/health", "/v1/states"]


def test_engine_status_tells_where_it_runs_and_at_which_level(
    running: FakeEngine, pgstrata: Pgstrata
) -> None:
    running.on("GET", "/v1/status", STATUS)
    ran = pgstrata("engine", "status")
    assert ran.exit_code == 0
    assert f"endpoint  {running.endpoint}\npid       {os.getpid()}\n" in ran.out
    assert ran.out.endswith("sandbox   partial\n")
    ran = pgstrata("--output", "json", "engine", "status")
    assert json.loads(ran.out)["sandbox"] == "partial"


def test_engine_status_of_none_is_exit_code_3(pgstrata: Pgstrata) -> None:
    ran = pgstrata("--output", "json", "engine", "status")
    assert (ran.exit_code, json.loads(ran.out)["running"]) == (3, False)


def test_engine_start_finds_one_that_runs(running: FakeEngine, pgstrata: Pgstrata) -> None:
    ran = pgstrata("engine", "start")
    assert ran.out == f"{running.endpoint}  pid {os.getpid()}  (already running)\n"


@pytest.mark.parametrize("command", [("engine", "start"), ("engine", "status"), ("status",)])
def test_an_engine_that_runs_already_is_compared_with_what_is_wanted(
    running: FakeEngine,
    pgstrata: Pgstrata,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    file = project / ".pgstrata" / "config.yaml"
    file.parent.mkdir()
    file.write_text("instances: {max: 40}")
    monkeypatch.setattr(differences, "__version__", "9.9")
    running.on("GET", "/v1/config", {"instances": {"max": 0}})
    running.on("GET", "/v1/status", STATUS)
    told = pgstrata(*command).err
    assert f"warning: {file}: instances.max is 40, but the engine has its own, 0" in told
    assert told.count("and this command of 9.9") == 1


def test_stopping_an_engine_that_does_not_run_is_fine(pgstrata: Pgstrata) -> None:
    ran = pgstrata("engine", "stop")
    assert (ran.exit_code, ran.out) == (0, "the engine is not running\n")


def test_a_process_that_is_gone_already_is_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    stop(ended.pid, 1.0)


@pytest.mark.parametrize("command", ["start", "stop", "status", "logs"])
def test_an_engine_elsewhere_is_not_managed(
    fake: FakeEngine, pgstrata: Pgstrata, command: str
) -> None:
    ran = pgstrata("engine", command)
    assert ran.exit_code == 2
    assert fake.endpoint in ran.err


def test_logs_shows_the_last_lines(pgstrata: Pgstrata, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "engine.log").write_text("one\ntwo\nthree\n")
    assert pgstrata("engine", "logs", "-n", "2").out == "two\nthree\n"


def test_a_log_that_is_not_there_is_told_so(pgstrata: Pgstrata) -> None:
    ran = pgstrata("engine", "logs", "--store", "elsewhere")
    assert ran.exit_code == 1
    assert "elsewhere/engine.log" in ran.err


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:8700", ("::1", 8700)), ("box:1", ("box", 1))],
)
def test_a_listen_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert listen_address(text) == address


@pytest.mark.parametrize(
    "words",
    [
        ("--listen", "8700"),
        ("--listen", "box:99999"),
        ("--idle-timeout", "a while"),
        ("--snapshot-backend", "magic"),
        ("--server-setting", "fsync"),
        ("--max-parallel", "0"),
        ("--set", "cache.capacity.maxBytes=lots"),
        ("--set", "cache.size=1GB"),
    ],
)
def test_an_engine_is_not_served_with_wrong_options(
    pgstrata: Pgstrata, words: tuple[str, ...]
) -> None:
    ran = pgstrata("engine", "serve", *words)
    assert ran.exit_code == 2
    assert words[0] in ran.err


def test_a_log_is_followed_where_a_new_one_takes_its_place(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("first\n")
    program = [sys.executable, "-m", "pgstrata", "engine", "logs", "-f", "--store", str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout is not None
            assert following.stdout.readline() == "first\n"
            with log.open("a") as old:
                log.rename(tmp_path / "engine.log.1")
                old.write("last\n")
            log.write_text("new\n")
            assert following.stdout.readline() == "last\n"
            assert following.stdout.readline() == "new\n"
        finally:
            following.terminate()
