"""The engine's process: the one place that knows every adapter, and the order of start and end.

Start: the store is made and locked, the parts are put together, jobs go on from what is on disk,
the port answers, and only then ``engine.json`` says so. End: no more jobs are taken and steps that
run reach their state; then the file goes, then the port, then what still runs; instances stay.
"""

import asyncio
import contextlib
import logging
import os
import pwd
import secrets
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import psutil
import uvicorn
from starlette.types import ASGIApp

from pgstrata import __version__, faults, locks, strays, subprocesses
from pgstrata.database import Database
from pgstrata.dbms.postgres import Postgres
from pgstrata.deletion.deletion import Deletion
from pgstrata.deletion.leases import Leases
from pgstrata.domain.listing import EngineIdentity, SnapshotStatus, StoreStatus
from pgstrata.domain.model import Model, utc_now
from pgstrata.errors import (
    InvalidArgumentError,
    PgstrataError,
    ServerError,
    StoreUnusableError,
)
from pgstrata.httpapi.app import create_app
from pgstrata.httpapi.service import Service
from pgstrata.kinds.base import Kind
from pgstrata.kinds.liquibase.kind import LiquibaseKind
from pgstrata.kinds.psql.kind import PsqlKind
from pgstrata.prepare import capacity
from pgstrata.prepare.coordinator import JobCoordinator
from pgstrata.prepare.disposal import Disposal
from pgstrata.prepare.eviction import Evictor
from pgstrata.prepare.executor import TaskExecutor
from pgstrata.prepare.host import Host
from pgstrata.prepare.manager import Manager
from pgstrata.prepare.removal import StateRemoval
from pgstrata.prepare.reservations import Reservations
from pgstrata.prepare.room import disk_of
from pgstrata.prepare.snapshots import SnapshotOrchestrator
from pgstrata.prepare.verification import Verification
from pgstrata.queue.sqlite import SqliteQueue
from pgstrata.registry.registry import Registry
from pgstrata.registry.status import Description
from pgstrata.runtime.native import NativeRuntime, socket_dir_for
from pgstrata.settings import OWN_SERVER_SETTINGS, THROW_AWAY_SETTINGS, Settings
from pgstrata.statefs import detect
from pgstrata.statefs.in_place import make_in_place
from pgstrata.store.sqlite import SqliteStore

_log = logging.getLogger(__name__)

STREAMS_GRACE_SECONDS = 2
"""How long open event streams may take to end when the engine does."""

# Servers enter the store as another user than the engine's: they may pass, but not look around.
_STORE_MODE = 0o711


class EngineFile(Model, frozen=True, kw_only=True, rename="camel"):
    """What ``engine.json`` tells clients: where the engine is, and how to be let in."""

    endpoint: str
    pid: int
    started_at: datetime
    auth_token: str
    version: str
    instance_id: str


def serve(
    *,
    store: Path,
    settings: Settings,
    listen: tuple[str, int],
    engine_json: Path,
    idle_timeout: float | None,
) -> int:
    """Run an engine in the foreground until it is told to stop; the process's exit code.

    ``idle_timeout``: seconds without a job and a request after which it ends by itself. Raises
    ``PgstrataError`` when it cannot start.
    """
    _check(settings)
    _let_others_hear()
    faults.arm_from(os.environ)
    detect.enter_namespace(store.absolute(), settings.snapshot_backend)  # before any thread is made
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    asyncio.run(
        _serve(
            store.absolute(),
            settings=settings,
            listen=listen,
            engine_json=engine_json.absolute(),
            idle_timeout=idle_timeout,
        )
    )
    return 0


def _let_others_hear() -> None:
    """Have the programs we start hear signals that we were started to ignore.

    A shell starts what it runs in the background that way, and a program inherits what is ignored,
    not what is caught: a PostgreSQL that is told to stop before it has said what it listens to
    would miss it, and take ten seconds to be killed.
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


def _check(settings: Settings) -> None:
    for name in settings.server_settings:
        if reason := OWN_SERVER_SETTINGS.get(name.lower()):
            raise InvalidArgumentError(
                f"the server setting {name} is not to be set: {reason}", remedy="leave it out"
            )
    capacity.check(_limits(settings))


def _limits(settings: Settings) -> capacity.Limits:
    return capacity.Limits(
        max_bytes=settings.cache_max_bytes,
        reserve_bytes=settings.cache_reserve_bytes,
        high_watermark=settings.cache_high_watermark,
        low_watermark=settings.cache_low_watermark,
        min_state_age=timedelta(seconds=settings.cache_min_state_age_seconds),
    )


async def _serve(
    root: Path,
    *,
    settings: Settings,
    listen: tuple[str, int],
    engine_json: Path,
    idle_timeout: float | None,
) -> None:
    with _store_directory(root), contextlib.closing(_bind(*listen)) as port:
        file = EngineFile(
            endpoint=f"http://{_address(port)}",
            pid=os.getpid(),
            started_at=utc_now(),
            auth_token=secrets.token_urlsafe(32),
            version=__version__,
            instance_id=uuid.uuid4().hex,
        )
        async with _engine(root, settings, file) as (service, coordinator):
            server = _Server(
                create_app(service, file.auth_token),
                announced=_announced(engine_json, file),
                busy=lambda: coordinator.busy,
                drain=lambda: coordinator.drain(settings.drain_seconds),
                idle_timeout=idle_timeout,
            )
            await server.serve(sockets=[port])
    _log.info("engine stopped")


@asynccontextmanager
async def _engine(
    root: Path, settings: Settings, file: EngineFile
) -> AsyncIterator[tuple[Service, JobCoordinator]]:
    """Put the parts together, each given what it needs, and let unfinished jobs go on."""
    async with AsyncExitStack() as parts:
        strays.mark_for(root)
        runtime = NativeRuntime(
            store=root,
            run_dir=socket_dir_for(root),
            password=_password(root),
            server_user=settings.server_user,
            server_settings=THROW_AWAY_SETTINGS | settings.server_settings,
        )
        parts.push_async_callback(runtime.close)
        await _check_reachable(root, runtime.server_user)
        detection = await detect.detect(root, settings.snapshot_backend)
        make_in_place(root / "pgstrata.db-shm")
        database = await Database.open(root / "pgstrata.db")
        parts.push_async_callback(database.close)
        queue, store = SqliteQueue(database), SqliteStore(database)
        dbms = Postgres(owner=_uid(runtime.server_user))
        statefs, reservations = detect.backend(detection.name), Reservations()
        removal = StateRemoval(
            states=root / "states", statefs=statefs, store=store, reservations=reservations
        )
        disposal = await parts.enter_async_context(Disposal(statefs))
        evictor = Evictor(
            limits=_limits(settings),
            store=store,
            removal=removal,
            reservations=reservations,
            disk=partial(disk_of, root),
        )
        snapshots = SnapshotOrchestrator(
            root=root,
            statefs=statefs,
            dbms=dbms,
            store=store,
            reservations=reservations,
            evictor=evictor,
        )
        for area in snapshots.areas:
            _make_passable(area)
        detect.remember(root, detection.name)
        liquibase = LiquibaseKind(settings.liquibase)
        parts.push_async_callback(liquibase.close)
        kinds: dict[str, Kind] = {kind.name: kind for kind in (PsqlKind(), liquibase)}
        executor = TaskExecutor(
            runtime=runtime,
            kinds=kinds,
            snapshots=snapshots,
            store=store,
            host=Host(
                store=store,
                max_instances=settings.max_instances,
                min_free_memory_bytes=settings.min_free_memory_bytes,
                available_memory=_available_memory,
            ),
            default_ttl_seconds=settings.default_instance_ttl_seconds,
            consistency=settings.consistency,
        )
        coordinator = await parts.enter_async_context(
            JobCoordinator(queue=queue, kinds=kinds, executor=executor, settings=settings)
        )
        manager = Manager(coordinator=coordinator, queue=queue)
        await manager.recover()
        deletion = Deletion(
            store=store,
            runtime=runtime,
            dbms=dbms,
            reservations=reservations,
            removal=removal,
            disposal=disposal,
        )
        await parts.enter_async_context(Leases(store=store, deletion=deletion))
        yield (
            Service(
                jobs=manager,
                registry=Registry(store=store, runtime=runtime),
                deletion=deletion,
                cache=evictor,
                verification=Verification(snapshots),
                description=Description(
                    identity=EngineIdentity(
                        version=file.version,
                        instance_id=file.instance_id,
                        pid=file.pid,
                        started_at=file.started_at,
                        endpoint=file.endpoint,
                    ),
                    place=StoreStatus(path=root),
                    snapshots=SnapshotStatus(backend=detection.name, why=detection.why),
                    server_user=runtime.server_user,
                    queue=queue,
                    store=store,
                    runtime=runtime,
                ),
            ),
            coordinator,
        )


# The store directory


@contextmanager
def _store_directory(root: Path) -> Iterator[None]:
    """Make the store if need be, and hold it against any other engine."""
    try:
        _make_passable(root)
        lock = locks.try_lock(root / "engine.lock")
    except OSError as error:
        raise StoreUnusableError(
            f"the store {root} cannot be used: {error.strerror}",
            remedy="choose a directory that you can write to: --store DIR or PGSTRATA_STORE",
        ) from error
    if lock is None:
        holder = locks.read_holder(root / "engine.lock")
        raise StoreUnusableError(
            f"the store {root} is in use by the engine with pid {holder}",
            remedy="use that engine, stop it (pgstrata engine stop), or choose another --store",
        )
    with contextlib.closing(lock):
        yield


def _make_passable(directory: Path) -> None:
    """Make a directory with our mode, whatever the umask; one that is there keeps its own."""
    if not directory.is_dir():
        with faults.step("directory.make"):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(_STORE_MODE)


def _password(root: Path) -> str:
    """The store's password: every server of this store has it, so it is made only once."""
    file = root / "password"
    with contextlib.suppress(FileNotFoundError):
        return file.read_text()
    password = secrets.token_hex(16)
    _write_private(file, password.encode())
    return password


def _write_private(file: Path, content: bytes) -> None:
    """Write a file that only we can read; it appears whole or not at all."""
    # The name is always the same, so that the draft of an engine that was killed is written over.
    draft = file.with_name(f".{file.name}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with faults.step("private_file.write"), os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    with faults.step("private_file.rename"):
        draft.replace(file)


def _available_memory() -> int:
    return int(psutil.virtual_memory().available)


def _uid(user: str | None) -> int:
    """The uid that servers run with: the user's, or without one our own."""
    return os.geteuid() if user is None else pwd.getpwnam(user).pw_uid


async def _check_reachable(root: Path, user: str | None) -> None:
    """Raise ``StoreUnusableError`` when the servers' user cannot get into the store."""
    if user is None:
        return
    for directory in (*reversed(root.parents), root):
        ended = await subprocesses.run(["test", "-x", directory], user=user, check=False)
        if ended.exit_code == 1:
            raise StoreUnusableError(
                f"servers run as user {user!r}, who cannot enter {directory} "
                f"on the way to the store {root}",
                remedy=f"choose a --store elsewhere (such as /var/lib/pgstrata), or let {user!r} "
                f"pass: chmod o+x {directory}",
            )
        if ended.exit_code != 0:
            raise ServerError(
                f"nothing can be run as user {user!r}, as servers are to be",
                remedy="choose another user for them: --server-user USER",
                details=ended.stderr,
            )


# The port


def _bind(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = found[0]
        # asyncio only turns Nagle's algorithm off for sockets that name their protocol; with it
        # on, each answer waits 40 ms for an acknowledgement.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise PgstrataError(
            f"the engine cannot listen on {host}:{port}: {error.strerror}",
            remedy="choose another port (--listen HOST:PORT; port 0 takes a free one)",
        ) from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def _announced(engine_json: Path, file: EngineFile) -> Iterator[None]:
    """Tell clients where the engine is, for as long as it answers."""
    try:
        engine_json.parent.mkdir(parents=True, exist_ok=True)
        _write_private(engine_json, msgspec.json.encode(file) + b"\n")
    except OSError as error:
        raise PgstrataError(
            f"clients cannot be told of the engine in {engine_json}: {error.strerror}",
            remedy="choose a file that can be written: --engine-json PATH",
        ) from error
    _log.info("engine %s answers at %s, pid %d", file.version, file.endpoint, file.pid)
    try:
        yield
    finally:
        # Whoever has taken the place meanwhile keeps its file.
        with contextlib.suppress(OSError, msgspec.DecodeError):
            current = msgspec.json.decode(engine_json.read_bytes(), type=EngineFile)
            if current.instance_id == file.instance_id:
                with faults.step("engine_json.remove"):
                    engine_json.unlink()


class _Server(uvicorn.Server):
    """uvicorn, ending on SIGTERM and SIGINT with all that we clean up, or when nobody needs it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        announced: AbstractContextManager[None],
        busy: Callable[[], bool],
        drain: Callable[[], Coroutine[None, None, None]],
        idle_timeout: float | None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=STREAMS_GRACE_SECONDS,
            )
        )
        self._announced = announced
        self._busy = busy
        self._drain = drain
        self._draining: asyncio.Task[None] | None = None
        self._idle_timeout = idle_timeout
        self._last_needed = time.monotonic()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Only note the wish to stop. uvicorn would raise the signal again, and end us with it."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._told_to_stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _told_to_stop(self) -> None:
        """End once the steps that run have reached their state; told again, at once."""
        if self._draining is None:
            _log.info("told to stop: no more jobs are taken, steps that run reach their state")
            self._draining = asyncio.create_task(self._end_drained(), name="drain")
        else:
            self.should_exit = True

    async def _end_drained(self) -> None:
        try:
            await self._drain()
        finally:
            self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announced.__enter__()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._announced.__exit__(None, None, None)
        if self._draining is not None:
            self._draining.cancel()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self._busy() or self.server_state.connections:
            self._last_needed = time.monotonic()
        elif self._idle_timeout is not None:
            self.should_exit |= time.monotonic() - self._last_needed >= self._idle_timeout
        return await super().on_tick(counter)
