"""How long a published data directory is kept that is the lower layer of overlay mounts.

A published volume has a file ``LAYER`` beside its data. A clone that is mounted over that data
first makes a hard link to this file: it *holds* the volume. So the kernel counts the holders, and
no kill can make the count wrong. A volume that is removed while it is held stays under a hidden
name, and is deleted with the last holder.

This applies to every backend: a store may contain clones that were made before its backend was
changed. Every call blocks.
"""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pgstrata.statefs import mounts, trees
from pgstrata.statefs.base import DATA
from pgstrata.system import faults
from pgstrata.system.descriptors import opened

MARKER = "marker"
"""The name of a complete volume's marker, beside its data directory."""

LAYER = "layer"
"""The file of a published volume that holders link to; it lists the files with several links."""

LEFTOVER_PREFIX = ".pgstrata-"
"""The prefix of the names of unfinished and of removed volumes."""

PRIVATE = "overlay"
"""A clone's directory beside its data for what the server must not reach: what leads to the held
volume, and the directories of the mount, which only the kernel may write to."""

UPPER = "upper"
WORK = "work"

_DRAFT = ".layer"
_HELD = "held"
_LOWER = "lower"

Names = Sequence[str]


def make_holdable(volume: Path, links: Callable[[], Sequence[Names]]) -> None:
    """Write a volume's ``LAYER`` file, unless it has one; see ``links``."""
    if (volume / LAYER).exists():
        return
    with _locked(volume):  # another thread may be writing it, and its file be held
        if not (volume / LAYER).exists():
            draft = volume / _DRAFT
            with faults.step("statefs.layer"):
                draft.write_text(json.dumps(links()), encoding="utf-8")
                draft.rename(volume / LAYER)


def links(holder: Path) -> list[list[str]]:
    """The files with several links in the held volume, each as its names."""
    held = holder / PRIVATE / _HELD
    found: list[list[str]] = json.loads(held.read_text(encoding="utf-8"))
    return found


def hold(volume: Path, opened: Path, holder: Path, shown: Path) -> None:
    """Make ``holder``, which will be renamed to its sibling ``shown``, hold a published volume.

    ``opened`` is the volume by its descriptor. Raises ``FileNotFoundError`` if it was removed
    meanwhile.
    """
    private = holder / PRIVATE
    private.mkdir(0o700)
    # The symbolic link first: after a kill in between, the holder still leads to the volume.
    (private / _LOWER).symlink_to(os.path.relpath(volume, shown / PRIVATE))
    with faults.step("statefs.hold"):
        (private / _HELD).hardlink_to(opened / LAYER)
    # A removal hides the volume first, and looks for holders after that.
    if not (volume.samefile(opened) and (opened / MARKER).exists()):
        raise FileNotFoundError(errno.ENOENT, "the volume was removed", str(volume))


def upgrade(area: Path) -> None:
    """Bring into ``PRIVATE`` what clones of an earlier version have beside their data."""
    with os.scandir(area) as entries:
        clones = [area / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for clone in clones:
        if os.path.lexists(clone / _LOWER):
            _make_private(clone)


def _make_private(clone: Path) -> None:
    private = clone / PRIVATE
    with faults.step("statefs.upgrade"):
        private.mkdir(0o700, exist_ok=True)
        for name in (UPPER, WORK, _HELD):  # a mount goes on with directories that were renamed
            with suppress(FileNotFoundError):
                (clone / name).rename(private / name)
        with suppress(FileExistsError):
            (private / _LOWER).symlink_to(Path("..", (clone / _LOWER).readlink()))
    with faults.step("statefs.upgrade"):
        (clone / _LOWER).unlink()


def is_holder(volume: Path) -> bool:
    """Whether a volume is mounted over another."""
    return os.path.lexists(volume / PRIVATE / _LOWER)


def held_by(holder: Path) -> Path | None:
    """The held volume, wherever it is now; None if ``holder`` holds none.

    Raises ``FileNotFoundError`` if it is gone, which only damage can cause.
    """
    if not is_holder(holder):
        return None
    private = holder / PRIVATE
    for volume in _candidates(private):
        if _same(volume / LAYER, private / _HELD):
            return volume
    raise FileNotFoundError(f"the lower layer of {holder} is gone: {(private / _LOWER).readlink()}")


def discard(volume: Path) -> None:
    """Delete a hidden volume with its mount, unless others hold it."""
    mounts.unmount(volume / DATA)
    if _is_held(volume):
        return
    held = None
    with suppress(FileNotFoundError):
        held = held_by(volume)
    trees.delete(volume)
    if held is not None and held.name.startswith(LEFTOVER_PREFIX) and not _is_held(held):
        trees.delete(held)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with opened(directory, os.O_DIRECTORY) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _is_held(volume: Path) -> bool:
    try:
        return (volume / LAYER).lstat().st_nlink > 1
    except (FileNotFoundError, NotADirectoryError):
        return False


def _candidates(private: Path) -> Iterator[Path]:
    volume = Path(os.path.normpath(private / (private / _LOWER).readlink()))
    yield volume
    with suppress(FileNotFoundError), os.scandir(volume.parent) as entries:
        for entry in entries:
            if entry.name.startswith(LEFTOVER_PREFIX):
                yield Path(entry.path)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (FileNotFoundError, NotADirectoryError):
        return False
