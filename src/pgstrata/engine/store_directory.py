"""The store's directory: creating it, locking it, and letting the servers' user in."""

import contextlib
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import (
    contextmanager,
)
from pathlib import Path

from pgstrata.errors import (
    ServerError,
    StoreUnusableError,
)
from pgstrata.statefs.store_image import ENGINE_LOCK
from pgstrata.system import faults, locks, subprocesses
from pgstrata.system.descriptors import opened
from pgstrata.system.reserve import Reserve

_log = logging.getLogger(__name__)

# Servers run as a different user: they may pass through the store, but not list it.
_STORE_MODE = 0o711
_PRIVATE_MODE = 0o700
_OTHERS_WRITE = 0o022


@contextmanager
def hold_store(root: Path) -> Iterator[None]:
    """Create the store if necessary, and lock it against other engines."""
    try:
        make_passable(root)
        lock = locks.try_lock(root / ENGINE_LOCK)
    except OSError as error:
        raise StoreUnusableError(
            f"the store {root} cannot be used: {error.strerror}",
            remedy="choose a directory that you can write to: --store DIR or PGSTRATA_STORE",
        ) from error
    if lock is None:
        holder = locks.read_holder(root / ENGINE_LOCK)
        whose = "another engine" if holder is None else f"the engine with pid {holder}"
        raise StoreUnusableError(
            f"the store {root} is in use by {whose}",
            remedy="use that engine, stop it (pgstrata engine stop), or choose another --store",
        )
    with contextlib.closing(lock), _having_room(root, lock):
        yield


@contextmanager
def _having_room(root: Path, lock: locks.HeldLock) -> Iterator[None]:
    """Have an engine start on a full disk, so that something can be removed, and the next one."""
    reserve = Reserve(root)
    if reserve.is_needed:
        reserve.give_up()
        _log.warning("the disk of the store %s is full: remove something (pgstrata rm)", root)
        lock.sign()
    try:
        yield
    finally:
        reserve.keep(whatever_is_left=True)


def make_passable(directory: Path) -> None:
    """Create the store's directory with our mode, whatever the umask.

    An existing one keeps its mode, but nobody else may put something else in place of what is in
    it. A directory that is meant for everybody, like ``/tmp``, sees to that itself.
    """
    if not directory.is_dir():
        with faults.step("directory.make"):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(_STORE_MODE)
        return
    status = directory.stat()
    if status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
        with contextlib.suppress(PermissionError):  # whoever owns it is trusted with it
            directory.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)


def make_area(directory: Path, *, private: bool) -> None:
    """Create a directory of the engine's, or see to it that an existing one is the engine's alone.

    ``private``: servers do not even pass through it to what they know the name of. Raises
    ``StoreUnusableError`` if it is another user's.
    """
    mode = _PRIVATE_MODE if private else _STORE_MODE
    with faults.step("directory.make"):
        directory.mkdir(mode, exist_ok=True)
    with opened(directory, os.O_DIRECTORY) as descriptor:
        status = os.fstat(descriptor)
        try:
            if status.st_uid != os.geteuid():
                os.fchown(descriptor, os.geteuid(), os.getegid())
            if stat.S_IMODE(status.st_mode) != mode:
                os.fchmod(descriptor, mode)
        except PermissionError as error:
            raise StoreUnusableError(
                f"{directory} belongs to uid {status.st_uid}, who could change what is in it",
                remedy="run pgstrata as that user, or choose another --store",
            ) from error


def remove_old_locks(root: Path) -> None:
    """Remove an earlier version's lock files, one for each state it ever built."""
    if (root / "locks").is_dir():
        with faults.step("locks.remove"):
            shutil.rmtree(root / "locks")


def remove_old_password(root: Path) -> None:
    """Remove the password that all servers of an earlier version had."""
    with faults.step("password.remove"):
        (root / "password").unlink(missing_ok=True)


async def check_reachable(root: Path, user: str | None) -> None:
    """Raise ``StoreUnusableError`` if the servers' user cannot enter the store."""
    if user is None:
        return
    for directory in (*reversed(root.parents), root):
        ended = await subprocesses.run(["test", "-x", directory], user=user, check=False)
        if ended.exit_code == 1:
            raise StoreUnusableError(
                f"servers run as user {user!r}, who cannot enter {directory} "
                f"on the way to the store {root}",
                remedy=f"choose a --store elsewhere (such as /var/lib/pgstrata), or let {user!r} "
                f"pass: chmod o+x {directory}",
            )
        if ended.exit_code != 0:
            raise ServerError(
                f"cannot run servers as user {user!r}",
                remedy="choose another user: --server-user USER",
                details=ended.stderr,
            )
