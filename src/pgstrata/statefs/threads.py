"""Blocking file work beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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


async def in_thread_of_its_own(call: Callable[[Callable[[], None]], T]) -> T:
    """Run ``call`` in a thread for it alone: for long work, which must not keep short work waiting.

    ``call`` gets a check to be called often, which raises once the caller is cancelled.
    """
    cancelled = threading.Event()

    def check() -> None:
        if cancelled.is_set():
            raise _StoppedError

    pool = ThreadPoolExecutor(1, thread_name_prefix="long file work")
    in_context = partial(copy_context().run, call, check)
    work = asyncio.get_running_loop().run_in_executor(pool, in_context)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cancelled.set()
        try:
            await finish(asyncio.wait((work,)))
        finally:
            work.exception()  # mark it as retrieved: the cancellation takes precedence
        raise
    finally:
        pool.shutdown(wait=False)
