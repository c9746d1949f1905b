"""Blocking file work beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from pgstrata.system.cancellation import finish

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``call`` in a thread, in the context of its caller.

    Unlike ``asyncio.to_thread``, a cancellation is raised only once the thread has ended, so the
    caller can clean up after it without running against it.
    """
    loop = asyncio.get_running_loop()
    in_context = partial(copy_context().run, call, *args, **kwargs)
    return await finish(loop.run_in_executor(None, in_context))


class _StoppedError(Exception):
    """Work was stopped since its caller was cancelled."""


async def in_thread_until_cancelled(call: Callable[[Callable[[], None]], T]) -> T:
    """Like ``in_thread``, for long work: ``call`` gets a check that raises once it is cancelled."""
    cancelled = threading.Event()

    def check() -> None:
        if cancelled.is_set():
            raise _StoppedError

    work = asyncio.ensure_future(in_thread(call, check))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cancelled.set()
        with suppress(_StoppedError):
            await finish(work)
        raise
