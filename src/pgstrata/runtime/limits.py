"""What servers may take of the machine, and the watch that stops those that take more.

It also stops those that only crash and start again (``restarts``).

The kernel itself limits processes where a server has a user namespace of its own. Memory and disk
can only be looked at. To look at a server takes a while, and to look at the machine does not: that
is done often, and the servers are looked at when the machine has much less left than before.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from pgstrata.domain.instance import Server
from pgstrata.domain.sizes import rounded
from pgstrata.errors import PgstrataError
from pgstrata.runtime import postmaster, restarts
from pgstrata.runtime.postmaster import LOG, Postmaster, postmaster_of
from pgstrata.runtime.restarts import Restarts
from pgstrata.settings import ServerLimits
from pgstrata.system import planted, processes, walking
from pgstrata.system.main_memory import available_memory
from pgstrata.system.planted import PlantedFileError

_log = logging.getLogger(__name__)

_GLANCE_SECONDS = 0.25
"""How often to look at the machine."""

_PROCESSES_SECONDS, _DISK_SECONDS = 10.0, 60.0
"""How often to look at the servers at any rate."""

_UNMEASURED_SECONDS = 2.0
"""How long a server runs before its files are measured, unless the disk fills up: many do not live
as long, and to measure a thousand files takes as much processor time as to clone them."""

_NOTE = "stopped"
"""The file beside a server's data directory that says why it was stopped."""

_NOTE_BYTES = 1024
_NEW_NOTE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC

_PART = 8
"""What part of a limit the machine loses before the servers are looked at."""


Look = Callable[[], Coroutine[None, None, None]]


class Allowed(NamedTuple):
    """How much a server may take; 0 for any amount."""

    processes: int = 0
    memory: int = 0
    disk: int | None = 0
    """None for half of what is free when it starts, of an instance's server; for any amount, of one
    that builds a state: its step fails on a full disk, and gives back what it took."""


class Used(NamedTuple):
    """What a server has taken."""

    processes: int = 0
    memory: int = 0
    disk: int = 0


def allowed_by(limits: ServerLimits) -> Allowed:
    """What settings come to on this machine."""
    memory = psutil.virtual_memory().total // 2 if limits.memory is None else limits.memory
    return Allowed(limits.processes, memory, limits.disk)


def excess(used: Used, allowed: Allowed) -> str | None:
    """What a server has taken too much of, for people; None if nothing."""
    if 0 < allowed.processes <= used.processes:
        return _stopped(
            f"had {used.processes} processes and threads", "processes", str(allowed.processes)
        )
    if 0 < allowed.memory < used.memory:
        return _stopped(f"took {rounded(used.memory)} of memory", "memory", rounded(allowed.memory))
    if allowed.disk and allowed.disk < used.disk:
        return _stopped(
            f"had its files grow by {rounded(used.disk)}", "disk", rounded(allowed.disk)
        )
    return None


def _stopped(what: str, limit: str, most: str) -> str:
    return f"the server was stopped because it {what} (instances.limits.{limit} is {most})"


class _Watched:
    def __init__(self, server: Server, allowed: Allowed) -> None:
        self.server = server
        self.process = postmaster_of(server)
        self.allowed = allowed
        self.restarts = Restarts(self.process.data_dir)
        self.measured_from = 0.0
        """When its files are to be looked at, by the event loop's clock."""
        self.size: int | None = None
        """That of its files when they were first looked at."""

    def is_due(self, now: float) -> bool:
        """Whether its files are to be looked at for the first time."""
        return self.size is None and bool(self.allowed.disk) and self.measured_from <= now


class _Supply:
    """What the machine has of something, and whether much of it was taken since the last look."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._most = self._looked_at = 0.0

    def is_due(self, left: int, part: int, now: float) -> bool:
        """Whether to look who took it. ``part``: how much is much; 0 for no amount."""
        self._most = max(self._most, left)
        if now - self._looked_at < self._seconds and not 0 < part <= self._most - left:
            return False
        self._most, self._looked_at = left, now
        return True


class LimitWatch:
    """Watches servers, and stops those that take more than they may."""

    def __init__(self, store: Path, allowed: Allowed) -> None:
        """``store``: a directory on the disk that their files are on."""
        self._store = store
        self._allowed = allowed
        self._watched: dict[str, _Watched] = {}
        self._resting: dict[str, _Watched] = {}
        self._stopped: dict[str, str] = {}
        self._memory = _Supply(_PROCESSES_SECONDS)
        self._processes = _Supply(_PROCESSES_SECONDS)
        self._disk = _Supply(_DISK_SECONDS)
        # Files may take long to count, and memory is gone fast.
        self._looks: dict[Look, float] = {
            self._look_at_processes: _GLANCE_SECONDS,
            self._look_at_files: _GLANCE_SECONDS,
            self._look_at_starts: restarts.LOOK_SECONDS,
        }
        self._looking: dict[Look, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def add(self, server: Server, *, building: bool = False) -> None:
        """Watch a server, perhaps one that builds a state, until it has ended or is removed."""
        process = postmaster_of(server)
        with suppress(OSError):
            (process.data_dir.parent / _NOTE).unlink()  # of one that was there before
        allowed = self._allowed
        if allowed.disk is None:
            allowed = allowed._replace(
                disk=0 if building else shutil.disk_usage(self._store).free // 2
            )
        self._watch(server.handle, _Watched(server, allowed))

    def rest(self, handle: str) -> None:
        """Do not look at a server that is paused: it takes no more than it has."""
        if (one := self._watched.pop(handle, None)) is not None:
            self._resting[handle] = one

    def wake(self, handle: str) -> None:
        """Look at it again."""
        if (one := self._resting.pop(handle, None)) is not None:
            self._watch(handle, one)

    def recall(self, server: Server) -> None:
        """Learn why a server was stopped, if an engine before this one did."""
        process = postmaster_of(server)
        with suppress(FileNotFoundError, PlantedFileError):
            note = planted.read(process.data_dir.parent, _NOTE, _NOTE_BYTES)
            self._stopped[server.handle] = note.decode("utf-8", "replace")

    def remove(self, handle: str) -> None:
        """Forget a server."""
        self._watched.pop(handle, None)
        self._resting.pop(handle, None)
        self._stopped.pop(handle, None)

    def stopped_for(self, handle: str) -> str | None:
        """Why a server was stopped, for people; None if it was not."""
        return self._stopped.get(handle)

    async def close(self) -> None:
        """Watch no more, once those that were told to stop have ended."""
        for task in self._looking.values():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*self._ending)

    def _watch(self, handle: str, one: _Watched) -> None:
        one.measured_from = asyncio.get_running_loop().time() + _UNMEASURED_SECONDS
        self._watched[handle] = one
        for look, seconds in self._looks.items():
            if look not in self._looking or self._looking[look].done():
                self._looking[look] = asyncio.create_task(
                    self._repeat(look, seconds), name=look.__name__
                )

    async def _repeat(self, look: Look, seconds: float) -> None:
        while self._watched:
            await asyncio.sleep(seconds)
            try:
                await look()
            except (OSError, PgstrataError) as error:
                _log.warning("servers could not be checked: %s", error)

    async def _look_at_processes(self) -> None:
        now = asyncio.get_running_loop().time()
        memory = _least(one.allowed.memory for one in self._watched.values())
        number = _least(one.allowed.processes for one in self._watched.values())
        if not memory and not number:
            return
        free = available_memory()
        if self._memory.is_due(free, memory // _PART, now) | self._processes.is_due(
            -_number_of_tasks(), number // _PART, now
        ):
            for handle, one in self._running():
                used = await asyncio.to_thread(_used_by_processes, one.process.pid)
                self._end_if(handle, one, excess(used, one.allowed))

    async def _look_at_files(self) -> None:
        now = asyncio.get_running_loop().time()
        least = _least(one.allowed.disk for one in self._watched.values())
        grown = self._disk.is_due(shutil.disk_usage(self._store).free, least // _PART, now)
        for handle, one in self._running(lambda one: one.is_due(now) or grown):
            if not one.allowed.disk:
                continue
            try:
                size = await asyncio.to_thread(_bytes_below, one.process.data_dir)
            except (PermissionError, PlantedFileError) as error:
                reason = f"the server was stopped because its files cannot be measured: {error}"
                self._end_if(handle, one, reason)
                continue
            if one.size is None:
                one.size = size
            self._end_if(handle, one, excess(Used(disk=size - one.size), one.allowed))

    async def _look_at_starts(self) -> None:
        for handle, one in self._running():
            # Without its directory it may go on well, if only we do not see that any more.
            gone = not one.process.data_dir.is_dir()
            if gone or one.restarts.are_many():
                one.restarts.forget()
                if not await restarts.lets_us_in(one.server):
                    reason = restarts.GONE if gone else restarts.FOR_EVER
                    self._end_if(handle, one, reason)

    def _running(
        self, wanted: Callable[[_Watched], bool] = lambda _: True
    ) -> Iterator[tuple[str, _Watched]]:
        """Those that are wanted and have not ended; such are forgotten."""
        for handle, one in [each for each in self._watched.items() if wanted(each[1])]:
            if postmaster.is_running(one.process):
                yield handle, one
            else:
                self._watched.pop(handle, None)

    def _end_if(self, handle: str, one: _Watched, reason: str | None) -> None:
        """Stop a server if there is a reason to, unless nobody wants it watched any more."""
        if reason is None or self._watched.pop(handle, None) is None:
            return
        _log.warning("%s: %s", one.process.data_dir, reason)
        self._stopped[handle] = reason
        _note(one.process, reason)
        ending = asyncio.create_task(_end(one.process), name=f"end of {one.process.data_dir}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _note(process: Postmaster, reason: str) -> None:
    """Write down why a server is stopped, for engines to come."""
    try:
        with planted.open_directory(process.data_dir.parent) as directory:
            descriptor = os.open(_NOTE, _NEW_NOTE, 0o600, dir_fd=directory)
            with os.fdopen(descriptor, "w") as file:
                file.write(reason)
    except (OSError, PlantedFileError) as error:
        _log.warning("%s: why it was stopped is not written down: %s", process.data_dir, error)


async def _end(process: Postmaster) -> None:
    try:
        await postmaster.shut_down(process, clean=False)
    except (OSError, PgstrataError) as error:
        _log.warning("%s could not be stopped: %s", process.data_dir, error)


def _least(limits: Iterable[int | None]) -> int:
    return min((limit for limit in limits if limit), default=0)


def _used_by_processes(leader: int) -> Used:
    found = [
        use
        for pid in (leader, *processes.descendants(leader))
        if (use := processes.use(pid)) is not None
    ]
    # What one of them shares, it shares with the others.
    shared = max((use.shared for use in found), default=0)
    return Used(
        processes=sum(use.threads for use in found),
        memory=sum(use.private for use in found) + shared + _temporary_bytes(leader),
    )


def _temporary_bytes(pid: int) -> int:
    """What a cell's files hold that are in memory, as far as we can see them."""
    try:
        inside, outside = os.statvfs(f"/proc/{pid}/root/dev/shm"), os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return 0
    if inside.f_fsid == outside.f_fsid:
        return 0  # everybody's
    return (inside.f_blocks - inside.f_bfree) * inside.f_frsize


def _bytes_below(data_dir: Path) -> int:
    """What a server's files, and its log, hold on disk.

    Raises ``PermissionError`` and ``PlantedFileError`` if it keeps us from looking.
    """
    size = 0
    with suppress(FileNotFoundError):
        size += walking.allocated((data_dir.parent / LOG).lstat())
    with suppress(FileNotFoundError):
        size += sum(walking.allocated(found.status) for found in walking.everything_in(data_dir))
    return size


def _number_of_tasks() -> int:
    """How many processes and threads the machine has; 0 if it does not say."""
    try:
        _, _, _, tasks, _ = Path("/proc/loadavg").read_text().split()
    except OSError:
        return 0
    return int(tasks.partition("/")[2])
