"""What the kernel knows about processes: identity, working directory, environment.

A process is identified by its pid and its birth. A birth counts from the boot, so setting the clock
does not change it, unlike a start time in seconds since the epoch. Without ``/proc`` nothing is
known about any process.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

POLL_SECONDS: Final = 0.01

_ROUNDS: Final = 5
"""How often the remaining processes are killed: new ones may be born meanwhile."""

_STOP_POLL_SECONDS: Final = 0.0005
_STOP_LOOKS: Final = 20
"""How often to check without a pause whether processes have stopped; most stop immediately."""

_STOPPED: Final = frozenset({b"T", b"t", b"Z", b"X"})

_STAT_BYTES: Final = 4096
"""More than the longest line."""

# Fields of /proc/PID/stat after the name in brackets: see proc(5).
_STATE, _PARENT, _THREADS, _START = 0, 1, 17, 19

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


CRASHES: Final = frozenset(
    {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGTRAP}
)
"""The signals by which a program ends itself, or is ended for what it does."""

SIGNALLED: Final = 128
"""What a shell adds to the number of the signal that ended a program, for its exit code."""


def signal_name(number: int) -> str:
    """A signal as people know it: ``signal 9 (SIGKILL)``."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def birth(pid: int) -> str | None:
    """What tells a process from all others with its pid: the boot and the ticks since then.

    None if it has ended, even if it was not waited for yet, or if nothing is known.
    """
    ticks, boot = started(pid), _boot()
    return None if ticks is None or boot is None else f"{boot}:{ticks}"


def is_of_this_boot(birth: str | None) -> bool:
    """Whether what was born then was born since the last boot; False if that is not known."""
    boot = _boot()
    return birth is not None and boot is not None and birth.startswith(f"{boot}:")


def started(pid: int) -> int | None:
    """When a process was started, in clock ticks since the boot; None if it has ended."""
    fields = _stat(pid)
    if fields is None or fields[_STATE] in (b"Z", b"X"):
        return None
    return int(fields[_START])


def all_pids() -> Iterator[int]:
    """The pids of all processes."""
    with contextlib.suppress(OSError):
        yield from (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def ancestors(pid: int) -> Iterator[int]:
    """The pids of a process's parent, its parent's parent, and so on."""
    while (fields := _stat(pid)) is not None and (pid := int(fields[_PARENT])) > 0:
        yield pid


def children(pid: int) -> list[int]:
    """The pids of a process's children, zombies among them."""
    return _children_of_thread(pid, pid)


def _children_of_thread(pid: int, thread: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
        ]
    except OSError:
        # The kernel does not provide it, or the process is gone.
        return [one for one in all_pids() if next(ancestors(one), None) == pid]


def descendants(pid: int) -> Iterator[int]:
    """The pids of a process's children, of theirs, and so on, whichever threads had them."""
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        try:
            threads = [int(name) for name in os.listdir(f"/proc/{one}/task")]  # noqa: PTH208
        except OSError:
            continue  # it is gone
        found = {child for thread in threads for child in _children_of_thread(one, thread)}
        waiting += found
        yield from found


class Use(NamedTuple):
    """What a process takes of the machine."""

    threads: int
    private: int
    """The bytes of memory that it has for itself."""
    shared: int
    """The bytes that others have as well: shared memory, programs and libraries."""


def use(pid: int) -> Use | None:
    """What a process takes; None if it has ended."""
    fields = _stat(pid)
    try:
        pages = Path(f"/proc/{pid}/statm").read_bytes().split()
    except OSError:
        return None
    if fields is None or len(pages) < 3:
        return None
    resident, shared = int(pages[1]) * _PAGE_BYTES, int(pages[2]) * _PAGE_BYTES
    return Use(int(fields[_THREADS]), resident - shared, shared)


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, or has ended."""
    fields = _stat(pid)
    return fields is None or fields[_STATE] in _STOPPED


async def freeze(leader: int, held: list[int]) -> None:
    """Stop a process and its descendants with SIGSTOP, and return once all have stopped.

    They need not be ours. Each stopped process is added to ``held``, even if this is cancelled.
    Those born meanwhile are found, and one that is stopped has no new ones.
    """
    found = [leader]
    while found:
        for pid in found:
            held.append(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        found = _others(leader, held)
        if not found:
            await _until_stopped(held)
            found = _others(leader, held)


def _others(leader: int, held: Collection[int]) -> list[int]:
    return [one for one in descendants(leader) if one not in held]


async def _until_stopped(pids: Sequence[int]) -> None:
    looks = 0
    while pids := [pid for pid in pids if not is_stopped(pid)]:
        looks += 1
        # A process in a disk operation stops at its end, without any notification.
        await asyncio.sleep(0 if looks < _STOP_LOOKS else _STOP_POLL_SECONDS)


def resume(pids: Iterable[int]) -> None:
    """Resume stopped processes with SIGCONT; those that have ended are ignored."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def working_dir(pid: int) -> str | None:
    """A process's working directory, even if it was removed; None if unknown."""
    return _link(pid, "cwd")


def works_in(pid: int, directory: Path) -> bool:
    """Whether a directory is a process's working directory, whatever path it has there."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:
        return False


def program(pid: int) -> str | None:
    """The file name of the program that a process runs; None if unknown."""
    path = _link(pid, "exe")
    return None if path is None else path.rpartition("/")[2].removesuffix(" (deleted)")


def title(pid: int) -> bytes:
    """What a process calls itself, by default its command line; nothing if it is ending."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().strip(b" \0")
    except (FileNotFoundError, ProcessLookupError):
        return b""


def open_files(pid: int) -> list[str]:
    """The paths of the files that a process has open, as far as known."""
    try:
        links = [_link(pid, f"fd/{entry.name}") for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []
    return [path for path in links if path is not None]


def environ(pid: int, name: str) -> str | None:
    """The value of a variable in a process's environment; None if unknown."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    wanted = name.encode() + b"="
    for variable in environment.split(b"\0"):
        if variable.startswith(wanted):
            return os.fsdecode(variable[len(wanted) :])
    return None


async def wait_exit(pid: int) -> None:
    """Wait until a process has exited. A child of ours is reaped, so that no zombie is left."""
    descriptor = _pidfd(pid)
    if descriptor is None:
        await _poll_exit(pid)
    else:
        try:
            await _readable(descriptor)
        finally:
            os.close(descriptor)
    _reap(pid)


async def wait_readable(descriptor: int) -> None:
    """Wait until a descriptor, such as a pidfd, is readable."""
    await _readable(descriptor)


async def end_all(find: Callable[[], Collection[int]], *, grace_seconds: float) -> Collection[int]:
    """End every process that ``find`` returns, SIGTERM first, and wait until they are gone.

    ``find`` runs in a thread, repeatedly until it finds none; it must identify processes reliably.
    Returns those that remain even though they were killed.
    """
    found = await asyncio.to_thread(find)
    if not found:
        return found
    await _signal(found, signal.SIGTERM, find, grace_seconds)
    for _ in range(_ROUNDS):
        if not (found := await asyncio.to_thread(find)):
            break
        await _signal(found, signal.SIGKILL, find, grace_seconds)
    return found


async def _signal(
    pids: Collection[int],
    number: signal.Signals,
    find: Callable[[], Collection[int]],
    seconds: float,
) -> None:
    """Send a signal to processes and wait up to so many seconds for their end."""
    held = [(pid, descriptor) for pid in pids if (descriptor := _pidfd(pid)) is not None]
    try:
        # A pid may have been reused, but not if there is a pidfd and the process is still found.
        still = await asyncio.to_thread(find)
        for pid, descriptor in held:
            if pid in still:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(descriptor, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for _, descriptor in held:
                    await _readable(descriptor)
    finally:
        for _, descriptor in held:
            os.close(descriptor)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


@cache
def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _stat(pid: int) -> list[bytes] | None:
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        line = os.read(descriptor, _STAT_BYTES)
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    # The name may contain anything, even brackets.
    return line.rpartition(b") ")[2].split()


def _link(pid: int, name: str) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/{name}").readlink())
    except OSError:
        return None


def _pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None if it cannot be had."""
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


async def _poll_exit(pid: int) -> None:
    while _runs(pid):  # noqa: ASYNC110 (there is no notification)
        await asyncio.sleep(POLL_SECONDS)


def _runs(pid: int) -> bool:
    if _boot() is not None:
        return started(pid) is not None
    try:
        # Without /proc, our own child must be waited for before it counts as gone.
        _reap(pid)
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
