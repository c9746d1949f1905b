"""Operations on whole directory trees: deleting, measuring and syncing them.

Every call blocks. Subvolumes are handled for every backend: a store may contain some that were made
before its backend was changed.
"""

import ctypes
import errno
import os
import secrets
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pgstrata.statefs import mounts, subvolumes
from pgstrata.system import faults, walking
from pgstrata.system.descriptors import opened
from pgstrata.system.libc import LIBC, check
from pgstrata.system.walking import Found

_DELETE_ROUNDS = 10_000

_CHANGED = frozenset({errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP})

_DEPTH = 32
"""How many directories of a tree are open at once while it is deleted."""

_DELETE_AS_DIRECTORY = frozenset(
    {
        errno.ENOTEMPTY,  # it contains other subvolumes
        errno.EPERM,  # with these mount options only root may
        errno.EACCES,
        errno.EROFS,  # read-only, and the caller is not root
        errno.ENOTTY,  # a directory on another file system that happens to look like one
        errno.EINVAL,
    }
)
"""The errnos after which a subvolume's files are deleted one by one."""

_OFFSET = ctypes.c_int64(0)
_WRITE, _AND_WAIT = 2, 1 | 4
"""SYNC_FILE_RANGE_WRITE, _WAIT_BEFORE and _WAIT_AFTER of the kernel's include/uapi/linux/fs.h."""


def delete(path: Path) -> None:
    """Delete a directory and its content, including subvolumes, even read-only ones.

    File systems mounted within it are unmounted first and not touched. Whoever can write to it may
    move things about meanwhile: nothing outside of it is touched, since every name is looked up in
    an open directory and no symbolic link is followed. It may be of any depth.

    Does nothing if it does not exist. Raises ``OSError``, ``ENOTEMPTY`` if another process keeps
    adding to it.
    """
    with suppress(FileNotFoundError), opened(path.parent, os.O_DIRECTORY) as parent:
        _Deletion().delete(_Entry(parent, path.name, str(path)))


class _Entry(NamedTuple):
    """A name in an open directory."""

    parent: int
    name: str
    shown: str
    """Its path when it was found, for messages."""

    def status(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)


class _Deletion:
    """Deletes one tree. Directories far down are moved to its top first, and deleted from there."""

    def __init__(self) -> None:
        self._top: int | None = None

    def delete(self, entry: _Entry, depth: int = 0) -> None:
        status = entry.status()
        if subvolumes.may_be_subvolume(status) and _destroy(entry):
            return
        # Directories are moved to the top, and a child of a killed process may still be writing
        # here; it fails once its directory is gone.
        for _ in range(_DELETE_ROUNDS):
            with _open_directory(entry) as directory:
                self._delete_contents(directory, entry.shown, status.st_dev, depth)
            try:
                os.rmdir(entry.name, dir_fd=entry.parent)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
            else:
                return
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), entry.shown)

    def _delete_contents(self, directory: int, shown: str, device: int, depth: int) -> None:
        if depth == 0:
            self._top = directory
        with os.scandir(directory) as entries:
            for found in entries:
                with _changes_ignored():
                    if found.is_dir(follow_symlinks=False):
                        entry = _Entry(directory, found.name, f"{shown}/{found.name}")
                        self._delete_subdirectory(entry, device, depth + 1)
                    else:
                        os.unlink(found.name, dir_fd=directory)

    def _delete_subdirectory(self, entry: _Entry, device: int, depth: int) -> None:
        if entry.status().st_dev != device:
            # A mounted file system is not part of the tree. Or it is a subvolume: nothing happens.
            mounts.unmount(Path(f"/proc/self/fd/{entry.parent}", entry.name))
        if depth < _DEPTH or not self._move_to_top(entry):
            self.delete(entry, depth)

    def _move_to_top(self, entry: _Entry) -> bool:
        assert self._top is not None
        try:
            # The name cannot be known beforehand, so whatever it replaces was put in our way.
            os.rename(
                entry.name, secrets.token_hex(16), src_dir_fd=entry.parent, dst_dir_fd=self._top
            )
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False  # it is in another subvolume than the top
        return True


@contextmanager
def _changes_ignored() -> Iterator[None]:
    """Leave a name for the next round that is no longer what it was a moment ago."""
    try:
        yield
    except OSError as error:
        if error.errno not in _CHANGED:
            raise


def _destroy(entry: _Entry) -> bool:
    """Try to delete a subvolume as a whole; if that fails, make it writable and return False."""
    try:
        subvolumes.destroy(entry.parent, entry.name)
    except OSError as error:
        if error.errno not in _DELETE_AS_DIRECTORY:
            raise
    else:
        return True
    try:
        with _open_directory(entry) as directory:
            subvolumes.make_writable(directory)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL):
            raise
    return False


@contextmanager
def _open_directory(entry: _Entry) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(entry.name, flags, dir_fd=entry.parent)
    except PermissionError:
        # The kernel keeps a directory beside an overlay mount that not even its owner may read.
        _allow_reading(entry)
        descriptor = os.open(entry.name, flags, dir_fd=entry.parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _allow_reading(entry: _Entry) -> None:
    descriptor = os.open(
        entry.name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=entry.parent
    )
    try:
        Path(f"/proc/self/fd/{descriptor}").chmod(0o700)
    finally:
        os.close(descriptor)


def allocated_bytes(path: Path) -> int:
    """Bytes that a tree takes on disk, without holes; raises and counts like ``everything_in``."""
    return sum(walking.allocated(found.status) for found in everything_in(path))


def unlinked_bytes(path: Path) -> int:
    """Bytes that a tree takes on disk in files without links outside of it."""
    bytes_held = 0
    names: Counter[tuple[int, int]] = Counter()
    linked: dict[tuple[int, int], os.stat_result] = {}
    for found in walking.everything_in(path):
        status = found.status
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            bytes_held += walking.allocated(status)
        else:
            identity = (status.st_dev, status.st_ino)
            names[identity] += 1
            linked[identity] = status
    return bytes_held + sum(
        walking.allocated(status)
        for identity, status in linked.items()
        if names[identity] == status.st_nlink
    )


def everything_in(path: Path) -> Iterator[Found]:
    """Like ``walking.everything_in``, but a file with several links only once."""
    seen: set[tuple[int, int]] = set()
    for found in walking.everything_in(path):
        status = found.status
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                continue
            seen.add(identity)
        yield found


def sync_file_system(path: Path) -> None:
    """Sync the whole file system of ``path``, which is one call for many files."""
    with opened(path) as descriptor, faults.step("statefs.sync"):
        check(LIBC.syncfs(descriptor), path)


def write_out(path: Path) -> None:
    """Write a file's content to the disk; its metadata follows with the next commit."""
    with opened(path) as descriptor:
        check(LIBC.sync_file_range(descriptor, _OFFSET, _OFFSET, _WRITE | _AND_WAIT), path)


def begin_to_write_out(descriptor: int) -> None:
    """Begin to write an open file's content to the disk, if it can be; whoever needs it waits.

    Begun for forty files before the first is waited for, all are there in a third of the time.
    """
    LIBC.sync_file_range(descriptor, _OFFSET, _OFFSET, _WRITE)


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    with opened(path, os.O_DIRECTORY) as descriptor, faults.step("statefs.sync_directory"):
        os.fsync(descriptor)
