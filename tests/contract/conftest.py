"""File systems that live as long as the test session; each test gets a directory of its own."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import pytest

from tests.filesystems import (
    GIB,
    CannotMountError,
    FileSystem,
    give_up,
    loop_mounted,
    memory_mounted,
    reachable_place,
)


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


@pytest.fixture(scope="session")
def tmpfs_mount() -> Iterator[Path]:
    with _mount("tmpfs") as mount_point:
        yield mount_point


@contextmanager
def _mount(kind: FileSystem | Literal["tmpfs"]) -> Iterator[Path]:
    with reachable_place() as directory:
        try:
            with _new(kind, directory) as mount_point:
                yield mount_point
        except CannotMountError as error:
            give_up(error)


def _new(kind: FileSystem | Literal["tmpfs"], directory: Path) -> AbstractContextManager[Path]:
    if kind == "tmpfs":
        return memory_mounted(directory / kind)
    return loop_mounted(kind, GIB, directory)
