"""What a step's tool can do to the engine that runs it."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

import pytest

from pgstrata.domain.instance import Server
from pgstrata.runtime.base import ToolCommand, run_by_lines
from tests import needs
from tests.clusters import NativeRig, rig_below
from tests.servers import data_dir_of


@pytest.fixture(scope="module")
def native(reachable_dir: Path) -> Iterator[NativeRig]:
    with rig_below(reachable_dir / "tools", "15") as native:
        if native.native.sandbox.level == "off":
            needs.missing("there are no cells here")
        yield native


@pytest.fixture(scope="module")
def server(native: NativeRig) -> Iterator[Server]:
    server = asyncio.run(native.runtime.start(native.image, native.cluster(), building=True))
    yield server
    asyncio.run(native.runtime.stop(server, clean=False))


def in_a_shell(
    native: NativeRig, server: Server, script: str, *, work_dir: Path, trusted: bool = False
) -> list[str]:
    """What a shell says that psql starts."""
    lines: list[str] = []

    async def keep(line: str) -> None:
        lines.append(line)

    command = ToolCommand(
        tool="psql", args=("-c", f"\\! {script}"), work_dir=work_dir, trusted=trusted
    )
    asyncio.run(run_by_lines(native.runtime, server, command, keep))
    return lines


@pytest.mark.parametrize("trusted", [False, True])
def test_no_tool_sees_the_store(
    native: NativeRig, server: Server, tmp_path: Path, trusted: bool
) -> None:
    store = data_dir_of(server).parents[1]
    (store / "engine.json").write_text("a token")
    wanted = (store / "engine.json", data_dir_of(server) / "PG_VERSION")
    reading = (f"cat {quote(str(path))} 2>/dev/null || echo none" for path in wanted)
    script = "; ".join([f"ls {quote(str(store))}", *reading])
    said = in_a_shell(native, server, script, work_dir=tmp_path, trusted=trusted)
    seen = ["run"] if server.endpoint.socket_dir.is_relative_to(store) else []
    assert said == [*seen, "none", "none"]


@pytest.mark.parametrize("trusted", [False, True])
def test_no_tool_sees_the_processes_of_others(
    native: NativeRig, server: Server, tmp_path: Path, trusted: bool
) -> None:
    script = "cat /proc/[0-9]*/comm | sort"
    said = in_a_shell(native, server, script, work_dir=tmp_path, trusted=trusted)
    assert {"psql", "sh", "cat"} <= {*said} <= {"psql", "sh", "cat", "sort", "python", "python3"}


def test_a_tool_reads_the_recipes_files_and_changes_none(
    native: NativeRig, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "rows").write_text("one\n")
    (tmp_path / "rows").chmod(0o600)
    said = in_a_shell(native, server, "cat rows; echo two > rows; touch ../more", work_dir=tmp_path)
    assert said == [
        "one",
        "sh: 1: cannot create rows: Read-only file system",
        "touch: cannot touch '../more': Read-only file system",
    ]


def test_a_trusted_tool_may_change_files(native: NativeRig, server: Server, tmp_path: Path) -> None:
    assert in_a_shell(native, server, "echo two > rows", work_dir=tmp_path, trusted=True) == []
    assert (tmp_path / "rows").read_text() == "two\n"


def test_a_tool_has_no_privileges(native: NativeRig, server: Server, tmp_path: Path) -> None:
    """But that of passing by modes, with which root reads a recipe of somebody else's."""
    script = "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status"
    effective, bounding, no_new = in_a_shell(native, server, script, work_dir=tmp_path)
    may = "0000000000000002" if os.geteuid() == 0 else "0000000000000000"
    assert effective.split()[1] == may
    assert no_new.split()[1] == "1"
    if os.geteuid() == 0:
        assert bounding.split()[1] == may


@pytest.mark.parametrize("trusted", [False, True])
def test_no_tool_uncovers_what_is_hidden(
    native: NativeRig, server: Server, tmp_path: Path, trusted: bool
) -> None:
    store = quote(str(data_dir_of(server).parents[1]))
    script = f"umount {store} 2>/dev/null || unshare -Urm true 2>/dev/null || echo impossible"
    said = in_a_shell(native, server, script, work_dir=tmp_path, trusted=trusted)
    assert said == ["impossible"]


@pytest.mark.parametrize(
    ("trusted", "answer"), [(False, "Permission denied"), (True, "Connection refused")]
)
def test_psql_connects_to_its_server_only(
    native: NativeRig, server: Server, tmp_path: Path, trusted: bool, answer: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    script = f"psql -w -h 127.0.0.1 -p {free} 2>&1"
    said = in_a_shell(native, server, script, work_dir=tmp_path, trusted=trusted)
    assert answer in " ".join(said)
