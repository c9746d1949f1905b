"""Places in memory: for everything above the file system to be run without one."""

from itertools import count
from pathlib import Path

from pgstrata.statefs.base import DATA, Usage
from pgstrata.statefs.layers import LEFTOVER_PREFIX, MARKER
from pgstrata.system.memory_disk import MemoryDisk


class MemoryStateFS:
    """Keeps places on a ``MemoryDisk``. No call awaits anything, so each is one step."""

    name = "memory"
    can_clone_live = True

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk
        self._numbers = count()

    async def create(self, place: Path) -> None:
        self._refuse_existing(place)
        self._disk.make_dir(place / DATA)

    async def clone(self, source: Path, place: Path) -> None:
        self._refuse_existing(place)
        self._disk.copy_tree(source / DATA, place / DATA)

    async def publish(self, building: Path, place: Path, marker: bytes) -> None:
        self._disk.rename(building / DATA, place / DATA)
        self._disk.remove_tree(building)
        self._disk.write(place / MARKER, marker)

    async def snapshot(self, source: Path, place: Path, marker: bytes) -> None:
        await self.clone(source, place)
        self._disk.write(place / MARKER, marker)

    async def marker(self, place: Path) -> bytes | None:
        return self._disk.read(place / MARKER)

    async def places(self, area: Path) -> list[Path]:
        return [
            child
            for child in self._disk.children(area)
            if self._disk.read(child) is None and not child.name.startswith(".")
        ]

    async def remove(self, place: Path) -> None:
        self._disk.remove_tree(place)

    async def hide(self, place: Path) -> Path | None:
        if not self._disk.exists(place):
            return None
        hidden = place.with_name(f"{LEFTOVER_PREFIX}{place.name}-{next(self._numbers)}")
        self._disk.rename(place, hidden)
        return hidden

    async def delete(self, hidden: Path) -> None:
        self._disk.remove_tree(hidden)

    async def purge(self, area: Path) -> None:
        for child in self._disk.children(area):
            if child.name.startswith(LEFTOVER_PREFIX):
                self._disk.remove_tree(child)

    async def attach(self, place: Path) -> None:
        """Nothing here is ever detached."""

    async def usage(self, place: Path, *, changed_since: float | None = None) -> Usage:
        """Nothing is shared: a clone is a copy."""
        if not self._disk.exists(place):
            raise FileNotFoundError(str(place))
        return Usage(exclusive_bytes=self._bytes_below(place), shared_bytes=0)

    def _bytes_below(self, path: Path) -> int:
        own = len(self._disk.read(path) or b"")
        return own + sum(self._bytes_below(child) for child in self._disk.children(path))

    def _refuse_existing(self, place: Path) -> None:
        if self._disk.exists(place):
            raise FileExistsError(str(place))
