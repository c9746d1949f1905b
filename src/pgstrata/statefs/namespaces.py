"""A namespace in which a user who is not root may mount.

The engine enters it when it starts, and so does what starts its servers (``system.cell.spawner``).
It exists as long as one of them runs, even if the engine ends, and the next engine joins it. Mounts
are not visible outside. Every call blocks.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from pgstrata.system import planted
from pgstrata.system.cell import spawning
from pgstrata.system.libc import LIBC, check
from pgstrata.system.planted import PlantedFileError

_NEW_USER = 0x10000000  # CLONE_NEWUSER and CLONE_NEWNS of the kernel's include/uapi/linux/sched.h
_NEW_MOUNTS = 0x00020000

_PID_FILES = ("*/*/overlay/upper/postmaster.pid", "*/*/upper/postmaster.pid")
"""The pid files of servers on mounted data directories, as seen from outside the mounts: where they
are now, and where they were in stores of an earlier version."""

_PID_FILE_BYTES = 8192


def needed() -> bool:
    """Whether this process may mount only in a namespace."""
    return os.geteuid() != 0


def join(store: Path) -> bool:
    """Enter the namespace in which a store's servers were started; False if none runs.

    The process must have only one thread, as for ``make``. Raises ``OSError``.
    """
    for pid in chain(_spawners(store), _servers(store)):
        with suppress(ProcessLookupError):  # it ended meanwhile
            _enter(pid)
            return True
    return False


def make() -> None:
    """Enter a new namespace. Raises ``OSError`` if the system does not allow that."""
    user, group = os.geteuid(), os.getegid()
    check(LIBC.unshare(_NEW_USER | _NEW_MOUNTS))
    # Map our own ids to themselves: PostgreSQL refuses to run as root, even of a namespace.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def is_first() -> bool:
    """Whether this process is in the machine's initial user namespace."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", str((1 << 32) - 1)]


def _enter(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        check(LIBC.setns(descriptor, _NEW_USER | _NEW_MOUNTS))
    finally:
        os.close(descriptor)


def _spawners(store: Path) -> Iterator[int]:
    yield from (pid for pid in spawning.spawners(store) if not _shares_namespace(pid))


def _servers(store: Path) -> Iterator[int]:
    """Those of an engine without cells: they are in its namespace."""
    for file in (file for pattern in _PID_FILES for file in store.glob(pattern)):
        with suppress(OSError, ValueError):
            pid = _read_pid(file)
            # Pids are reused: only the server itself sees this file in its mounted data directory.
            area, volume = file.relative_to(store).parts[:2]
            seen = store / area / volume / "data" / file.name
            if (
                _read_pid(Path(f"/proc/{pid}/root{seen}")) == pid
                and not _shares_namespace(pid)
                and not spawning.is_in_cell(pid)
            ):
                yield pid


def _read_pid(file: Path) -> int:
    try:
        content = planted.read(file.parent, file.name, _PID_FILE_BYTES)
    except PlantedFileError as error:
        raise ValueError(str(error)) from error
    return int(content.partition(b"\n")[0])


def _shares_namespace(pid: int) -> bool:
    return Path(f"/proc/{pid}/ns/mnt").samefile("/proc/self/ns/mnt")
