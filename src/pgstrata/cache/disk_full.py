"""Recognising a full disk behind the many failures it causes.

The kernel reports it as an errno, programs as a line among others, and a server that cannot write
its log reports nothing: then the free space decides.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgstrata.cache.capacity import Disk
from pgstrata.errors import (
    DiskFullError,
    PgstrataError,
    ProgramError,
    ServerError,
    StoreUnusableError,
)

ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS = tuple(os.strerror(number) for number in sorted(ERRNOS))

# Besides the kernel's words: PostgreSQL's own for a write that took less than it was given (md.c,
# mdextend), and its SQLSTATE, which is all that psql shows with `VERBOSITY sqlstate`.
_SAID = re.compile(
    "|".join([*map(re.escape, _WORDS), r"wrote only \d+ of \d+ bytes", r"ERROR: +53100\b"])
)

_BROKEN_OFF = (
    "server closed the connection",
    "connection to server was lost",
    "not shut down cleanly",
)

LEAST_BYTES = 8 << 20
"""What a server needs to start and to end: with less than two segments of its log it may fail."""

_REMEDY = (
    "remove instances and states that are not needed (pgstrata ls --all, pgstrata rm -r ID), "
    "or free space on that disk"
)


@contextmanager
def map_full_disk(store: Path) -> Iterator[None]:
    """Raise ``DiskFullError`` in place of an error that the store's full disk has caused."""
    try:
        yield
    except (OSError, PgstrataError) as error:
        if is_for_want_of_room(error, disk_of(store).free_bytes):
            raise DiskFullError(
                f"the disk of the store {store} is full: {_reason(error)}",
                remedy=_REMEDY,
                details=error.details if isinstance(error, PgstrataError) else None,
            ) from error
        raise


def is_for_want_of_room(error: OSError | PgstrataError, free: int) -> bool:
    """Whether an error comes of a full disk, of which so many bytes are ``free``."""
    match error:
        case OSError():
            return error.errno in ERRNOS
        case StoreUnusableError():
            return False  # whoever raised it has said what it is
        case ProgramError() | ServerError() if free < LEAST_BYTES:
            return True
    said = f"{error.message}\n{error.details or ''}"
    broken_off = free < LEAST_BYTES and any(words in said for words in _BROKEN_OFF)
    return broken_off or bool(_SAID.search(said))


def disk_of(path: Path) -> Disk:
    """The file system of a path. Raises ``OSError``."""
    room = os.statvfs(path)
    return Disk(total_bytes=room.f_blocks * room.f_frsize, free_bytes=room.f_bavail * room.f_frsize)


def _reason(error: OSError | PgstrataError) -> str:
    match error:
        case OSError():
            return str(error.strerror)
        case ProgramError():
            return _WORDS[0]  # its message is a command that nobody typed
    return error.message
