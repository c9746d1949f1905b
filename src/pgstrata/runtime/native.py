"""The native runtime: servers are processes of the PostgreSQL installed on this machine."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from msgspec.structs import replace

from pgstrata.dbms.connection import bare_connection, tell
from pgstrata.dbms.first_session import give_login, rehearse
from pgstrata.dbms.tablespaces import TABLESPACES, is_refusal
from pgstrata.domain.image import Installation, ResolvedImage
from pgstrata.domain.initdb import Initdb
from pgstrata.domain.instance import Address, Endpoint, Server
from pgstrata.domain.listing import SandboxStatus
from pgstrata.errors import ProgramError, ServerError
from pgstrata.runtime import postmaster
from pgstrata.runtime.access import SUPERUSER, PrivateDir, ServerDir, socket_dir_for
from pgstrata.runtime.base import ToolCommand, ToolExit
from pgstrata.runtime.catalogue import Catalogue
from pgstrata.runtime.cells import Cells, Places
from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.runtime.extensions import unavailable_in, where_to_get
from pgstrata.runtime.initdb import initdb
from pgstrata.runtime.installations import Finder
from pgstrata.runtime.launch import (
    ServerLog,
    run_in_cell,
    server_argv,
    settings_text,
    spawn,
    spawn_in_cell,
)
from pgstrata.runtime.limits import LimitWatch, allowed_by
from pgstrata.runtime.logins import Login, new_login
from pgstrata.runtime.packaged.pins import extensions_by_major
from pgstrata.runtime.ports import HOST, Ports, is_taken, no_free_port, port_taken
from pgstrata.runtime.postmaster import LOG, Postmaster, postmaster_of
from pgstrata.runtime.readiness import PidFiles
from pgstrata.runtime.relay import Relay
from pgstrata.runtime.single_user import Entrance, let_in
from pgstrata.runtime.users import blocked_by, choose_server_user, engine_user
from pgstrata.runtime.witness import Witness
from pgstrata.settings import SandboxSettings, ServerLimits
from pgstrata.system import faults, orphans, processes, subprocesses
from pgstrata.system.cancellation import finish
from pgstrata.system.cell import levels, spawning
from pgstrata.system.cell.plan import Cell
from pgstrata.system.cell.spawning import Spawner
from pgstrata.system.output import OnLine, OutputSink, Stream, Tail

__all__ = ["NativeRuntime", "socket_dir_for"]

_log = logging.getLogger(__name__)

_START_SECONDS = 60.0
"""How long a server may take to answer: one that recovers from a crash has a lot to do first."""

_PORT_ATTEMPTS = 5

_PORT_SECONDS = 5.0
"""How long to wait for a certain port: a connection of another program may have it for a moment."""

_PORT_LOOK_SECONDS = 0.05

OWN_PORT = 5432
"""The port of every server that builds a state. It is only in its socket's name."""


class NativeRuntime:
    """Runs servers as detached processes, which outlive the engine; the next one finds them."""

    def __init__(
        self,
        *,
        store: Path,
        run_dir: Path,
        server_user: str | None,
        server_settings: Mapping[str, str],
        postgres_home: Path | None = None,
        finder: Finder | None = None,
        ports: Ports | None = None,
        sandbox: SandboxSettings | None = None,
        limits: ServerLimits | None = None,
    ) -> None:
        """Use ``run_dir`` for sockets and access rules (see ``access.socket_dir_for``).

        ``store`` contains all data directories. ``postgres_home`` is where ``postgres install``
        puts servers, None for its default. ``server_user`` is the user servers run as, None to
        choose (the attribute of that name holds the choice, None for our own). Raises
        ``ServerError`` if the user or the directory cannot be used.
        """
        self._store = store
        self.server_user = choose_server_user(server_user)
        users = {"engine_user": engine_user(), "server_user": self.server_user or engine_user()}
        self._access = PrivateDir(run_dir, **users)
        self._spawner = Spawner(store)
        allowed = allowed_by(limits or ServerLimits())
        self._cells = Cells(self._spawner, sandbox or SandboxSettings(), limits=allowed, **users)
        self._watch = LimitWatch(store, allowed)
        self._opened = bool(sandbox and sandbox.own_settings)
        self._settings = dict(server_settings)
        self._catalogue = Catalogue(finder or Finder(self.server_user, home=postgres_home))
        self._ports = ports or Ports()
        self._pid_files = PidFiles()
        self._reapers: set[asyncio.Task[None]] = set()
        self._paused: dict[str, list[int]] = {}
        """The processes of servers that are paused, by handle."""
        self._relays: dict[str, Relay] = {}
        """Those to servers that build, by handle."""

    async def installations(self) -> tuple[Installation, ...]:
        return await self._catalogue.installations()

    async def resolve(self, image_id: str) -> ResolvedImage:
        return await self._catalogue.resolve(image_id)

    async def programs(self, image_id: str) -> Path:
        return (await self._catalogue.installation(image_id)).bin_dir

    @asynccontextmanager
    async def unchanged(self, image_id: str) -> AsyncIterator[None]:
        async with self._catalogue.unchanged(image_id):
            yield

    @property
    def sandbox(self) -> SandboxStatus:
        """What servers are kept from. Raises ``InvalidArgumentError`` if more was asked for."""
        means = self._cells.means
        return SandboxStatus(
            level=means.level, missing=means.missing, open_attacks=levels.open_attacks(means)
        )

    @property
    def remark(self) -> str | None:
        means = self._cells.means
        if means.is_whole:
            return None
        return (
            f"the sandbox is {means.level}: `pgstrata status` says what servers are not kept from, "
            "and what is missing"
        )

    @property
    def confines(self) -> bool:
        return self._cells.means.is_whole and not self._opened

    async def initialise(
        self, image_id: str, data_dir: Path, options: Initdb | None = None
    ) -> None:
        async with self._catalogue.unchanged(image_id) as installation:
            await self._initialise(installation, data_dir, options or Initdb())

    async def _initialise(
        self, installation: Installation, data_dir: Path, options: Initdb
    ) -> None:
        self._access.give_away(data_dir)
        try:
            with faults.step("initdb"):
                ended = await initdb(installation, data_dir, self.server_user, options)
        except ProgramError as error:
            raise ServerError(error.message, remedy=error.remedy) from error
        if ended.exit_code != 0:
            raise ServerError(
                f"PostgreSQL {installation.version} cannot make a cluster in {data_dir}",
                remedy=self._access_remedy(data_dir),
                details=ended.stderr,
            )

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
        installation = await self._catalogue.installation(image_id)
        port = None if address is None else address.port
        start = _Start(
            image_id,
            installation,
            data_dir,
            settings,
            port=port,
            avoid=avoid,
            fixed=fixed,
            waits=waits,
        )
        if building:
            return await self._start_watched(start)
        # It is ready before the server is.
        making = asyncio.create_task(
            asyncio.to_thread(new_login, None if address is None else address.password),
            name="a server's password",
        )
        try:
            return await self._start_watched(start._replace(login=making))
        finally:
            await making

    async def stop(self, server: Server, *, clean: bool = True) -> None:
        if clean and server.undo and await self.alive(server):
            await tell(server, *server.undo)
        if relay := self._relays.pop(server.handle, None):
            await relay.close()
        self._watch.remove(server.handle)
        self._paused.pop(server.handle, None)
        await postmaster.shut_down(postmaster_of(server), clean=clean)
        self._access.remove(server.endpoint)

    def freeze(self, server: Server) -> AbstractAsyncContextManager[None]:
        return postmaster.freeze(postmaster_of(server))

    async def pause(self, server: Server) -> None:
        held: list[int] = []
        await postmaster.pause(postmaster_of(server), held)
        self._paused[server.handle] = held
        self._watch.rest(server.handle)

    async def resume(self, server: Server) -> None:
        # None was born since.
        held = self._paused.pop(server.handle, None)
        postmaster.resume(postmaster_of(server), held)
        self._watch.wake(server.handle)

    def has_others(self, server: Server) -> bool:
        return postmaster.has_others(postmaster_of(server))

    async def alive(self, server: Server) -> bool:
        process = postmaster_of(server)
        # A server whose files were removed goes on for a while, but is of no use to anybody.
        return postmaster.is_running(process) and self.has_data(server)

    def has_data(self, server: Server) -> bool:
        return postmaster_of(server).data_dir.is_dir()

    def is_of_this_boot(self, server: Server) -> bool:
        return processes.is_of_this_boot(postmaster_of(server).birth)

    async def owner_of(self, data_dir: Path) -> Server | None:
        process = self._owner(data_dir)
        if process is None:
            return None
        nowhere = Endpoint(
            host=HOST,
            port=0,
            socket_dir=self._access.path,
            user=SUPERUSER,
            password="",
            database=SUPERUSER,
        )
        return _server(process, nowhere)

    async def clear_orphans(self, keep: Collection[Server]) -> None:
        await orphans.end_leftovers(self._store)
        known = [postmaster_of(server) for server in keep]
        kept = {process.data_dir.resolve() for process in known}
        await self._clear_cells(
            {process.pid for process in known if postmaster.is_running(process)}
        )
        found = await asyncio.to_thread(postmaster.leaders_below, self._store.resolve())
        async with asyncio.TaskGroup() as group:
            for pid, data_dir in found:
                process = _process(pid, image_id="", data_dir=data_dir)
                if process is not None and data_dir not in kept:
                    ending = postmaster.shut_down(process, clean=False)
                    group.create_task(ending, name=f"orphan {pid}")
        self._access.clear_leftovers([server.endpoint for server in keep])
        for server in keep:
            if postmaster.is_running(postmaster_of(server)):
                self._watch.add(server)
            else:
                self._watch.recall(server)

    async def run(self, server: Server, command: ToolCommand, output: OutputSink) -> ToolExit:
        installation = await self._catalogue.installation(postmaster_of(server).image_id)
        if command.view is not None and not self._cells.have_mounts:
            # It finds at least what is named from its directory.
            work_dir, tool = map(command.view.at, (command.work_dir, Path(command.tool)))
            command = replace(command, work_dir=work_dir, tool=str(tool))
        tail = Tail()

        async def pass_on(stream: Stream, piece: bytes) -> None:
            if stream == "stderr":
                tail.feed(piece)
            await output(stream, piece)

        # A tool given by its full path is run from there.
        argv = (str(installation.bin_dir / command.tool), *command.args)
        env = _tool_env(server.endpoint, installation, command.path)
        if command.view is not None and self._cells.have_mounts:
            env["HOME"] = "/tmp"  # noqa: S108 - its own
        env |= command.env
        stdin: bytes | Path | None = command.stdin_path
        if command.stdin is not None:
            stdin = command.stdin.encode()
        cell = self._cells.tool(
            argv,
            env,
            work_dir=command.work_dir,
            hidden=(self._store, self._access.path),
            sockets=server.endpoint.socket_dir,
            trusted=command.trusted,
            network=command.trusted if command.network is None else command.network,
            connect=() if command.network is None else (server.endpoint.port,),
            view=command.view,
            layout=self._catalogue.layout(installation) if command.view else None,
            reads=command.reads,
            inputs=command.inputs,
        )
        if cell is None:
            exit_code = await subprocesses.stream(
                argv,
                on_output=pass_on,
                cwd=command.work_dir,
                env=env,
                stdin=stdin,
                thorough=True,
            )
        else:
            exit_code = await subprocesses.stream_in_cell(
                self._spawner, cell, on_output=pass_on, stdin=stdin
            )
        return ToolExit(exit_code=exit_code, stderr_tail=tail.text)

    @asynccontextmanager
    async def companion(
        self,
        argv: Sequence[str],
        *,
        on_line: OnLine,
        cwd: Path,
        env: Mapping[str, str],
        ports: tuple[int, ...],
        trusted: bool,
    ) -> AsyncIterator[subprocesses.Companion]:
        cell = self._cells.tool(
            argv,
            dict(env),
            work_dir=cwd,
            hidden=(self._store, self._access.path),
            sockets=None,
            trusted=trusted,
            network=trusted,
            connect=ports,
        )
        async with (
            subprocesses.companion(argv, on_line=on_line, cwd=cwd, env=env)
            if cell is None
            else subprocesses.companion_in_cell(self._spawner, cell, on_line=on_line)
        ) as companion:
            yield companion

    def witness(self, server: Server) -> Witness:
        return Witness(postmaster_of(server))

    def stopped_for(self, server: Server) -> str | None:
        return self._watch.stopped_for(server.handle)

    async def remedy_for(self, server: Server, said: str) -> str | None:
        extension = unavailable_in(said)
        if extension is None:
            return self._where_tablespaces_can_be() if is_refusal(said) else None
        return where_to_get(
            extension,
            await self._catalogue.installation(postmaster_of(server).image_id),
            await self.installations(),
            extensions_by_major(),
        )

    def _where_tablespaces_can_be(self) -> str:
        if self._cells.have_tablespaces:
            return "choose another location for the tablespace, such as one below /mnt"
        return (
            "leave tablespaces out (--no-tablespaces of pg_dump), or let servers have cells with "
            "mounts of their own: `pgstrata status` says what is missing for them"
        )

    async def close(self) -> None:
        """Stop watching the servers; they keep running."""
        await self._watch.close()
        self._pid_files.close()
        self._catalogue.close()
        self._spawner.close()
        reapers, self._reapers = self._reapers, set()
        for reaper in reapers:
            reaper.cancel()
        await asyncio.gather(*reapers, return_exceptions=True)

    async def _start_watched(self, start: "_Start") -> Server:
        server = await self._start_anyhow(start)
        self._watch.add(server, building=start.login is None)
        return server

    async def _start_anyhow(self, start: "_Start") -> Server:
        """Start a server even if the cluster's roles and databases let nobody in."""
        how = self._start_building if start.login is None else self._start_instance
        try:
            return await how(start)
        except _ShutOutError as error:
            _log.info("%s", error.message)
            return await how(start._replace(entrance=await self._let_in(start)))

    async def _let_in(self, start: "_Start") -> Entrance:
        access = self._add_access(start)
        seen = self._cells.seen(_places(start, access))

        async def run(argv: list[str], stdin: bytes) -> subprocesses.Ended:
            cell = self._cell(argv, access, OWN_PORT, start, building=True)
            if cell is not None:
                return await run_in_cell(self._spawner, cell, stdin)
            user, cwd = self.server_user, start.data_dir
            return await subprocesses.run(
                argv, cwd=cwd, env=MINIMAL_ENV, user=user, stdin=stdin, check=False
            )

        argv = server_argv(
            start.installation.bin_dir, seen, OWN_PORT, building=True, fixed=start.fixed
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                return await let_in(argv, run)
        except ProgramError as error:
            raise ServerError(error.message, remedy=error.remedy) from error
        except TimeoutError as error:
            raise ServerError(
                f"PostgreSQL did not let its superuser into {start.data_dir} again within "
                f"{_START_SECONDS:.0f} s"
            ) from error
        finally:
            access.discard()

    def _cell(
        self, argv: list[str], access: ServerDir, port: int, start: "_Start", *, building: bool
    ) -> Cell | None:
        places = _places(start, access)
        sockets = self._cells.seen(places).sockets
        return self._cells.server(
            argv,
            # What a server connects to, if it is not told, is itself.
            MINIMAL_ENV
            | {"PGHOST": str(sockets), "PGPORT": str(port), "PGUSER": start.entrance.user},
            layout=self._catalogue.layout(start.installation),
            major=start.installation.major,
            places=places,
            port=port,
            building=building,
        )

    def _add_access(self, start: "_Start") -> ServerDir:
        return self._access.add(
            settings_text(
                self._cells.seen_data_dir(start.data_dir),
                {**self._settings, **start.settings},
                major=start.installation.major,
            ),
            superuser=start.entrance.user,
            building=start.login is None,
            itself=self._cells.have_mounts,
        )

    async def _start_building(self, start: "_Start") -> Server:
        access = self._add_access(start)
        relay = Relay(access.sockets / f".s.PGSQL.{OWN_PORT}")
        try:
            await relay.open()
            server = await self._start_in(access, OWN_PORT, start, relay)
        except BaseException:
            await finish(relay.close())
            access.discard()
            raise
        self._relays[server.handle] = relay
        return server

    async def _start_instance(self, start: "_Start") -> Server:
        if start.port is not None:
            with self._ports.holding(start.port):
                return await self._start_on_its_own(start.port, start)
        for _ in range(_PORT_ATTEMPTS):
            with self._ports.reserved(start.avoid) as port:
                server = await self._start_on(port, start)
            if server is not None:
                return server
        raise no_free_port()

    async def _start_on_its_own(self, port: int, start: "_Start") -> Server:
        """Start an instance on a certain port, waiting for it if it is taken."""
        deadline = asyncio.get_running_loop().time() + _PORT_SECONDS
        while True:
            if not is_taken(port) and (server := await self._start_on(port, start)) is not None:
                return server
            if asyncio.get_running_loop().time() > deadline:
                raise port_taken(port)
            await asyncio.sleep(_PORT_LOOK_SECONDS)

    async def _start_on(self, port: int, start: "_Start") -> Server | None:
        """One attempt to start an instance; None if another program has taken the port."""
        access = self._add_access(start)
        try:
            return await self._start_in(access, port, start)
        except BaseException as error:
            access.discard()
            if isinstance(error, ServerError) and is_taken(port):
                return None
            raise

    def _does_not_start(self, start: "_Start", said: str | None = None) -> ServerError:
        """The error for a server that ended, be it before or after its process was seen."""
        return ServerError(
            f"PostgreSQL {start.installation.version} does not start on {start.data_dir}",
            remedy=self._access_remedy(start.data_dir) or _settings_remedy(start.settings),
            details=said,
        )

    async def _start_in(
        self, access: ServerDir, port: int, start: "_Start", relay: Relay | None = None
    ) -> Server:
        data_dir = start.data_dir
        building = start.login is None
        seen = self._cells.seen(_places(start, access))
        argv = server_argv(
            start.installation.bin_dir, seen, port, building=building, fixed=start.fixed
        )
        cell = self._cell(argv, access, port, start, building=building)
        first = cell is not None and cell.is_first
        pid, log = self._spawn(argv, data_dir, cell)
        process = _process(pid, image_id=start.image_id, data_dir=data_dir, first=first)
        if process is None:
            await processes.wait_exit(pid)
            raise self._does_not_start(start, log.tail())
        async with self._undo_on_failure(process, log) as ended, AsyncExitStack() as sessions:
            async with asyncio.timeout(_START_SECONDS):
                if not await self._pid_files.until_ready(process, ended):
                    raise self._does_not_start(start)
                access.close(itself=self._cells.have_mounts)
                login = None if start.login is None else await start.login
                endpoint = Endpoint(
                    host=HOST,
                    port=port if relay is None else relay.port,
                    socket_dir=access.sockets,
                    user=start.entrance.user,
                    password=relay.password if relay else login.password if login else "",
                    database=start.entrance.database,
                    major=start.installation.major,
                    own_port=None if relay is None else port,
                )
                undo = start.entrance.undo if login is None else ()
                server = _server(process, endpoint, undo)
                try:
                    with faults.step("server.answer"):
                        # A server that lets us in is ready for queries.
                        session = await sessions.enter_async_context(bare_connection(server))
                        if login is not None:
                            await give_login(server, session, login.verifier)
                except ServerError as error:
                    # Stopped otherwise, it would lose its unlogged tables.
                    await postmaster.shut_down(process, clean=True)
                    raise _ShutOutError(error.message, remedy=error.remedy) from error
            if start.waits:
                await rehearse(server, session)
            return server

    def _spawn(self, argv: list[str], data_dir: Path, cell: Cell | None) -> tuple[int, ServerLog]:
        if not data_dir.is_dir():
            raise ServerError(f"there is no data directory {data_dir}")
        if not self._cells.have_tablespaces and os.path.lexists(data_dir / TABLESPACES):
            raise ServerError(
                f"the cluster in {data_dir} has tablespaces, which a server finds only in a cell",
                remedy="let servers have cells: `pgstrata status` says what is missing for them",
            )
        log = ServerLog(data_dir.parent / LOG)
        try:
            if cell is None:
                pid = spawn(argv, data_dir=data_dir, log=log.path, user=self.server_user)
            else:
                self._make_way(data_dir, cell)
                pid = spawn_in_cell(self._spawner, cell, log=log.path)
        except ProgramError as error:
            raise ServerError(error.message, remedy=error.remedy) from error
        return pid, log

    def _make_way(self, data_dir: Path, cell: Cell) -> None:
        """Remove the pid file that a killed server left: in its cell it had our server's pid."""
        if not cell.is_first or not os.path.lexists(data_dir / postmaster.PID_FILE):
            return
        if (owner := self._owner(data_dir)) is not None:
            raise ServerError(f"a server (pid {owner.pid}) is running on {data_dir} already")
        postmaster.forget(data_dir)

    def _owner(self, data_dir: Path) -> Postmaster | None:
        """The process of the server that works in a data directory."""
        for pid in spawning.running(self._store):
            if postmaster.works_in(pid, data_dir):
                return _process(pid, image_id="", data_dir=data_dir, first=spawning.is_in_cell(pid))
        owner = postmaster.owner(data_dir)
        return None if owner is None else _process(owner, image_id="", data_dir=data_dir)

    async def _clear_cells(self, kept: Collection[int]) -> None:
        """Kill what runs in a cell, and all that it started there."""

        def find() -> list[int]:
            return [pid for pid in spawning.running(self._store) if pid not in kept]

        await processes.end_all(find, grace_seconds=0)

    @asynccontextmanager
    async def _undo_on_failure(
        self, process: Postmaster, log: ServerLog
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Stop a server if the block, in which it starts, fails; the error gets the server's log.

        The block gets a task that is done when the server has ended.
        """
        ended = self._reap(process)
        succeeded = False
        try:
            yield ended
            succeeded = True
        except TimeoutError:
            raise ServerError(
                f"the server on {process.data_dir} did not answer within {_START_SECONDS:.0f} s",
                details=log.tail(),
            ) from None
        except ServerError as error:
            error.details = log.tail()
            raise
        finally:
            if not succeeded:
                await finish(postmaster.shut_down(process, clean=False))

    def _reap(self, process: Postmaster) -> asyncio.Task[None]:
        """Wait for the exit of a server that we started, so that it never stays a zombie."""
        reaper = asyncio.create_task(
            processes.wait_exit(process.pid), name=f"reaper of {process.pid}"
        )
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reapers.discard)
        return reaper

    def _access_remedy(self, data_dir: Path) -> str | None:
        """What to do if the servers' user cannot reach a data directory; None if it can."""
        blocking = self.server_user and blocked_by(data_dir, self.server_user)
        if not blocking:
            return None
        return (
            f"user {self.server_user} cannot enter {blocking}: `chmod o+x {blocking}`, "
            "or put the store elsewhere"
        )


def _settings_remedy(settings: Mapping[str, str]) -> str | None:
    """What to do about a server that may not start because of what it was asked to be set to."""
    if not settings:
        return None
    return f"if it is about one of its settings, correct that: {', '.join(sorted(settings))}"


class _ShutOutError(ServerError):
    """A server runs, but does not let the superuser into its database."""


class _Start(NamedTuple):
    """What is started."""

    image_id: str
    installation: Installation
    data_dir: Path
    settings: Mapping[str, str]
    """Its own, before those of all servers."""
    login: asyncio.Task[Login] | None = None
    """The login that an instance gets; None for a server that builds."""
    entrance: Entrance = Entrance(SUPERUSER, SUPERUSER)
    port: int | None = None
    """The port that an instance must have; None for any."""
    avoid: Collection[int] = ()
    """Ports that it must not have."""
    fixed: Mapping[str, str] = MappingProxyType({})
    """Settings that come before all others."""
    waits: bool = False
    """Whether it waits for its first client."""


def _places(start: _Start, access: ServerDir) -> Places:
    return Places(start.data_dir, access.sockets, access.path)


def _server(process: Postmaster, endpoint: Endpoint, undo: tuple[str, ...] = ()) -> Server:
    return Server(
        endpoint=endpoint,
        runtime_id=str(process.pid),
        title=f"the server on {process.data_dir}",
        log=str(process.data_dir.parent / LOG),
        handle=process.handle,
        undo=undo,
    )


def _process(pid: int, *, image_id: str, data_dir: Path, first: bool = False) -> Postmaster | None:
    """A server's process; None when it has ended."""
    started = postmaster.started_at(pid)
    if started is None:
        return None
    birth = processes.birth(pid)
    return Postmaster(
        pid=pid,
        started=started,
        birth=birth,
        image_id=image_id,
        data_dir=data_dir,
        first=first,
    )


def _tool_env(endpoint: Endpoint, installation: Installation, path: str | None) -> dict[str, str]:
    return {
        "PATH": f"{installation.bin_dir}:{path or MINIMAL_ENV['PATH']}",
        "HOME": str(Path.home()),
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "PGHOST": str(endpoint.socket_dir),
        "PGPORT": str(endpoint.socket_port),
        "PGUSER": endpoint.user,
        "PGDATABASE": endpoint.database,
        "PGCONNECT_TIMEOUT": "10",
        # A user's own settings must not change what a recipe does.
        "PSQLRC": os.devnull,
    }
