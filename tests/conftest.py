"""What every kind of test may need."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


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
