"""The files of states and bases: whether they can be used, and what becomes of those that cannot.

A state is clean if it has a row, a marker that names it, and a data directory without defects. It
is written in the reverse order (data, marker, row), so what a kill leaves is dirty.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from pgstrata.cache.in_use import InUse
from pgstrata.cache.settled import SettledCopies
from pgstrata.dbms.base import Dbms
from pgstrata.domain.cache import CheckOutcome
from pgstrata.domain.model import Model
from pgstrata.domain.state import SNAPSHOT, State
from pgstrata.errors import ConflictError
from pgstrata.prepare.build_leases import BuildLeases
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.store.base import Store
from pgstrata.system.cancellation import finish
from pgstrata.system.planted import PlantedFileError

_log = logging.getLogger(__name__)

MARKER_FORMAT = 1

_NO_ROW = msgspec.Raw(b"null")


class Marker(Model, frozen=True, kw_only=True):
    """Says that a volume is complete, and what it contains."""

    format: int
    holds: str
    """The state's id, or for a base state ``identity.base_id``."""
    recovers: bool = False
    """Whether a server that starts on it recovers first, like after a crash."""
    row: msgspec.Raw = _NO_ROW
    """A state's row, as it was when the state was made: for a store that has lost its database."""


def marker_of(holds: str, *, recovers: bool = False, row: bytes | None = None) -> bytes:
    """The content of a marker; see ``Marker``."""
    told = _NO_ROW if row is None else msgspec.Raw(row)
    marker = Marker(format=MARKER_FORMAT, holds=holds, recovers=recovers, row=told)
    return msgspec.json.encode(marker)


class StateFiles:
    """Knows which states and bases of a store are whole, and removes those that are not."""

    def __init__(
        self,
        *,
        root: Path,
        statefs: StateFS,
        dbms: Dbms,
        store: Store,
        in_use: InUse,
        settled: SettledCopies,
        leases: BuildLeases,
    ) -> None:
        self._fs = statefs
        self._dbms = dbms
        self._store = store
        self._in_use = in_use
        self._settled = settled
        self._leases = leases
        self._states = root / "states"
        self._bases = root / "bases"

    @property
    def areas(self) -> tuple[Path, ...]:
        """The directories that must exist before this component is used."""
        return (self._bases, self._states, self._settled.area)

    def volume_of(self, state_id: str) -> Path:
        """The volume of a state, which need not be there."""
        return self._states / state_id

    def volume_of_base(self, base: str) -> Path:
        """The volume of a base (``identity.base_id``), which need not be there."""
        return self._bases / base.rpartition(":")[2]

    async def is_clean(self, state_id: str) -> bool:
        """Return whether the state is clean and not leaving. Changes nothing."""
        return (
            await self._store.state(state_id) is not None
            and not self._in_use.is_leaving(state_id)
            and await self.is_whole(self.volume_of(state_id), state_id)
        )

    async def check_clean(self, state_id: str) -> None:
        """Raise ``ConflictError`` if the state is not clean, or is leaving. Changes nothing."""
        if not await self.is_clean(state_id):
            raise ConflictError(
                f"state {state_id} cannot be used: its files are missing or damaged, or it is "
                "being removed",
                remedy="`pgstrata cache verify` says more; choose another state",
            )

    async def find_clean(self, state_ids: Sequence[str]) -> tuple[int, frozenset[str]]:
        """Return how many states of a chain, from its start, need not be built: all up to the last
        clean one. Those before it are not checked, since to start from it none of them is needed.

        Also returns which states of the chain have a row.
        """
        known = await self._store.existing_states(state_ids)
        for position in reversed(range(len(state_ids))):
            state_id = state_ids[position]
            if (
                state_id in known
                and not self._in_use.is_leaving(state_id)
                and await self.is_whole(self.volume_of(state_id), state_id)
            ):
                return position + 1, known
        return 0, known

    async def known(self) -> list[str]:
        """Return the ids of all states with files or a row, in order."""
        rows = {state.state_id for state in await self._store.states()}
        volumes = {volume.name for volume in await self._fs.volumes(self._states)}
        return sorted(rows | volumes)

    async def is_gone(self, state_id: str) -> bool:
        """Whether a state has neither a row nor files."""
        if await self._store.state(state_id) is not None:
            return False
        return self.volume_of(state_id) not in await self._fs.volumes(self._states)

    async def defect(self, state_id: str, *, deep: bool = False) -> str | None:
        """Return why a state cannot be used, for people; None if it is clean.

        ``deep``: also compare its contents, if they were read before.
        """
        volume = self.volume_of(state_id)
        state = await self._store.state(state_id)
        if state is None:
            return "its files have no row"
        if defect := await self._defect(volume, state_id):
            return defect
        if altered := await self._fs.altered(volume, deep=deep):
            return altered
        usage = await self._fs.usage(volume)
        return None if usage.exclusive_bytes + usage.shared_bytes else "its files are empty"

    async def learn(self, state_id: str) -> bool:
        """Read a state's contents, to be compared with later; False if they were read before."""
        return await self._learn(self.volume_of(state_id))

    async def is_learnt(self, state_id: str) -> bool:
        """Whether a state's contents were read before."""
        return await self._fs.is_learnt(self.volume_of(state_id))

    async def learn_base(self, name: str) -> bool:
        """Read a base's contents, to be compared with later; False if they were read before."""
        return await self._learn(self._bases / name)

    async def _learn(self, volume: Path) -> bool:
        try:
            return await self._fs.learn(volume)
        except (FileNotFoundError, PlantedFileError):
            return False  # it was removed or changed meanwhile

    async def bases(self) -> list[str]:
        """Return the names of all bases, in order."""
        return [volume.name for volume in await self._fs.volumes(self._bases)]

    async def base_defect(self, name: str, *, deep: bool = False) -> str | None:
        """Return how a base differs from what it was, for people; ``deep`` like for states.

        None for one without a valid marker, which is made again before it is used.
        """
        volume = self._bases / name
        if await self._held_by(volume) is None:
            return None
        return await self._fs.altered(volume, deep=deep)

    async def throw_out_base(self, name: str, *, deep: bool = False) -> CheckOutcome:
        """Remove a base that differs from what it was, unless a second check finds it sound."""
        base = await self._held_by(self._bases / name)
        if base is None:
            return "sound"
        async with self._leases.hold(base):
            if await self.base_defect(name, deep=deep) is None:
                return "sound"
            await self._fs.remove(self._bases / name)
        return "removed"

    async def _held_by(self, volume: Path) -> str | None:
        """The base that a volume holds, if it can be used."""
        raw = await self._fs.marker(volume)
        try:
            base = raw and msgspec.json.decode(raw, type=Marker).holds
        except msgspec.DecodeError:
            return None
        return base if base and await self.is_whole(volume, base) else None

    async def throw_out(
        self, state_id: str, *, deep: bool = False, certain: bool = False
    ) -> Literal["removed", "emptied", "in_use", "sound"]:
        """Remove a state that cannot be used, unless a second check finds it sound.

        ``certain``: it was read, so that a second check of its files would say no more.
        ``emptied``: its row stays, since others were made from it; it is rebuilt when needed.
        ``in_use``: a job is using it and will deal with it itself.
        """
        with self._in_use.removing([state_id]) as in_the_way:
            if in_the_way:
                return "in_use"
            if not certain and await self.defect(state_id, deep=deep) is None:
                return "sound"
            return "removed" if await self.remove_dirty(state_id) else "emptied"

    async def suspect(self, state_id: str) -> State | None:
        """The row of a state that may be damaged; None if it is gone."""
        return await self._store.state(state_id)

    async def remove_damaged(self, suspect: State) -> bool:
        """Remove a state that was found to be damaged, even if jobs are using it.

        Not one that was built in its place meanwhile. Returns False, and leaves it, if nothing
        could build it again.
        """
        if suspect.prepare_kind == SNAPSHOT:
            return False
        if self._in_use.is_leaving(suspect.state_id):
            # Who removes it may wait for the instance for whose sake this is done, and who has the
            # lease for the removal. Should it stay, it is found to be damaged once more.
            return True
        async with self._leases.hold(suspect.state_id):
            current = await self._store.state(suspect.state_id)
            if current is not None and current.created_at == suspect.created_at:
                # Also if another has begun to remove it meanwhile, who may yet leave it.
                with self._in_use.removing([suspect.state_id], even_held=True):
                    await self.remove_dirty(suspect.state_id)
        return True

    async def adopt(self) -> tuple[list[str], list[str]]:
        """Give states without a row the one that their markers have; those that got it, and others.

        The others are damaged, from before markers had rows, or stem from such ones.
        """
        volumes = [volume.name for volume in await self._fs.volumes(self._states)]
        known = await self._store.existing_states(volumes)
        rows = {name: await self._row(self._states / name) for name in volumes if name not in known}
        children: dict[str | None, list[State]] = {}
        for row in rows.values():
            if row is not None:
                children.setdefault(row.parent_state_id, []).append(row)
        waiting = [row for parent in (None, *known) for row in children.get(parent, ())]
        adopted: list[str] = []
        while waiting:
            row = waiting.pop()
            await self._store.add_state(row)
            adopted.append(row.state_id)
            waiting += children.get(row.state_id, ())
        return adopted, sorted(rows.keys() - set(adopted))

    async def _row(self, volume: Path) -> State | None:
        """The row in a whole state's marker."""
        if not await self.is_whole(volume, volume.name):
            return None
        raw = await self._fs.marker(volume)
        try:
            row = raw and msgspec.json.decode(raw, type=Marker).row
            state = row and msgspec.json.decode(row, type=State)
        except msgspec.DecodeError:
            return None
        return state if state and state.state_id == volume.name else None

    async def recover(self) -> None:
        """Delete the files of states without a row, which a kill left. Only while none is built."""
        volumes = await self._fs.volumes(self._states)
        known = await self._store.existing_states([volume.name for volume in volumes])
        for volume in volumes:
            if volume.name not in known and not await self._row_restored(volume):
                await self._fs.remove(volume)

    async def _row_restored(self, volume: Path) -> bool:
        """Whether a state without a row got it back, since nothing could build the state again.

        A power failure may have taken the newest rows, or a kill come just before this one.
        """
        row = await self._row(volume)
        if row is None or row.prepare_kind != SNAPSHOT:
            return False
        if (await self._store.evidence((row.state_id,), None)).removals:
            return False  # it was removed, and only its files are left
        try:
            await self._store.add_state(row)
        except ConflictError:
            _log.warning("state %s loses its name %s", row.state_id, row.name)
            await self._store.add_state(msgspec.structs.replace(row, name=None))
        return True

    async def is_whole(self, volume: Path, holds: str) -> bool:
        """Whether a volume is complete, and holds what it is thought to."""
        return await self._defect(volume, holds) is None

    async def _defect(self, volume: Path, holds: str) -> str | None:
        raw = await self._fs.marker(volume)
        if raw is None:
            return "there is no marker"
        try:
            marker = msgspec.json.decode(raw, type=Marker)
        except msgspec.DecodeError:
            return "the marker cannot be read"
        if (marker.format, marker.holds) != (MARKER_FORMAT, holds):
            return f"the marker names {marker.holds}, format {marker.format}"
        return await self._dbms.defect(volume / DATA, recovers=marker.recovers)

    async def remove_dirty(self, state_id: str) -> bool:
        """Remove a dirty state. Returns whether its row was removed, too.

        If it has descendants, they stay usable, since their files are their own, and its row stays
        for them. Without files it is dirty, and the rebuilt state takes its place. Once begun it is
        completed, also if who wanted it to happen is cancelled.
        """
        return await finish(self._remove_dirty(state_id))

    async def _remove_dirty(self, state_id: str) -> bool:
        try:
            await self._store.remove_state(state_id, why="dirty")
        except ConflictError:
            await self._record_empty(state_id)
            return False
        finally:
            await self._fs.remove(self.volume_of(state_id))
            await self._settled.remove(state_id)
        return True

    async def _record_empty(self, state_id: str) -> None:
        """Record that a state whose row stays no longer takes any space."""
        state = await self._store.state(state_id)
        if state is not None and state.size_bytes:
            await self._store.add_state(
                msgspec.structs.replace(state, size_bytes=0, shared_bytes=0)
            )
