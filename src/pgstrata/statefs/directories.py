"""What all backends that keep volumes as directories have in common.

A volume is made and filled under a hidden name and shown by a rename; it is removed by a rename to
a hidden name. So whatever is killed, only hidden names are left behind, for ``purge``. How a data
directory is copied and how it is made durable is each backend's own.
"""

import asyncio
import errno
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pgstrata.statefs import layers, trees
from pgstrata.statefs.base import DATA, Usage
from pgstrata.statefs.layers import LEFTOVER_PREFIX, MARKER
from pgstrata.statefs.threads import in_thread
from pgstrata.system import faults

PLACE_MODE = 0o711
"""A server that runs as another user gets to its data directory, and can list nothing above it."""
DATA_MODE = 0o700
_MARKER_MODE = 0o600
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class DirectoryStateFS(ABC):
    """A ``StateFS`` whose volumes are directories."""

    name: str
    can_clone_live = True
    """The kernel writes out what it has of a file before it copies it or shares its blocks."""
    shares_data: bool
    """Whether a clone holds no data of its own until it is written to."""

    def __init__(self, *, durable: bool = True) -> None:
        """``durable``: whether what is published must survive a power cut."""
        self._durable = durable

    async def create(self, volume: Path) -> None:
        async with shown_when_whole(volume) as hidden:
            with faults.step("statefs.make_data"):
                await in_thread(self._make_data, hidden / DATA)

    @abstractmethod
    async def clone(self, source: Path, volume: Path) -> None: ...

    async def publish(self, building: Path, volume: Path, marker: bytes) -> None:
        await in_thread(self._publish, building, volume, marker)

    async def snapshot(self, source: Path, volume: Path, marker: bytes) -> None:
        refuse_existing(volume)
        copy = hidden_sibling(volume)
        await self.clone(source, copy)
        try:
            await self.publish(copy, volume, marker)
        finally:
            await in_thread(layers.discard, copy)

    async def marker(self, volume: Path) -> bytes | None:
        return _read_marker(volume)  # a hundred bytes: telling a thread takes longer

    async def volumes(self, area: Path) -> list[Path]:
        return await in_thread(_directories, area, hidden=False)

    async def remove(self, volume: Path) -> None:
        await in_thread(self._remove, volume)

    async def hide(self, volume: Path) -> Path | None:
        return await in_thread(hide, volume)

    async def delete(self, hidden: Path) -> None:
        await in_thread(self._delete, hidden)

    async def purge(self, area: Path) -> None:
        for leftover in await in_thread(_directories, area, hidden=True):
            with faults.step("statefs.purge"):
                await in_thread(layers.discard, leftover)

    async def attach(self, volume: Path) -> None:  # noqa: B027 - files are seen where they lie
        pass

    async def usage(self, volume: Path, *, changed_since: float | None = None) -> Usage:
        return Usage(exclusive_bytes=await in_thread(trees.allocated_bytes, volume), shared_bytes=0)

    def _remove(self, volume: Path) -> None:
        hidden = hide(volume)
        if hidden is not None:
            self._delete(hidden)

    def _delete(self, hidden: Path) -> None:
        """Delete what is hidden."""
        delete_hidden(hidden)

    def _make_data(self, data: Path) -> None:
        """Make an empty data directory."""
        data.mkdir(DATA_MODE)

    def _publish(self, building: Path, volume: Path, marker: bytes) -> None:
        """Publish, blocking. One sync for the data and the marker: neither is seen before."""
        refuse_existing(volume)
        for other in building.iterdir():
            if other.name != DATA:
                with faults.step("statefs.clear"):
                    other.unlink()  # a server's log, which may quote what failed
        written = write_marker(building, marker)
        try:
            self._sync(building)
            move(building, volume)
        except OSError:
            written.unlink()
            raise
        self._sync_name(volume)

    def _sync(self, directory: Path) -> None:
        if self._durable:
            trees.sync_file_system(directory)

    def _sync_name(self, volume: Path) -> None:
        if self._durable:
            trees.sync_directory(volume.parent)


def hidden_sibling(volume: Path) -> Path:
    """A new name for a volume that is not to be seen, in the same directory."""
    return volume.with_name(f"{LEFTOVER_PREFIX}{volume.name}-{secrets.token_hex(8)}")


def make_volume_directory(path: Path) -> None:
    """Make a volume's own directory; the area it lies in must be there."""
    with faults.step("statefs.make_place"):
        path.mkdir(PLACE_MODE)
        path.chmod(PLACE_MODE)


def write_marker(directory: Path, marker: bytes) -> Path:
    """Write a marker, not durably yet, and return its path."""
    path = directory / MARKER
    with faults.step("statefs.marker.write"):
        path.write_bytes(marker)
        path.chmod(_MARKER_MODE)
    return path


def refuse_existing(volume: Path) -> None:
    """Raise ``FileExistsError`` when there is anything of this name."""
    if os.path.lexists(volume):
        raise FileExistsError(errno.EEXIST, "the volume exists already", str(volume))


def move(source: Path, volume: Path) -> None:
    """Give a volume its name, in one step. Raises ``FileExistsError`` when there is one.

    A rename replaces a directory only when that is empty, which a volume never is; so looking
    first is enough, even with another process at work on the same name.
    """
    refuse_existing(volume)
    try:
        with faults.step("statefs.show"):
            source.rename(volume)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            refuse_existing(volume)
        raise


def hide_and_delete(volume: Path) -> None:
    """Make a volume invisible in one step, then delete it. Nothing there is fine."""
    hidden = hide(volume)
    if hidden is not None:
        delete_hidden(hidden)


def delete_hidden(hidden: Path) -> None:
    """Delete what ``hide`` has hidden."""
    with faults.step("statefs.delete"):
        layers.discard(hidden)


def hide(volume: Path) -> Path | None:
    """Make a volume invisible in one step; its hidden name, or None when nothing is left of it."""
    hidden = hidden_sibling(volume)
    try:
        with faults.step("statefs.hide"):
            volume.rename(hidden)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _delete_in_place(volume)
        return None
    return hidden


def _delete_in_place(volume: Path) -> None:
    """Delete where a full disk has no room for another name: not to be taken for whole first."""
    (volume / MARKER).unlink(missing_ok=True)
    layers.discard(volume)


async def in_one_step(make: Callable[[], None], volume: Path) -> None:
    """Have a thread make ``volume`` in one blocking call; cancelled meanwhile, none is left.

    For what takes hardly longer than telling a thread.
    """
    whole = False

    def note() -> None:
        nonlocal whole
        make()
        whole = True

    try:
        await in_thread(note)
    except asyncio.CancelledError:
        if whole:
            await in_thread(hide_and_delete, volume)
        raise


@asynccontextmanager
async def shown_when_whole(volume: Path, made_from: Path | None = None) -> AsyncIterator[Path]:
    """A hidden directory to fill, which becomes ``volume`` at the end, or is deleted on any error.

    Raises ``FileExistsError`` at once when ``volume`` exists, and ``FileNotFoundError`` when the
    data directory it is ``made_from`` does not.
    """
    hidden = hidden_sibling(volume)
    try:
        await in_thread(begin, hidden, volume, made_from)
        yield hidden
        await _show(hidden, volume)
    except BaseException:
        await in_thread(trees.delete, hidden)
        raise


def begin(hidden: Path, volume: Path, made_from: Path | None) -> None:
    """Make the hidden directory that is to become ``volume``; raises as ``StateFS.clone`` says."""
    if made_from is not None and not made_from.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no data directory to clone", str(made_from))
    refuse_existing(volume)
    make_volume_directory(hidden)


async def _show(hidden: Path, volume: Path) -> None:
    try:
        await in_thread(move, hidden, volume)
    except asyncio.CancelledError:
        await in_thread(_hide_again, hidden, volume)
        raise


def _hide_again(hidden: Path, volume: Path) -> None:
    # Once the hidden name is gone, the volume of this name is the one that had it.
    if not os.path.lexists(hidden):
        volume.rename(hidden)


def _read_marker(volume: Path) -> bytes | None:
    try:
        return (volume / MARKER).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _directories(area: Path, *, hidden: bool) -> list[Path]:
    """The leftovers or the volumes in an area, by name; none when there is no such directory."""
    try:
        with os.scandir(area) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    if hidden:
        return [area / name for name in sorted(names) if name.startswith(LEFTOVER_PREFIX)]
    return [area / name for name in sorted(names) if not name.startswith(".")]
