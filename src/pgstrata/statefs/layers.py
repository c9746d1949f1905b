"""How long a published data directory lives that overlay mounts lie over.

A published volume has a file ``LAYER`` beside its data; whoever mounts something over that data
makes a hard link to this file first. So the kernel keeps count, and no kill can make the count
wrong. A volume that is removed while others hold it stays under a hidden name, and goes with the
last of them.

It is done so for every backend: a store may hold clones that were made before its backend was
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

MARKER = "marker"
"""The name of a whole volume's marker, beside its data directory."""

LAYER = "layer"
"""A published volume's file that is held; it lists the files with several names."""

LEFTOVER_PREFIX = ".pgstrata-"
"""How the names of unfinished and of removed volumes begin."""

_DRAFT = ".layer"
_HELD = "held"
_LOWER = "lower"

Names = Sequence[str]


def let_be_held(volume: Path, links: Callable[[], Sequence[Names]]) -> None:
    """Make a volume one that can be held, unless it is one; see ``links``."""
    if (volume / LAYER).exists():
        return
    with _locked(volume):  # another one's file may be held by now
        if not (volume / LAYER).exists():
            draft = volume / _DRAFT
            with faults.step("statefs.layer"):
                draft.write_text(json.dumps(links()), encoding="utf-8")
                draft.rename(volume / LAYER)


def links(holder: Path) -> list[list[str]]:
    """The files with several names in what is held, by these names."""
    found: list[list[str]] = json.loads((holder / _HELD).read_text(encoding="utf-8"))
    return found


def hold(volume: Path, opened: Path, holder: Path, shown: Path) -> None:
    """Let ``holder``, which will be renamed to its sibling ``shown``, hold a published volume.

    ``opened`` is the volume by its descriptor. Raises ``FileNotFoundError`` when it was removed
    meanwhile.
    """
    # First where it is, then the hold: one that did not come further is still found by its holder.
    (holder / _LOWER).symlink_to(os.path.relpath(volume, shown))
    with faults.step("statefs.hold"):
        (holder / _HELD).hardlink_to(opened / LAYER)
    # Whoever removes it makes it no volume any more first, and looks for holders then.
    if not (volume.samefile(opened) and (opened / MARKER).exists()):
        raise FileNotFoundError(errno.ENOENT, "the volume was removed", str(volume))


def is_holder(volume: Path) -> bool:
    """Whether a volume lies over another."""
    return os.path.lexists(volume / _LOWER)


def held_by(holder: Path) -> Path | None:
    """The volume that is held, wherever it is now; None when ``holder`` holds none.

    Raises ``FileNotFoundError`` when it is gone, as only damage can have it.
    """
    if not is_holder(holder):
        return None
    for volume in _candidates(holder):
        if _same(volume / LAYER, holder / _HELD):
            return volume
    raise FileNotFoundError(f"what {holder} lies over is gone: {(holder / _LOWER).readlink()}")


def discard(volume: Path) -> None:
    """Delete a volume that is hidden, with its mount; leave it alone as long as others hold it."""
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
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_held(volume: Path) -> bool:
    try:
        return (volume / LAYER).lstat().st_nlink > 1
    except (FileNotFoundError, NotADirectoryError):
        return False


def _candidates(holder: Path) -> Iterator[Path]:
    volume = Path(os.path.normpath(holder / (holder / _LOWER).readlink()))
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
