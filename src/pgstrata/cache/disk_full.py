"""Recognises a full disk behind the many failures it causes.

The kernel reports it as an errno, programs as a line among others, and a server that cannot write
its log does not report it at all: then the free space decides.
"""

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

_MESSAGES = tuple(os.strerror(number) for number in sorted(DiskFullError.ERRNOS))

# Besides the kernel's messages: PostgreSQL's own for a short write (md.c, mdextend), and its
# SQLSTATE, which is all that psql shows with `VERBOSITY sqlstate`.
_REPORTED = re.compile(
    "|".join([*map(re.escape, _MESSAGES), r"wrote only \d+ of \d+ bytes", r"ERROR: +53100\b"])
)

_SERVER_DIED = (
    "server closed the connection",
    "connection to server was lost",
    "not shut down cleanly",
)

LEAST_BYTES = 8 << 20
"""What a server needs to start and to stop: with less space than two WAL segments it may fail."""

_REMEDY = (
    "remove instances and states that are not needed (pgstrata ls --all, pgstrata rm -r ID), "
    "or free space on that disk"
)


@contextmanager
def map_full_disk(store: Path) -> Iterator[None]:
    """Raise ``DiskFullError`` in place of an error that was caused by the store's full disk."""
    try:
        yield
    except (OSError, PgstrataError) as error:
        if is_disk_full(error, disk_of(store).free_bytes):
            raise DiskFullError(
                f"the disk of the store {store} is full: {_reason(error)}",
                remedy=_REMEDY,
                details=error.details if isinstance(error, PgstrataError) else None,
            ) from error
        raise


def is_disk_full(error: OSError | PgstrataError, free: int) -> bool:
    """Return whether an error was caused by a full disk, which has ``free`` bytes left."""
    match error:
        case OSError():
            return error.errno in DiskFullError.ERRNOS
        case StoreUnusableError():
            return False  # it already says what is wrong
        case ProgramError() | ServerError() if free < LEAST_BYTES:
            return True
    text = f"{error.message}\n{error.details or ''}"
    server_died = free < LEAST_BYTES and any(message in text for message in _SERVER_DIED)
    return server_died or bool(_REPORTED.search(text))


def disk_of(path: Path) -> Disk:
    """Measure the file system of a path. Raises ``OSError``."""
    stat = os.statvfs(path)
    return Disk(total_bytes=stat.f_blocks * stat.f_frsize, free_bytes=stat.f_bavail * stat.f_frsize)


def _reason(error: OSError | PgstrataError) -> str:
    match error:
        case OSError():
            return str(error.strerror)
        case ProgramError():
            return _MESSAGES[0]  # its message names a command that the user did not run
    return error.message
