"""What a server's process and its pid file tell, and the signals it is stopped with.

Nothing here starts anything. A process is only ever signalled after its birth was compared: pids
are used again. Its start time in seconds since the epoch is a makeshift, for servers whose birth
was never noted: it moves when the clock is set.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil

from pgstrata.domain.instance import Server
from pgstrata.domain.model import Model, from_plain, to_plain
from pgstrata.errors import ServerError
from pgstrata.system import faults, processes

PID_FILE = "postmaster.pid"

_SAME_START_SECONDS = 2.0
"""By how much two readings of one start time may differ: the kernel counts from boot, and the
moment of boot moves a little when the clock is set."""

_SERVER_PROGRAMS = ("postgres", "setpriv")
"""What a server's process runs; the second for a moment, on its way to the first as another user.
"""

_CLEAN_SECONDS = 60.0
"""How long a server may take to write everything out before it is stopped the hard way."""

_AT_ONCE_SECONDS = 10.0
"""As long again as PostgreSQL itself gives its children before it kills them."""


class Postmaster(Model, frozen=True, kw_only=True):
    """A server's own process, told apart from every other by pid and birth.

    This is what the handle of a native runtime's ``Server`` holds.
    """

    pid: int
    started: float
    """When the process started, in seconds since the epoch: only as right as the clock."""
    image_id: str
    """The PostgreSQL it is of, whose tools fit it."""
    data_dir: Path
    birth: str | None = None
    """What the kernel tells of the process's start that no clock moves (``processes.birth``).
    None where the kernel does not tell it, and in rows written before it was noted."""

    @property
    def handle(self) -> str:
        """All of this as text."""
        return msgspec.json.encode(self, enc_hook=to_plain).decode()


_decode = msgspec.json.Decoder(Postmaster, dec_hook=from_plain).decode


def postmaster_of(server: Server) -> Postmaster:
    """The process of a server of the native runtime."""
    return _decode(server.handle)


class PidFile(Model, frozen=True, kw_only=True):
    """What a server says of itself in its data directory."""

    pid: int
    data_dir: str
    started: int
    """When it noted the time, in whole seconds since the epoch."""
    ready: bool


def read_pid_file(data_dir: Path) -> PidFile | None:
    """The pid file, or None when there is none, or it is not (yet) one."""
    try:
        lines = (data_dir / PID_FILE).read_text(encoding="utf-8", errors="replace").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(lines) < 3 or not (lines[0].isdecimal() and lines[2].isdecimal()):
        return None
    # Line 8 is the status (PostgreSQL's miscadmin.h, LOCK_FILE_LINE_PM_STATUS), padded with blanks.
    ready = len(lines) > 7 and lines[7].strip() == "ready"
    return PidFile(pid=int(lines[0]), data_dir=lines[1], started=int(lines[2]), ready=ready)


def started_at(pid: int) -> float | None:
    """When a process that runs was started, in seconds since the epoch; None when it is gone.

    One that has ended and was not waited for yet is gone.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.NoSuchProcess:
        return None


def is_running(server: Postmaster) -> bool:
    """Whether the process is there and is the one that was started as this server."""
    if server.birth is not None:
        return processes.birth(server.pid) == server.birth
    started = started_at(server.pid)
    if started is None:
        return False
    # Noted before births were. If the clock was set since, what the kernel says of its directory
    # and what it wrote down there tell as much.
    same_start = abs(started - server.started) < _SAME_START_SECONDS
    return same_start or owner(server.data_dir) == server.pid


def owner(data_dir: Path) -> int | None:
    """The pid of the server that works in a data directory, found by its pid file.

    The kernel must agree: it is a PostgreSQL and works there.
    """
    note = read_pid_file(data_dir)
    return note.pid if note is not None and works_in(note.pid, data_dir) else None


def leaders_below(root: Path) -> list[tuple[int, Path]]:
    """Every server in a data directory below ``root``, whether it has a pid file or not.

    Its pid with the directory, which may have been removed. A process whose parent works in the
    same directory is no server, but a server's child.
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
    if directory is None or not Path(directory).is_relative_to(root):
        return None
    # A person's shell may be there, too.
    return Path(directory) if processes.program(pid) in _SERVER_PROGRAMS else None


@asynccontextmanager
async def freeze(server: Postmaster) -> AsyncIterator[None]:
    """Freeze a server with its children. Raises ``ServerError`` when it is gone.

    A system call that writes a page completes before its caller stops: no page is half written.
    """
    if not is_running(server):
        raise ServerError(f"the server on {server.data_dir} (pid {server.pid}) is gone")
    held: list[int] = []
    try:
        with faults.step("server.freeze"):
            await processes.freeze(server.pid, held)
        yield
    finally:
        with faults.step("server.resume"):
            processes.resume(held)


def _resume(server: Postmaster) -> None:
    """Resume a server that was frozen by an engine that was killed meanwhile."""
    if processes.is_stopped(server.pid) and is_running(server):
        processes.resume((server.pid, *processes.children(server.pid)))


async def shut_down(server: Postmaster, *, clean: bool) -> None:
    """Stop a server and return once it and its children are gone. It may be gone already.

    Raises ``ServerError`` when it is not ours to stop.
    """
    # What PostgreSQL calls a fast and an immediate shutdown; it waits for its children itself.
    _resume(server)
    ways = [(signal.SIGINT, _CLEAN_SECONDS)] if clean else []
    for number, patience in (*ways, (signal.SIGQUIT, _AT_ONCE_SECONDS)):
        if not is_running(server):
            break
        _send(server, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await processes.wait_exit(server.pid)
                return
    if is_running(server):
        _send(server, signal.SIGKILL)
        await processes.wait_exit(server.pid)
    await _clear_orphans(server.data_dir)


async def _clear_orphans(data_dir: Path) -> None:
    """Kill what a server that did not end by itself left working in its data directory."""
    if owner(data_dir) is None:
        killed = await asyncio.to_thread(_kill_members, data_dir)
        async with asyncio.TaskGroup() as waiting:
            for pid in killed:
                waiting.create_task(processes.wait_exit(pid), name=f"end of process {pid}")


def _kill_members(data_dir: Path) -> list[int]:
    met = members(data_dir)
    for process in met:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return [process.pid for process in met]


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
                remedy="run pgstrata as the user it was started by, or as root",
            ) from error


def works_in(pid: int, data_dir: Path) -> bool:
    """Whether a process is a PostgreSQL's and works in a data directory, as the kernel says."""
    try:
        process = psutil.Process(pid)
        # PostgreSQL changes to its data directory at start and stays there, its children too.
        # So may somebody's shell, hence the program. One that is ending has none any more while
        # it lets go of its memory, and after that of its files: it has its name then.
        program = Path(process.exe()).name or process.name()
        return program == "postgres" and Path(process.cwd()).samefile(data_dir)
    except (psutil.Error, OSError):
        return False
