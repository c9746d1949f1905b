"""Volumes in memory, to run everything above the file system without one."""

from itertools import count
from pathlib import Path

from pgstrata.statefs.base import DATA, Usage
from pgstrata.statefs.layers import LEFTOVER_PREFIX, MARKER
from pgstrata.system.memory_disk import MemoryDisk

_Tree = dict[Path, bytes | None]
"""What is in a directory, by path; None for directories."""


class MemoryStateFS:
    """Keeps volumes on a ``MemoryDisk``. No call awaits anything, so each is one step."""

    name = "memory"
    can_clone_live = True

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk
        self._numbers = count()
        self._published: dict[Path, _Tree] = {}
        self._learnt: dict[Path, _Tree] = {}

    async def copies_on_opening(self, area: Path) -> bool:
        return False

    async def create(self, volume: Path) -> None:
        self._refuse_existing(volume)
        self._disk.make_dir(volume / DATA)

    async def clone(self, source: Path, volume: Path) -> None:
        self._refuse_existing(volume)
        self._disk.copy_tree(source / DATA, volume / DATA)

    async def publish(self, building: Path, volume: Path, marker: bytes) -> None:
        self._disk.rename(building / DATA, volume / DATA)
        self._disk.remove_tree(building)
        self._show(volume, marker)

    async def snapshot(self, source: Path, volume: Path, marker: bytes) -> None:
        await self.clone(source, volume)
        self._show(volume, marker)

    async def marker(self, volume: Path) -> bytes | None:
        return self._disk.read(volume / MARKER)

    async def altered(self, volume: Path, *, deep: bool = False) -> str | None:
        tree = self._tree(volume / DATA)
        if tree.keys() != self._published.get(volume, tree).keys():
            return "its files were changed: a name differs"
        known = self._learnt.get(volume, tree) if deep else tree
        return None if known == tree else "the content of its files is not what it was"

    async def learn(self, volume: Path) -> bool:
        if volume in self._learnt:
            return False
        self._learnt[volume] = self._tree(volume / DATA)
        return True

    async def is_learnt(self, volume: Path) -> bool:
        return volume in self._learnt

    async def volumes(self, area: Path) -> list[Path]:
        return [
            child
            for child in self._disk.children(area)
            if self._disk.read(child) is None and not child.name.startswith(".")
        ]

    async def remove(self, volume: Path) -> None:
        self._disk.remove_tree(volume)

    async def hide(self, volume: Path) -> Path | None:
        if not self._disk.exists(volume):
            return None
        hidden = volume.with_name(f"{LEFTOVER_PREFIX}{volume.name}-{next(self._numbers)}")
        self._disk.rename(volume, hidden)
        return hidden

    async def delete(self, hidden: Path) -> None:
        self._disk.remove_tree(hidden)

    async def purge(self, area: Path) -> None:
        for child in self._disk.children(area):
            if child.name.startswith(LEFTOVER_PREFIX):
                self._disk.remove_tree(child)

    async def attach(self, volume: Path) -> None:
        """Volumes in memory are always visible."""
        if not self._disk.exists(volume / DATA):
            raise FileNotFoundError(str(volume / DATA))

    async def usage(self, volume: Path, *, changed_since: float | None = None) -> Usage:
        """Nothing is shared: a clone is a copy."""
        if not self._disk.exists(volume):
            raise FileNotFoundError(str(volume))
        return Usage(exclusive_bytes=self._bytes_below(volume), shared_bytes=0)

    def _show(self, volume: Path, marker: bytes) -> None:
        self._published[volume] = self._tree(volume / DATA)
        self._learnt.pop(volume, None)
        self._disk.write(volume / MARKER, marker)

    def _tree(self, path: Path) -> _Tree:
        found = {path: self._disk.read(path)}
        for child in self._disk.children(path):
            found |= self._tree(child)
        return found

    def _bytes_below(self, path: Path) -> int:
        own = len(self._disk.read(path) or b"")
        return own + sum(self._bytes_below(child) for child in self._disk.children(path))

    def _refuse_existing(self, volume: Path) -> None:
        if self._disk.exists(volume):
            raise FileExistsError(str(volume))
