"""Volumes that are overlay mounts over published data directories, cloned in constant time.

A published volume is a complete, plain directory tree: the files that a step changed are its own,
all others are hard links to the files of the state it was made from. So a clone never has more than
one lower layer, however long the chain of states, and a state needs nothing of its parent's. A
clone's volume contains ``data``, its mount point, the two directories that the kernel needs for the
mount, and the links that hold the published volume (``layers``).
"""

import os
from pathlib import Path

from pgstrata.statefs import layers, linking, merging, mounts, trees
from pgstrata.statefs.base import DATA, Usage
from pgstrata.statefs.directories import (
    DirectoryStateFS,
    begin,
    hidden_sibling,
    hide_and_delete,
    in_one_step,
    make_volume_directory,
    move,
    refuse_existing,
    shown_when_whole,
    write_marker,
)
from pgstrata.statefs.threads import in_thread
from pgstrata.system import faults, subprocesses

_UPPER = "upper"
_WORK = "work"


class OverlayStateFS(DirectoryStateFS):
    """Mounts clones over published states, as root or in a namespace of our own."""

    name = "overlay"
    shares_data = True
    can_clone_live = False

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
        async with shown_when_whole(volume, made_from=source / DATA) as hidden:
            options = ("--archive", "--no-target-directory", "--reflink=auto", "--sparse=auto")
            with faults.step("statefs.copy"):
                await subprocesses.run(["cp", *options, "--", source / DATA, hidden / DATA])

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
            with faults.step("statefs.link"):
                linking.link_tree(_tree(building), hidden / DATA)
            _make_holdable(hidden)
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
        (hidden / _UPPER).mkdir(0o700)
        linking.copy_metadata(opened / DATA, hidden / _UPPER)  # the mount's root shows these
        _mount(hidden, opened / DATA)
    finally:
        os.close(descriptor)
    for names in layers.links(hidden):
        linking.unshare(hidden / DATA, names)


def _mount(holder: Path, lower: Path) -> None:
    for name in (_WORK, DATA):
        (holder / name).mkdir(0o700)
    mounts.mount_overlay(
        lower=lower, upper=holder / _UPPER, work=holder / _WORK, target=holder / DATA
    )


def _attach(volume: Path) -> None:
    """Mount a clone again whose mount was lost when the machine was restarted."""
    source = layers.held_by(volume)
    if source is None or mounts.is_mounted(volume / DATA):
        return
    # It records that the last mount was volatile; the kernel refuses to mount it again as it is.
    trees.delete(volume / _WORK)
    (volume / DATA).rmdir()
    _mount(volume, source / DATA)


def _usage(volume: Path) -> Usage:
    everything = merging.allocated_bytes(_tree(volume))
    own = volume / DATA if layers.held_by(volume) is None else volume / _UPPER
    exclusive = min(trees.unlinked_bytes(own), everything)
    return Usage(exclusive_bytes=exclusive, shared_bytes=everything - exclusive)


def _tree(volume: Path) -> merging.Directory:
    source = layers.held_by(volume)
    if source is None:
        return merging.plain(volume / DATA)
    return merging.merged(upper=volume / _UPPER, lower=source / DATA)


def _make_holdable(volume: Path) -> None:
    layers.make_holdable(volume, lambda: merging.hard_links(merging.plain(volume / DATA)))
