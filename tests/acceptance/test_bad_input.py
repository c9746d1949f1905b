"""What a user sees when something is wrong: the thing, the remedy, an exit code, no traceback."""

import json
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from pgstrata.cli.for_eval import LINE
from tests import needs
from tests.acceptance.conftest import Terminal


@pytest.fixture
def pgstrata(shared: Terminal) -> Terminal:
    """A shell that need not be the first in its store."""
    return shared


def refused(pgstrata: Terminal, *words: str | Path, exit_code: int = 2, stdin: str = "") -> str:
    """What a prepare that is refused says; nothing is left of it."""
    ended = pgstrata("prepare:psql", "--", *words, exit_code=exit_code, stdin=stdin)
    assert ended.stdout == f"{LINE}\n"
    assert ended.stderr.startswith("error: ") or "\nerror: " in ended.stderr
    assert "hint: " in ended.stderr
    return ended.stderr


def test_a_missing_file(pgstrata: Terminal) -> None:
    assert "nowhere.sql" in refused(pgstrata, "-f", "nowhere.sql")
    assert pgstrata.json("ls", "-j")["jobs"] == []


def test_a_directory_in_place_of_a_file(pgstrata: Terminal) -> None:
    (pgstrata.work / "folder").mkdir()
    assert "folder" in refused(pgstrata, "-f", "folder")


def test_an_include_that_does_not_exist(pgstrata: Terminal) -> None:
    pgstrata.write("a.sql", "select 1;\n\\ir gone.sql\n")
    said = refused(pgstrata, "-f", "a.sql")
    assert "gone.sql" in said
    assert "a.sql:2" in said


def test_an_include_that_includes_itself(pgstrata: Terminal) -> None:
    pgstrata.write("a.sql", "\\ir b.sql\n")
    pgstrata.write("b.sql", "\\ir a.sql\n")
    assert "b.sql" in refused(pgstrata, "-f", "a.sql")


def test_an_sql_error_in_the_second_of_three_steps_keeps_the_first(pgstrata: Terminal) -> None:
    pgstrata.write("one.sql", "create table one (a int);\n")
    pgstrata.write("two.sql", "select 1;\ncreate table two (a nonsense);\n")
    pgstrata.write("three.sql", "create table three (a int);\n")
    recipe = ("-f", "one.sql", "-f", "two.sql", "-f", "three.sql")
    said = refused(pgstrata, *recipe, exit_code=1)
    assert "two.sql:2: ERROR:" in said
    assert 'type "nonsense" does not exist' in said
    plan = pgstrata.json("plan:psql", "--", *recipe)["tasks"]
    cached = [task["cached"] for task in plan if task["type"] == "state_execute"]
    assert cached == [True, False, False]
    assert pgstrata.json("ls", "-i")["instances"] == []


def test_a_compressed_script_on_standard_input(pgstrata: Terminal) -> None:
    pgstrata.write("a.sql", "select 1;\n")
    command = f"gzip -c a.sql | {shlex.join(map(str, pgstrata.command))} prepare:psql -- -f -"
    ended = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        cwd=pgstrata.work,
        env=pgstrata.environment,
        check=False,
    )
    assert ended.returncode == 2
    assert "standard input is compressed with gzip" in ended.stderr
    assert "name that: -f FILE" in ended.stderr


def test_an_empty_request(pgstrata: Terminal) -> None:
    assert "-f" in refused(pgstrata)


@pytest.mark.parametrize(
    "words",
    [
        ("-h", "elsewhere"),
        ("--host=elsewhere",),
        ("-p", "5432"),
        ("-U", "me"),
        ("-d", "mine"),
        ("--dbname=mine",),
        ("mine",),
    ],
    ids=" ".join,
)
def test_connection_flags(pgstrata: Terminal, words: tuple[str, ...]) -> None:
    refused(pgstrata, *words, "-c", "select 1")


@pytest.mark.parametrize("image", ["mysql:8", "postgres:9", "postgres:banana", "postgres@sha256:1"])
def test_an_image_that_is_not_there(pgstrata: Terminal, image: str) -> None:
    said = pgstrata("prepare:psql", "--image", image, "--", "-c", "select 1", exit_code=2).stderr
    assert "hint: " in said


def test_a_store_that_cannot_be_written(pgstrata: Terminal) -> None:
    occupied = pgstrata.write("occupied", "a file")
    said = pgstrata("engine", "serve", "--store", occupied / "store", exit_code=3).stderr
    assert str(occupied) in said
    assert "hint: " in said


@needs.root
def test_a_store_that_the_servers_user_cannot_reach(pgstrata: Terminal) -> None:
    private = pgstrata.work / "private"
    private.mkdir(mode=0o700)
    said = pgstrata("engine", "serve", "--store", private / "store", exit_code=3).stderr
    assert f"cannot enter {private} " in said
    assert "hint: " in said


def test_a_port_that_is_taken(pgstrata: Terminal) -> None:
    pgstrata("engine", "stop")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = pgstrata("engine", "serve", "--listen", f"127.0.0.1:{port}", exit_code=3).stderr
    assert f"127.0.0.1:{port}" in said
    assert "--listen" in said


def test_a_second_engine_on_the_same_store(pgstrata: Terminal) -> None:
    pgstrata("engine", "start")
    said = pgstrata("engine", "serve", exit_code=3).stderr
    assert str(pgstrata.engine_file()["pid"]) in said
    pgstrata("status")


def test_an_engine_json_left_by_a_dead_engine_is_not_trusted(pgstrata: Terminal) -> None:
    pgstrata("engine", "start")
    file = pgstrata.store / "engine.json"
    stale = file.read_bytes()
    pgstrata("engine", "stop")
    assert not file.exists()
    file.write_bytes(stale)
    pgstrata.prepare("-c", "select 1")
    assert json.loads(stale)["instanceId"] != pgstrata.engine_file()["instanceId"]


def test_a_garbled_engine_json_is_not_trusted(pgstrata: Terminal) -> None:
    pgstrata("engine", "start")
    pgstrata("engine", "stop")
    (pgstrata.store / "engine.json").write_text("{")
    pgstrata.prepare("-c", "select 1")


def test_an_unknown_snapshot_backend_or_one_that_does_not_work(pgstrata: Terminal) -> None:
    said = pgstrata("engine", "serve", "--snapshot-backend", "floppy", exit_code=2).stderr
    assert "btrfs" in said


def test_a_server_setting_that_is_the_engines_own(pgstrata: Terminal) -> None:
    words = ("engine", "serve", "--server-setting", "port=5432")
    assert "port" in pgstrata(*words, exit_code=2).stderr


def test_an_unknown_command_teaches_the_known_ones(pgstrata: Terminal) -> None:
    assert "prepare:psql" in pgstrata("prepare:sqlite", exit_code=2).stderr
