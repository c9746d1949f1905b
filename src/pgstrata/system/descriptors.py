"""Descriptors of files that only the engine can have put where they are.

For what a server may have put there see ``planted``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def opened(path: Path, flags: int = 0) -> Iterator[int]:
    """A descriptor of a file or directory, for reading, until the end of the block."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
