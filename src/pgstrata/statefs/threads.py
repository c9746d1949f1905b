"""Blocking file work beside the event loop."""

import asyncio
from collections.abc import Callable
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
