"""Places to test in, and file systems: images in files, mounted by root through loop devices."""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Literal, NoReturn

from pgstrata.statefs import trees
from tests import needs

FileSystem = Literal["btrfs", "xfs", "ext4"]

GIB = 1 << 30


class CannotMountError(Exception):
    """This machine cannot mount such a file system."""


class NotRootError(CannotMountError):
    """This user cannot mount any."""


@contextmanager
def reachable_place() -> Iterator[Path]:
    """A fresh directory that every user can pass through, gone afterwards.

    When the tests run as root, servers run as another user, and must get to their data. What is
    removed soon was mostly never written to the disk.
    """
    directory = Path(tempfile.mkdtemp(prefix="pgstrata-test-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        # An overlay mount keeps a directory that not even its owner may look into.
        trees.delete(directory)


@contextmanager
def memory_place() -> Iterator[Path]:
    """A fresh directory that every user can pass through, in memory where that can be had.

    For what is not meant to outlive a power cut: a disk takes ten times as long for a cluster.
    """
    with reachable_place() as directory:
        try:
            with memory_mounted(directory / "memory") as memory:
                yield memory
        except CannotMountError:
            yield directory


@contextmanager
def socket_place() -> Iterator[Path]:
    """A fresh directory with a path that is fit for sockets, as pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="pgstrata-test-", dir="/tmp") as directory:
        yield Path(directory)


@contextmanager
def new_mount(
    kind: FileSystem | Literal["tmpfs"], size_bytes: int = GIB, *, files: int | None = None
) -> Iterator[Path]:
    """A new file system that every user can pass through; where none can be, the test gives up.

    ``files``: the most that a tmpfs may have.
    """
    with reachable_place() as directory:
        try:
            with (
                memory_mounted(directory / kind, size_bytes, files=files)
                if kind == "tmpfs"
                else loop_mounted(kind, size_bytes, directory)
            ) as mount_point:
                yield mount_point
        except CannotMountError as error:
            give_up(error)


@contextmanager
def loop_mounted(kind: FileSystem, size_bytes: int, directory: Path) -> Iterator[Path]:
    """A new file system, mounted below ``directory`` until the end; its image is sparse.

    The image is ``directory / "<kind>.img"``, and gone afterwards. Raises ``CannotMountError``.
    """
    image = directory / f"{kind}.img"
    try:
        make_image(kind, image, size_bytes)
        with mounted(image, directory / kind) as mount_point:
            yield mount_point
    finally:
        image.unlink(missing_ok=True)


def make_image(kind: FileSystem, image: Path, size_bytes: int) -> None:
    """Make an empty file system in a file. Raises ``CannotMountError``."""
    program = shutil.which(f"mkfs.{kind}", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise CannotMountError(f"mkfs.{kind} is not installed")
    with image.open("wb") as file:
        file.truncate(size_bytes)
    _run(program, "-q", str(image))


def mounted(image: Path, mount_point: Path) -> AbstractContextManager[Path]:
    """An image, mounted on a directory that is made for it. Raises ``CannotMountError``."""
    return _mounted(mount_point, "-o", "loop", str(image))


def memory_mounted(
    mount_point: Path, size_bytes: int | None = None, *, files: int | None = None
) -> AbstractContextManager[Path]:
    """An empty file system in memory, mounted on a directory that is made for it.

    ``size_bytes``: the most that it takes; None for half of the memory. ``files``: the most that
    it has; None for as many as go with that. Raises ``CannotMountError``.
    """
    size = "" if size_bytes is None else f",size={size_bytes}"
    number = "" if files is None else f",nr_inodes={files}"
    return _mounted(mount_point, "-t", "tmpfs", "-o", f"mode=0755{size}{number}", "tmpfs")


@contextmanager
def _mounted(mount_point: Path, *what: str) -> Iterator[Path]:
    if not needs.IS_ROOT:
        raise NotRootError("only root can mount")
    mount_point.mkdir()
    _run("mount", *what, str(mount_point))
    try:
        yield mount_point
    finally:
        if subprocess.run(["umount", str(mount_point)], check=False).returncode != 0:
            subprocess.run(["umount", "--lazy", str(mount_point)], check=True)
        mount_point.rmdir()


def exhaust(disk: Path) -> Path:
    """Make empty files until there can be no more. Returns the directory that has them."""
    ballast = disk / "many"
    ballast.mkdir()
    with suppress(OSError):
        for number in itertools.count():
            (ballast / str(number)).touch()
    return ballast


def dig(directory: Path, depth: int) -> None:
    """Make so many directories within each other, deeper than a path can say."""
    current = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deeper", dir_fd=current)
        below = os.open("deeper", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)


def mounts_below(directory: Path) -> list[Path]:
    """Where something is mounted below a directory."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4]) for line in lines]
    return [point for point in points if point != directory and point.is_relative_to(directory)]


def give_up(error: CannotMountError) -> NoReturn:
    """Skip the test; in CI, where root has to test every file system, fail it."""
    if isinstance(error, NotRootError):
        needs.missing_root(str(error))
    needs.missing(str(error))


def _run(*command: str) -> None:
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        raise CannotMountError(f"{command[0]}: {ended.stderr.strip()}")
