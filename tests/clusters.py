"""Runtimes to test with, real and in memory, and clusters for them to run."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from itertools import count
from pathlib import Path
from typing import Protocol

import psutil
import psycopg

from pgstrata.dbms.base import Dbms
from pgstrata.dbms.memory import DAMAGED, UNLOGGED, MemoryDbms
from pgstrata.dbms.postgres import Postgres
from pgstrata.domain.image import Installation
from pgstrata.domain.instance import Server
from pgstrata.errors import InvalidArgumentError, ProgramError
from pgstrata.runtime.access import socket_dir_for
from pgstrata.runtime.base import Runtime, ToolCommand, ToolExit
from pgstrata.runtime.digest import digest
from pgstrata.runtime.installations import Finder
from pgstrata.runtime.layout import Layout, layout_of
from pgstrata.runtime.memory import MemoryRuntime, ToolRun
from pgstrata.runtime.native import NativeRuntime
from pgstrata.runtime.ports import Ports
from pgstrata.runtime.surroundings import with_surroundings
from pgstrata.settings import SandboxSettings, ServerLimits
from pgstrata.system.memory_disk import MemoryDisk
from tests import needs
from tests.servers import data_dir_of, pid_of, works_below

POSTGRES_HOME = Path(os.environ.get("PGSTRATA_POSTGRES_HOME", f"{sys.prefix}/postgres"))
"""Where `make test` puts PostgreSQL of several majors."""

SETTINGS = {"fsync": "off", "shared_buffers": "1MB", "max_connections": "20"}

ANSWERING = ("-XAt", "-c", "select 42")
FAILING = ("-Xq", "-c", "select nothing")
HANGING = ("-XAt", "-c", "select 'begun'", "-c", "select pg_sleep(600)")


class Rig(Protocol):
    """A runtime, the dbms that belongs to it, and what a test does behind their backs."""

    runtime: Runtime
    dbms: Dbms
    image: str

    def empty(self) -> Path:
        """A new, empty data directory."""

    def cluster(self) -> Path:
        """A data directory with a cluster at rest."""

    def write(self, path: Path, content: bytes) -> None: ...

    def read(self, path: Path) -> bytes: ...

    def exists(self, path: Path) -> bool: ...

    def remove(self, path: Path) -> None: ...

    def kill(self, server: Server) -> None:
        """``kill -9``: return once it has ended."""

    def add_tablespace(self, server: Server) -> Path:
        """Make a tablespace that is only a link in the data directory; its location."""

    def add_unlogged(self, server: Server) -> None:
        """Make an unlogged table, in a database that lets nobody connect."""

    def add_index(self, server: Server, method: str = "btree") -> Path:
        """Make an index that is damaged by what is written to its file, which this returns."""

    def clients(self, server: Server, number: int) -> AbstractContextManager[None]:
        """Have that many clients connected for the length of the block."""

    def clear(self) -> None:
        """Remove the data directories; nothing may be running in them."""


class MemoryRig:
    """Everything in memory; psql is played by ``_play_psql``."""

    def __init__(self) -> None:
        self._disk = MemoryDisk()
        self._numbers = count()
        self._memory = MemoryRuntime(self._disk, tool=_play_psql)
        self._memory_dbms = MemoryDbms(self._disk)
        self.runtime: Runtime = self._memory
        self.dbms: Dbms = self._memory_dbms
        self.image = asyncio.run(self.runtime.resolve("postgres")).image_id

    def empty(self) -> Path:
        data_dir = Path(f"/store/{next(self._numbers)}/data")
        self._disk.make_dir(data_dir)
        return data_dir

    def cluster(self) -> Path:
        data_dir = self.empty()
        asyncio.run(self.runtime.initialise(self.image, data_dir))
        return data_dir

    def write(self, path: Path, content: bytes) -> None:
        self._disk.write(path, content)

    def read(self, path: Path) -> bytes:
        return self._disk.read(path) or b""

    def exists(self, path: Path) -> bool:
        return self._disk.exists(path)

    def remove(self, path: Path) -> None:
        self._disk.remove_tree(path)

    def kill(self, server: Server) -> None:
        self._memory.kill(server)

    def add_tablespace(self, server: Server) -> Path:
        location = Path("/elsewhere")
        self._disk.write(data_dir_of(server) / "pg_tblspc" / "16384", str(location).encode())
        return location

    def add_unlogged(self, server: Server) -> None:
        self._disk.write(data_dir_of(server) / UNLOGGED, b"quick")

    def add_index(self, server: Server, method: str = "btree") -> Path:
        return data_dir_of(server) / DAMAGED

    @contextmanager
    def clients(self, server: Server, number: int) -> Iterator[None]:
        self._memory_dbms.clients[server.runtime_id] = number
        yield
        del self._memory_dbms.clients[server.runtime_id]

    def clear(self) -> None:
        self._disk.remove_tree(Path("/store"))


def fetched(major: str, home: Path = POSTGRES_HOME) -> Installation:
    """The PostgreSQL that `make test` fetched; skipped without, but in CI that is a failure."""
    found = asyncio.run(Finder(None, path="", home=home).find())
    there = [one for one in found if one.bin_dir.is_relative_to(home.resolve())]
    wanted = next((one for one in there if one.major == int(major)), None)
    return wanted or needs.missing(f"there is no PostgreSQL {major} in {home}: run `make test`")


def exactly(installation: Installation) -> str:
    """A version that means this installation and no other of the same release."""
    layout = asyncio.run(_whole_layout(installation))
    return f"{installation.version}@sha256:{digest(installation.version, layout)}"


async def _whole_layout(installation: Installation) -> Layout:
    return await with_surroundings(await layout_of(installation.bin_dir))


class NativeRig:
    """Real servers of one installed PostgreSQL; clusters are copies of one made with initdb."""

    def __init__(
        self,
        directory: Path,
        version: str = "",
        home: Path = POSTGRES_HOME,
        sandbox: SandboxSettings | None = None,
    ) -> None:
        """``version`` as in ``postgres:<version>``; skips the test when it is not installed.

        ``home`` is where fetched servers are.
        """
        self._directory = directory
        self._numbers = count()
        self._template: Path | None = None
        self.native = native_runtime(directory, home=home, sandbox=sandbox)
        self.runtime: Runtime = self.native
        self.dbms: Dbms = Postgres()
        self.image = image_of(self.native, f"postgres:{version}" if version else "postgres")

    def empty(self) -> Path:
        return self._new(f"place-{next(self._numbers)}")

    def cluster(self) -> Path:
        if self._template is None:
            self._template = self._new("template")
            asyncio.run(self.runtime.initialise(self.image, self._template))
        data_dir = self.empty()
        subprocess.run(["cp", "-a", f"{self._template}/.", data_dir], check=True)
        return data_dir

    @asynccontextmanager
    async def serving(
        self, data_dir: Path | None = None, *, waits: bool = False
    ) -> AsyncIterator[Server]:
        """A server on a cluster of its own, or on the given one."""
        server = await self.runtime.start(self.image, data_dir or self.cluster(), waits=waits)
        try:
            yield server
        finally:
            await self.runtime.stop(server)

    def write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def exists(self, path: Path) -> bool:
        return path.exists()

    def remove(self, path: Path) -> None:
        if path.is_dir():  # its server may be about to write to it
            path.rename(path.with_name(f"removed-{path.name}"))
        else:
            path.unlink()

    def kill(self, server: Server) -> None:
        process = psutil.Process(pid_of(server))
        process.send_signal(signal.SIGKILL)
        process.wait()

    def add_tablespace(self, server: Server) -> Path:
        location = Path("/elsewhere")
        (data_dir_of(server) / "pg_tblspc" / "16384").symlink_to(location)
        return location

    def add_unlogged(self, server: Server) -> None:
        dsn = server.endpoint.dsn
        with connected(dsn) as connection:
            connection.execute("create database hidden")
            with connected(dsn.rpartition("/")[0] + "/hidden") as hidden:
                hidden.execute("create unlogged table quick (a int)")
            connection.execute("alter database hidden allow_connections false")

    def add_index(self, server: Server, method: str = "btree") -> Path:
        with connected(server.endpoint.dsn) as connection:
            connection.execute("create table indexed (a int[])")
            connection.execute("insert into indexed select array[n] from generate_series(1, 100) n")
            connection.execute(f"create index its_index on indexed using {method} (a)")
            cursor = connection.execute("select pg_relation_filepath('its_index')")
            row = cursor.fetchone()
        assert row is not None
        return data_dir_of(server) / str(row[0])

    @contextmanager
    def clients(self, server: Server, number: int) -> Iterator[None]:
        with ExitStack() as connections:
            for _ in range(number):
                connections.enter_context(connected(server.endpoint.dsn))
            yield

    def clear(self) -> None:
        for place in self._directory.glob("place-*"):
            shutil.rmtree(place)

    def _new(self, name: str) -> Path:
        data_dir = self._directory / name / "data"
        data_dir.mkdir(mode=0o700, parents=True)
        return data_dir


@contextmanager
def rig_below(
    directory: Path,
    version: str = "",
    home: Path = POSTGRES_HOME,
    sandbox: SandboxSettings | None = None,
) -> Iterator[NativeRig]:
    """Servers that work below a new directory, none of which may be left at the end."""
    directory.mkdir()
    with no_server_left(directory):
        rig = NativeRig(directory, version, home, sandbox)
        rig.cluster()  # the first takes an event loop of its own, which a test has not to spare
        yield rig


def native_runtime(
    directory: Path,
    ports: Ports | None = None,
    home: Path = POSTGRES_HOME,
    sandbox: SandboxSettings | None = None,
    limits: ServerLimits | None = None,
) -> NativeRuntime:
    """A runtime with its sockets below ``directory``, which the servers' user can reach."""
    return NativeRuntime(
        store=directory,
        run_dir=socket_dir_for(directory),
        server_user=None,
        server_settings=SETTINGS,
        postgres_home=home,
        ports=ports,
        sandbox=sandbox,
        limits=limits,
    )


def image_of(runtime: Runtime, wanted: str) -> str:
    """The resolved image; the test is skipped without it, but in CI that is a failure."""
    try:
        return asyncio.run(runtime.resolve(wanted)).image_id
    except InvalidArgumentError as error:
        needs.missing(error.message)


def connected(dsn: str) -> psycopg.Connection:
    """A connection in autocommit."""
    return psycopg.connect(dsn, autocommit=True, sslmode="disable", gssencmode="disable")


def servers_below(directory: Path) -> list[psutil.Process]:
    """Every PostgreSQL process that works in a data directory below ``directory``."""
    root = directory.resolve()
    return [
        process
        for process in psutil.process_iter(["name"])
        if process.info["name"] == "postgres" and works_below(process.pid, root)
    ]


@contextmanager
def no_server_left(directory: Path) -> Iterator[None]:
    """Stop what a failed test left running below ``directory``, and fail if there was anything."""
    try:
        yield
    finally:
        left = servers_below(directory)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left)
    assert left == []


def _play_psql(_server: Server, command: ToolCommand) -> ToolRun:
    if command.tool != "psql":
        raise ProgramError(f"cannot start `{command.tool}`")
    if command.stdin is not None:
        return ToolRun(lines=(command.stdin,))
    return _PLAYS[command.args]


_COMPLAINT = 'ERROR:  column "nothing" does not exist'

_PLAYS = {
    ANSWERING: ToolRun(lines=("42",)),
    FAILING: ToolRun(lines=(_COMPLAINT,), ended=ToolExit(exit_code=1, stderr_tail=_COMPLAINT)),
    HANGING: ToolRun(lines=("begun",), hangs=True),
}
