"""A runtime for component tests: servers that are entries of a table, on a disk in memory."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from types import MappingProxyType

from pgstrata.dbms.memory import (
    CLEAN,
    CONTROL_FILE,
    IN_PRODUCTION,
    PID_FILE,
    MemoryProcess,
    process_of,
)
from pgstrata.domain.image import Installation, ResolvedImage
from pgstrata.domain.initdb import Initdb
from pgstrata.domain.instance import Address, Endpoint, Server
from pgstrata.domain.model import Model
from pgstrata.errors import InputChangedError, InvalidArgumentError, ServerError
from pgstrata.runtime.base import Harm, ToolCommand, ToolExit
from pgstrata.runtime.extensions import unavailable_in, where_to_get
from pgstrata.runtime.images import candidates, image_id, not_installed, parse
from pgstrata.runtime.ports import port_taken
from pgstrata.system.memory_disk import MemoryDisk
from pgstrata.system.output import OutputSink

_FIRST_PORT = 50_000

INSTALLATIONS = tuple(
    Installation(
        version=version,
        major=int(version.partition(".")[0]),
        bin_dir=Path("/memory") / version / "bin",
        source="memory",
    )
    for version in ("17.2", "16.4", "16.3")
)


class ToolRun(Model, frozen=True, kw_only=True):
    """What a tool does when it is run."""

    lines: tuple[str, ...] = ()
    """What it writes to standard output, line by line."""
    complaints: tuple[str, ...] = ()
    """What it writes to standard error before that, line by line."""
    ended: ToolExit = ToolExit(exit_code=0, stderr_tail="")
    hangs: bool = False
    """Whether it writes its lines and then never ends by itself."""
    gate: asyncio.Event | None = None
    """An event it waits for after its lines, if any."""


def succeed(_server: Server, _command: ToolCommand) -> ToolRun:
    """A tool that prints nothing and succeeds."""
    return ToolRun()


class MemoryRuntime:
    """Keeps servers in a table, and their files on the disk.

    ``tool`` decides what a command does, and may change the disk as that tool would; it raises
    ``ProgramError`` for a tool that cannot be started. ``commands`` has every command that was run.
    """

    def __init__(
        self,
        disk: MemoryDisk,
        installations: Sequence[Installation] = INSTALLATIONS,
        tool: Callable[[Server, ToolCommand], ToolRun] = succeed,
    ) -> None:
        self.tool = tool
        self.commands: list[ToolCommand] = []
        self._disk = disk
        self._installations = tuple(installations)
        self._touched = 0
        self._servers: dict[int, Server] = {}
        self.started_with: list[Mapping[str, str]] = []
        """The settings that each server was started with."""
        """By their pids."""
        self._before_boot: set[int] = set()
        self.paused: set[str] = set()
        """The handles of servers that do not go on."""
        self._pids = count(1000)

    @property
    def remark(self) -> str | None:
        return None

    @property
    def confines(self) -> bool:
        return True

    async def installations(self) -> tuple[Installation, ...]:
        return self._installations

    async def resolve(self, image_id: str) -> ResolvedImage:
        ref = parse(image_id)
        for one in candidates(ref, self._installations):
            if ref.digest in (None, _digest(one)):
                return _resolved(one)
        raise not_installed(ref, self._installations)

    async def programs(self, image_id: str) -> Path:
        await self._version(image_id)
        return next(
            one.bin_dir for one in self._installations if _resolved(one).image_id == image_id
        )

    def touch(self) -> None:
        """Change something of every installation, and change it back."""
        self._touched += 1

    @asynccontextmanager
    async def unchanged(self, image_id: str) -> AsyncIterator[None]:
        version = await self._version(image_id)
        before = self._touched
        try:
            yield
        finally:
            if self._touched != before:
                raise InputChangedError(
                    f"PostgreSQL {version} changed while it was used", remedy="prepare again"
                )

    async def initialise(
        self, image_id: str, data_dir: Path, options: Initdb | None = None
    ) -> None:
        major = (await self._version(image_id)).partition(".")[0]
        if self._disk.children(data_dir):
            raise ServerError(f"{data_dir} is not empty")
        self._disk.write(data_dir / "PG_VERSION", f"{major}\n".encode())
        self._disk.write(data_dir / CONTROL_FILE, CLEAN)
        for name, value in (options or Initdb()).own.items():
            self._disk.write(data_dir / name, value.encode())

    async def start(
        self,
        image_id: str,
        data_dir: Path,
        *,
        building: bool = False,
        address: Address | None = None,
        avoid: Collection[int] = (),
        settings: Mapping[str, str] = MappingProxyType({}),
        fixed: Mapping[str, str] = MappingProxyType({}),
        waits: bool = False,
    ) -> Server:
        await self._version(image_id)
        if self._disk.read(data_dir / "PG_VERSION") is None:
            raise ServerError(f"{data_dir} is not a data directory")
        if await self.owner_of(data_dir) is not None:
            raise ServerError(f"another server runs on {data_dir}")
        if address is not None and any(
            server.endpoint.port == address.port for server in self.running
        ):
            raise port_taken(address.port)
        pid = next(pid for pid in self._pids if _FIRST_PORT + pid not in avoid)
        address = address or Address(port=_FIRST_PORT + pid, password=f"memory-{pid}")
        server = Server(
            endpoint=Endpoint(
                host="127.0.0.1",
                port=address.port,
                socket_dir=Path("/memory/run"),
                user="postgres",
                password=address.password,
                database="postgres",
            ),
            runtime_id=str(pid),
            title=f"the server on {data_dir}",
            log="nowhere",
            handle=MemoryProcess(pid=pid, image_id=image_id, data_dir=data_dir).handle,
        )
        self._servers[pid] = server
        self.started_with.append({**settings, **fixed})
        self._disk.write(data_dir / PID_FILE, f"{pid}\n".encode())
        self._disk.write(data_dir / CONTROL_FILE, IN_PRODUCTION)
        return server

    async def stop(self, server: Server, *, clean: bool = True) -> None:
        data_dir = process_of(server).data_dir
        ran = self.runs(server)
        if ran:
            self.kill(server)
        if await self.owner_of(data_dir) is None:
            self._disk.remove_tree(data_dir / PID_FILE)
        if ran and clean:
            self._disk.write(data_dir / CONTROL_FILE, CLEAN)

    @asynccontextmanager
    async def freeze(self, server: Server) -> AsyncIterator[None]:
        if not await self.alive(server):
            raise ServerError(f"{server.title} is gone")
        yield

    async def pause(self, server: Server) -> None:
        if not await self.alive(server):
            raise ServerError(f"{server.title} is gone")
        self.paused.add(server.handle)

    async def resume(self, server: Server) -> None:
        self.paused.discard(server.handle)

    def has_others(self, server: Server) -> bool:
        return True

    async def alive(self, server: Server) -> bool:
        return self.runs(server) and self.has_data(server)

    def has_data(self, server: Server) -> bool:
        return self._disk.exists(process_of(server).data_dir)

    def is_of_this_boot(self, server: Server) -> bool:
        return process_of(server).pid not in self._before_boot

    def boot(self) -> None:
        """Boot the machine, which ends all servers."""
        self._before_boot.update(self._servers)
        self._servers.clear()
        self.paused.clear()

    async def owner_of(self, data_dir: Path) -> Server | None:
        pid_file = self._disk.read(data_dir / PID_FILE)
        server = None if pid_file is None else self._servers.get(int(pid_file))
        return None if server is None or process_of(server).data_dir != data_dir else server

    async def clear_orphans(self, keep: Collection[Server]) -> None:
        kept = {process_of(server).data_dir for server in keep}
        for server in self.running:
            if process_of(server).data_dir not in kept:
                await self.stop(server, clean=False)

    async def run(self, server: Server, command: ToolCommand, output: OutputSink) -> ToolExit:
        if not await self.alive(server):
            return ToolExit(exit_code=2, stderr_tail="the server does not answer")
        self.commands.append(command)
        run = self.tool(server, command)
        for text in run.complaints:
            await output("stderr", f"{text}\n".encode())
        for text in run.lines:
            await output("stdout", f"{text}\n".encode())
        if run.gate is not None:
            await run.gate.wait()
        if run.hangs:
            await asyncio.get_running_loop().create_future()
        return run.ended

    def witness(self, server: Server) -> "MemoryWitness":
        return MemoryWitness(self, server)

    def stopped_for(self, server: Server) -> str | None:
        return None

    async def remedy_for(self, server: Server, said: str) -> str | None:
        extension = unavailable_in(said)
        if extension is None:
            return None
        used = next(
            one
            for one in self._installations
            if image_id(_digest(one)) == process_of(server).image_id
        )
        return where_to_get(extension, used, self._installations, {})

    @property
    def running(self) -> tuple[Server, ...]:
        """Every running server, the oldest first."""
        return tuple(self._servers.values())

    def kill(self, server: Server) -> None:
        """End a server as ``kill -9`` does, leaving its pid file and an unclean cluster."""
        self.paused.discard(server.handle)
        del self._servers[process_of(server).pid]

    def runs(self, server: Server) -> bool:
        """Whether a server is running, with its files or without."""
        return self._servers.get(process_of(server).pid) == server

    async def _version(self, image_id: str) -> str:
        try:
            return (await self.resolve(image_id)).version
        except InvalidArgumentError as error:
            raise ServerError(error.message, remedy=error.remedy) from error


class MemoryWitness:
    """Sees whether a server was killed."""

    def __init__(self, runtime: MemoryRuntime, server: Server) -> None:
        self._runtime = runtime
        self._server = server

    async def harm(self, said: str) -> Harm | None:
        if self._runtime.runs(self._server):
            return None
        return Harm(what="the server was ended", from_outside=True)

    @property
    def memory(self) -> str:
        return ""


def _resolved(installation: Installation) -> ResolvedImage:
    return ResolvedImage(image_id=image_id(_digest(installation)), version=installation.version)


def _digest(installation: Installation) -> str:
    return hashlib.sha256(str(installation.bin_dir).encode()).hexdigest()
