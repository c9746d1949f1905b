"""What was removed is deleted in the background, and at the latest when the engine stops."""

import asyncio
from pathlib import Path

import pytest

from pgstrata.cache import trash as module
from pgstrata.cache.trash import Trash
from pgstrata.statefs.memory import MemoryStateFS
from pgstrata.system.memory_disk import MemoryDisk


class SlowStateFS(MemoryStateFS):
    """Deletes nothing before two volumes, or one that is told to, are being deleted."""

    def __init__(self) -> None:
        super().__init__(MemoryDisk())
        self.deleting = 0
        self.two = asyncio.Event()
        self.left: set[Path] = set()

    async def hide(self, volume: Path) -> Path | None:
        hidden = await super().hide(volume)
        if hidden is not None:
            self.left.add(hidden)
        return hidden

    async def delete(self, hidden: Path) -> None:
        self.deleting += 1
        if self.deleting > 1:
            self.two.set()
        await self.two.wait()
        await super().delete(hidden)
        self.left.discard(hidden)


async def fill(statefs: SlowStateFS, trash: Trash, volumes: int) -> None:
    paths = [Path("/store/instances") / str(number) for number in range(volumes)]
    for path in paths:
        await statefs.create(path)
    await trash.put(paths)
    assert len(statefs.left) == volumes


def test_an_engine_that_stops_deletes_what_is_left_several_at_a_time() -> None:
    async def scenario() -> None:
        statefs = SlowStateFS()
        async with asyncio.timeout(60):
            async with Trash(statefs) as trash:
                await fill(statefs, trash, 9)
            assert statefs.left == set()

    asyncio.run(scenario())


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(module, "STOP_SECONDS", 0)
        statefs = SlowStateFS()
        async with asyncio.timeout(60), Trash(statefs) as trash:
            await fill(statefs, trash, 1)
        assert len(statefs.left) == 1

    asyncio.run(scenario())
