"""The heart on simulated adapters: what outlives engines, and one engine after the other on it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from pathlib import Path, PurePath
from random import Random
from typing import Any, BinaryIO, TypeVar

from pgstrata.deletion.deletion import Deletion
from pgstrata.domain.durations import Seconds
from pgstrata.domain.plan import Input
from pgstrata.domain.sizes import Bytes
from pgstrata.errors import PgstrataError
from pgstrata.instances.leases import Leases
from pgstrata.kinds.sources.base import LocalSources, Seen
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.kinds.sources.memory import MemorySources
from pgstrata.settings import CacheCapacity, PoolSettings, SnapshotSettings
from tests.simulation.durability import Durability
from tests.simulation.fate import DeadError, Fate, Fated, FatedDbms, FatedRuntime, Sees, Story
from tests.unit.prepare.heart import Heart, with_jobs

T = TypeVar("T")

PORTS = ("queue", "store", "statefs", "runtime", "dbms")
POOL = PoolSettings(max=3, max_starting=2, idle=Seconds(30))

Meddling = Callable[["World"], None]
"""Spoils an engine that was just put together, to see whether that is found."""


class _Sources(MemorySources):
    """Sources without a real file: no tool reads them here."""

    def read(self, path: PurePath, make: Callable[[BinaryIO], T]) -> tuple[Seen, T]:
        seen, blob = self._looked(path)
        if blob is None:
            raise FileNotFoundError(str(path))
        return seen, make(BytesIO(blob.content))

    @asynccontextmanager
    async def hold(self, inputs: Sequence[Input]) -> AsyncIterator[LocalSources]:
        await self.check_unchanged(inputs)
        yield _TREE


_TREE = LocalTree()


class World(Heart):
    """A machine on which engines run, stop and are killed."""

    def __init__(
        self,
        rng: Random,
        story: Story,
        sees: Sees,
        *,
        identical: int,
        meddle: Meddling = lambda _world: None,
    ) -> None:
        """``identical``: how many finished jobs with the same request are kept."""
        self._rng = rng
        self.story = story
        self._sees = sees
        self._sources = _Sources()
        self._meddle = meddle
        settings = with_jobs(max_parallel=2, heartbeat=30, max_identical=identical, keep_number=0)
        self.durability = Durability()
        # Its free space is asked for, and nothing else.
        snapshot = SnapshotSettings(settle="always" if rng.random() < 0.5 else "off")
        super().__init__(Path("/"), settings._replace(pool=POOL, snapshot=snapshot))

    def start_engine(self) -> None:
        self.queue, self.store = self.durability.queue, self.durability.store
        self.sources = self._sources
        self.fate = Fate(self._rng, self.story, self._sees)
        whole = {port: getattr(self, port) for port in PORTS}
        self.limits = self.limits._replace(min_state_age=Seconds(0))
        fated = {port: Fated(port, adapter, self.fate) for port, adapter in whole.items()}
        fated["dbms"] = FatedDbms("dbms", self.dbms, self.fate)
        fated["runtime"] = FatedRuntime(self.runtime, self.fate, self._sees)
        for port, adapter in fated.items():
            setattr(self, port, adapter)
        super().start_engine()
        self.deletion = Deletion(
            instances=self.root / "instances",
            store=self.store,
            runtime=self.runtime,
            dbms=self.dbms,
            in_use=self.in_use,
            removal=self.removal,
            trash=self.trash,
            turns=self.turns,
        )
        self.leases = Leases(store=self.store, deletion=self.deletion)
        self._meddle(self)
        for port, adapter in whole.items():
            setattr(self, port, adapter)

    @property
    def monotonic(self) -> float:
        """What the warm pool takes for the time."""
        return asyncio.get_running_loop().time()

    @monotonic.setter
    def monotonic(self, _: float) -> None:
        """It goes on by itself."""

    async def run_engine(self) -> None:
        """Start engines until one has recovered what there is."""
        while True:
            try:
                await self.settled.load()
                await self.resetting.recover()
                await self.instance_snapshots.recover()
                await self.manager.recover()
                for part in (self.trash, self.coordinator, self.pool, self.settling, self.leases):
                    await part.__aenter__()
            except (DeadError, PgstrataError, OSError) as error:
                self.story.add(f"the engine does not start: {error!r}")
                await self.bury()
                self.start_engine()
            else:
                return

    async def stop_engine(self) -> None:
        """Stop the engine as SIGTERM does; it may be killed meanwhile."""
        self.story.add("the engine is stopped")
        with suppress(DeadError):
            await self.coordinator.drain(self._rng.choice((0, 10)))
            for part in (self.leases, self.settling, self.pool, self.coordinator, self.trash):
                await part.__aexit__(None, None, None)

    async def lose_power(self) -> None:
        """End everything at once: what was not synced is lost, or some of it."""
        self.story.add("the power is cut")
        self.fate.alive = False
        await self.bury()
        if self._rng.random() < 0.7:
            self.durability.lose()
        for place in [
            place
            for area in ("work", "building", "instances")
            for place in self.disk.children(self.root / area)
        ]:
            if (chance := self._rng.random()) < 0.2:
                self.disk.remove_tree(place)
            elif chance < 0.6:
                self.disk.write(place / "data" / "steps", b"torn")
        self.runtime.boot()

    async def restart(self) -> None:
        await self.bury()
        self.start_engine()
        await self.run_engine()

    async def bury(self) -> None:
        """Let nothing of an engine and of its clients run on."""
        self.fate.alive = False
        me = asyncio.current_task()
        while others := asyncio.all_tasks() - {me}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def shrink(self, max_bytes: int | None) -> None:
        """Let the cache be no larger than this from now on."""
        most = None if max_bytes is None else Bytes(max_bytes)
        self.limits = CacheCapacity(max_bytes=most, min_state_age=Seconds(0))
        self.evictor.limits = self.limits

    def at_once(self, coroutine: Any) -> Any:
        """What a call of an adapter in memory returns, which waits for nothing."""
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waits")
