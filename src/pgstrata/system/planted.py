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
    with _understood(name):
        descriptor = os.open(name, _FILE, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PlantedFileError(f"{name} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise PlantedFileError(f"{name} is larger than {limit} bytes")
    return File(content, status)


@contextmanager
def open_parent(directory: Path, name: str) -> Iterator[int]:
    """A descriptor of the directory that ``name`` is in; raises like ``read``."""
    with _understood(str(directory)):
        descriptor = os.open(directory, _DIRECTORY)
    try:
        for part in PurePath(name).parts[:-1]:
            with _understood(part):
                child = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = child
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _understood(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_A_FILE:
            raise
        raise PlantedFileError(f"{name} is a link or not a regular file") from error
