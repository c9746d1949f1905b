"""What a server's process and its pid file tell, and the signals it is stopped with.

Nothing here starts anything. A process is only ever signalled after its start time was compared:
pids are used again.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from pgstrata.domain.instance import Server
from pgstrata.domain.model import Model
from pgstrata.errors import ServerError

PID_FILE = "postmaster.pid"

_SAME_START_SECONDS = 2.0
"""By how much two readings of one start time may differ: the kernel counts from boot, and the
moment of boot moves a little when the clock is set."""

_STARTING_SECONDS = 60.0
"""How long a process may have lived before it noted the time in its pid file."""

_POLL_SECONDS = 0.01

_CLEAN_SECONDS = 60.0
"""How long a server may take to write everything out before it is stopped the hard way."""

_AT_ONCE_SECONDS = 10.0
"""As long again as PostgreSQL itself gives its children before it kills them."""


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


def is_running(server: Server) -> bool:
    """Whether the process is there and is the one that was started as this server."""
    started = started_at(server.pid)
    return started is not None and abs(started - server.started) < _SAME_START_SECONDS


def owner(data_dir: Path) -> tuple[int, float] | None:
    """Pid and start time of the server that works in a data directory, found by its pid file."""
    note = read_pid_file(data_dir)
    if note is None:
        return None
    started = started_at(note.pid)
    if started is None or not -_SAME_START_SECONDS < note.started - started < _STARTING_SECONDS:
        return None
    return (note.pid, started) if _works_in(note.pid, data_dir) else None


async def shut_down(server: Server, *, clean: bool) -> None:
    """Stop a server and return once it and its children are gone. It may be gone already.

    Raises ``ServerError`` when it is not ours to stop.
    """
    # What PostgreSQL calls a fast and an immediate shutdown; it waits for its children itself.
    ways = [(signal.SIGINT, _CLEAN_SECONDS)] if clean else []
    for number, patience in (*ways, (signal.SIGQUIT, _AT_ONCE_SECONDS)):
        if not is_running(server):
            break
        _send(server, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await gone(server.pid)
                return
    if is_running(server):
        _send(server, signal.SIGKILL)
        await gone(server.pid)
    await _clear_orphans(server.data_dir)


async def _clear_orphans(data_dir: Path) -> None:
    """Kill what a server that did not end by itself left working in its data directory."""
    if owner(data_dir) is None:
        killed = await asyncio.to_thread(_kill_members, data_dir)
        async with asyncio.TaskGroup() as waiting:
            for pid in killed:
                waiting.create_task(gone(pid), name=f"end of process {pid}")


def _kill_members(data_dir: Path) -> list[int]:
    met = members(data_dir)
    for process in met:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return [process.pid for process in met]


def members(data_dir: Path) -> list[psutil.Process]:
    """Every PostgreSQL process that works in a data directory: a server, children, orphans."""
    return [process for process in psutil.process_iter() if _works_in(process.pid, data_dir)]


def _send(server: Server, number: signal.Signals) -> None:
    if is_running(server):
        try:
            os.kill(server.pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ServerError(
                f"the server on {server.data_dir} (pid {server.pid}) runs as another user",
                remedy="run pgstrata as the user it was started by, or as root",
            ) from error


async def gone(pid: int) -> None:
    """Return once a process has ended. A child of ours is waited for, so that no zombie stays."""
    descriptor = _pidfd(pid)
    if descriptor is None:
        await _gone_by_looking(pid)
    else:
        try:
            await _readable(descriptor)
        finally:
            os.close(descriptor)
    reap(pid)


def reap(pid: int) -> None:
    """Take a child's exit code off the kernel's hands, if it is a child of ours that has ended."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _works_in(pid: int, data_dir: Path) -> bool:
    try:
        process = psutil.Process(pid)
        # PostgreSQL changes to its data directory at start and stays there, its children too.
        # So may somebody's shell, hence the name.
        return process.name() == "postgres" and Path(process.cwd()).samefile(data_dir)
    except (psutil.Error, OSError):
        return False


def _pidfd(pid: int) -> int | None:
    """A descriptor that turns readable at the process's end; None where there is no such thing."""
    open_pidfd: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
    if open_pidfd is None:
        return None
    try:
        return open_pidfd(pid)
    except OSError:
        # Gone already, or a kernel or a sandbox without the call.
        return None


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


async def _gone_by_looking(pid: int) -> None:
    while started_at(pid) is not None:  # noqa: ASYNC110 (nothing tells us)
        await asyncio.sleep(_POLL_SECONDS)
