"""The C library, for calls that Python has no function for."""

import ctypes
import os
import sys
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)


def check(result: int, path: Path | str | int | None = None) -> None:
    """Raise the ``OSError`` of a failed call, with its path."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), None if path is None else str(path))


def ioctl(
    descriptor: int, request: int, argument: bytearray, path: Path | str | int | None = None
) -> None:
    """The kernel's ``ioctl``, which may change its argument. Raises ``OSError``, with a path.

    While ``fcntl.ioctl`` works on more than 1,024 bytes, no other thread runs.
    """
    buffer = (ctypes.c_char * len(argument)).from_buffer(argument)
    check(LIBC.ioctl(ctypes.c_int(descriptor), ctypes.c_ulong(request), buffer), path)


def file_system(descriptor: int) -> int:
    """The number of the kind of file system that a file is in; 0 where the system has none."""
    if sys.platform != "linux":
        return 0
    status = (ctypes.c_long * 32)()  # more than a struct statfs, of which it is the first field
    if LIBC.fstatfs(descriptor, ctypes.byref(status)) != 0:
        return 0
    return int(status[0]) & 0xFFFFFFFF
