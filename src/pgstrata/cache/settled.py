"""Settled copies of states, which instances are cloned from.

A settled copy has the rows of its state, vacuumed, frozen and analysed, so that what is cloned from
it writes next to nothing when it is first read. Steps never start from one, and nothing needs one:
it may go at any time, and then the state itself is cloned.

Which there are, only the disk says: ``settled/<state id>``, with a marker. No row tells of them.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from pgstrata.cache.cloning import clone_state
from pgstrata.domain.cache import Totals
from pgstrata.domain.model import Model
from pgstrata.domain.state import State
from pgstrata.statefs.base import StateFS
from pgstrata.store.base import Store
from pgstrata.system.cancellation import finish

_log = logging.getLogger(__name__)

_FORMAT = 1

Hear = Callable[[str], None]
"""Is told a state's id."""


class SettledCopy(Model, frozen=True, kw_only=True):
    """What is known of a settled copy, as it stands in its marker."""

    format: int = _FORMAT
    state_id: str
    made_from: datetime
    """When the state was made that this is a copy of: one that was built again is another."""
    size_bytes: int
    """Bytes that it takes alone."""


class SettledCopies:
    """Knows the settled copies of a store's states, and clones states for instances."""

    def __init__(self, *, root: Path, statefs: StateFS, store: Store) -> None:
        """``root``: the store's directory."""
        self.area = root / "settled"
        self.handed_out = True
        """Whether instances are cloned from them."""
        self._states = root / "states"
        self._fs = statefs
        self._store = store
        self._copies: dict[str, SettledCopy] = {}
        """The least recently used first."""
        self._hears_of_use: list[Hear] = []
        self._hears_of_change: list[Hear] = []

    def on_use(self, hear: Hear) -> None:
        """Have it told from now on whenever an instance was made of a state."""
        self._hears_of_use.append(hear)

    def on_change(self, hear: Hear) -> None:
        """Have it told from now on whenever a state's copy came or went."""
        self._hears_of_change.append(hear)

    async def load(self) -> None:
        """Find the copies there are, and remove those that no state has. Before any is used."""
        for volume in await self._fs.volumes(self.area):
            copy = _read(await self._fs.marker(volume))
            state = await self._store.state(volume.name)
            if copy is not None and state is not None and _is_of(copy, state):
                self._copies[volume.name] = copy
            else:
                await self._fs.remove(volume)

    def of(self, state_id: str) -> SettledCopy | None:
        """A state's copy; None if it has none."""
        return self._copies.get(state_id)

    @property
    def known(self) -> tuple[SettledCopy, ...]:
        """All copies, the least recently used first."""
        return tuple(self._copies.values())

    @property
    def totals(self) -> Totals:
        """How many there are, and what they take alone."""
        sizes = [copy.size_bytes for copy in self._copies.values()]
        return Totals(states=len(sizes), size_bytes=sum(sizes))

    def use(self, state_id: str) -> None:
        """Note that an instance was made of a state."""
        if (copy := self._copies.pop(state_id, None)) is not None:
            self._copies[state_id] = copy
        for hear in self._hears_of_use:
            hear(state_id)

    async def clone(self, state_id: str, directory: Path, *, plain: bool = False) -> None:
        """Clone a state for an instance: its settled copy, if it has one and it need not be plain.

        Raises ``ConflictError`` if the state is gone.
        """
        if not plain and self.handed_out and state_id in self._copies:
            try:
                await self._fs.clone(self.area / state_id, directory)
            except FileNotFoundError:
                pass  # it was evicted just now
            else:
                return
        await clone_state(self._fs, self._states / state_id, directory)

    async def add(self, state: State, building: Path, size_bytes: int) -> None:
        """Publish what is in ``building`` as a state's copy; ``building`` is gone afterwards."""
        copy = SettledCopy(
            state_id=state.state_id, made_from=state.created_at, size_bytes=size_bytes
        )
        volume = self.area / state.state_id
        await self._fs.publish(building, volume, msgspec.json.encode(copy))
        self._copies[state.state_id] = copy
        current = await self._store.state(state.state_id)
        if current is None or not _is_of(copy, current):
            await self.remove(state.state_id)  # its state was removed meanwhile
        self._changed(state.state_id)

    async def remove(self, state_id: str) -> None:
        """Remove a state's copy, also one that is not known yet. May be repeated.

        Once begun it is completed, also if who wanted it to happen is cancelled.
        """
        await finish(self._remove(state_id))

    async def _remove(self, state_id: str) -> None:
        known = self._copies.pop(state_id, None)
        await self._fs.remove(self.area / state_id)
        if known is not None:
            self._changed(state_id)

    def give_up(self, state_id: str) -> Path:
        """Forget a state's copy, whose files the caller removes: where they are, if there are."""
        self._copies.pop(state_id, None)
        return self.area / state_id

    async def defect(self, state_id: str, *, deep: bool = False) -> str | None:
        """How a copy differs from what was published, for people; ``deep`` also in content."""
        try:
            return await self._fs.altered(self.area / state_id, deep=deep)
        except FileNotFoundError:
            return None  # it was removed meanwhile

    async def learn(self, state_id: str) -> None:
        """Read a copy's contents, to be compared with later."""
        try:
            await self._fs.learn(self.area / state_id)
        except FileNotFoundError:
            _log.debug("the settled copy of %s was removed while it was read", state_id)

    def _changed(self, state_id: str) -> None:
        for hear in self._hears_of_change:
            hear(state_id)


def _read(marker: bytes | None) -> SettledCopy | None:
    try:
        copy = marker and msgspec.json.decode(marker, type=SettledCopy)
    except msgspec.DecodeError:
        return None
    return copy if copy and copy.format == _FORMAT else None


def _is_of(copy: SettledCopy, state: State) -> bool:
    return (copy.state_id, copy.made_from) == (state.state_id, state.created_at)
