"""When a process of a server dies, nothing is lost, and nobody else is blamed."""

import select
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psutil
import psycopg
import pytest

from tests.acceptance.conftest import Terminal

Json = dict[str, Any]


def kill_the_backend(pgstrata: Terminal) -> None:
    """End, at once, the process of the only session there is."""
    for process in pgstrata.below_the_engine("postgres"):
        with suppress(psutil.NoSuchProcess):
            if "idle" in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)
                process.wait()
                return
    raise AssertionError("there is no session")


def rows_once_it_recovered(dsn: str) -> int:
    """How many rows are in the table; the server refuses connections while it recovers."""
    while True:
        with suppress(psycopg.OperationalError), psycopg.connect(dsn) as connection:
            [(found,)] = connection.execute("select count(*) from t").fetchall()
            return int(found)


@pytest.mark.parametrize("commits", [1, 200])
def test_what_was_committed_outlives_a_killed_backend(shared: Terminal, commits: int) -> None:
    dsn = shared.prepare("-c", "create table t (n int)")
    for killed in range(1, 6):
        with psycopg.connect(dsn, autocommit=True) as session:
            for n in range(commits):
                session.execute("insert into t values (%s)", (n,))
            kill_the_backend(shared)
        assert rows_once_it_recovered(dsn) == killed * commits


def kill_the_one_at_work(pgstrata: Terminal, program: str, but: set[int]) -> int:
    """Wait until a process works for a step, and kill it. Those before it do not count."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        for process in pgstrata.below_the_engine(program):
            with suppress(psutil.NoSuchProcess):
                at_work = program == "psql" or "SELECT" in " ".join(process.cmdline())
                if process.pid not in but and at_work:
                    process.send_signal(signal.SIGKILL)
                    return process.pid
        select.select([], [], [], 0.02)
    raise AssertionError(f"no {program} is at work")


@pytest.mark.parametrize(
    ("program", "told"),
    [("postgres", " with pid "), ("psql", "psql was ended by ")],
)
def test_what_was_killed_from_outside_is_told_and_tried_again_and_the_script_is_not_blamed(
    shared: Terminal, program: str, told: str
) -> None:
    shared("ls")  # there is an engine to look below
    step = ("-c", "select pg_sleep(600)")
    with ThreadPoolExecutor() as pool:
        ending = pool.submit(shared, "-v", "prepare:psql", "--", *step, exit_code=1)
        first = kill_the_one_at_work(shared, program, set())
        kill_the_one_at_work(shared, program, {first})
        said = ending.result().stderr
    assert said.count(told) == said.count("signal 9 (SIGKILL)") == 2, said
    assert "the step is run once more" in said
    assert "correct" not in said
    assert "prepare again" in said


def until_it_is_stopped(pgstrata: Terminal) -> Json:
    """The only instance, once it has no server any more."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        instance: Json
        [instance] = pgstrata.json("ls", "-i")["instances"]
        if instance["status"] != "active":
            return instance
        select.select([], [], [], 1)
    raise AssertionError("the server goes on")


def test_a_server_that_only_crashes_and_starts_again_is_stopped_and_what_to_do_is_told(
    shared: Terminal,
) -> None:
    dsn = shared.prepare("-c", "create table t (n int)")
    with psycopg.connect(dsn, autocommit=True) as session:
        # No session can begin any more, and the launcher of autovacuum is one.
        session.execute("select lo_from_bytea(4711, 'damaged')")
        session.execute("select lo_export(4711, 'global/pg_filenode.map')")
        kill_the_backend(shared)
    instance = until_it_is_stopped(shared)
    assert instance["status"] == "orphaned"
    for told in ("crashed and started again", "pgstrata reset", "pgstrata start --anyway"):
        assert told in instance["stopped"]
    assert not shared.below_the_engine("postgres")
    shared("reset", instance["instance_id"])
    assert rows_once_it_recovered(dsn) == 0
