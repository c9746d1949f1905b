"""What a server's process and its pid file say, and the signals that stop it.

Nothing here starts anything. A process is signalled only after its birth was compared, because pids
are reused. Its start time in seconds since the epoch is a fallback for servers whose birth was
never recorded: it moves when the clock is set.
"""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil

from pgstrata.dbms.tablespaces import DATA_DIR
from pgstrata.domain.instance import Server
from pgstrata.domain.model import Model, from_plain, to_plain
from pgstrata.errors import ServerError
from pgstrata.system import faults, planted, processes
from pgstrata.system.planted import PlantedFileError

PID_FILE = "postmaster.pid"

LOG = "server.log"
"""A server's log, beside its data directory."""

_PID_FILE_BYTES = 8192
"""Twice as much as it can have: three paths at most, and numbers."""

_LONGEST_NUMBER = 18
_LARGEST_PID = 2**31 - 1

_SAME_START_SECONDS = 2.0
"""How much two readings of one start time may differ: the kernel counts from boot, and the boot
time moves a little when the clock is set."""

_SERVER_PROGRAMS = ("postgres", "setpriv")
"""What a server's process runs; setpriv only briefly, to start postgres as another user."""

_BACKGROUND = re.compile(
    b"|postgres: (autovacuum launcher|background writer|checkpointer|io worker [0-9]+"
    b"|logical replication launcher|stats collector|walwriter)"
)
"""The titles of processes that every server has, from PostgreSQL 11 on; one that ends has none."""

_CLEAN_SECONDS = 60.0
"""How long a clean shutdown may take before the server is stopped immediately."""

_IMMEDIATE_SECONDS = 10.0
"""Twice as long as PostgreSQL itself gives its children before it kills them."""


class Postmaster(Model, frozen=True, kw_only=True):
    """A server's main process, identified by pid and birth.

    This is what the handle of a native runtime's ``Server`` contains.
    """

    pid: int
    started: float
    """When the process started, in seconds since the epoch: only as accurate as the clock."""
    image_id: str
    """The PostgreSQL that it runs, whose tools fit it."""
    data_dir: Path
    birth: str | None = None
    """The process's start as the kernel reports it, whatever the clock (``processes.birth``).
    None if the kernel does not report it, and in rows written before it was recorded."""
    first: bool = False
    """Whether it is the first process of a PID namespace, which ends with it. Its pid file says 1
    then, since it knows no other."""

    @property
    def handle(self) -> str:
        """All fields as text."""
        return msgspec.json.encode(self, enc_hook=to_plain).decode()


_decode = msgspec.json.Decoder(Postmaster, dec_hook=from_plain).decode


def postmaster_of(server: Server) -> Postmaster:
    """The process of a server of the native runtime."""
    return _decode(server.handle)


class PidFile(Model, frozen=True, kw_only=True):
    """What a server writes about itself in its data directory."""

    pid: int
    data_dir: str
    started: int
    """When it wrote this, in whole seconds since the epoch."""
    ready: bool


def read_pid_file(data_dir: Path) -> PidFile | None:
    """The pid file, or None if it does not exist, is incomplete, or the server keeps us out."""
    try:
        text = planted.read(data_dir, PID_FILE, _PID_FILE_BYTES).decode("utf-8", "replace")
    except (FileNotFoundError, PermissionError, PlantedFileError):
        return None
    lines = text.split("\n")
    if len(lines) < 3 or (pid := pid_in(lines[0])) is None or not _is_number(lines[2]):
        return None
    # Line 8 is the status (PostgreSQL's miscadmin.h, LOCK_FILE_LINE_PM_STATUS), padded with blanks.
    ready = len(lines) > 7 and lines[7].strip() == "ready"
    return PidFile(pid=pid, data_dir=lines[1], started=int(lines[2]), ready=ready)


def pid_in(text: str) -> int | None:
    """The pid that a line of a lock file stands for; None if it is none."""
    return int(text) if _is_number(text) and int(text) <= _LARGEST_PID else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER


def started_at(pid: int) -> float | None:
    """When a running process was started, in seconds since the epoch; None if it is gone.

    A zombie counts as gone.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.NoSuchProcess:
        return None


def is_running(server: Postmaster) -> bool:
    """Whether the process exists and is the one that was started as this server."""
    if server.birth is not None:
        return processes.birth(server.pid) == server.birth
    started = started_at(server.pid)
    if started is None:
        return False
    # Recorded before births were. If the clock was set since, its working directory and its pid
    # file identify it as well.
    same_start = abs(started - server.started) < _SAME_START_SECONDS
    if same_start or not server.first:
        return same_start or owner(server.data_dir) == server.pid
    return works_in(server.pid, server.data_dir)


def owner(data_dir: Path) -> int | None:
    """The pid of the server that works in a data directory, found by its pid file.

    The kernel must confirm that it is PostgreSQL and works there.
    """
    note = read_pid_file(data_dir)
    return note.pid if note is not None and works_in(note.pid, data_dir) else None


def forget(data_dir: Path) -> None:
    """Remove the pid file of a server that is gone, if it is there and can be."""
    with (
        contextlib.suppress(
            FileNotFoundError, PermissionError, PlantedFileError, IsADirectoryError
        ),
        planted.open_parent(data_dir, PID_FILE) as directory,
        faults.step("server.forget"),
    ):
        os.unlink(PID_FILE, dir_fd=directory)


def has_others(server: Postmaster) -> bool:
    """Whether a server may have processes beside those that every server has, or none of them.

    By their titles, which a superuser's own code can forge, to the loss of its own instance.
    """
    children = processes.children(server.pid)
    return (
        not children
        # While one of them ends the kernel may leave others out: proc(5).
        or children != processes.children(server.pid)
        or not all(_BACKGROUND.fullmatch(processes.title(child)) for child in children)
    )


def leaders_below(root: Path) -> list[tuple[int, Path]]:
    """Every server in a data directory below ``root``, with or without a pid file.

    Each is a pid with the directory, which may have been removed. A process whose parent works in
    the same directory is a server's child, not a server.
    """
    below = {
        pid: directory
        for pid in processes.all_pids()
        if (directory := _data_dir_below(pid, root)) is not None
    }
    return [
        (pid, directory)
        for pid, directory in below.items()
        if below.get(next(processes.ancestors(pid), 0)) != directory
    ]


def _data_dir_below(pid: int, root: Path) -> Path | None:
    directory = processes.working_dir(pid)
    # A user's shell may have the same working directory.
    if directory is None or processes.program(pid) not in _SERVER_PROGRAMS:
        return None
    if directory == DATA_DIR:
        # In a cell, or in a container of somebody else's. A server whose spawner was killed is
        # nobody's any more.
        places = (*root.glob("*/data"), *root.glob("*/*/data"))
        return next((place for place in places if processes.works_in(pid, place)), None)
    return Path(directory) if Path(directory).is_relative_to(root) else None


@asynccontextmanager
async def freeze(server: Postmaster) -> AsyncIterator[None]:
    """Freeze a server with its children. Raises ``ServerError`` if it is gone.

    A system call that writes a page completes before its caller stops: no page is half written.
    """
    held: list[int] = []
    try:
        await pause(server, held)
        yield
    finally:
        with faults.step("server.resume"):
            processes.resume(held)


async def pause(server: Postmaster, held: list[int]) -> None:
    """Freeze it until ``resume``; ``held`` gets all its processes. Raises as ``freeze`` does."""
    if not is_running(server):
        raise ServerError(f"the server on {server.data_dir} (pid {server.pid}) is gone")
    with faults.step("server.freeze"):
        await processes.freeze(server.pid, held)


def resume(server: Postmaster, held: list[int] | None = None) -> None:
    """Resume a server that is frozen, be it by an engine that was killed.

    ``held``: its processes, if they are known.
    """
    if processes.is_stopped(server.pid) and is_running(server):
        processes.resume(held or (server.pid, *processes.descendants(server.pid)))


async def shut_down(server: Postmaster, *, clean: bool) -> None:
    """Stop a server and return once it and its children are gone. It may be gone already.

    Raises ``ServerError`` if it runs as another user.
    """
    # PostgreSQL's fast and immediate shutdown; it waits for its children itself.
    resume(server)
    ways = [(signal.SIGINT, _CLEAN_SECONDS)] if clean else []
    if not server.first:
        ways.append((signal.SIGQUIT, _IMMEDIATE_SECONDS))
    for number, seconds in ways:
        if not is_running(server):
            break
        _send(server, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await processes.wait_exit(server.pid)
                return
    if is_running(server):
        _send(server, signal.SIGKILL)
        await processes.wait_exit(server.pid)
    if server.first:
        # The kernel has ended the others with it; only its pid file may be left.
        forget(server.data_dir)
    else:
        await _clear_orphans(server.data_dir)


async def _clear_orphans(data_dir: Path) -> None:
    """Kill the children that a killed server left working in its data directory.

    Its pid file goes with them: another process may have that pid by now, after a boot at the
    latest, and PostgreSQL would not start.
    """
    if owner(data_dir) is None:
        killed = await asyncio.to_thread(_kill_members, data_dir)
        async with asyncio.TaskGroup() as waiting:
            for pid in killed:
                waiting.create_task(processes.wait_exit(pid), name=f"end of process {pid}")
        forget(data_dir)


def _kill_members(data_dir: Path) -> list[int]:
    found = members(data_dir)
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return [process.pid for process in found]


def members(data_dir: Path) -> list[psutil.Process]:
    """Every PostgreSQL process that works in a data directory: a server, children, orphans."""
    return [process for process in psutil.process_iter() if works_in(process.pid, data_dir)]


def _send(server: Postmaster, number: signal.Signals) -> None:
    if is_running(server):
        try:
            with faults.step("server.signal"):
                os.kill(server.pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ServerError(
                f"the server on {server.data_dir} (pid {server.pid}) runs as another user",
                remedy="run pgstrata as the user that started it, or as root",
            ) from error


def works_in(pid: int, data_dir: Path) -> bool:
    """Whether the kernel reports that a process is PostgreSQL and works in a data directory."""
    try:
        process = psutil.Process(pid)
        # PostgreSQL and its children change to the data directory at start and stay there. A user's
        # shell may be there as well, so the program is checked. An exiting process has no program
        # while the kernel frees its memory and then its files, but it still has a name.
        program = Path(process.exe()).name or process.name()
        # By the link itself: what it says is a path in the process's own file system.
        return program == "postgres" and processes.works_in(pid, data_dir)
    except (psutil.Error, OSError, ValueError):
        # A data directory that was read from a file may have a NUL in its name.
        return False
