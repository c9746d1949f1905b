"""Removes states, rows first and then files, so that a kill in between leaves nothing usable."""

from pathlib import Path

from pgstrata.cache.in_use import InUse
from pgstrata.cache.settled import SettledCopies
from pgstrata.errors import StoreUnusableError
from pgstrata.statefs.base import StateFS
from pgstrata.store.base import Store
from pgstrata.system.cancellation import finish


class StateRemoval:
    """Removes states below one directory, unless they are in use."""

    def __init__(
        self,
        *,
        states: Path,
        statefs: StateFS,
        store: Store,
        in_use: InUse,
        settled: SettledCopies,
    ) -> None:
        self._states = states
        self._fs = statefs
        self._store = store
        self._in_use = in_use
        self._settled = settled

    def volumes_of(self, state_id: str) -> tuple[Path, Path]:
        """The directories of the state's files, which may not exist: nobody uses them any more."""
        return self._settled.give_up(state_id), self._states / state_id

    async def remove(self, state_id: str) -> bool:
        """Evict a state without descendants; its row first, so that no job starts from it.

        Returns False, and changes nothing, if a job holds it. Raises ``ConflictError`` if it has
        descendants. Once begun it is completed, also if who wanted it to happen is cancelled.
        """
        with self._in_use.removing([state_id]) as in_the_way:
            if in_the_way:
                return False
            await finish(self._evict(state_id))
        return True

    async def _evict(self, state_id: str) -> None:
        try:
            await self._store.remove_state(state_id, why="evicted")
        except StoreUnusableError:
            # On a full disk there is space for that once the files are gone.
            await self._remove_files(state_id)
            await self._store.remove_state(state_id, why="evicted")
        await self._remove_files(state_id)

    async def _remove_files(self, state_id: str) -> None:
        for volume in self.volumes_of(state_id):
            await self._fs.remove(volume)
