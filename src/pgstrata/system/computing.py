"""Computing that may take long, without keeping others from being answered meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

FEW: Final = 200
"""So many things are gone through in less time than handing them to a thread takes."""


async def compute(size: int, function: Callable[[], T]) -> T:
    """Call a pure function that goes through ``size`` things: in a thread, if they are many."""
    return function() if size <= FEW else await asyncio.to_thread(function)
