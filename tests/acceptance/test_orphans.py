"""What a killed engine left is found by the next one, wherever it hid."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from pgstrata.runtime.access import socket_dir_for
from pgstrata.system import orphans, processes
from tests.acceptance.conftest import Terminal
from tests.clusters import servers_below

HIDING = (
    "\\! setsid -f sh -c 'trap \"\" TERM; sleep 600' >/dev/null 2>&1 </dev/null\n"
    "\\! setsid -f sleep 601\n"
    "select pg_sleep(600);\n"
)


def tools_of(store: Path) -> list[int]:
    """Every process with the store's mark."""
    return [
        pid
        for pid in processes.all_pids()
        if (processes.environ(pid, orphans.MARK) or "").endswith(f":{store.resolve()}")
        and processes.started(pid) is not None
    ]


def in_a_step(pgstrata: Terminal) -> str:
    """A job in the middle of a step that has let processes loose."""
    pgstrata.write("hide.sql", HIDING)
    started = pgstrata("prepare:psql", "--no-watch", "--uncacheable", "run", "--", "-f", "hide.sql")
    # Those who started the two that sleep have ended when there are no others but a shell and psql.
    programs: list[str | None] = []
    while len(programs) != 4 or programs.count("sleep") != 2:
        os.sched_yield()
        programs = [processes.program(pid) for pid in tools_of(pgstrata.store)]
    return started.stdout.strip().removeprefix("JOB=")


def test_tools_of_a_killed_engine_are_ended_even_in_sessions_of_their_own(
    shared: Terminal,
) -> None:
    dsn = shared.prepare("-c", "select 1")
    job_id = in_a_step(shared)
    before = set(tools_of(shared.store))
    engine = psutil.Process(shared.engine_file()["pid"])
    engine.kill()
    engine.wait()
    assert before <= set(tools_of(shared.store))
    shared("engine", "start")
    assert not before & set(tools_of(shared.store))
    assert dsn in [entry["dsn"] for entry in shared.json("ls", "-i")["instances"]]
    shared("rm", "-f", job_id)
    assert tools_of(shared.store) == []


def test_cancelling_ends_those_who_left_the_tools_group_as_well(shared: Terminal) -> None:
    job_id = in_a_step(shared)
    shared("rm", "-f", job_id)
    assert tools_of(shared.store) == []
    assert servers_below(shared.store) == []


def test_a_server_whose_engine_was_killed_while_it_came_up_is_not_left_over(
    shared: Terminal,
) -> None:
    shared("engine", "start")
    engine = psutil.Process(shared.engine_file()["pid"])
    shared("prepare:psql", "--no-watch", "--", "-c", "select pg_sleep(600)")
    while not servers_below(shared.store):
        assert engine.is_running()
    engine.kill()
    engine.wait()
    [job] = shared.json("ls", "--jobs")["jobs"]
    shared("rm", "-f", job["job_id"])
    shared("engine", "stop")
    assert servers_below(shared.store) == []
    assert list(socket_dir_for(shared.store).iterdir()) == []


@pytest.mark.parametrize("birth", [True, False])
def test_an_instance_is_still_known_after_the_clock_was_set(
    shared: Terminal, *, birth: bool
) -> None:
    dsn = shared.prepare("-c", "select 1")
    shared("engine", "stop")
    # What the kernel says of start times in seconds moves with the clock; what was noted does not.
    with closing(sqlite3.connect(shared.store / "pgstrata.db")) as database, database:
        [(body,)] = database.execute("select body from instances")
        instance = json.loads(body)
        process = json.loads(instance["server"]["handle"])
        assert process["birth"]
        process["started"] -= 86_400
        if not birth:
            # A row written before births were noted.
            del process["birth"]
        instance["server"]["handle"] = json.dumps(process)
        database.execute("update instances set body = ?", (json.dumps(instance).encode(),))
    [entry] = shared.json("ls", "-i")["instances"]
    assert (entry["status"], entry["dsn"]) == ("active", dsn)
    shared("rm", "-f", entry["instance_id"])
    assert servers_below(shared.store) == []
