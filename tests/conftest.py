"""What every kind of test may need."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.filesystems import reachable_place

# What a shell starts in the background ignores Ctrl+C, and so would all programs that tests start
# and then interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def reachable_dir() -> Iterator[Path]:
    """A fresh directory that every user can pass through, unlike pytest's own."""
    with reachable_place() as directory:
        yield directory
