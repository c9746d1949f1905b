"""Who is using which states just now: jobs that build on them, and whoever removes them.

All of it happens in one event loop, and nothing here waits while it looks and decides; so of a job
that wants to use a state and someone who wants to remove it, one always comes first. Locks between
processes are not needed for that: a store has one engine.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InUse:
    """States that jobs hold, and states that are on their way out."""

    def __init__(self) -> None:
        self._holders: Counter[str] = Counter()
        self._leases: dict[str, tuple[str, ...]] = {}
        self._leaving: dict[str, asyncio.Event] = {}

    @property
    def held(self) -> frozenset[str]:
        """The states that jobs hold, whether they exist or are still to be built."""
        return frozenset(self._holders)

    def acquire(self, state_ids: Iterable[str]) -> str:
        """Keep these states from being removed; the id of the lease that does.

        What is leaving already is not kept.
        """
        lease_id = uuid.uuid4().hex
        held = self._leases[lease_id] = tuple(state_ids)
        self._holders.update(held)
        return lease_id

    def release(self, lease_id: str) -> None:
        """End a lease. Twice is fine."""
        held = self._leases.pop(lease_id, ())
        self._holders.subtract(held)
        for state_id in held:
            if not self._holders[state_id]:
                del self._holders[state_id]

    @contextmanager
    def removing(
        self, state_ids: Iterable[str], *, even_held: bool = False
    ) -> Iterator[frozenset[str]]:
        """Claim states for their removal. Yields those in the way; if there are any, claims none.

        In the way are states that someone else removes, and those that jobs hold unless
        ``even_held``.
        """
        ids = frozenset(state_ids)
        in_the_way = ids & self._leaving.keys()
        if not even_held:
            in_the_way |= ids & self._holders.keys()
        if in_the_way:
            yield in_the_way
            return
        gone = asyncio.Event()
        self._leaving.update(dict.fromkeys(ids, gone))
        try:
            yield frozenset()
        finally:
            for state_id in ids:
                del self._leaving[state_id]
            gone.set()

    def is_leaving(self, state_id: str) -> bool:
        """Whether the state is being removed: it must not be used any more."""
        return state_id in self._leaving

    async def wait_removed(self, state_id: str) -> None:
        """Wait until nobody is removing the state any more."""
        while (leaving := self._leaving.get(state_id)) is not None:
            await leaving.wait()
