"""Volumes whose data directory is a btrfs subvolume, cloned by a snapshot in constant time."""

import errno
import os
import time
from pathlib import Path

from pgstrata.errors import StoreUnusableError
from pgstrata.statefs import digests, subvolumes, trees
from pgstrata.statefs.base import DATA, Usage
from pgstrata.statefs.directories import (
    DATA_MODE,
    DirectoryStateFS,
    begin,
    hidden_sibling,
    hide_and_delete,
    in_one_step,
    make_volume_directory,
    move,
    refuse_existing,
    write_marker,
)
from pgstrata.statefs.threads import in_thread
from pgstrata.statefs.watching import Watches
from pgstrata.system import faults

_NEARLY_FULL = 8
"""A disk is nearly full if at most one eighth of it is free."""

_COMMITS = 5
_COMMIT_SECONDS = 0.05


class BtrfsStateFS(DirectoryStateFS):
    """Snapshots data directories; a published volume is a read-only snapshot."""

    name = "btrfs"
    shares_data = True

    def __init__(self, *, durable: bool = True) -> None:
        super().__init__(durable=durable)
        self._watches = Watches()

    def _make_data(self, data: Path) -> None:
        subvolumes.create(data)
        data.chmod(DATA_MODE)  # whatever the umask

    async def clone(self, source: Path, volume: Path) -> None:
        await in_one_step(lambda: self._clone(source / DATA, volume), volume)

    async def usage(self, volume: Path, *, changed_since: float | None = None) -> Usage:
        return await in_thread(self._watches.usage, volume, changed_since)

    async def hide(self, volume: Path) -> Path | None:
        self._watches.forget(volume)
        return await super().hide(volume)

    def _remove(self, volume: Path) -> None:
        self._watches.forget(volume)
        super()._remove(volume)

    def _delete(self, hidden: Path) -> None:
        """Delete, and on a nearly full disk have the space freed soon.

        After one commit the kernel starts to delete a subvolume; after another its space is free.
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

    def _clone(self, source: Path, volume: Path) -> None:
        hidden = hidden_sibling(volume)
        try:
            begin(hidden, volume, source)
            _snapshot(source, hidden / DATA, read_only=False)
            move(hidden, volume)
        except BaseException:
            trees.delete(hidden)
            raise

    async def snapshot(self, source: Path, volume: Path, marker: bytes) -> None:
        await in_thread(self._take, source, volume, marker)

    def _publish(self, building: Path, volume: Path, marker: bytes) -> None:
        """Publish a snapshot rather than the directory itself."""
        self._take(building, volume, marker)
        self._sync_name(volume)
        self._watches.forget(building)
        hide_and_delete(building)

    def _take(self, source: Path, volume: Path, marker: bytes) -> None:
        """Publish a snapshot, blocking; the next commit makes its name durable.

        A snapshot writes out the data of this subvolume only, and commits all metadata, including
        that of the marker, whose content is written out first. Syncing the whole file system would
        also wait for everything that running instances have written.
        """
        refuse_existing(volume)
        hidden = hidden_sibling(volume)
        try:
            make_volume_directory(hidden)
            # Nothing writes to the source meanwhile, and a snapshot commits what came before it.
            digests.write(hidden, source / DATA)
            written = write_marker(hidden, marker)
            if self._durable:
                with faults.step("statefs.marker.sync"):
                    trees.write_out(hidden / digests.DIGEST)
                    trees.write_out(written)
            _snapshot(source / DATA, hidden / DATA, read_only=True)
            move(hidden, volume)
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
                remedy="set that backend in the configuration, or remove what it made",
            ) from error
        raise
