"""Finishing what must be finished although the one who waits for it is being cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[None, None, T]) -> T:
    """Carry ``work`` through even if the waiting task is cancelled, then be cancelled.

    For the last write and the last clean-up; the work itself must be bounded in time.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise
