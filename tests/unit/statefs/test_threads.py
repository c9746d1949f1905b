"""Blocking work in a thread, and what a cancellation does to it."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from pgstrata.statefs.threads import in_thread, in_thread_of_its_own


def test_the_outcome_is_the_calls_own() -> None:
    assert asyncio.run(in_thread(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(divmod, 7, 0))


@pytest.mark.parametrize("cancellations", [1, 2])
def test_a_cancellation_comes_after_the_threads_end(cancellations: int) -> None:
    started, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go_on.wait()
        ended.set()

    async def scenario() -> None:
        task = asyncio.ensure_future(in_thread(work))
        await asyncio.to_thread(started.wait)
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0)
        waited = not task.done()
        go_on.set()
        assert waited
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(scenario())


def test_the_outcome_of_long_work_is_the_calls_own() -> None:
    assert asyncio.run(in_thread_of_its_own(lambda check: check())) is None
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread_of_its_own(lambda _: divmod(7, 0)))


@pytest.mark.parametrize("cancellations", [1, 2])
def test_long_work_ends_at_its_next_check_once_it_is_cancelled(cancellations: int) -> None:
    started, ended = threading.Event(), threading.Event()

    def work(check: Callable[[], None]) -> None:
        started.set()
        try:
            while True:
                check()
        finally:
            ended.set()

    async def scenario() -> None:
        task = asyncio.ensure_future(in_thread_of_its_own(work))
        await asyncio.to_thread(started.wait)
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(scenario())


def test_long_work_keeps_no_other_work_waiting() -> None:
    go_on = threading.Event()

    async def scenario() -> None:
        waiting = [
            asyncio.ensure_future(in_thread_of_its_own(lambda _: go_on.wait())) for _ in range(50)
        ]
        await in_thread(go_on.set)
        assert all(await asyncio.gather(*waiting))

    asyncio.run(scenario())
