"""Locks between processes: the operating system's, on a file, which end with their holder.

A lock file is never deleted, not even by its last holder: a process that is about to lock it has
the old file open, and would hold the lock together with one that locks a new file of that name.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from pgstrata.errors import DiskFullError, StoreUnusableError
from pgstrata.system import faults


class HeldLock:
    """A lock, held until it is closed or this process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def sign(self) -> bool:
        """Write this process's pid to the file, for ``read_holder``; False if the disk is full.

        Raises ``OSError``.
        """
        assert self._descriptor is not None
        try:
            with faults.step("engine.lock"):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        except OSError as error:
            if error.errno not in DiskFullError.ERRNOS:
                raise
            return False
        return True

    def close(self) -> None:
        """Release the lock. May be called again."""
        if self._descriptor is None:
            return
        # Closing alone would leave it to a child that was forked and has not called exec yet.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def wait_for(path: Path, *, waiting: Callable[[], None]) -> HeldLock:
    """Take the lock on a file, waiting for it; for a program without an event loop.

    ``waiting`` is called first if another process holds it. Ctrl+C ends the wait. Raises
    ``StoreUnusableError`` if the file cannot be opened.
    """
    descriptor = _open(path)
    try:
        if not _take(descriptor):
            waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return HeldLock(descriptor)


def try_lock(path: Path) -> HeldLock | None:
    """Take the lock on a file and sign it, unless the disk is full; None if another holds it.

    Raises ``StoreUnusableError`` if the file cannot be opened or written.
    """
    descriptor = _open(path)
    if not _take(descriptor):
        os.close(descriptor)
        return None
    lock = HeldLock(descriptor)
    try:
        lock.sign()
    except OSError as error:
        lock.close()
        raise StoreUnusableError(
            f"the lock file {path} cannot be written: {error.strerror}",
            remedy="make it writable",
        ) from error
    return lock


def read_holder(path: Path) -> int | None:
    """The pid of the process that took the lock last by ``try_lock``; None if there is none.

    That process holds the lock only if taking it has just failed: the pid outlives its process.
    """
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _open(path: Path) -> int:
    # With its own open file description, the lock excludes this process, too. Python marks it
    # close-on-exec, so that a server started meanwhile does not keep the lock.
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreUnusableError(
            f"the lock file {path} cannot be opened: {error.strerror}",
            remedy="make its directory exist and be writable",
        ) from error


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
