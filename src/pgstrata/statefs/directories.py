"""The common part of all backends that keep volumes as directories.

A volume is made and filled under a hidden name and shown by a rename; it is removed by a rename to
a hidden name. So a kill leaves only hidden names behind, for ``purge``. Each backend decides how it
copies a data directory and makes it durable.
"""

import asyncio
import errno
import logging
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pgstrata.errors import DiskFullError
from pgstrata.statefs import digests, layers, trees
from pgstrata.statefs.base import DATA, Usage
from pgstrata.statefs.copying import Check, Sharing, TreeCopy
from pgstrata.statefs.layers import LEFTOVER_PREFIX, MARKER
from pgstrata.statefs.threads import in_thread, in_thread_of_its_own
from pgstrata.system import faults, planted

_log = logging.getLogger(__name__)

VOLUME_MODE = 0o711
"""A server that runs as another user can reach its data directory, but list nothing above it."""
DATA_MODE = 0o700
_MARKER_MODE = 0o600


class DirectoryStateFS(ABC):
    """A ``StateFS`` whose volumes are directories."""

    name: str
    can_clone_live = True
    """The kernel writes out a file's dirty pages before it copies it or shares its blocks."""
    shares_data: bool
    """Whether a clone takes no space for data until it is written to."""

    def __init__(self, *, durable: bool = True) -> None:
        """``durable``: whether published volumes must survive a power failure."""
        self._durable = durable

    async def copies_on_opening(self, area: Path) -> bool:
        return not self.shares_data

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
        return _read_marker(volume)  # a hundred bytes: handing it to a thread takes longer

    async def altered(self, volume: Path, *, deep: bool = False) -> str | None:
        return await in_thread_of_its_own(
            lambda check: digests.difference(volume, deep=deep, check=check)
        )

    async def learn(self, volume: Path) -> bool:
        return await in_thread_of_its_own(lambda check: digests.learn(volume, check))

    async def is_learnt(self, volume: Path) -> bool:
        return await in_thread(digests.is_learnt, volume)

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
            try:
                with faults.step("statefs.purge"):
                    await in_thread(layers.discard, leftover)
            except OSError as error:
                # One that cannot be deleted is in nobody's way.
                _log.warning("%s was left behind and cannot be deleted: %s", leftover, error)

    async def attach(self, volume: Path) -> None:
        check_data(volume / DATA)  # which is always visible

    async def usage(self, volume: Path, *, changed_since: float | None = None) -> Usage:
        return Usage(exclusive_bytes=await in_thread(trees.allocated_bytes, volume), shared_bytes=0)

    def _remove(self, volume: Path) -> None:
        hidden = hide(volume)
        if hidden is not None:
            self._delete(hidden)

    def _delete(self, hidden: Path) -> None:
        """Delete a hidden volume."""
        delete_hidden(hidden)

    def _make_data(self, data: Path) -> None:
        """Make an empty data directory."""
        data.mkdir(DATA_MODE)

    def _publish(self, building: Path, volume: Path, marker: bytes) -> None:
        """Publish, blocking, with one sync for the data and the marker, which appear after it."""
        refuse_existing(volume)
        for other in building.iterdir():
            if other.name != DATA:
                with faults.step("statefs.clear"):
                    other.unlink()  # a server's log, which may quote statements that failed
        digests.write(building, building / DATA)
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
    """A new hidden name for a volume, in the same directory."""
    return volume.with_name(f"{LEFTOVER_PREFIX}{volume.name}-{secrets.token_hex(8)}")


def make_volume_directory(path: Path) -> None:
    """Make a volume's own directory; its parent must exist."""
    with faults.step("statefs.make_volume"):
        path.mkdir(VOLUME_MODE)
        path.chmod(VOLUME_MODE)


def write_marker(directory: Path, marker: bytes) -> Path:
    """Write a marker, without syncing it, and return its path."""
    path = directory / MARKER
    with faults.step("statefs.marker.write"):
        path.write_bytes(marker)
        path.chmod(_MARKER_MODE)
    return path


def refuse_existing(volume: Path) -> None:
    """Raise ``FileExistsError`` if anything has this name."""
    if os.path.lexists(volume):
        raise FileExistsError(errno.EEXIST, "the volume exists already", str(volume))


def move(source: Path, volume: Path) -> None:
    """Give a volume its name, in one step. Raises ``FileExistsError`` if the name is taken.

    A rename replaces a directory only if that is empty, which a volume never is; so checking first
    is enough, even if another process uses the same name.
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
    """Make a volume invisible in one step, then delete it, if it exists."""
    hidden = hide(volume)
    if hidden is not None:
        delete_hidden(hidden)


def delete_hidden(hidden: Path) -> None:
    """Delete a volume by the name that ``hide`` returned."""
    with faults.step("statefs.delete"):
        layers.discard(hidden)


def hide(volume: Path) -> Path | None:
    """Make a volume invisible in one step.

    Returns its hidden name, or None if nothing is left of it.
    """
    hidden = hidden_sibling(volume)
    try:
        with faults.step("statefs.hide"):
            volume.rename(hidden)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in DiskFullError.ERRNOS:
            raise
        _delete_in_place(volume)
        return None
    return hidden


def _delete_in_place(volume: Path) -> None:
    """Delete on a disk too full for another name, the marker first, so that it is not complete."""
    (volume / MARKER).unlink(missing_ok=True)
    layers.discard(volume)


async def in_one_step(make: Callable[[], None], volume: Path) -> None:
    """Make ``volume`` in a thread with one blocking call; if cancelled, no volume is left.

    For calls that hardly take longer than starting the thread.
    """
    made = False

    def call() -> None:
        nonlocal made
        make()
        made = True

    try:
        await in_thread(call)
    except asyncio.CancelledError:
        if made:
            await in_thread(hide_and_delete, volume)
        raise


@asynccontextmanager
async def shown_when_whole(volume: Path, made_from: Path | None = None) -> AsyncIterator[Path]:
    """A hidden directory to fill, which becomes ``volume`` at the end, or is deleted on any error.

    Raises ``FileExistsError`` immediately if ``volume`` exists, and ``FileNotFoundError`` if the
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


async def copy_volume(source: Path, volume: Path, sharing: Sharing) -> None:
    """Make ``volume`` with a copy of the data of ``source``; raises like ``StateFS.clone``."""
    async with shown_when_whole(volume, made_from=source / DATA) as hidden:
        with faults.step("statefs.copy"):
            await in_thread_of_its_own(
                lambda check: _copy(source / DATA, hidden / DATA, sharing, check)
            )


def _copy(source: Path, target: Path, sharing: Sharing, check: Check) -> None:
    target.mkdir(0o700)
    marker = source.parent / MARKER
    was_marked = os.path.lexists(marker)
    with planted.open_directory(source) as original, planted.open_directory(target) as copy:
        TreeCopy(copy, sharing, check).fill(original)
        # Files that vanish are left out, as a running server removes some. So do those of a volume
        # that is removed, which is hidden first, or on a full disk loses its marker first.
        is_there = os.path.samestat(os.fstat(original), source.lstat())
    if not is_there or (was_marked and not os.path.lexists(marker)):
        raise FileNotFoundError(errno.ENOENT, "it was removed while it was copied", str(source))


def begin(hidden: Path, volume: Path, made_from: Path | None) -> None:
    """Make the hidden directory that will become ``volume``; raises like ``StateFS.clone``."""
    if made_from is not None:
        check_data(made_from)
    refuse_existing(volume)
    make_volume_directory(hidden)


def check_data(data: Path) -> None:
    """Raise ``FileNotFoundError`` if there is no such data directory."""
    if not data.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no data directory", str(data))


async def _show(hidden: Path, volume: Path) -> None:
    try:
        await in_thread(move, hidden, volume)
    except asyncio.CancelledError:
        await in_thread(_hide_again, hidden, volume)
        raise


def _hide_again(hidden: Path, volume: Path) -> None:
    # If the hidden name is gone, it was renamed to this volume.
    if not os.path.lexists(hidden):
        volume.rename(hidden)


def _read_marker(volume: Path) -> bytes | None:
    try:
        return (volume / MARKER).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _directories(area: Path, *, hidden: bool) -> list[Path]:
    """The leftovers or the volumes in an area, by name; none if it does not exist."""
    try:
        with os.scandir(area) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    if hidden:
        return [area / name for name in sorted(names) if name.startswith(LEFTOVER_PREFIX)]
    return [area / name for name in sorted(names) if not name.startswith(".")]
