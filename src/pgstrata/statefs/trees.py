"""Operations on whole directory trees: deleting, measuring and syncing them.

Every call blocks. Subvolumes are handled for every backend: a store may contain some that were made
before its backend was changed.
"""

import ctypes
import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pgstrata.statefs import mounts, subvolumes
from pgstrata.system import faults
from pgstrata.system.libc import LIBC, check

_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own block size
_DELETE_ATTEMPTS = 100

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
_WRITE_AND_WAIT = 1 | 2 | 4
"""SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER of the kernel's include/uapi/linux/fs.h."""


def delete(path: Path) -> None:
    """Delete a directory and its content, including subvolumes, even read-only ones.

    File systems mounted within it are unmounted first and not touched. Does nothing if it does not
    exist. Raises ``OSError``, ``ENOTEMPTY`` if another process keeps adding to it.
    """
    with suppress(FileNotFoundError):
        _delete(path, path.lstat())


def _delete(path: Path, status: os.stat_result) -> None:
    if subvolumes.may_be_subvolume(status) and _destroy(path):
        return
    _delete_contents_and_self(path, status.st_dev)


def _destroy(path: Path) -> bool:
    """Try to delete a subvolume as a whole; if that fails, make it writable and return False."""
    try:
        subvolumes.destroy(path)
    except OSError as error:
        if error.errno not in _DELETE_AS_DIRECTORY:
            raise
    else:
        return True
    try:
        subvolumes.make_writable(path)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL):
            raise
    return False


def _delete_contents_and_self(path: Path, device: int) -> None:
    # A child of a killed process may still be writing here; it fails once its directory is gone.
    for _ in range(_DELETE_ATTEMPTS):
        _delete_contents(path, device)
        try:
            path.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        else:
            return
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))


def _delete_contents(path: Path, device: int) -> None:
    with _scan(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _delete_subdirectory(Path(entry.path), device)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)  # noqa: PTH108 - a Path for each file doubles the time


def _scan(path: Path) -> "os._ScandirIterator[str]":
    try:
        return os.scandir(path)
    except PermissionError:
        # The kernel keeps a directory beside an overlay mount that not even its owner may read.
        path.chmod(0o700)
        return os.scandir(path)


def _delete_subdirectory(path: Path, device: int) -> None:
    with suppress(FileNotFoundError):
        status = path.lstat()
        if status.st_dev != device:
            # A mounted file system is not part of the tree. Or it is a subvolume: nothing happens.
            mounts.unmount(path)
            status = path.lstat()
        _delete(path, status)


def allocated_bytes(path: Path) -> int:
    """Bytes that a tree takes on disk, without holes; raises and counts like ``everything_in``."""
    return sum(allocated(status) for status, _ in everything_in(path))


def unlinked_bytes(path: Path) -> int:
    """Bytes that a tree takes on disk in files without links outside of it."""
    bytes_held = 0
    names: Counter[tuple[int, int]] = Counter()
    linked: dict[tuple[int, int], os.stat_result] = {}
    for status, _ in _all_names(path):
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            bytes_held += allocated(status)
        else:
            identity = (status.st_dev, status.st_ino)
            names[identity] += 1
            linked[identity] = status
    return bytes_held + sum(
        allocated(status)
        for identity, status in linked.items()
        if names[identity] == status.st_nlink
    )


def allocated(status: os.stat_result) -> int:
    """Bytes allocated for one file or directory."""
    return status.st_blocks * _BLOCK_BYTES


def everything_in(path: Path) -> Iterator[tuple[os.stat_result, str]]:
    """A directory and everything in it, each with its name; a file with several links only once.

    Files that vanish meanwhile are left out. Raises ``FileNotFoundError`` if ``path`` is missing.
    """
    seen: set[tuple[int, int]] = set()
    for status, name in _all_names(path):
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                continue
            seen.add(identity)
        yield status, name


def _all_names(path: Path) -> Iterator[tuple[os.stat_result, str]]:
    yield path.lstat(), str(path)
    directories = [str(path)]
    while directories:
        for status, name in _statuses(directories.pop()):
            if stat.S_ISDIR(status.st_mode):
                directories.append(name)
            yield status, name


def _statuses(directory: str) -> list[tuple[os.stat_result, str]]:
    found = []
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                found.append((entry.stat(follow_symlinks=False), entry.path))
    return found


def sync_file_system(path: Path) -> None:
    """Sync the whole file system of ``path``, which is one call for many files."""
    with _opened(path) as descriptor, faults.step("statefs.sync"):
        check(LIBC.syncfs(descriptor), path)


def write_out(path: Path) -> None:
    """Write a file's content to the disk; its metadata follows with the next commit."""
    with _opened(path) as descriptor:
        check(LIBC.sync_file_range(descriptor, _OFFSET, _OFFSET, _WRITE_AND_WAIT), path)


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    with _opened(path, os.O_DIRECTORY) as descriptor, faults.step("statefs.sync_directory"):
        os.fsync(descriptor)


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
