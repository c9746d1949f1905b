"""Simulated time: an event loop whose clock jumps, and ids and dates that depend on a seed alone.

Nothing sleeps and no thread runs, so a scenario takes the same course each time. Callbacks run in
the order in which they became ready, which is what asyncio promises.
"""

import asyncio
import heapq
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

_EPOCH = datetime(2030, 1, 1, tzinfo=UTC)

_ROUNDS = 20_000
"""How often the loop may run what is ready before time must go on: many times what is needed."""


class StuckError(AssertionError):
    """Everybody waits for somebody else, or is busy for ever."""


class _Task(asyncio.Task[Any]):
    """A task whose place in a set depends on when it was made, and not on where it is in memory."""

    def __init__(self, number: int, coroutine: Coroutine[Any, Any, Any], **more: Any) -> None:
        self._number = number
        super().__init__(coroutine, **more)

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs what is ready; when nothing is, it is at once the time of the next timer."""

    _ready: Any
    _scheduled: Any

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._rounds = 0
        numbers = count()
        self.set_task_factory(
            lambda loop, coroutine, **more: _Task(next(numbers), coroutine, loop=loop, **more)
        )

    def time(self) -> float:
        return self._now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call the function at once: there are no threads."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever awaits it is told
            done.set_exception(error)
        return done

    def _run_once(self) -> None:
        while self._scheduled and (not self._ready or self._scheduled[0].when() <= self._now):
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            if not timer.cancelled():
                if timer.when() > self._now:
                    self._now, self._rounds = timer.when(), 0
                self._ready.append(timer)
        if not self._ready:
            raise StuckError("everybody waits for somebody else")
        self._rounds += 1
        if self._rounds > _ROUNDS:
            self._rounds = 0
            raise StuckError("somebody is busy without ever waiting")
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _process_events(self, event_list: object) -> None:
        """There are no files to wait for."""

    def _write_to_self(self) -> None:
        """There is no other thread to be woken from."""


@contextmanager
def simulated(rng: Random) -> Iterator[asyncio.Runner]:
    """A runner on a simulated loop; meanwhile dates and ids are simulated, too."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        loop = runner.get_loop()

        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return _EPOCH + timedelta(seconds=loop.time())  # type: ignore[return-value]

        seconds = SimpleNamespace(monotonic=loop.time, time=loop.time)
        with (
            patch("pgstrata.domain.model.datetime", Clock),
            patch("pgstrata.prepare.snapshots.time", seconds),
            patch.object(uuid, "uuid4", lambda: uuid.UUID(int=rng.getrandbits(128), version=4)),
        ):
            yield runner


async def within(seconds: float, done: Callable[[], bool], what: str) -> None:
    """Wait until something is so; ``StuckError`` if it takes too long."""
    for _ in range(int(seconds)):
        if done():
            return
        await asyncio.sleep(1)
    raise StuckError(f"{what} after {seconds:g} simulated seconds")


async def ended(work: Awaitable[object], seconds: float, what: str) -> None:
    """Wait until something has ended; ``StuckError`` if it takes too long."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        raise StuckError(f"{what} after {seconds:g} simulated seconds") from None
