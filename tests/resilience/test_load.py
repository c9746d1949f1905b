"""Much at once: servers that wait by the hundred, floods of output, of input and of steps."""

import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgstrata.system.output import GOES_ON, MOST_LINE_BYTES
from tests.filesystems import memory_place
from tests.resilience.engine import Engine, Json, RefusedError
from tests.resilience.stores import prepared, started, store_in

FEW = 256
"""How many descriptors the engine may have when it is started."""


@pytest.fixture(scope="module")
def running() -> Iterator[Engine]:
    """An engine that runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with memory_place() as directory, store_in(directory) as engine:
        # Nothing is to begin by itself, and need a descriptor or memory.
        engine.options += ("--set=pool.max=0",)
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))
        try:
            started(engine)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        yield engine
        engine.stop()


# Servers that wait

ATTEMPTS = 10
ASLEEP = {"bgwriter_delay": "10s", "wal_writer_delay": "10s", "io_method": "sync"}


def shown(job: Json) -> dict[str, str]:
    """Some of the settings of a job's server; those that its major knows."""
    with psycopg.connect(job["result"]["dsn"]) as connection:
        workers = "select count(*) from pg_stat_activity where backend_type = 'io worker'"
        assert connection.execute(workers).fetchall() == [(0,)]
        names = "select name, current_setting(name) from pg_settings where name = any(%s)"
        return dict(connection.execute(names, [list(ASLEEP)]).fetchall())


def test_the_processes_of_a_server_sleep_while_nobody_uses_it(running: Engine) -> None:
    plain = prepared(running, "-c", "select 1")
    assert shown(plain).items() <= ASLEEP.items()
    # That they are as we have them says nothing about what is in a state.
    said = running.ended(running.submit("-c", "select 1", settings=shown(plain)))
    assert said["result"]["state_id"] == plain["result"]["state_id"]
    own = running.ended(running.submit("-c", "select 1", settings={"bgwriter_delay": "1s"}))
    assert shown(own)["bgwriter_delay"] == "1s"


def test_no_server_is_started_that_would_take_the_engines_last_descriptors(running: Engine) -> None:
    assert running.pid is not None
    soft, hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
    assert soft > FEW or soft == hard
    for _ in range(ATTEMPTS):
        used = len(list(Path(f"/proc/{running.pid}/fd").iterdir()))
        # Enough to answer with. What ended before may still be about to let go of some.
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (used + 8, hard))
        try:
            prepared(running)
        except RefusedError as error:
            refused = error.body
            break
        finally:
            resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert refused["code"] == "host_limit"
    assert "files open" in refused["message"]
    assert prepared(running)["status"] == "succeeded"


# Floods

LONG_BYTES = 24 << 20


def peak_bytes(engine: Engine) -> int:
    """The most memory that an engine has had since ``forget_peak``."""
    status = Path(f"/proc/{engine.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


def forget_peak(engine: Engine) -> int:
    """Begin anew to watch an engine's memory; how much it has now."""
    Path(f"/proc/{engine.pid}/clear_refs").write_text("5")
    return peak_bytes(engine)


def test_a_line_of_any_length_comes_in_pieces_and_takes_little_memory(
    running: Engine,
) -> None:
    prepared(running)
    before = forget_peak(running)
    job_id = running.submit("-At", "-c", f"select repeat('x', {LONG_BYTES})")
    events = [event for event in running.events(job_id) if event["type"] == "log"]
    pieces = [event["message"] for event in events if event["message"].startswith("xxx")]
    assert len(pieces) > 1
    for piece in pieces:
        assert len(piece) <= MOST_LINE_BYTES + len(GOES_ON)
        assert piece.endswith(GOES_ON) or piece == pieces[-1]
    assert running.job(job_id)["status"] == "succeeded"
    assert peak_bytes(running) - before < 2 * LONG_BYTES


def test_standard_input_is_not_kept_with_what_changes_and_is_shown(running: Engine) -> None:
    script = f"select length('{'x' * (LONG_BYTES // 4)}');"
    job = running.ended(running.submit("-f", "-", stdin=script, plan_only=True))
    assert job["status"] == "succeeded"
    with sqlite3.connect(running.store / "pgstrata.db") as database:
        [(size,)] = database.execute("select max(length(body)) from jobs").fetchall()
        assert size < len(script)
        assert database.execute("select count(*) from standard_inputs").fetchall() == [(0,)]
    database.close()
