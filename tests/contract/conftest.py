"""File systems that live as long as the test session; each test gets a directory of its own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.filesystems import GIB, CannotMountError, FileSystem, give_up, loop_mounted


@pytest.fixture(scope="session")
def btrfs_mount() -> Iterator[Path]:
    with _mount("btrfs") as mount_point:
        yield mount_point


@pytest.fixture(scope="session")
def xfs_mount() -> Iterator[Path]:
    with _mount("xfs") as mount_point:
        yield mount_point


@pytest.fixture(scope="session")
def ext4_mount() -> Iterator[Path]:
    with _mount("ext4") as mount_point:
        yield mount_point


@contextmanager
def _mount(kind: FileSystem) -> Iterator[Path]:
    # Not pytest's own temporary directory: no user but root gets below that.
    with tempfile.TemporaryDirectory(prefix="pgstrata-test-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        try:
            with loop_mounted(kind, GIB, directory) as mount_point:
                yield mount_point
        except CannotMountError as error:
            give_up(error)
