"""Removing states, rows and files, so that a kill in between leaves nothing that is believed."""

from pathlib import Path

from pgstrata.cache.in_use import InUse
from pgstrata.errors import StoreUnusableError
from pgstrata.statefs.base import StateFS
from pgstrata.store.base import Store


class StateRemoval:
    """Removes states below one directory. Whoever uses them is asked first."""

    def __init__(self, *, states: Path, statefs: StateFS, store: Store, in_use: InUse) -> None:
        self._states = states
        self._fs = statefs
        self._store = store
        self._in_use = in_use

    def volume_of(self, state_id: str) -> Path:
        """Where the state's files are, if it has any."""
        return self._states / state_id

    async def remove(self, state_id: str) -> bool:
        """Evict a state that nothing stems from; row first, so that nobody starts from it.

        False, and nothing is changed, when a job holds it. Raises ``ConflictError`` when a state or
        an instance stems from it.
        """
        with self._in_use.removing([state_id]) as in_the_way:
            if in_the_way:
                return False
            try:
                await self._store.remove_state(state_id, why="evicted")
            except StoreUnusableError:
                # On a full disk there is room for that once the files are gone.
                await self._fs.remove(self.volume_of(state_id))
                await self._store.remove_state(state_id, why="evicted")
            await self._fs.remove(self.volume_of(state_id))
        return True
