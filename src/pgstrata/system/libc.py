"""The C library, for calls that Python has no function for."""

import ctypes
import os
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)


def check(result: int, path: Path | None = None) -> None:
    """Raise the ``OSError`` of a failed call, with its path."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), None if path is None else str(path))
