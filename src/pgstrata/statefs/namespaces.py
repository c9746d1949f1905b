"""A namespace in which somebody who is not root may mount.

The engine enters it when it starts, and the servers it starts are in there, too: they keep it for
as long as one of them runs, whatever becomes of the engine, and the next engine joins them. Outside
of it nobody sees what is mounted. Every call blocks.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pgstrata.system.libc import LIBC, check

_NEW_USER = 0x10000000  # CLONE_NEWUSER and CLONE_NEWNS of the kernel's include/uapi/linux/sched.h
_NEW_MOUNTS = 0x00020000

_PID_FILES = "*/*/upper/postmaster.pid"
"""Where the servers on mounted data directories note their pids, as seen without the mount."""


def needed() -> bool:
    """Whether this process may mount only in a namespace."""
    return os.geteuid() != 0


def join(store: Path) -> bool:
    """Enter the namespace of the servers that run on mounts below ``store``; False without any.

    The process must have one thread only, as for ``make``. Raises ``OSError``.
    """
    for pid in _servers(store):
        with suppress(ProcessLookupError):  # it ended meanwhile
            _enter(pid)
            return True
    return False


def make() -> None:
    """Enter a new namespace. Raises ``OSError`` where the system does not allow that."""
    user, group = os.geteuid(), os.getegid()
    check(LIBC.unshare(_NEW_USER | _NEW_MOUNTS))
    # Who we are stays the same: PostgreSQL refuses to run as root, even of a namespace.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def is_first() -> bool:
    """Whether this process is in no user namespace but the machine's own."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", str((1 << 32) - 1)]


def _enter(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        check(LIBC.setns(descriptor, _NEW_USER | _NEW_MOUNTS))
    finally:
        os.close(descriptor)


def _servers(store: Path) -> Iterator[int]:
    for file in store.glob(_PID_FILES):
        with suppress(OSError, ValueError):
            pid = _noted_in(file)
            # Pids are used again: only the server itself sees this file where it is mounted.
            seen = file.parent.with_name("data") / file.name
            if _noted_in(Path(f"/proc/{pid}/root{seen}")) == pid and not _with_us(pid):
                yield pid


def _noted_in(file: Path) -> int:
    with file.open("rb") as stream:
        return int(stream.readline())


def _with_us(pid: int) -> bool:
    return Path(f"/proc/{pid}/ns/mnt").samefile("/proc/self/ns/mnt")
