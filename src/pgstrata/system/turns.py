"""Turns: of those that want to change one thing, one after the other may."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


def of_name(name: str) -> str:
    """The key of a name; that of an instance is its id. Who wants both takes the name's first."""
    return f"name {name}"


class Turns:
    """A lock for each thing, by any key, for as long as somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, key: str) -> AsyncIterator[None]:
        """Wait until nobody else has the turn, and have it until the end of the block."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            yield
