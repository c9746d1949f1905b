"""File systems that live as long as the test session; each test gets a directory of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.filesystems import new_mount


@pytest.fixture(scope="session")
def btrfs_mount() -> Iterator[Path]:
    with new_mount("btrfs") as mount_point:
        yield mount_point


@pytest.fixture(scope="session")
def xfs_mount() -> Iterator[Path]:
    with new_mount("xfs") as mount_point:
        yield mount_point


@pytest.fixture(scope="session")
def ext4_mount() -> Iterator[Path]:
    with new_mount("ext4") as mount_point:
        yield mount_point


@pytest.fixture(scope="session")
def tmpfs_mount() -> Iterator[Path]:
    with new_mount("tmpfs") as mount_point:
        yield mount_point
