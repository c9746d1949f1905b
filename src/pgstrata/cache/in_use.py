"""Which states are in use, and which are being removed.

All of this happens in one event loop, and nothing here awaits between reading and deciding; so
when one job wants to use a state and another to remove it, one of them is always first. No locks
between processes are needed: a store has one engine.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

Hear = Callable[[frozenset[str]], None]
"""Is told the ids of states."""


class InUse:
    """States that jobs hold, and states that are leaving."""

    def __init__(self) -> None:
        self._holders: Counter[str] = Counter()
        self._leases: dict[str, tuple[str, ...]] = {}
        self._leaving: dict[str, asyncio.Event] = {}
        self._hears_of_leaving: list[Hear] = []
        self._hears_of_end: list[Hear] = []

    def on_leaving(self, hear: Hear) -> None:
        """Have states that leave be told of from now on, before anything is removed."""
        self._hears_of_leaving.append(hear)

    def on_left(self, hear: Hear) -> None:
        """Have it told from now on when they are gone, or stay after all."""
        self._hears_of_end.append(hear)

    @property
    def held(self) -> frozenset[str]:
        """The states that jobs hold, whether they exist or are still to be built."""
        return frozenset(self._holders)

    def acquire(self, state_ids: Iterable[str]) -> str:
        """Protect states from removal. Returns the id of the lease that does.

        It does not protect states that are already leaving.
        """
        lease_id = uuid.uuid4().hex
        held = self._leases[lease_id] = tuple(state_ids)
        self._holders.update(held)
        return lease_id

    def release(self, lease_id: str) -> None:
        """End a lease. May be repeated."""
        for state_id in self._leases.pop(lease_id, ()):
            if others := self._holders[state_id] - 1:
                self._holders[state_id] = others
            else:
                del self._holders[state_id]

    @contextmanager
    def removing(
        self, state_ids: Iterable[str], *, even_held: bool = False
    ) -> Iterator[frozenset[str]]:
        """Claim states for removal. Yields those that cannot be claimed; if there are any, none is.

        These are states that are already leaving and, unless ``even_held``, those that jobs hold.
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
            for hear in self._hears_of_leaving:
                hear(ids)
            yield frozenset()
        finally:
            for state_id in ids:
                del self._leaving[state_id]
            gone.set()
            for hear in self._hears_of_end:
                hear(ids)

    def is_leaving(self, state_id: str) -> bool:
        """Return whether the state is being removed and so must no longer be used."""
        return state_id in self._leaving

    async def wait_removed(self, state_id: str) -> None:
        """Wait until the state is no longer being removed."""
        while (leaving := self._leaving.get(state_id)) is not None:
            await leaving.wait()
