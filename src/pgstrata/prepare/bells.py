"""Bells: telling everyone who waits that a job has said something new."""

import asyncio
from collections.abc import Awaitable


class Bell:
    """Rung when there is news. Listen first, then look, then wait: no ring is missed."""

    def __init__(self, said: int = 0) -> None:
        self.said = said
        """How many events the job has."""
        self._next: asyncio.Future[None] | None = None

    def listen(self) -> Awaitable[None]:
        """Something to await: done at the next ring after this call."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._next)

    def ring(self, events: int = 0) -> None:
        """Wake all who listen: ``events`` more were stored."""
        self.said += events
        if self._next is not None:
            self._next.set_result(None)
            self._next = None
