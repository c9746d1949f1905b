"""What a step's tool can do to the engine that runs it."""

import asyncio
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

import psutil
import pytest

from pgstrata.domain.instance import Server
from pgstrata.runtime.base import ToolCommand, View, run_by_lines
from tests import needs
from tests.clusters import NativeRig, rig_below
from tests.hostile.cells import PYTHON
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


@pytest.fixture
def project(reachable_dir: Path) -> Iterator[Path]:
    """A directory that a command is called in, and may see some of."""
    with tempfile.TemporaryDirectory(dir=reachable_dir) as directory:
        path = Path(directory, "a project")
        for name in ("in/rows", "in/cache/old", "modules/one", "secret"):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(f"{name}\n")
        (path / "link").symlink_to("in/rows")
        yield path


def sealed(native: NativeRig, server: Server, script: str, project: Path) -> list[str]:
    """What a command says that sees a part of a project and its server only."""
    lines: list[str] = []

    async def keep(line: str) -> None:
        lines.append(line)

    command = ToolCommand(
        tool="/bin/sh",
        args=("-c", f"exec 2>&1; {script}"),
        work_dir=project,
        network=False,
        view=View(
            hidden=(project, project / "in/cache"),
            shown=(project / "in", project / "link", project / "modules/one"),
        ),
    )
    asyncio.run(run_by_lines(native.runtime, server, command, keep))
    return lines


def test_a_command_sees_of_its_directory_what_it_is_shown(
    native: NativeRig, server: Server, project: Path
) -> None:
    script = "find . -type f -o -type l | sort; cat link"
    assert sealed(native, server, script, project) == [
        *("./in/rows", "./link", "./modules/one"),
        "in/rows",
    ]


def test_what_a_command_writes_is_thrown_away_or_refused(
    native: NativeRig, server: Server, project: Path
) -> None:
    script = "for f in own in/rows in/new ~/x /tmp/x /etc/x; do echo > $f && echo $f; done"
    said = sealed(native, server, script, project)
    assert [line for line in said if "Read-only" not in line] == ["own", "/tmp/x", "/tmp/x"]
    assert sum("Read-only" in line for line in said) == 3
    assert not (project / "own").exists()
    assert sealed(native, server, "ls /tmp /var/tmp; cat own || echo gone", project)[-1] == "gone"


def test_a_command_reaches_its_server_by_tcp_and_nobody_else(
    native: NativeRig, server: Server, project: Path
) -> None:
    program = """
import socket, sys
for port in sys.argv[1:]:
    print(socket.socket().connect_ex(("127.0.0.1", int(port))))
try:
    socket.socket(type=socket.SOCK_DGRAM)
except OSError as error:
    print(error.errno)
"""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = f"{server.endpoint.port} {other.getsockname()[1]}"
        said = sealed(native, server, f"{PYTHON} -c {quote(program)} {ports}", project)
    assert said == ["0", str(errno.EACCES), str(errno.EPERM)]


def test_nothing_outlives_a_command(native: NativeRig, server: Server, project: Path) -> None:
    number = f"{os.getpid()}7"
    script = f"setsid sh -c 'trap \"\" TERM HUP; sleep {number}' >/dev/null & echo begun"
    assert sealed(native, server, script, project) == ["begun"]
    left = [
        one for one in psutil.process_iter(["cmdline"]) if number in (one.info["cmdline"] or ())
    ]
    assert left == []


def test_a_tool_changes_no_setting_of_the_machine(
    native: NativeRig, server: Server, tmp_path: Path
) -> None:
    """Root passes for the owner of these files whatever its capabilities."""
    settings = ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper")
    script = "; ".join(f"test -w {path} && echo {path}" for path in settings)
    assert in_a_shell(native, server, script, work_dir=tmp_path) == []


def test_a_tool_sees_no_shared_memory_of_others(
    native: NativeRig, server: Server, tmp_path: Path
) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as shared:
        script = f"test -e {quote(shared.name)} && echo there"
        assert in_a_shell(native, server, script, work_dir=tmp_path) == []
