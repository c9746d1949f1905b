"""Reading files that a server may have put there.

Whoever is superuser in a server can run programs as its user, so anything in its directories may be
a link to another file, a FIFO that never ends, or larger than memory.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_NOT_A_FILE = frozenset(
    {
        errno.ELOOP,  # a symbolic link
        errno.ENOTDIR,  # the same in place of a directory
        errno.EISDIR,
        errno.ENXIO,  # a socket, or a device without a driver
        errno.ENODEV,
    }
)


class PlantedFileError(Exception):
    """A file is not what a server itself would have written: its message says what it is."""


class File(NamedTuple):
    """A file's content, with its status when it was opened."""

    content: bytes
    status: os.stat_result


def read(directory: Path, name: str, limit: int) -> bytes:
    """The content of the file ``name``, a relative path, in a server's ``directory``.

    No symbolic link is followed below ``directory`` or in its place. Raises ``FileNotFoundError``,
    and ``PlantedFileError`` for anything but a regular file of at most ``limit`` bytes.
    """
    with open_parent(directory, name) as parent:
        return read_at(parent, PurePath(name).name, limit).content


def read_at(directory: int, name: str, limit: int) -> File:
    """A file in an open directory; raises like ``read``."""
    with (
        open_file(name, directory) as (descriptor, status),
        os.fdopen(descriptor, "rb", closefd=False) as file,
    ):
        content = file.read(limit + 1)
    if len(content) > limit:
        raise PlantedFileError(f"{name} is larger than {limit} bytes")
    return File(content, status)


@contextmanager
def open_file(name: str, directory: int) -> Iterator[tuple[int, os.stat_result]]:
    """A descriptor and the status of a regular file, for reading; raises like ``read``."""
    with _understood(name):
        # Opening a device may set something going in it.
        _check_regular(name, os.stat(name, dir_fd=directory, follow_symlinks=False))
        descriptor = os.open(name, _FILE, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        _check_regular(name, status)
        yield descriptor, status
    finally:
        os.close(descriptor)


@contextmanager
def open_directory(name: str | Path, parent: int | None = None) -> Iterator[int]:
    """A descriptor of a directory; raises like ``read``.

    ``parent``: an open directory that ``name`` is in. Without it, ``name`` is a path to which only
    the engine can write, but for its last part.
    """
    with _understood(str(name)):
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_below(directory: int, name: str) -> Iterator[int]:
    """A descriptor of the directory ``name``, a relative path; raises like ``read``."""
    descriptor = os.dup(directory)
    try:
        for part in PurePath(name).parts:
            if part in ("/", ".."):
                raise PlantedFileError(f"{name} leads elsewhere")
            with _understood(part):
                child = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = child
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_parent(directory: Path, name: str) -> Iterator[int]:
    """A descriptor of the directory that ``name`` is in; raises like ``read``."""
    with (
        open_directory(directory) as opened,
        open_below(opened, str(PurePath(name).parent)) as parent,
    ):
        yield parent


def _check_regular(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PlantedFileError(f"{name} is not a regular file")


@contextmanager
def _understood(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_A_FILE:
            raise
        raise PlantedFileError(f"{name} is a link or not a regular file") from error
