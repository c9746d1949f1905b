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
from contextlib import ExitStack, contextmanager, suppress
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
    name = _name_of_held(holder)
    with suppress(FileNotFoundError):
        if (volume := _find(name, (holder / PRIVATE / _HELD).stat())) is not None:
            return volume
    raise FileNotFoundError(f"the lower layer of {holder} is gone: {name}")


def discard(volume: Path) -> None:
    """Delete a hidden volume with its mount, unless others hold it; what only it held goes, too."""
    mounts.unmount(volume / DATA)
    held = None
    with ExitStack() as opening:
        name = layer = None
        with suppress(FileNotFoundError):
            if is_holder(volume):
                name = _name_of_held(volume)
                layer = opening.enter_context(opened(volume / PRIVATE / _HELD))
        _delete_unless_held(volume)
        if name is not None and layer is not None:
            # Only now: until then, whoever hides it meanwhile leaves it to us. As long as the file
            # is open, no other can have its number.
            held = _find(name, os.fstat(layer))
    if held is not None and held.name.startswith(LEFTOVER_PREFIX):
        _delete_unless_held(held)


def _delete_unless_held(volume: Path) -> None:
    """Delete a volume, if nobody holds it; one at a time of those who want to."""
    with suppress(FileNotFoundError), _locked(volume):
        if not _is_held(volume):
            trees.delete(volume)


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


def _name_of_held(holder: Path) -> Path:
    """The held volume's name, from before it was hidden."""
    private = holder / PRIVATE
    return Path(os.path.normpath(private / (private / _LOWER).readlink()))


def _find(name: Path, layer: os.stat_result) -> Path | None:
    """The volume with this file ``LAYER``, by its name or hidden."""
    return next((volume for volume in _candidates(name) if _has(volume, layer)), None)


def _candidates(name: Path) -> Iterator[Path]:
    """First by its name: whoever hides it after that was looked at is found by what follows."""
    yield name
    with suppress(FileNotFoundError), os.scandir(name.parent) as entries:
        for entry in entries:
            if entry.name.startswith(LEFTOVER_PREFIX):
                yield Path(entry.path)


def _has(volume: Path, layer: os.stat_result) -> bool:
    try:
        return os.path.samestat((volume / LAYER).stat(), layer)
    except (FileNotFoundError, NotADirectoryError):
        return False
