"""A store's SQLite database: its file, its transactions, and the thread they run on.

Everything about SQLite itself is handled here, and every ``sqlite3`` error becomes a
``StoreUnusableError``. The tables are in ``schema``; the meaning of their rows is left to the queue
and the store.
"""

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import msgspec

from pgstrata.errors import DiskFullError, StoreUnusableError
from pgstrata.sqlite import shrinking
from pgstrata.sqlite.schema import MIGRATIONS, Migration
from pgstrata.system import faults
from pgstrata.system.reserve import Reserve, is_full

T = TypeVar("T")
V = TypeVar("V")
BUSY_SECONDS = 5.0
"""How long to wait while another program locks the database."""

_FEW_KEYS = 200
_SWITCH_PAUSE_SECONDS = 0.005

_TROUBLES: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_NOTADB: (
        "is not a database",
        "move the file away, or choose another store directory",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged",
        "move it and its -wal and -shm away: states and instances are adopted, jobs are lost",
    ),
    sqlite3.SQLITE_BUSY: (
        "is locked by another program",
        "end the program that holds it, then try again",
    ),
    sqlite3.SQLITE_FULL: ("cannot grow, the disk is full", "free some space on the store's disk"),
    sqlite3.SQLITE_READONLY: ("is read-only", "make the file and its directory writable"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "make the file and its directory writable"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "check the store's disk"),
}

_REFUSED = ("refused a statement", "report this as a bug")
_UNREADABLE = (
    "contains a row that cannot be read",
    "use the pgstrata that wrote it, or move the file away",
)

_NO_STEP: AbstractContextManager[None] = nullcontext()


class Database:
    """An open database. Its opener owns it; queue and store only borrow it."""

    def __init__(
        self,
        path: Path,
        worker: "_Worker",
        connection: Connection,
        reader: Connection,
        log: int,
        reserve: Reserve | None = None,
    ) -> None:
        """``log``: a descriptor of the write-ahead log, to be closed with the database."""
        self._path = path
        self._worker = worker
        self._connection = connection
        self._reader = reader
        self._log = log
        self._reserve = reserve
        self._closed = False
        self._syncer = _Worker(f"sync of {path.name}")
        self._syncs_asked = 0
        self._synced = 0

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        busy_seconds: float = BUSY_SECONDS,
        migrations: tuple[Migration, ...] = MIGRATIONS,
        reserve: Reserve | None = None,
    ) -> Self:
        """Open the database at ``path``; create it, or update its schema, if needed.

        ``reserve``: what is given up on a full disk for changes that free room. Raises
        ``StoreUnusableError`` if the file is not a database, is damaged, was written by a newer
        pgstrata, cannot be opened, or stays locked for ``busy_seconds``.
        """
        worker = _Worker(f"database {path.name}")
        try:
            opening = partial(copy_context().run, _open, path, busy_seconds, migrations)
            connection = await worker.call(opening)
            # It is used in the event loop's thread, so it never waits.
            reader = sqlite3.connect(path, timeout=0, isolation_level=None)
            log = await worker.call(partial(_open_log, path))
        except BaseException:
            worker.stop()
            raise
        return cls(path, worker, connection, reader, log, reserve)

    async def read(self, question: Callable[[Connection], T]) -> T:
        """Run a query in one transaction, on a consistent snapshot of the database.

        Raises ``StoreUnusableError`` if the database cannot be read.
        """
        return await self._run("BEGIN", question)

    async def look_up(self, question: Callable[[Connection], T], *, keys: int = 1) -> T:
        """Run a query for a few rows by their keys, directly in the event loop.

        With WAL this never waits, and is faster than handing it to a thread. Otherwise like
        ``read``, and so it is if there are many ``keys``.
        """
        if keys > _FEW_KEYS:
            return await self.read(question)
        self._check_open()
        try:
            return _in_transaction(self._reader, "BEGIN", question)
        except sqlite3.OperationalError as error:
            if _kind(error) != sqlite3.SQLITE_BUSY:
                _refuse(self._path, error)
        except (sqlite3.Error, msgspec.DecodeError) as error:
            _refuse(self._path, error)
        # Another program locks out even readers; wait for that in the thread.
        return await self.read(question)

    async def write(
        self,
        change: Callable[[Connection], T],
        *,
        step: str | None = None,
        durable: bool = False,
        frees: bool = False,
    ) -> T:
        """Make a change in one transaction, which is rolled back if ``change`` raises.

        Once requested it runs to its end, even if the caller is cancelled meanwhile. ``step`` names
        its commit among the fault points. ``durable``: return only after ``sync``. ``frees``: it is
        part of freeing room, which must not fail for want of room. Raises ``DiskFullError`` if
        there is none, and ``StoreUnusableError`` if the database cannot be written.
        """
        try:
            result = await self._write(change, step)
        except DiskFullError:
            if not (frees and await self._run_alone(self._give_up_reserve)):
                raise
            result = await self._write(change, step)
        if durable:
            await self.sync()
        return result

    async def _write(self, change: Callable[[Connection], T], step: str | None) -> T:
        committing = nullcontext() if step is None else faults.step(step)
        return await self._run("BEGIN IMMEDIATE", change, committing)

    def _give_up_reserve(self, _connection: Connection) -> bool:
        return self._reserve is not None and self._reserve.give_up()

    async def sync(self) -> None:
        """Return once everything that was written before this call would survive a power cut.

        Others write meanwhile, and many callers share one wait for the disk. Raises
        ``StoreUnusableError``.
        """
        self._check_open()
        self._syncs_asked += 1
        number, syncing = self._syncs_asked, faults.step("database.sync")
        try:
            await self._syncer.call(lambda: self._sync_up_to(number, syncing))
        except OSError as error:
            _refuse(self._path, error)

    def _sync_up_to(self, number: int, syncing: AbstractContextManager[None]) -> None:
        if self._synced >= number:
            return
        up_to = self._syncs_asked
        with syncing:
            os.fdatasync(self._log)
        self._synced = up_to

    async def give_back(self) -> None:
        """Give the file system back what is no longer needed, in pieces between which others write.

        A file that an earlier version made is rebuilt once, if the disk has room for that. Raises
        ``StoreUnusableError`` if the database cannot be written.
        """
        if await self._run_alone(shrinking.can_shrink):
            shrunk = False
            while await self._run_alone(shrinking.give_back_pages):
                shrunk = True
        else:
            shrunk = await self._run_alone(partial(shrinking.rebuild, self._path))
        await self._run_alone(partial(shrinking.shrink_files, self._path, shrunk))

    async def close(self) -> None:
        """Finish the requests made so far, then close. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._reader.close()
        try:
            await self._worker.call(self._connection.close)
        finally:
            self._worker.stop()
            self._syncer.stop()
            os.close(self._log)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(
        self,
        begin: str,
        work: Callable[[Connection], T],
        committing: AbstractContextManager[None] = _NO_STEP,
    ) -> T:
        self._check_open()
        try:
            return await self._worker.call(
                lambda: _in_transaction(self._connection, begin, work, committing)
            )
        except (sqlite3.Error, msgspec.DecodeError, OSError) as error:
            _refuse(self._path, error)

    async def _run_alone(self, work: Callable[[Connection], T]) -> T:
        """Do something that is no part of a transaction."""
        self._check_open()
        try:
            return await self._worker.call(lambda: work(self._connection))
        except (sqlite3.Error, OSError) as error:
            _refuse(self._path, error)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnusableError(
                f"the database {self._path} is closed", remedy="start the engine again"
            )


class _Worker:
    """A thread that runs calls in order, each to its end.

    ``run_in_executor`` would work, but takes half as long again for each call, and a prepare with
    all states cached makes a dozen of them.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # A daemon, so that a database left open does not keep the program from ending; a
        # transaction interrupted by that is rolled back when the file is opened next.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` in the thread, and return or raise what it does."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        self._calls.put(lambda: _call(function, result, loop))
        return await result

    def stop(self) -> None:
        """Wait for the calls made so far and end the thread."""
        self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _call(
    function: Callable[[], T], future: "asyncio.Future[T]", loop: asyncio.AbstractEventLoop
) -> None:
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001 - it is the caller's, who waits in another thread
        _resolve(loop, future, future.set_exception, error)
    else:
        _resolve(loop, future, future.set_result, result)


def _resolve(
    loop: asyncio.AbstractEventLoop,
    future: "asyncio.Future[T]",
    set_outcome: Callable[[V], None],
    outcome: V,
) -> None:
    def unless_cancelled() -> None:
        if not future.done():
            set_outcome(outcome)

    try:
        loop.call_soon_threadsafe(unless_cancelled)
    except RuntimeError:
        # The loop was closed meanwhile, so nothing waits for the result any more.
        return


def _in_transaction(
    connection: Connection,
    begin: str,
    work: Callable[[Connection], T],
    committing: AbstractContextManager[None] = _NO_STEP,
) -> T:
    try:
        connection.execute(begin)
        result = work(connection)
        with committing:
            connection.commit()
        return result
    finally:
        # Only a failed transaction is still open here; SQLite ends some of those by itself.
        if connection.in_transaction:
            connection.rollback()


def _open(path: Path, busy_seconds: float, migrations: tuple[Migration, ...]) -> Connection:
    try:
        _make_private(path)
        connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)
    except OSError as error:
        raise StoreUnusableError(
            f"the database {path} cannot be opened: {error.strerror}",
            remedy="make the store directory exist and be writable",
        ) from error
    except sqlite3.Error as error:
        _refuse(path, error)
    try:
        # Only a file without any table takes this; others are rebuilt when there is time.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _switch_to_wal(connection, busy_seconds)
        _configure(connection)
        _migrate(path, connection, migrations)
    except sqlite3.Error as error:
        connection.close()
        _refuse(path, error)
    except StoreUnusableError:
        connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    """Make sure that the file exists, readable only by its owner: it contains passwords."""
    try:
        with faults.step("database.create"):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        # Change the mode by path: closing any descriptor of a file drops all POSIX locks that this
        # process has on it, including those of other connections.
        path.chmod(0o600)


def _open_log(path: Path) -> int:
    """A descriptor of the write-ahead log, whose name and the database's are on the disk.

    SQLite has no locks on that file, which to close another descriptor of it would end. Raises
    ``StoreUnusableError``.
    """
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return os.open(path.with_name(path.name + "-wal"), os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        _refuse(path, error)


def _switch_to_wal(connection: Connection, busy_seconds: float) -> None:
    # If several programs open a new file at once, SQLite lets one switch and fails the others
    # immediately, whatever their timeout; a moment later the switch has been made.
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _kind(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(_SWITCH_PAUSE_SECONDS)


def _configure(connection: Connection) -> None:
    # With WAL, NORMAL keeps every commit if this process is killed, and the file consistent after a
    # power failure, which alone may lose the last commits. ``sync`` keeps those that matter.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA journal_size_limit = {shrinking.SPARE_BYTES}")


def _migrate(path: Path, connection: Connection, migrations: tuple[Migration, ...]) -> None:
    if _version(connection) == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    # Read again: another program may have migrated it meanwhile.
    version = _version(connection)
    if version > len(migrations):
        raise StoreUnusableError(
            f"the database {path} has schema version {version}, "
            f"this pgstrata knows versions up to {len(migrations)}",
            remedy="use the newer pgstrata that wrote it",
        )
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise StoreUnusableError(
            f"the database {path} is from another program",
            remedy="move the file away, or choose another store directory",
        )
    for migration in migrations[version:]:
        for statement in migration:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(migrations)}")
    with faults.step("database.migrate"):
        connection.commit()


def _version(connection: Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _refuse(path: Path, error: sqlite3.Error | msgspec.DecodeError | OSError) -> NoReturn:
    kind: int | None = None
    if isinstance(error, sqlite3.Error):
        kind = _kind(error)
    elif isinstance(error, OSError):
        full = error.errno in DiskFullError.ERRNOS
        kind = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
    if kind == sqlite3.SQLITE_IOERR and is_full(path.parent):
        kind = sqlite3.SQLITE_FULL  # SQLite does not know what a quota is
    trouble, remedy = _UNREADABLE if kind is None else _TROUBLES.get(kind, _REFUSED)
    refusal = DiskFullError if kind == sqlite3.SQLITE_FULL else StoreUnusableError
    raise refusal(f"the database {path} {trouble}", remedy=remedy, details=str(error)) from error


def _kind(error: sqlite3.Error) -> int:
    # The low byte of the code is the kind of error. Errors of the Python module have no code.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
