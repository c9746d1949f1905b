"""Servers that were killed and machines that were booted: instances come back as they were."""

import os
import select
import signal
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.resilience.audit import LOOK_SECONDS, Rows, wait_for_ends
from tests.resilience.engine import ANSWER_SECONDS, Engine, Json, RefusedError
from tests.resilience.kills import rows_of, tear_down
from tests.resilience.stores import CONTENT, RECIPE, check_nothing_is_left, started

CHANGED = [*CONTENT, 0]


def instance_of(engine: Engine) -> Json:
    instance: Json
    [instance] = engine.ask("GET", "/v1/instances")
    return instance


def named(engine: Engine) -> Json:
    """An instance called dev in which somebody changed something."""
    job = engine.ended(engine.submit(*RECIPE, instance_name="dev"))
    assert job["status"] == "succeeded", job
    with psycopg.connect(job["result"]["dsn"], connect_timeout=ANSWER_SECONDS) as connection:
        connection.execute("insert into t values (0)")
    return instance_of(engine)


def kill_server(engine: Engine) -> None:
    """``kill -9`` for the instance's server."""
    [pid] = Rows(engine.store).pids
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for_ends([process], ANSWER_SECONDS)


def reboot(engine: Engine, environment: dict[str, str] | None = None) -> None:
    """What a boot does to a store, as far as an engine can tell: nothing runs, nothing is mounted.

    And what was recorded as begun in this boot was begun in another.
    """
    engine.kill()
    tear_down(engine.store)
    now = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with closing(sqlite3.connect(engine.store / "pgstrata.db")) as db, db:
        db.execute("UPDATE instances SET body = replace(body, ?, ?)", (now, str(uuid.uuid4())))
    started(engine, environment)


def check_it_is_as_before(engine: Engine, before: Json, content: list[int]) -> None:
    now = instance_of(engine)
    for field in ("instance_id", "name", "dsn", "status"):
        assert now[field] == before[field]
    assert rows_of({"result": now}) == content
    check_nothing_is_left(engine)


def test_an_instance_comes_back_after_its_server_was_killed_and_after_a_boot(
    engine: Engine,
) -> None:
    before = named(started(engine))
    start = f"/v1/instances/{before['instance_id']}/start"

    kill_server(engine)
    dead = instance_of(engine)
    assert (dead["status"], "pgstrata start dev" in dead["stopped"]) == ("orphaned", True)
    assert engine.ask("POST", start)["dsn"] == before["dsn"]
    check_it_is_as_before(engine, before, CHANGED)

    # Whoever owns its data decides what it is worth after a boot.
    reboot(engine)
    untrusted = instance_of(engine)
    assert (untrusted["status"], "booted" in untrusted["stopped"]) == ("orphaned", True)
    with pytest.raises(RefusedError) as refused:
        engine.ask("POST", start)
    assert "start --anyway dev" in refused.value.body["details"]
    assert engine.ask("POST", f"{start}?anyway=true")["dsn"] == before["dsn"]
    check_it_is_as_before(engine, before, CHANGED)

    reboot(engine, {"PGSTRATA_INSTANCES_RESTART": "true"})
    engine.ask("POST", f"/v1/instances/{before['instance_id']}/reset")
    kill_server(engine)
    deadline = time.monotonic() + ANSWER_SECONDS
    while instance_of(engine)["status"] != "active" and time.monotonic() < deadline:
        select.select([], [], [], LOOK_SECONDS)
    check_it_is_as_before(engine, before, CONTENT)
