"""Places that are overlay mounts over published data directories, cloned in constant time.

What is published is a plain directory tree, whole in itself: the files that a step has changed are
its own, all others are hard links to the files of the state it was made from. So there is never
more than one layer below a clone however long the chain of states is, and a state needs nothing of
its parent's. A clone's place holds ``data``, where it is mounted, the two directories the kernel
wants for that, and what holds the published place (``layers``).
"""

import os
from pathlib import Path

from pgstrata.statefs import layers, linking, merging, mounts, trees
from pgstrata.statefs.base import DATA, Usage
from pgstrata.statefs.places import (
    DirectoryStateFS,
    begin,
    hidden_sibling,
    hide_and_delete,
    in_one_step,
    make_place_directory,
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
    """Mounts clones over published states; only root can, or who is in a namespace of their own."""

    name = "overlay"
    shares_data = True
    can_clone_live = False

    async def clone(self, source: Path, place: Path) -> None:
        # Nothing may change below a mount: only what was published is sure not to.
        if await self.marker(source) is None:
            await self._copy(source, place)
        else:
            await in_one_step(lambda: _clone(source, place), place)

    async def snapshot(self, source: Path, place: Path, marker: bytes) -> None:
        # What lies over what it is itself about to be could not be shared.
        await self.publish(source, place, marker)
        try:
            await self.clone(place, source)
        except BaseException:
            await self.remove(place)
            raise

    async def attach(self, place: Path) -> None:
        await in_thread(_attach, place)

    async def usage(self, place: Path, *, changed_since: float | None = None) -> Usage:
        return await in_thread(_usage, place)

    async def _copy(self, source: Path, place: Path) -> None:
        if await in_thread((source / DATA).is_dir):
            await self.attach(source)
        async with shown_when_whole(place, made_from=source / DATA) as hidden:
            options = ("--archive", "--no-target-directory", "--reflink=auto", "--sparse=auto")
            with faults.step("statefs.copy"):
                await subprocesses.run(["cp", *options, "--", source / DATA, hidden / DATA])

    def _publish(self, building: Path, place: Path, marker: bytes) -> None:
        refuse_existing(place)
        if layers.is_holder(building):
            self._publish_merged(building, place, marker)
        else:
            super()._publish(building, place, marker)
            _let_be_held(place)

    def _publish_merged(self, building: Path, place: Path, marker: bytes) -> None:
        hidden = hidden_sibling(place)
        try:
            make_place_directory(hidden)
            with faults.step("statefs.link"):
                linking.link_tree(_shown(building), hidden / DATA)
            _let_be_held(hidden)
            write_marker(hidden, marker)
            trees.sync_file_system(hidden)
            move(hidden, place)
        except BaseException:
            trees.delete(hidden)
            raise
        self._sync_name(place)
        hide_and_delete(building)


def _clone(source: Path, place: Path) -> None:
    hidden = hidden_sibling(place)
    try:
        begin(hidden, place, source / DATA)
        _mount_over(source, hidden, place)
        move(hidden, place)
    except BaseException:
        layers.discard(hidden)
        raise


def _mount_over(source: Path, hidden: Path, place: Path) -> None:
    descriptor = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Whatever may bear its name by now, this is the place that is meant.
        opened = Path(f"/proc/self/fd/{descriptor}")
        _let_be_held(opened)
        layers.hold(source, opened, hidden, place)
        (hidden / _UPPER).mkdir(0o700)
        linking.copy_metadata(opened / DATA, hidden / _UPPER)  # it is what a mount's root shows
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


def _attach(place: Path) -> None:
    """Mount a clone again whose mount has gone with the machine's last run."""
    source = layers.held_by(place)
    if source is None or mounts.is_mounted(place / DATA):
        return
    # It holds a note that the last run ended without a sync, which is how we wanted it.
    trees.delete(place / _WORK)
    (place / DATA).rmdir()
    _mount(place, source / DATA)


def _usage(place: Path) -> Usage:
    everything = merging.allocated_bytes(_shown(place))
    own = place / DATA if layers.held_by(place) is None else place / _UPPER
    alone = min(trees.unlinked_bytes(own), everything)
    return Usage(exclusive_bytes=alone, shared_bytes=everything - alone)


def _shown(place: Path) -> merging.Directory:
    source = layers.held_by(place)
    if source is None:
        return merging.plain(place / DATA)
    return merging.merged(upper=place / _UPPER, lower=source / DATA)


def _let_be_held(place: Path) -> None:
    layers.let_be_held(place, lambda: merging.hard_links(merging.plain(place / DATA)))
