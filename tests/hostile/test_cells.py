"""What a server's users can do to others: nothing, where the system has cells."""

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgstrata.dbms.tablespaces import DATA_DIR
from pgstrata.domain.image import Installation
from pgstrata.domain.instance import Server
from pgstrata.runtime import postmaster
from pgstrata.runtime.base import ToolCommand, run_by_lines
from pgstrata.runtime.cells import Cells, Places
from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.runtime.layout import layout_of
from pgstrata.runtime.postmaster import Postmaster
from pgstrata.runtime.users import engine_user
from pgstrata.settings import SandboxSettings
from pgstrata.system import processes
from pgstrata.system.cell import levels, spawning
from pgstrata.system.cell.plan import Cell
from pgstrata.system.cell.spawning import Ended, Spawner
from tests.clusters import NativeRig, connected
from tests.hostile.cells import ATTACKS, PYTHON, argv, identity, outcome_in


def installation_of(native: NativeRig) -> Installation:
    found = asyncio.run(native.runtime.installations())
    return next(one for one in found if one.major == 15)


def cell_with(native: NativeRig, spawner: Spawner, program: tuple[str, ...], own: Path) -> Cell:
    """A server's cell with another program in the server's place."""
    user = native.native.server_user or engine_user()
    cells = Cells(spawner, SandboxSettings(), server_user=user, engine_user=engine_user())
    cell = cells.server(
        program,
        MINIMAL_ENV,
        layout=asyncio.run(layout_of(installation_of(native).bin_dir)),
        major=15,
        places=Places(own, own, own),
        port=1,
    )
    assert cell is not None
    return cell


@pytest.fixture(scope="module", params=["new", "made in advance"])
def inside(
    native: NativeRig,
    there: dict[str, Any],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """What becomes of each attack in a server's place: in its cell, but that it runs Python."""
    store = tmp_path_factory.mktemp("store")
    spawner = Spawner(store)
    # What is its own has a path of its own there.
    program = argv(there | {"own": DATA_DIR})
    cell = cell_with(native, spawner, program, Path(there["own"]))
    if request.param == "made in advance" and cell.one_of_many:
        nothing = cell._replace(argv=(PYTHON, "-c", ""))
        levels.wait(spawner.start(nothing, stdin=None, stdout=None, stderr=None))
        while not spawning.running(store):
            os.sched_yield()
    with tempfile.TemporaryFile() as said:
        started = spawner.start(cell, stdin=None, stdout=said.fileno(), stderr=said.fileno())
        ended = levels.wait(started)
        spawner.close()
        said.seek(0)
        text = said.read().decode()
    assert ended == Ended(exit_code=0, failure=None), text
    return outcome_in(text)


@pytest.fixture(scope="module")
def outside(native: NativeRig, there: dict[str, Any]) -> dict[str, str]:
    """What becomes of each attack without a cell, as the same user."""
    ended = subprocess.run(
        argv(there), check=True, cwd="/", capture_output=True, text=True, **identity(native)
    )
    return outcome_in(ended.stdout)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_fails(inside: dict[str, str], name: str) -> None:
    assert inside[name].startswith("failed")


@pytest.mark.parametrize("name", ATTACKS)
def test_the_same_attack_succeeds_without_a_cell(outside: dict[str, str], name: str) -> None:
    """Whatever fails here fails for another reason, and shows nothing above."""
    assert outside[name] == "succeeded"


def test_sql_reads_nothing_but_postgresql_and_its_own_data(
    native: NativeRig, neighbour: Server, there: dict[str, Any]
) -> None:
    dsn = neighbour.endpoint.dsn
    with connected(dsn) as attacker:
        for path in (there["own"] + "/PG_VERSION", there["readable"], "/etc/shadow", "/etc/fstab"):
            with pytest.raises(psycopg.Error, match="No such file"):
                attacker.execute("select pg_read_file(%s)", (path,))
        for program in ("true", "/usr/bin/true"):
            with pytest.raises(psycopg.Error):
                attacker.execute(f"copy (select 1) to program '{program}'".encode())
        assert attacker.execute("select pg_read_file('PG_VERSION')").fetchone() == ("15\n",)


def test_native_code_cannot_be_brought_along(native: NativeRig, neighbour: Server) -> None:
    """A library that is written as a large object is loaded by whoever may run programs."""
    directory = asyncio.run(layout_of(installation_of(native).bin_dir)).library_dir
    library = (directory / "plpgsql.so").read_bytes()
    with connected(neighbour.endpoint.dsn) as attacker:
        oid = attacker.execute("select lo_from_bytea(0, %s)", (library,)).fetchone()
        assert oid is not None
        for place in (f"{DATA_DIR}/brought.so", "/tmp/brought.so"):
            attacker.execute("select lo_export(%s, %s)", (*oid, place))
            with pytest.raises(psycopg.Error, match="failed to map segment from shared object"):
                attacker.execute(f"load '{place}'".encode())


DAEMON = """
import ctypes, os, time
print("begun", flush=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, b"innocent")
        os.closerange(3, 100)
        print("outlives", flush=True)
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(600)
"""


def test_a_process_that_left_the_server_ends_with_it(native: NativeRig) -> None:
    """It is gone before anybody looks at the server's files: a daemon with another name."""

    async def life(spawner: Spawner, cell: Cell) -> bytes:
        said, output = os.pipe()
        started = spawner.start(cell, stdin=None, stdout=output, stderr=None)
        os.close(output)
        with os.fdopen(said, "rb", buffering=0) as file:
            text = b""
            while b"outlives" not in text:
                text += file.read(100) or b""
            server = Postmaster(
                pid=started.pid,
                started=0,
                birth=processes.birth(started.pid),
                image_id="",
                data_dir=Path("/"),
                first=True,
            )
            await postmaster.shut_down(server, clean=False)
            os.set_blocking(said, False)
            left = file.read()
        os.close(started.report)
        os.close(started.pidfd)
        return left

    spawner = Spawner(Path("/"))
    cell = cell_with(native, spawner, (PYTHON, "-I", "-c", DAEMON), native.cluster())
    assert asyncio.run(life(spawner, cell)) == b""
    spawner.close()


@pytest.mark.parametrize(
    ("building", "answer"), [(False, "Permission denied"), (True, "Connection refused")]
)
def test_a_server_reaches_itself_and_nobody_else(
    native: NativeRig, neighbour: Server, building: bool, answer: str
) -> None:
    async def ask(data_dir: Path) -> list[str]:
        lines: list[str] = []

        async def keep(line: str) -> None:
            lines.append(line)

        server = await native.runtime.start(native.image, data_dir, building=building)
        other = f"host={neighbour.endpoint.host} port={neighbour.endpoint.port} password=x"
        statements = (
            "create extension dblink",
            "select * from dblink('dbname=' || current_database(), 'select 7') as t (n int)",
            f"select * from dblink('{other}', 'select 8') as t (n int)",
        )
        args = tuple(word for statement in statements for word in ("-c", statement))
        command = ToolCommand(tool="psql", args=("-qAt", *args), work_dir=Path("/"))
        await run_by_lines(native.runtime, server, command, keep)
        await native.runtime.stop(server, clean=False)
        return lines

    itself, *refusal = asyncio.run(ask(native.cluster()))
    assert itself == "7"
    assert answer in " ".join(refusal)
