"""What every kind of test may need."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# What a shell starts in the background ignores Ctrl+C, and so would all programs that tests start
# and then interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def reachable_dir() -> Iterator[Path]:
    """A fresh directory that every user can pass through, unlike pytest's own.

    When the tests run as root, servers run as another user, and must get to their data.
    """
    directory = Path(tempfile.mkdtemp(prefix="pgstrata-test-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
