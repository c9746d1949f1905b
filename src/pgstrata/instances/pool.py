"""The warm pool: servers that were cloned, started and tried before anybody asks for them.

They wait paused, so that nothing happens in them, and have no row: after a kill they are what an
engine left half done, and are cleared away as that. To hand one over is to resume it and to store
its row as that of any other new instance.
"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from pgstrata.cache.in_use import InUse
from pgstrata.cache.settled import SettledCopies
from pgstrata.cache.trash import Trash
from pgstrata.domain.warmth import PoolStatus, Warmth
from pgstrata.errors import HostLimitError, PgstrataError, StoreUnusableError
from pgstrata.instances.demand import Make, Stock, Warm, least_wanted, next_to_start
from pgstrata.instances.limits import HostLimits
from pgstrata.runtime.base import Runtime
from pgstrata.settings import PoolSettings
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.store.base import Store
from pgstrata.system.background import Background
from pgstrata.system.cancellation import cancel, finish

_log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often it looks for memory that runs out and for servers that nobody wants."""

_PAUSE_SECONDS = 0.02
"""How long it starts nothing after somebody was served, who is to get going first."""

_REST_SECONDS = 60.0
"""How long a make is left alone after one of its servers could not be started."""


class WarmPool(Background):
    """Keeps warm servers in stock. Use it as an async context, which leaves none behind."""

    task_name = "warm servers"
    ended = "no more servers are kept warm"

    def __init__(
        self,
        *,
        root: Path,
        statefs: StateFS,
        runtime: Runtime,
        store: Store,
        in_use: InUse,
        settled: SettledCopies,
        trash: Trash,
        host: HostLimits,
        limits: PoolSettings,
        server_settings: Mapping[str, str],
        available_memory: Callable[[], int],
        note: Callable[[Path], None] = lambda _directory: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``root``: the store's directory. ``server_settings``: the engine's own. ``note``: notes
        in a directory that it is no instance's yet."""
        self._root = root
        self._fs = statefs
        self._runtime = runtime
        self._store = store
        self._in_use = in_use
        self._copies = settled
        self._trash = trash
        self._host = host
        self.limits = limits
        self._server_settings = server_settings
        self._available_memory = available_memory
        self._note = note
        self._now = now
        self._stocks: dict[Make, Stock] = {}
        self._works: set[asyncio.Task[None]] = set()
        """What starts and removes servers."""
        self._starts: set[asyncio.Task[None]] = set()
        """Those of them that start one."""
        self._served_at = -math.inf
        self._recalled = False
        self._leaving: set[str] = set()
        """States that are being removed, and for which servers were asked to be kept."""
        self._woken = asyncio.Event()
        self._settled = asyncio.Event()
        in_use.on_leaving(self._leave)
        in_use.on_left(self._recall_those_that_stay)
        settled.on_change(self._renew)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        await cancel(*self._starts)
        for stock in self._stocks.values():
            self._discard(stock.waiting)
        self._stocks.clear()
        if self._works:
            await asyncio.wait(self._works)

    @property
    def status(self) -> PoolStatus:
        """How many servers there are and should be."""
        return PoolStatus(
            wanted=min(sum(one.wanted for one in self._stocks.values()), self.limits.max),
            ready=sum(len(one.waiting) for one in self._stocks.values()),
            max=self.limits.max,
        )

    async def join(self) -> None:
        """Wait until there is nothing more to do for now."""
        await self._settled.wait()

    def wake(self) -> None:
        """Look now for what is to be done."""
        self._settled.clear()
        self._woken.set()

    async def take(self, state_id: str, image_id: str, settings: Mapping[str, str]) -> Warm | None:
        """Hand over a server; None if there is none. Whoever gets it stores or removes it."""
        if not self.limits.max or self._in_use.is_leaving(state_id):
            return None
        make = Make.of(state_id, image_id, settings, self._server_settings)
        stock = self._stocks.setdefault(make, Stock(make))
        stock.ask(self._now(), self.limits.idle)
        self._served_at = self._now()
        self.wake()
        while stock.waiting:
            warm = stock.waiting.pop()
            alive = False
            try:
                await self._runtime.resume(warm.server)
                alive = await self._runtime.alive(warm.server)
            finally:
                # Also if whoever asked gives up just then: nobody else knows about it.
                if not alive:
                    self._discard([warm])
            if alive:
                return warm
        return None

    async def want(self, state_id: str, count: int) -> Warmth | None:
        """Keep so many servers ready for a state from now on; None if there is no such state.

        Raises ``HostLimitError`` for more than there may be.
        """
        if count > self.limits.max:
            raise HostLimitError(
                f"{count} warm servers are more than there may be, which is {self.limits.max}",
                remedy="ask for fewer, or raise pool.max",
            )
        if not await self._store.set_warm(state_id, count):
            return None
        stock = await self._say(state_id, count)
        self.wake()
        ready = 0 if stock is None else len(stock.waiting)
        return Warmth(state_id=state_id, wanted=count, ready=ready)

    async def work(self) -> None:
        """Start and remove servers as they are wanted, forever."""
        while True:
            try:
                await self._recall()
                await self._bury()
                self._give_up()
                self._fill()
            except (PgstrataError, OSError) as error:
                _log.warning("servers could not be kept warm just now: %s", error)
            if not self._works:
                self._settled.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._woken.wait()
            if (pause := self._served_at + _PAUSE_SECONDS - self._now()) > 0:
                await asyncio.sleep(pause)
            self._woken.clear()

    async def _recall(self) -> None:
        """Learn how many servers are to be kept of which states, unless that is known."""
        if not self._recalled:
            for state_id, count in (await self._store.warm_states()).items():
                await self._say(state_id, count)
            self._recalled = True

    async def _say(self, state_id: str, count: int) -> Stock | None:
        state = await self._store.state(state_id)
        if state is None:
            return None
        if self._in_use.is_leaving(state_id):
            self._leaving.add(state_id)
            return None
        make = Make.of(state_id, state.image_id, state.settings, self._server_settings)
        stock = self._stocks.setdefault(make, Stock(make))
        stock.said, stock.rests_until = count, 0.0
        if not count:
            stock.learned = 0
        return stock

    def _leave(self, state_ids: Iterable[str]) -> None:
        """Give up the servers of states that are being removed."""
        gone = frozenset(state_ids)
        for make in [make for make in self._stocks if make.state_id in gone]:
            stock = self._stocks.pop(make)
            self._discard(stock.waiting)
            if stock.said:
                self._leaving.add(make.state_id)

    def _recall_those_that_stay(self, state_ids: Iterable[str]) -> None:
        """Look whether states are still there: something may have been in the way of a removal."""
        if not self._leaving.isdisjoint(state_ids):
            self._leaving.difference_update(state_ids)
            self._recalled = False
            self.wake()

    def _renew(self, state_id: str) -> None:
        """Give up servers on what instances of a state are no longer cloned from."""
        for stock in self._stocks.values():
            if stock.make.state_id == state_id:
                self._discard(stock.take_oldest(len(stock.waiting)))
        self.wake()

    async def _bury(self) -> None:
        """Remove the servers that ended while they waited."""
        for stock in tuple(self._stocks.values()):
            for warm in tuple(stock.waiting):
                if not await self._runtime.alive(warm.server) and warm in stock.waiting:
                    stock.waiting.remove(warm)
                    self._discard([warm])

    def _give_up(self) -> None:
        now, idle = self._now(), self.limits.idle
        if self._is_short_of_memory():
            for stock in self._stocks.values():
                stock.rests_until = now + _REST_SECONDS
                self._discard(stock.take_oldest(len(stock.waiting)))
        for stock in tuple(self._stocks.values()):
            self._discard(stock.give_up(now, idle))
            if not stock.number and not stock.wanted and now - (stock.asked_at or 0.0) > idle:
                del self._stocks[stock.make]
        number = sum(one.number for one in self._stocks.values())
        for stock in sorted(self._stocks.values(), key=lambda one: one.asked_at or 0.0):
            given_up = stock.take_oldest(number - self.limits.max)
            number -= len(given_up)
            self._discard(given_up)

    def _fill(self) -> None:
        starting = sum(one.starting for one in self._stocks.values())
        while starting < self.limits.max_starting and not self._is_short_of_memory():
            stock = next_to_start(self._stocks.values(), self._now())
            if stock is None or not self._make_room(stock):
                return
            stock.starting += 1
            starting += 1
            start = self._begin(self._start(stock), f"a warm server of {stock.make.state_id}")
            self._starts.add(start)
            start.add_done_callback(self._starts.discard)

    def _make_room(self, stock: Stock) -> bool:
        stocks = self._stocks.values()
        if sum(one.number for one in stocks) < self.limits.max:
            return True
        other = least_wanted(stocks, stock)
        if other is None:
            return False
        self._discard(other.take_oldest(1))
        other.learned = max(0, other.learned - 1)
        return True

    def _is_short_of_memory(self) -> bool:
        return self._available_memory() < self.limits.min_free_memory

    async def _start(self, stock: Stock) -> None:
        try:
            warm = await self._started(stock.make)
        except BaseException as error:
            # Whatever it was: to try again at once could go on for ever.
            stock.rests_until = self._now() + _REST_SECONDS
            if not isinstance(error, PgstrataError | OSError):
                raise
            _log.warning("no server can be kept warm for %s: %s", stock.make.state_id, error)
            await self._forget_if_gone(stock)
        else:
            # Its state may have been removed meanwhile.
            if self._stocks.get(stock.make) is stock:
                stock.waiting.append(warm)
            else:
                self._discard([warm])
        finally:
            stock.starting -= 1

    async def _forget_if_gone(self, stock: Stock) -> None:
        """Give up for good on a state that was removed just before it was to have servers."""
        with suppress(StoreUnusableError):
            gone = await self._store.state(stock.make.state_id) is None
            if gone and self._stocks.get(stock.make) is stock:
                self._discard(self._stocks.pop(stock.make).waiting)

    async def _started(self, make: Make) -> Warm:
        self._host.check_server()
        instance_id = uuid.uuid4().hex
        directory = self._root / "instances" / instance_id
        lease_id = self._in_use.acquire((make.state_id,))
        try:
            await self._copies.clone(make.state_id, directory)
        finally:
            self._in_use.release(lease_id)
        server = None
        try:
            self._note(directory)
            server = await self._runtime.start(
                make.image_id,
                directory / DATA,
                avoid=await self._store.ports_of_names(),
                settings=dict(make.settings),
                waits=True,
            )
            await self._runtime.pause(server)
        except BaseException:
            if server is None:
                await finish(self._trash.put([directory]))
            else:
                await finish(self._remove(Warm(instance_id, server, 0.0)))
            raise
        return Warm(instance_id, server, self._now())

    def _discard(self, given_up: Iterable[Warm]) -> None:
        for warm in given_up:
            self._begin(self._remove(warm), f"removing {warm.instance_id}")

    async def _remove(self, warm: Warm) -> None:
        try:
            await self._runtime.stop(warm.server, clean=False)
            await self._trash.put([self._root / "instances" / warm.instance_id])
        except (PgstrataError, OSError) as error:
            _log.warning("a warm server is left to the next engine: %s", error)

    def _begin(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._works.add(task)
        self._settled.clear()
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._works.discard(task)
        self.wake()
