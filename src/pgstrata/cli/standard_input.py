"""What is on standard input, before a tool that inherits it reads it."""

import fcntl
import os
import select
import stat
import struct
import sys
import termios

from pgstrata.errors import InvalidArgumentError


def empty() -> InvalidArgumentError:
    """The error for an input with nothing in it."""
    return InvalidArgumentError(
        "standard input is empty",
        remedy="the command before the pipe may have failed: see what it says, and `set -o "
        "pipefail`",
    )


def check_not_empty() -> None:
    """Wait until something comes, and leave it there. Raises ``InvalidArgumentError`` if not."""
    if _is_at_end(sys.stdin.fileno()):
        raise empty()


def _is_at_end(descriptor: int) -> bool:
    about = os.fstat(descriptor)
    if stat.S_ISCHR(about.st_mode):
        return about.st_rdev == os.stat(os.devnull).st_rdev  # noqa: PTH116 - as fstat has it
    if stat.S_ISREG(about.st_mode):
        return os.lseek(descriptor, 0, os.SEEK_CUR) >= about.st_size
    # A pipe or a socket is ready when something has come, or its other end was closed.
    select.select([descriptor], [], [])
    (there,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))
    return bool(there == 0)
