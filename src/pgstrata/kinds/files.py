"""Reads input files so that what is read can be relied on, and remembers what was made of them.

A file is opened once, locked for sharing, and read between two looks at its inode that must agree.
The time of an inode's last change moves in ticks, so a file that changed a moment ago could change
again unseen: such a file is waited for. That makes a file's device, inode, size and times a name
for its content, which is what the memo goes by.
"""

import asyncio
import errno
import fcntl
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from pgstrata.domain.plan import InputFile
from pgstrata.errors import InputChangedError, InvalidArgumentError

T = TypeVar("T")

TICK_NS = 20_000_000
"""Longer than any tick of a file system's clock we know of."""
LOCK_SECONDS = 5.0
_ATTEMPTS = 5
_FEW = 16
_LOCKS_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS)

_Key = tuple[int, int, int, int, int]


def describe(path: Path, status: os.stat_result) -> InputFile:
    """A file as it is now."""
    return InputFile(
        path=path,
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
    )


def missing(path: Path) -> InputFile:
    """A file that is not there. No file has inode 0."""
    return InputFile(path=path, device=0, inode=0, size=0, mtime_ns=0, ctime_ns=0)


def unchanged(file: InputFile) -> bool:
    """Whether a file, or its absence, is as it was."""
    try:
        return describe(file.path, file.path.stat()) == file
    except (FileNotFoundError, NotADirectoryError):
        return missing(file.path) == file
    except OSError:
        return False


async def check_unchanged(files: Sequence[InputFile]) -> None:
    """Raise ``InputChangedError``, naming the file, if one is not as it was."""
    # A few looks take less time than telling a thread of them.
    few = len(files) <= _FEW
    changed = first_changed(files) if few else await asyncio.to_thread(first_changed, files)
    if changed is not None:
        raise InputChangedError(
            f"{changed.path} changed while its step was prepared", remedy="prepare again"
        )


def first_changed(files: Sequence[InputFile]) -> InputFile | None:
    """The first that is not as it was."""
    return next((file for file in files if not unchanged(file)), None)


class Files(Generic[T]):
    """Reads files and makes something of each, once for each content. Safe for many threads."""

    def __init__(self, make: Callable[[BinaryIO], T], memo_size: int) -> None:
        self._make = make
        self._memo_size = memo_size
        self._memo: OrderedDict[_Key, T] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path) -> tuple[InputFile, T]:
        """The file as it is, and what is made of it.

        Raises ``FileNotFoundError`` when there is none, and ``InvalidArgumentError`` when it is
        not a regular file, cannot be read, is locked, or does not stop changing.
        """
        try:
            found = self._remembered(path)
            return found if found is not None else self._read(path)
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise InvalidArgumentError(
                f"{path} cannot be read: {error.strerror}",
                remedy="let the user that the engine runs as read it",
            ) from error

    def _remembered(self, path: Path) -> tuple[InputFile, T] | None:
        file = describe(path, path.stat())
        with self._lock:
            key = _key(file)
            if key not in self._memo:
                return None
            self._memo.move_to_end(key)
            return file, self._memo[key]

    def _read(self, path: Path) -> tuple[InputFile, T]:
        with _opened(path) as file:
            _share(file, path)
            for _ in range(_ATTEMPTS):
                settled = _settle(file)
                before = describe(path, os.fstat(file.fileno()))
                file.seek(0)
                made = self._make(file)
                if describe(path, os.fstat(file.fileno())) == before:
                    if settled:
                        self._remember(before, made)
                    return before, made
        raise InvalidArgumentError(
            f"{path} does not stop changing", remedy="prepare again once it is written"
        )

    def _remember(self, file: InputFile, made: T) -> None:
        with self._lock:
            self._memo[_key(file)] = made
            while len(self._memo) > self._memo_size:
                self._memo.popitem(last=False)


def _key(file: InputFile) -> _Key:
    return file.device, file.inode, file.size, file.mtime_ns, file.ctime_ns


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    # Not blocking, or a pipe that no one writes to would hold us up before we see that it is one.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidArgumentError(
            f"{path} is not a regular file", remedy="name a file that can be read twice"
        )
    with os.fdopen(descriptor, "rb") as file:
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
                f"{path} is locked by someone who writes to it",
                remedy="prepare again once they are done",
            )
        time.sleep(0.02)


def _settle(file: BinaryIO) -> bool:
    """Wait until the file's last change is a tick ago; False if its times lie in the future."""
    status = os.fstat(file.fileno())
    age = time.time_ns() - status.st_ctime_ns
    if 0 <= age < TICK_NS:
        time.sleep((TICK_NS - age) / 1e9)
    return max(status.st_ctime_ns, status.st_mtime_ns) + TICK_NS <= time.time_ns()
