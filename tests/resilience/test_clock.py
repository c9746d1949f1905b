"""An engine whose clock jumps, between two runs of it and while a job runs.

Only the engine's clock does, by libfaketime: a server with a wrong clock is PostgreSQL's business.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests import needs
from tests.filesystems import memory_place
from tests.resilience.engine import Engine
from tests.resilience.kills import rows_of
from tests.resilience.stores import check_it_works, prepared, started, store_in

SLOW = ("-c", "create table t as select 1 as n", "-c", "insert into t select 2 from pg_sleep(2)")


class Clock:
    """The clock of every engine that is started with its environment."""

    def __init__(self, home: Path) -> None:
        if shutil.which("faketime") is None:
            needs.missing("faketime is not installed (Debian: faketime)")
        # An engine forgets the variable that would name it.
        self._file = home / ".faketimerc"
        self.jump("+0")
        self.environment = {
            "HOME": str(home),
            "FAKETIME_NO_CACHE": "1",
            # What the system counts from its boot does not change when its clock is set.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "LD_PRELOAD": str(_library()),
        }

    def jump(self, by: str) -> None:
        """Set it so far from the real time."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{by}\n")
        draft.replace(self._file)


def _library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        needs.missing("libfaketime is not installed (Debian: faketime)")
    return found[0]


@pytest.fixture
def engine() -> Iterator[Engine]:
    """One that is started as a whole program: the library is loaded with it."""
    with memory_place() as directory, store_in(directory, made=Engine) as one:
        yield one


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def in_its_second_step(engine: Engine) -> str:
    job_id = engine.submit(*SLOW)
    for event in engine.events(job_id):
        if event["type"] == "task" and event.get("task_id") == "execute-1":
            return job_id
    raise AssertionError("it never came to its second step")


@pytest.mark.parametrize("jump", ["-2d", pytest.param("+400d", marks=pytest.mark.slow)])
def test_an_engine_whose_clock_was_set_takes_up_what_another_left(
    jump: str, engine: Engine, clock: Clock
) -> None:
    # Else the jobs are too old by then, and what they led to is nobody's.
    environment = {**clock.environment, "PGSTRATA_ORCHESTRATOR_JOBS_KEEPAGE": "0"}
    started(engine, environment)
    kept = prepared(engine)["result"]["instance_id"]
    job_id = in_its_second_step(engine)
    engine.kill()
    clock.jump(jump)
    started(engine, environment)
    job = engine.ended(job_id)
    assert job["status"] == "succeeded", job
    assert rows_of(job) == [1, 2]
    status = {one["instance_id"]: one["status"] for one in engine.ask("GET", "/v1/instances")}
    assert status[kept] == "active"
    check_it_works(engine)


@pytest.mark.parametrize("jump", [pytest.param("-2d", marks=pytest.mark.slow), "+400d"])
def test_a_job_during_which_the_clock_is_set_comes_to_its_end(
    jump: str, engine: Engine, clock: Clock
) -> None:
    started(engine, clock.environment)
    job_id = in_its_second_step(engine)
    clock.jump(jump)
    job = engine.ended(job_id)
    assert job["status"] == "succeeded", job
    assert abs(datetime.fromisoformat(job["finished_at"]) - datetime.now(UTC)) > timedelta(days=1)
    assert rows_of(job) == [1, 2]
    check_it_works(engine)
