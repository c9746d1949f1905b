"""Places whose data directory is a btrfs subvolume, cloned by a snapshot in constant time."""

import errno
import os
import time
from pathlib import Path

from pgstrata.errors import StoreUnusableError
from pgstrata.statefs import subvolumes, trees
from pgstrata.statefs.base import DATA, Usage
from pgstrata.statefs.places import (
    DATA_MODE,
    DirectoryStateFS,
    begin,
    hidden_sibling,
    hide_and_delete,
    in_one_step,
    make_place_directory,
    move,
    refuse_existing,
    write_marker,
)
from pgstrata.statefs.threads import in_thread
from pgstrata.statefs.watching import Watches
from pgstrata.system import faults

_NEARLY_FULL = 8
"""A disk is nearly full when no more than this part of it is free: one eighth."""

_COMMITS = 5
_COMMIT_SECONDS = 0.05


class BtrfsStateFS(DirectoryStateFS):
    """Snapshots data directories; what is published is a read-only snapshot."""

    name = "btrfs"
    shares_data = True

    def __init__(self, *, durable: bool = True) -> None:
        super().__init__(durable=durable)
        self._watches = Watches()

    def _make_data(self, data: Path) -> None:
        subvolumes.create(data)
        data.chmod(DATA_MODE)  # it had whatever the umask left

    async def clone(self, source: Path, place: Path) -> None:
        await in_one_step(lambda: self._clone(source / DATA, place), place)

    async def usage(self, place: Path, *, changed_since: float | None = None) -> Usage:
        return await in_thread(self._watches.usage, place, changed_since)

    async def hide(self, place: Path) -> Path | None:
        self._watches.forget(place)
        return await super().hide(place)

    def _remove(self, place: Path) -> None:
        self._watches.forget(place)
        super()._remove(place)

    def _delete(self, hidden: Path) -> None:
        """Delete. On a disk that is nearly full, the room is wanted back at once.

        After one commit the kernel begins to delete a subvolume, after another its room is free.
        """
        super()._delete(hidden)
        before = os.statvfs(hidden.parent)
        if before.f_bavail > before.f_blocks // _NEARLY_FULL:
            return
        for _ in range(_COMMITS):
            subvolumes.start_commit(hidden.parent)
            time.sleep(_COMMIT_SECONDS)
            if os.statvfs(hidden.parent).f_bavail > before.f_bavail:
                return

    def _clone(self, source: Path, place: Path) -> None:
        hidden = hidden_sibling(place)
        try:
            begin(hidden, place, source)
            _snapshot(source, hidden / DATA, read_only=False)
            move(hidden, place)
        except BaseException:
            trees.delete(hidden)
            raise

    async def snapshot(self, source: Path, place: Path, marker: bytes) -> None:
        await in_thread(self._take, source, place, marker)

    def _publish(self, building: Path, place: Path, marker: bytes) -> None:
        """Publish a snapshot rather than the directory itself."""
        self._take(building, place, marker)
        self._sync_name(place)
        self._watches.forget(building)
        hide_and_delete(building)

    def _take(self, source: Path, place: Path, marker: bytes) -> None:
        """Publish a snapshot, blocking; its name is on disk with the next commit.

        Taking it writes out this subvolume's data and no other's, and commits all metadata, that of
        the marker's content too once it was written out; a sync of the file system would wait for
        whatever the running instances have written as well.
        """
        refuse_existing(place)
        hidden = hidden_sibling(place)
        try:
            make_place_directory(hidden)
            written = write_marker(hidden, marker)
            if self._durable:
                with faults.step("statefs.marker.sync"):
                    trees.write_out(written)
            _snapshot(source / DATA, hidden / DATA, read_only=True)
            move(hidden, place)
        except BaseException:
            trees.delete(hidden)
            raise


def _snapshot(source: Path, data: Path, *, read_only: bool) -> None:
    try:
        with faults.step("statefs.snapshot"):
            subvolumes.snapshot(source, data, read_only=read_only)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise StoreUnusableError(
                f"{source} is not a btrfs subvolume: it was made by another snapshot backend",
                remedy="name that backend in the configuration, or remove what it made",
            ) from error
        raise
