"""Volumes that are overlay mounts over published data directories, cloned in constant time.

A published volume is a complete, plain directory tree: the files that a step changed are its own,
all others are hard links to the files of the state it was made from. So a clone never has more than
one lower layer, however long the chain of states, and a state needs nothing of its parent's. A
clone's volume contains ``data``, its mount point, and a directory that only the engine can enter,
with the two that the kernel needs for the mount and the links that hold the published volume
(``layers``).
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

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
from pgstrata.statefs.linking import Copied, LiveCopy, Stamp, stamp_of
from pgstrata.statefs.threads import in_thread
from pgstrata.system import faults, planted, walking

_TICK_NS = 20_000_000
"""How far files' times may lag behind the clock: the kernel takes them from its last tick."""

_SIZES = 1000
"""Of how many volumes it is remembered what they take."""


class _Snapshot(NamedTuple):
    """The last snapshot of a clone."""

    volume: Path
    stamps: Mapping[str, Stamp]
    """Of the clone's own files that have not been written to since, if they still have them."""


class OverlayStateFS(DirectoryStateFS):
    """Mounts clones over published states, as root or in a namespace of our own."""

    name = "overlay"
    shares_data = True
    can_clone_live = True
    """Its own files are copied, and a server's descriptors of them stay what they are."""

    def __init__(self, *, durable: bool = True) -> None:
        super().__init__(durable=durable)
        self._snapshots: dict[Path, _Snapshot] = {}
        """By the clone that they were taken of."""
        self._sizes: dict[Path, int] = {}
        """What published volumes take that clones are mounted over."""

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
        if await in_thread(layers.is_holder, source):
            await in_one_step(lambda: self._snapshot(source, volume, marker), volume)
        else:
            await super().snapshot(source, volume, marker)

    def _snapshot(self, source: Path, volume: Path, marker: bytes) -> None:
        refuse_existing(volume)
        began = time.time_ns() - _TICK_NS
        with self._whole(volume, marker) as data, self._earlier(source) as earlier:
            copy = LiveCopy(data, earlier)
            with faults.step("statefs.link"), _tree(source) as tree:
                copy.fill(tree)
        told = {path: stamp for path, stamp in copy.stamps.items() if _is_telling(stamp, began)}
        self._snapshots[source] = _Snapshot(volume, told)
        self._sync_name(volume)

    @contextmanager
    def _earlier(self, source: Path) -> Iterator[Copied | None]:
        """The last snapshot of a clone, if it is still there."""
        last, copied = self._snapshots.get(source), None
        with ExitStack() as opened:
            if last is not None:
                with suppress(FileNotFoundError):
                    root = opened.enter_context(planted.open_directory(last.volume / DATA))
                    copied = Copied(root, last.stamps)
            yield copied

    @contextmanager
    def _whole(self, volume: Path, marker: bytes) -> Iterator[int]:
        """The open data directory of a new volume, which is shown at the end of the block."""
        hidden = hidden_sibling(volume)
        try:
            make_volume_directory(hidden)
            (hidden / DATA).mkdir(0o700)
            with planted.open_directory(hidden / DATA) as data:
                yield data
            links = digests.write(hidden, hidden / DATA)
            layers.make_holdable(hidden, lambda: links)
            write_marker(hidden, marker)
            trees.sync_file_system(hidden)
            move(hidden, volume)
        except BaseException:
            trees.delete(hidden)
            raise

    async def remove(self, volume: Path) -> None:
        self._forget(volume)
        await super().remove(volume)

    async def hide(self, volume: Path) -> Path | None:
        self._forget(volume)
        return await super().hide(volume)

    def _forget(self, volume: Path) -> None:
        self._snapshots.pop(volume, None)
        self._sizes.pop(volume, None)

    async def attach(self, volume: Path) -> None:
        await in_thread(_attach, volume)

    async def usage(self, volume: Path, *, changed_since: float | None = None) -> Usage:
        last = self._snapshots.get(volume)
        return await in_thread(self._usage, volume, {} if last is None else last.stamps)

    def _usage(self, volume: Path, copied: Mapping[str, Stamp]) -> Usage:
        """``copied``: files that the last snapshot has copies of, if they are as they were."""
        source = layers.held_by(volume)
        if source is None:
            with merging.plain(volume / DATA) as tree:
                everything, own = merging.allocated_bytes(tree), volume / DATA
        else:
            everything, own = self._size_of(source), volume / PRIVATE / UPPER
            with _tree(volume) as tree:
                everything += tree.growth()
        known = sum(
            walking.allocated(found.status)
            for found in (walking.everything_in(own) if copied else ())
            if copied.get(found.path) == stamp_of(found.status)
        )
        exclusive = max(min(trees.unlinked_bytes(own), everything) - known, 0)
        return Usage(exclusive_bytes=exclusive, shared_bytes=everything - exclusive)

    def _size_of(self, source: Path) -> int:
        """Bytes that a published volume takes, which never changes. To look takes 10 ms."""
        if source not in self._sizes:
            if len(self._sizes) >= _SIZES:
                self._sizes.clear()
            with merging.plain(source / DATA) as tree:
                self._sizes[source] = merging.allocated_bytes(tree)
        return self._sizes[source]

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
        with (
            self._whole(volume, marker) as data,
            faults.step("statefs.link"),
            _tree(building) as tree,
        ):
            linking.link_tree(tree, data)
        self._snapshots.pop(building, None)
        self._sync_name(volume)
        hide_and_delete(building)


def _is_telling(stamp: Stamp, began: int) -> bool:
    """Whether a file that is written to from now on will have another stamp.

    ``began``: nanoseconds since the epoch, before which times differ from later ones. Some file
    systems have whole seconds only.
    """
    return max(stamp[2:]) < began and stamp[-1] % 1_000_000_000 != 0


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


def _tree(volume: Path) -> AbstractContextManager[merging.Directory]:
    source = layers.held_by(volume)
    if source is None:
        return merging.plain(volume / DATA)
    return merging.merged(upper=volume / PRIVATE / UPPER, lower=source / DATA)


def _make_holdable(volume: Path) -> None:
    layers.make_holdable(volume, lambda: merging.hard_links(volume / DATA))
