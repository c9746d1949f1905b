"""Blocking work in a thread, and what a cancellation does to it."""

import asyncio
import threading

import pytest

from pgstrata.statefs.threads import in_thread


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
