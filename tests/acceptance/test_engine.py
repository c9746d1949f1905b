"""The engine's own life: kills, restarts, idleness."""

import os
import signal
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from tests import needs
from tests.acceptance.conftest import Terminal
from tests.http_contract import check_contract
from tests.servers import works_below


def servers_of(store: Path) -> list[psutil.Process]:
    """The PostgreSQL servers whose data lies in a store."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "-D" in (process.info["cmdline"] or []) and works_below(process.pid, store)
    ]


SLOW_STEP = """do $$ begin perform pg_sleep(600);
exception when query_canceled then perform pg_sleep(1); end $$"""
"""Lasts until its statement is cancelled, and a second more."""
SLOW = ("-c", "select 1", "-c", SLOW_STEP, "-c", "select 3")


def in_a_slow_step(pgstrata: Terminal) -> tuple[str, psutil.Process, psutil.Process]:
    """A job in its second step, its engine, and the server's process that is told to go on."""
    job_id = pgstrata("prepare:psql", "--no-watch", "--", *SLOW).stdout.strip().removeprefix("JOB=")
    engine = psutil.Process(pgstrata.engine_file()["pid"])
    return job_id, engine, pgstrata.statement_of_a_step()


def let_the_next_go_on(pgstrata: Terminal) -> None:
    """Start the next engine, and end the slow step when that has come to it again."""
    pgstrata("engine", "start")
    pgstrata.statement_of_a_step().send_signal(signal.SIGINT)


def test_instances_outlive_a_killed_engine_and_are_adopted_by_the_next(
    shared: Terminal,
) -> None:
    dsn = shared.prepare("-c", "create table t as select 1 as a")
    engine = psutil.Process(shared.engine_file()["pid"])
    with psycopg.connect(dsn) as connection:
        engine.kill()
        engine.wait()
        [instance] = shared.json("ls", "-i")["instances"]
        assert instance["status"] == "active"
        assert instance["dsn"] == dsn
        assert connection.execute("select a from t").fetchall() == [(1,)]


def test_a_kill_in_the_middle_of_a_step_leaves_nothing_and_the_job_goes_on(
    shared: Terminal,
) -> None:
    job_id, engine, _ = in_a_slow_step(shared)
    engine.kill()
    engine.wait()
    let_the_next_go_on(shared)
    assert shared("watch", job_id).stdout.startswith("DSN=")
    shared("engine", "stop")
    for area in ("work", "building"):
        assert list((shared.store / area).iterdir()) == []
    assert len(servers_of(shared.store)) == 1
    shared("engine", "start")


def test_what_an_engine_in_the_background_ignores_is_heard_by_what_it_starts(
    pgstrata: Terminal,
) -> None:
    # What a shell does to a program that is started with an ampersand.
    ignoring = ["sh", "-c", 'trap "" INT QUIT; exec "$0" "$@"']
    pgstrata.command = [*ignoring, *pgstrata.command]
    pgstrata("prepare:psql", "--no-watch", "--", "-c", "select pg_sleep(600)")
    engine = psutil.Process(pgstrata.engine_file()["pid"])
    while not (tools := pgstrata.below_the_engine("psql")):
        assert engine.is_running()
    status = Path(f"/proc/{tools[0].pid}/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    assert ignored & 1 << signal.SIGQUIT - 1 == 0
    [job] = pgstrata.json("ls", "--jobs")["jobs"]
    pgstrata("rm", "-f", job["job_id"])


def test_stopping_leaves_instances_up_and_ends_well(shared: Terminal) -> None:
    dsn = shared.prepare("-c", "select 1")
    shared("engine", "stop")
    assert not (shared.store / "engine.json").exists()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    shared("engine", "start")


def refusal(dsn: str) -> str | None:
    """What a server says that lets nobody in; None if it does."""
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError as error:
        return str(error)
    return None


def test_a_backend_that_crashes_right_after_the_start_costs_no_client_the_login(
    shared: Terminal,
) -> None:
    dsn = shared.prepare("-c", "select 1")
    with psycopg.connect(dsn):
        [backend] = [
            one
            for one in shared.below_the_engine("postgres")
            if "postgres postgres 127.0.0.1" in " ".join(one.cmdline())
        ]
        backend.kill()
        backend.wait()
    deadline = time.monotonic() + 300
    while said := refusal(dsn):
        assert "password" not in said
        assert time.monotonic() < deadline


def test_an_idle_engine_ends_by_itself(pgstrata: Terminal) -> None:
    ended = pgstrata("engine", "serve", "--idle-timeout", "1s")
    assert "stopped" in ended.stderr


@pytest.mark.parametrize("examples", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_the_running_engine_does_what_its_openapi_document_says(
    pgstrata: Terminal, examples: int
) -> None:
    pgstrata("prepare:psql", "--name", "known", "--", "-c", "create table t (a int)")
    file = pgstrata.engine_file()
    check_contract(file["endpoint"], file["authToken"], max_examples=examples)


@needs.root
def test_an_engine_of_an_ordinary_user_runs_its_servers_as_that_user(
    reachable_dir: Path,
) -> None:
    home = reachable_dir / "nobody"
    home.mkdir()
    os.chown(home, 65534, 65534)
    terminal = Terminal(home, user="nobody")
    terminal.work.mkdir()
    os.chown(terminal.work, 65534, 65534)
    secret = terminal.write("secret.sql", "select 1;\n")
    secret.chmod(0o600)
    try:
        refused = terminal("prepare:psql", "--", "-f", "secret.sql", exit_code=2)
        assert "secret.sql" in refused.stderr
        dsn = terminal.prepare("-c", "create table t as select 1 as a")
        with psycopg.connect(dsn) as connection:
            assert connection.execute("select a from t").fetchone() == (1,)
        engine = psutil.Process(terminal.engine_file()["pid"])
        assert engine.username() == "nobody"
    finally:
        terminal.tear_down()


def test_sigint_ends_an_engine_in_the_foreground_as_well(shared: Terminal) -> None:
    shared("engine", "start")
    engine = psutil.Process(shared.engine_file()["pid"])
    engine.send_signal(signal.SIGINT)
    engine.wait(timeout=300)
    assert not (shared.store / "engine.json").exists()


def test_an_engine_that_cannot_say_where_it_is_does_not_stay(pgstrata: Terminal) -> None:
    nowhere = pgstrata.write("file", "") / "engine.json"
    ended = pgstrata("engine", "serve", "--engine-json", nowhere, exit_code=3)
    assert str(nowhere) in ended.stderr
    assert "--engine-json" in ended.stderr


def test_a_private_umask_does_not_keep_the_servers_out_of_a_new_store(pgstrata: Terminal) -> None:
    before = os.umask(0o077)
    try:
        pgstrata.prepare("-c", "select 1")
    finally:
        os.umask(before)


def test_an_engine_told_to_stop_lets_the_step_reach_its_state_and_leaves_the_rest(
    pgstrata: Terminal,
) -> None:
    job_id, engine, statement = in_a_slow_step(pgstrata)
    engine.send_signal(signal.SIGTERM)
    statement.send_signal(signal.SIGINT)
    engine.wait(timeout=300)
    assert servers_of(pgstrata.store) == []
    assert len(list((pgstrata.store / "states").iterdir())) == 2
    assert pgstrata("watch", job_id).stdout.startswith("DSN=")
    said = [step["cached"] for step in pgstrata.json("ls", "-t")["tasks"] if "cached" in step]
    assert said == [False, False, False]


def test_told_twice_an_engine_ends_at_once(shared: Terminal) -> None:
    job_id, engine, _ = in_a_slow_step(shared)
    engine.send_signal(signal.SIGTERM)
    engine.send_signal(signal.SIGTERM)
    engine.wait(timeout=300)
    assert servers_of(shared.store) == []
    let_the_next_go_on(shared)
    assert shared("watch", job_id).stdout.startswith("DSN=")


def test_what_is_asked_of_an_engine_that_is_stopping_goes_to_the_next(shared: Terminal) -> None:
    _, engine, statement = in_a_slow_step(shared)
    engine.send_signal(signal.SIGTERM)
    statement.send_signal(signal.SIGINT)
    assert shared.prepare("-c", "select 4").startswith("postgresql://")
    assert shared.engine_file()["pid"] != engine.pid


def test_a_job_that_takes_too_long_is_stopped_and_says_so(shared: Terminal) -> None:
    refused = shared(
        "prepare:psql", "--stop-after", "1s", "--", "-c", "select pg_sleep(600)", exit_code=1
    )
    assert "longer than 1 s" in refused.stderr
    assert servers_of(shared.store) == []
    [job] = shared.json("ls", "-j")["jobs"]
    assert job["status"] == "failed"
