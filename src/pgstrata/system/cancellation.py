"""Finishing what must be finished although the one who waits for it is being cancelled."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: Awaitable[T]) -> T:
    """Carry ``work`` through however often the waiting task is cancelled, then be cancelled.

    For the last write and the last clean-up; the work itself must be bounded in time.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # whatever it was, the cancellation comes first
        raise cancelled
    return task.result()
