"""Volumes that are overlay mounts over published data directories, cloned in constant time.

A published volume is a complete, plain directory tree: the files that a step changed are its own,
all others are hard links to the files of the state it was made from. So a clone never has more than
one lower layer, however long the chain of states, and a state needs nothing of its parent's. A
clone's volume contains ``data``, its mount point, and a directory that only the engine can enter,
with the two that the kernel needs for the mount and the links that hold the published volume
(``layers``).
"""

import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from pgstrata.statefs import copying, digests, extents, layers, linking, merging, mounts, trees
from pgstrata.statefs.base import DATA, Usage
from pgstrata.statefs.directories import (
    DirectoryStateFS,
    begin,
    check_data,
    copy_volume,
    hidden_sibling,
    hide_and_delete,
    in_one_step,
    make_volume_directory,
    move,
    refuse_existing,
    write_marker,
)
from pgstrata.statefs.layers import PRIVATE, UPPER, WORK
from pgstrata.statefs.threads import in_thread
from pgstrata.system import faults, planted


class OverlayStateFS(DirectoryStateFS):
    """Mounts clones over published states, as root or in a namespace of our own."""

    name = "overlay"
    shares_data = True
    can_clone_live = False

    async def copies_on_opening(self, area: Path) -> bool:
        # The kernel copies the file up, and shares its blocks where it can.
        return not await in_thread(extents.can_share, area)

    async def clone(self, source: Path, volume: Path) -> None:
        # Nothing may change below a mount, and only published volumes never change.
        if await self.marker(source) is None:
            await self._copy(source, volume)
        else:
            await in_one_step(lambda: _clone(source, volume), volume)

    async def snapshot(self, source: Path, volume: Path, marker: bytes) -> None:
        # A live workspace cannot share the files that it is being published as.
        await self.publish(source, volume, marker)
        try:
            await self.clone(volume, source)
        except BaseException:
            await self.remove(volume)
            raise

    async def attach(self, volume: Path) -> None:
        await in_thread(_attach, volume)

    async def usage(self, volume: Path, *, changed_since: float | None = None) -> Usage:
        return await in_thread(_usage, volume)

    async def _copy(self, source: Path, volume: Path) -> None:
        if await in_thread((source / DATA).is_dir):
            await self.attach(source)
        await copy_volume(source, volume, "if possible")

    def _publish(self, building: Path, volume: Path, marker: bytes) -> None:
        refuse_existing(volume)
        if layers.is_holder(building):
            self._publish_merged(building, volume, marker)
        else:
            super()._publish(building, volume, marker)
            _make_holdable(volume)

    def _publish_merged(self, building: Path, volume: Path, marker: bytes) -> None:
        hidden = hidden_sibling(volume)
        try:
            make_volume_directory(hidden)
            (hidden / DATA).mkdir(0o700)
            with (
                faults.step("statefs.link"),
                _tree(building) as tree,
                planted.open_directory(hidden / DATA) as data,
            ):
                linking.link_tree(tree, data)
            links = digests.write(hidden, hidden / DATA)
            layers.make_holdable(hidden, lambda: links)
            write_marker(hidden, marker)
            trees.sync_file_system(hidden)
            move(hidden, volume)
        except BaseException:
            trees.delete(hidden)
            raise
        self._sync_name(volume)
        hide_and_delete(building)


def _clone(source: Path, volume: Path) -> None:
    hidden = hidden_sibling(volume)
    try:
        begin(hidden, volume, source / DATA)
        _mount_over(source, hidden, volume)
        move(hidden, volume)
    except BaseException:
        layers.discard(hidden)
        raise


def _mount_over(source: Path, hidden: Path, volume: Path) -> None:
    descriptor = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Another volume may have its name by now; the descriptor still refers to this one.
        opened = Path(f"/proc/self/fd/{descriptor}")
        _make_holdable(opened)
        layers.hold(source, opened, hidden, volume)
        upper = hidden / PRIVATE / UPPER
        upper.mkdir(0o700)
        with planted.open_directory(opened / DATA) as below, planted.open_directory(upper) as above:
            copying.copy_metadata(below, above)  # the mount's root shows these
        _mount(hidden, opened / DATA)
    finally:
        os.close(descriptor)
    shared = layers.links(hidden)
    if shared:
        with planted.open_directory(hidden / DATA) as data:
            for names in shared:
                linking.unshare(data, names)


def _mount(holder: Path, lower: Path) -> None:
    work, data = holder / PRIVATE / WORK, holder / DATA
    for directory in (work, data):
        directory.mkdir(0o700)
    mounts.mount_overlay(lower=lower, upper=holder / PRIVATE / UPPER, work=work, target=data)


def _attach(volume: Path) -> None:
    """Mount a clone again whose mount was lost when the machine was restarted."""
    source = layers.held_by(volume)
    if source is None:
        check_data(volume / DATA)
        return
    with suppress(FileNotFoundError):  # a kill may have come between
        if mounts.is_mounted(volume / DATA):
            return
        (volume / DATA).rmdir()
    # It records that the last mount was volatile; the kernel refuses to mount it again as it is.
    trees.delete(volume / PRIVATE / WORK)
    _mount(volume, source / DATA)


def _usage(volume: Path) -> Usage:
    with _tree(volume) as tree:
        everything = merging.allocated_bytes(tree)
    own = volume / DATA if layers.held_by(volume) is None else volume / PRIVATE / UPPER
    exclusive = min(trees.unlinked_bytes(own), everything)
    return Usage(exclusive_bytes=exclusive, shared_bytes=everything - exclusive)


def _tree(volume: Path) -> AbstractContextManager[merging.Directory]:
    source = layers.held_by(volume)
    if source is None:
        return merging.plain(volume / DATA)
    return merging.merged(upper=volume / PRIVATE / UPPER, lower=source / DATA)


def _make_holdable(volume: Path) -> None:
    layers.make_holdable(volume, lambda: merging.hard_links(volume / DATA))
