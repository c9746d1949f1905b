"""Blocking file work beside the event loop."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from pgstrata.system.cancellation import to_the_end

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``call`` in a thread.

    Unlike ``asyncio.to_thread``, a cancellation is raised only once the thread has ended, so the
    caller can clean up after it without running against it.
    """
    loop = asyncio.get_running_loop()
    return await to_the_end(loop.run_in_executor(None, partial(call, *args, **kwargs)))
