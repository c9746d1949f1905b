"""Reads input files reliably, and remembers what was made of them.

A file is opened once, locked for sharing, and read between two checks of its inode, which must
agree. The time of an inode's last change moves in ticks, so a file that changed a moment ago could
change again unnoticed: such a file is waited for. A file's device, inode, size and times then
identify its content, and are the memo's key.
"""

import errno
import fcntl
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO, Generic, NamedTuple, TypeVar

from pgstrata.errors import InvalidArgumentError
from pgstrata.system.libc import file_system

T = TypeVar("T")

TICK_NS = 20_000_000
"""Longer than any tick of a file system's clock we know of."""
LOCK_SECONDS = 5.0
_ATTEMPTS = 5
_KERNEL_MAGIC = {
    0x9FA0: "procfs",
    0x62656572: "sysfs",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0x62656570: "configfs",
    0x27E0EB: "cgroup",
    0x63677270: "cgroup2",
    0x6165676C: "pstore",
    0xCAFE4A11: "bpf",
    0xDE5E81E4: "efivarfs",
}
"""File systems whose files the kernel makes up as they are read, by the numbers that ``statfs``
returns (include/uapi/linux/magic.h): the same inode may have another content each time."""
_LOCKS_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS)


class Stamp(NamedTuple):
    """A file's inode data: enough to notice any later change to it."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


ABSENT = Stamp(0, 0, 0, 0, 0)
"""A file that does not exist. No file has inode 0."""


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp in a ``stat`` result."""
    return Stamp(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
    )


def stamp_at(path: Path) -> Stamp | None:
    """The stamp of the file at a path now; None if it cannot be determined."""
    try:
        return stamp_of(path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError:
        return None


def refuse_kernel_files(descriptor: int, path: PurePath) -> None:
    """Raise ``InvalidArgumentError`` for what is not stored anywhere, whatever its inode says."""
    if (kind := _KERNEL_MAGIC.get(file_system(descriptor))) is not None:
        raise InvalidArgumentError(
            f"{path} is made up by the kernel as it is read ({kind})",
            remedy="copy it into a file of your own and name that",
        )


class Files(Generic[T]):
    """Reads files and calls ``make`` once for each content. Thread-safe."""

    def __init__(self, make: Callable[[BinaryIO], T], memo_size: int) -> None:
        self._make = make
        self._memo_size = memo_size
        self._memo: OrderedDict[Stamp, T] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path) -> tuple[Stamp, T]:
        """The file's stamp, and the result of ``make``.

        Raises ``FileNotFoundError`` if there is none, and ``InvalidArgumentError`` if it is not a
        regular file, cannot be read, is locked, or keeps changing.
        """
        with _report_errors(path):
            stamp = stamp_of(path.stat())
            with self._lock:
                if stamp in self._memo:
                    self._memo.move_to_end(stamp)
                    return stamp, self._memo[stamp]
            stamp, made, settled = _read(path, self._make)
        if settled:
            with self._lock:
                self._memo[stamp] = made
                while len(self._memo) > self._memo_size:
                    self._memo.popitem(last=False)
        return stamp, made


def read_once(path: Path, make: Callable[[BinaryIO], T]) -> tuple[Stamp, T]:
    """The file's stamp, and the result of ``make``; raises like ``Files.read``."""
    with _report_errors(path):
        stamp, made, _settled = _read(path, make)
    return stamp, made


def _read(path: Path, make: Callable[[BinaryIO], T]) -> tuple[Stamp, T, bool]:
    """The same, and whether the stamp may be remembered."""
    with _opened(path) as file:
        _share(file, path)
        for _ in range(_ATTEMPTS):
            settled = _settle(file)
            before = stamp_of(os.fstat(file.fileno()))
            file.seek(0)
            made = make(file)
            if stamp_of(os.fstat(file.fileno())) == before:
                return before, made, settled
    raise InvalidArgumentError(
        f"{path} does not stop changing", remedy="prepare again once it is written"
    )


@contextmanager
def _report_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors for a path into our own."""
    try:
        yield
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidArgumentError(
            f"{path} cannot be read: {error.strerror}",
            remedy="let the user that the engine runs as read it",
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    # Non-blocking, or opening a pipe without a writer would hang before it is recognised as one.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidArgumentError(
            f"{path} is not a regular file", remedy="name a file that can be read twice"
        )
    with os.fdopen(descriptor, "rb") as file:
        refuse_kernel_files(descriptor, path)
        yield file


def _share(file: BinaryIO, path: Path) -> None:
    """Lock the file for sharing; it is unlocked when it is closed."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in _LOCKS_UNSUPPORTED:
                return
            if error.errno != errno.EWOULDBLOCK:
                raise
        if time.monotonic() > deadline:
            raise InvalidArgumentError(
                f"{path} is locked by a program that writes to it",
                remedy="prepare again once it is done",
            )
        time.sleep(0.02)


def _settle(file: BinaryIO) -> bool:
    """Wait until the file's last change is a tick ago; False if its times are in the future."""
    status = os.fstat(file.fileno())
    age = time.time_ns() - status.st_ctime_ns
    if 0 <= age < TICK_NS:
        time.sleep((TICK_NS - age) / 1e9)
    return max(status.st_ctime_ns, status.st_mtime_ns) + TICK_NS <= time.time_ns()
