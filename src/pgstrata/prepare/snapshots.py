"""The SnapshotOrchestrator: states as files.

It initialises a base state once, decides whether a cached state is clean or dirty, removes dirty
ones, checks a data directory before and after a snapshot, freezes or stops its server for it, and
holds the build leases. It leaves what runs in between to the executor, and how a directory is
copied to the statefs.

On disk, below the store::

    bases/<digest>      the cluster after initdb, one for each image and way of making it
    states/<state id>   published states
    settled/<state id>  copies of them for instances (``cache.settled``)
    building/<id>       volumes that are not complete yet; published in one step
    work/<job id>       the data directory that a job's steps run in
    instances/<id>      instances' data directories

A state is clean if it has a row, a marker that names it, and a data directory without defects. It
is written in the reverse order (data, marker, row), so what a kill leaves is dirty.
"""

import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec

from pgstrata.cache.cloning import clone_state
from pgstrata.cache.disk_full import map_full_disk
from pgstrata.cache.eviction import Evictor
from pgstrata.cache.in_use import InUse
from pgstrata.cache.settled import SettledCopies
from pgstrata.dbms.base import Dbms
from pgstrata.domain.cache import CheckOutcome
from pgstrata.domain.identity import base_id
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.model import Model
from pgstrata.domain.plan import TaskInput
from pgstrata.domain.reason import StepRecord
from pgstrata.domain.state import SNAPSHOT, State
from pgstrata.errors import ConflictError, ServerError, StateUnusableError
from pgstrata.prepare.build_leases import BuildLease, BuildLeases
from pgstrata.prepare.consistency import Situation, reason_to_stop, settings_changed
from pgstrata.runtime.base import Runtime
from pgstrata.settings import Consistency
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.store.base import Store
from pgstrata.system.cancellation import finish
from pgstrata.system.planted import PlantedFileError

_log = logging.getLogger(__name__)

MARKER_FORMAT = 1

Keep = Callable[[Path, Path, bytes], Awaitable[None]]
"""Makes a published volume, with its marker, from a workspace."""

Initialise = Callable[[Path], Awaitable[None]]
"""Makes a cluster in an empty data directory."""


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


_TICK_SECONDS = 0.02
"""How far files' times may lag behind the clock: the kernel takes them from its last tick."""


class _Build(NamedTuple):
    """The build of a state: its lease, and when it began."""

    lease: BuildLease
    monotonic: float
    since_epoch: float
    """In seconds, like files' times."""


class Workspace:
    """A data directory that a job's steps run in, one after another."""

    def __init__(
        self, directory: Path, start_settings: bytes, server_settings: Mapping[str, str]
    ) -> None:
        self.directory = directory
        self.server_settings = server_settings
        """The job's own, which its servers are started with."""
        self.start_settings = start_settings
        """The settings that the server on it has read, or will read when it is started."""

    @property
    def data_dir(self) -> Path:
        """The data directory itself."""
        return self.directory / DATA


class SnapshotOrchestrator:
    """Owns the files of states, in one store directory."""

    def __init__(
        self,
        *,
        root: Path,
        statefs: StateFS,
        runtime: Runtime,
        dbms: Dbms,
        store: Store,
        in_use: InUse,
        evictor: Evictor,
        settled: SettledCopies,
        owner: str,
        consistency: Consistency = "auto",
    ) -> None:
        """``owner``: the owner of build leases, which is the engine."""
        self._fs = statefs
        self._runtime = runtime
        self._dbms = dbms
        self.consistency: Consistency = consistency
        self._store = store
        self._in_use = in_use
        self._evictor = evictor
        self._settled = settled
        self._leases = BuildLeases(store, owner)
        self._builds: dict[str, _Build] = {}
        self._root = root
        self._bases = root / "bases"
        self._states = root / "states"
        self._building = root / "building"
        self._work = root / "work"
        self._instances = root / "instances"

    @property
    def areas(self) -> tuple[Path, ...]:
        """The directories that must exist before this component is used."""
        return (self._bases, self._states, self._settled.area, *self.server_areas)

    @property
    def server_areas(self) -> tuple[Path, ...]:
        """Those in which servers run, each of which knows its own directory's name only."""
        return (self._building, self._work, self._instances)

    async def is_clean(self, state_id: str) -> bool:
        """Return whether the state is clean and not leaving. Changes nothing."""
        return (
            await self._store.state(state_id) is not None
            and not self._in_use.is_leaving(state_id)
            and await self._whole(self._states / state_id, state_id)
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
                and await self._whole(self._states / state_id, state_id)
            ):
                return position + 1, known
        return 0, known

    async def known(self) -> list[str]:
        """Return the ids of all states with files or a row, in order."""
        rows = {state.state_id for state in await self._store.states()}
        volumes = {volume.name for volume in await self._fs.volumes(self._states)}
        return sorted(rows | volumes)

    async def defect(self, state_id: str, *, deep: bool = False) -> str | None:
        """Return why a state cannot be used, for people; None if it is clean.

        ``deep``: also compare its contents, if they were read before.
        """
        volume = self._states / state_id
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
        return await self._learn(self._states / state_id)

    async def is_learnt(self, state_id: str) -> bool:
        """Whether a state's contents were read before."""
        return await self._fs.is_learnt(self._states / state_id)

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
        return base if base and await self._whole(volume, base) else None

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
            return "removed" if await self._throw_out(state_id) else "emptied"

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
        async with self._leases.hold(suspect.state_id):
            current = await self._store.state(suspect.state_id)
            if current is not None and current.created_at == suspect.created_at:
                await self._throw_out(suspect.state_id)
        return True

    async def has_room(self, state_id: str | None) -> bool:
        """Whether there is room to build a state, or it is there; None: whether for an instance."""
        if state_id is not None and await self.is_clean(state_id):
            return True
        return await self._evictor.has_room(for_a_state=state_id is not None)

    @asynccontextmanager
    async def building(self, state_id: str) -> AsyncIterator[bool]:
        """Hold the state's build lease. Yields whether the state is clean, so need not be built.

        Otherwise a dirty one is removed first, and room is made for the new one; raises like
        ``Evictor.make_room``. Waiting for the lease can be cancelled.
        """
        async with self._leases.hold(state_id) as lease:
            await self._in_use.wait_removed(state_id)
            clean = await self.is_clean(state_id)
            if not clean:
                await self._throw_out(state_id)
                await self._evictor.make_room("before_step")
            self._builds[state_id] = _begun(lease)
            try:
                yield clean
            finally:
                del self._builds[state_id]

    @asynccontextmanager
    async def building_on_the_way(self, state_id: str, target: str) -> AsyncIterator[bool]:
        """Hold the build lease of a state on the way to ``target``, which is being built.

        Yields False if it need not be built, or another job is about to: then there is no lease.
        """
        if self._leases.is_held(state_id):
            yield False
            return
        async with self._leases.hold(state_id) as lease:
            if await self.is_clean(state_id):
                yield False
                return
            await self._throw_out(state_id)
            self._builds[state_id] = self._builds[target]._replace(lease=lease)
            try:
                yield True
            finally:
                del self._builds[state_id]
                self._builds[target] = _begun(self._builds[target].lease)

    async def workspace(
        self,
        job_id: str,
        start: TaskInput,
        initialise: Initialise,
        initdb: Mapping[str, str] = MappingProxyType({}),
        server_settings: Mapping[str, str] = MappingProxyType({}),
    ) -> Workspace:
        """Make a writable clone of ``start`` for a job's steps, to be discarded by the caller.

        ``initialise`` makes the base state if ``start`` is an image that has none yet, which
        differs by ``initdb`` from the default. ``server_settings``: for servers on it.
        """
        if start.kind == "image":
            source = await self._base(base_id(start.id, initdb), initialise)
        else:
            source = self._states / start.id
        directory = self._work / job_id
        await clone_state(self._fs, source, directory)
        try:
            start_settings = await self._dbms.start_settings(directory / DATA)
        except BaseException:
            # The caller has nothing to discard yet.
            await finish(self._fs.remove(directory))
            raise
        return Workspace(directory, start_settings, server_settings)

    async def workspace_of(self, instance: Instance, job_id: str) -> Workspace:
        """Make a writable clone of what is in an instance, whose server is frozen or stopped.

        It is discarded by the caller, also if this fails.
        """
        directory = self._work / job_id
        await self._fs.clone(self._instances / instance.instance_id, directory)
        self._dbms.forget_server(directory / DATA)
        start_settings = await self._dbms.start_settings(directory / DATA)
        return Workspace(directory, start_settings, instance.settings)

    def data_dir_of(self, instance: Instance) -> Path:
        """An instance's data directory."""
        return self._instances / instance.instance_id / DATA

    async def instance_bytes(self, instance: Instance) -> int:
        """How many bytes an instance holds that no state has."""
        return (await self._fs.usage(self._instances / instance.instance_id)).exclusive_bytes

    async def take(
        self,
        workspace: Workspace,
        state: State,
        server: Server,
        *,
        last: bool,
        steps: Sequence[StepRecord] = (),
    ) -> bool:
        """Keep the content of ``workspace`` as ``state``, whose build lease must be held.

        Returns whether the ``server`` on it is still running: it is if nothing is lost by freezing
        it while its files are cloned. Otherwise it is stopped cleanly, and the workspace itself
        becomes the state and, unless this was the ``last`` step, is cloned again from that.
        ``steps``: what the state was made from. Its ``size_bytes``, if it has any, are the least
        that it holds alone. Raises ``StateUnusableError`` if the data directory cannot be kept, and
        like ``Evictor.make_room``.
        """
        with _the_steps_fault(state):
            return await self._take(workspace, state, server, last, steps)

    async def _take(
        self,
        workspace: Workspace,
        state: State,
        server: Server,
        last: bool,
        steps: Sequence[StepRecord],
    ) -> bool:
        settings = await self._dbms.start_settings(workspace.data_dir)
        reason = reason_to_stop(
            self.consistency,
            Situation(
                last=last,
                can_clone_live=self._fs.can_clone_live,
                lost=await self._dbms.lost_in_crash(workspace.data_dir),
                settings_changed=settings != workspace.start_settings,
                let_in=bool(server.undo),
            ),
        )
        await self._dbms.check_snapshot(workspace.data_dir)
        if reason is None and not await self._flush(server):
            reason = "it lets nobody in any more"
        if reason is not None:
            _log.debug("the server on %s is stopped: %s", workspace.directory, reason)
            await self._stop(workspace, state, server, settings)
        build = self._builds[state.state_id]
        held = await self._fs.usage(workspace.directory, changed_since=build.since_epoch)
        measured = msgspec.structs.replace(
            state,
            size_bytes=max(held.exclusive_bytes, state.size_bytes or 0),
            shared_bytes=held.shared_bytes,
            build_seconds=round(time.monotonic() - build.monotonic, 3),  # all but the snapshot
        )
        async with self._evictor.reserve_room("before_snapshot", held.exclusive_bytes):
            try:
                if reason is None:
                    async with self._runtime.freeze(server):
                        with self._dbms.hide_server(workspace.data_dir):
                            await self._keep(workspace, measured, self._fs.snapshot, recovers=True)
                else:
                    keep = self._fs.publish if last else self._fs.snapshot
                    await self._keep(workspace, measured, keep, recovers=False)
                took = time.monotonic() - build.monotonic
                await build.lease.complete(
                    msgspec.structs.replace(measured, build_seconds=round(took, 3)), steps
                )
            except BaseException:
                # Files without a row would never be found again, and there may or may not be one.
                await finish(self._throw_out(state.state_id))
                raise
        await self._evictor.relieve("after_snapshot")
        return reason is None

    async def pass_over(
        self, workspace: Workspace, state: State, server: Server, *, connected: bool
    ) -> bool:
        """Prepare for the next step, without keeping what there is as ``state``.

        The next step must meet what it would meet if the state had been kept. Returns whether the
        ``server`` is still running; raises ``StateUnusableError`` for what could not be kept.
        ``connected``: whether the tool need not be let in for the next step.
        """
        with _the_steps_fault(state):
            settings = await self._dbms.start_settings(workspace.data_dir)
            await self._dbms.check_snapshot(workspace.data_dir)
            if (
                settings == workspace.start_settings
                and not server.undo
                and (connected or await self._dbms.lets_in(server))
            ):
                return True
            await self._stop(workspace, state, server, settings)
            return False

    def can_go_on(self, workspace: Workspace, server: Server) -> bool:
        """Whether there is nothing to do before the next step of a tool that stays connected.

        May be called in any thread.
        """
        return not server.undo and self._dbms.is_as_started(
            workspace.data_dir, workspace.start_settings
        )

    async def _stop(
        self, workspace: Workspace, state: State, server: Server, settings: bytes
    ) -> None:
        """Stop a server cleanly, and see whether one can be started again where that is in doubt.

        ``settings``: what the next server will read.
        """
        doubtful = settings != workspace.start_settings or not await self._dbms.lets_in(server)
        crashed = not await self._runtime.alive(server)
        await self._runtime.stop(server)
        if doubtful and not crashed:
            await self._check_starts(workspace, state, settings)
        workspace.start_settings = settings

    async def _flush(self, server: Server) -> bool:
        """Flush a server that may stay up; whether it let us in."""
        try:
            await self._dbms.flush(server)
        except ServerError as error:
            _log.debug("%s", error.message)
            return False
        return True

    async def _check_starts(self, workspace: Workspace, state: State, settings: bytes) -> None:
        """Raise ``StateUnusableError`` if no server starts on what a step left, or lets us in."""
        try:
            server = await self._runtime.start(
                state.image_id,
                workspace.data_dir,
                building=True,
                settings=workspace.server_settings,
            )
        except ServerError as error:
            names = ", ".join(settings_changed(workspace.start_settings, settings))
            raise StateUnusableError(
                f"no server can be used after `{state.prepare_args_normalized}`"
                + (f", which set {names}" if names else ""),
                remedy="correct what it sets; the server says why below",
                details=f"{error.message}\n\n{error.details or ''}".strip(),
            ) from error
        await finish(self._runtime.stop(server))

    async def _keep(
        self, workspace: Workspace, state: State, keep: Keep, *, recovers: bool
    ) -> None:
        if defect := await self._dbms.defect(workspace.data_dir, recovers=recovers):
            raise _not_kept(state, defect)
        volume = self._states / state.state_id
        marker = _marker(state.state_id, recovers=recovers, row=msgspec.json.encode(state))
        await keep(workspace.directory, volume, marker)

    async def discard(self, workspace: Workspace) -> None:
        """Remove a workspace. May be repeated."""
        await self._fs.remove(workspace.directory)

    async def discard_of(self, job_id: str) -> None:
        """Remove the workspace of a job, if there is one."""
        await self._fs.remove(self._work / job_id)

    def map_full_disk(self) -> AbstractContextManager[None]:
        """Raise ``DiskFullError`` for errors of a full disk. Leave it before cleaning up."""
        return map_full_disk(self._root)

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
        if not await self._whole(volume, volume.name):
            return None
        raw = await self._fs.marker(volume)
        try:
            row = raw and msgspec.json.decode(raw, type=Marker).row
            state = row and msgspec.json.decode(row, type=State)
        except msgspec.DecodeError:
            return None
        return state if state and state.state_id == volume.name else None

    async def recover(self) -> None:
        """Delete what a kill left half built or half removed. Only while nothing is built."""
        if await self._store.build_leases():
            await self._store.clear_build_leases()
        for directory in await self._fs.volumes(self._work):
            if server := await self._runtime.owner_of(directory / DATA):
                await self._runtime.stop(server, clean=False)
            await self._fs.remove(directory)
        states = await self._fs.volumes(self._states)
        known = await self._store.existing_states([volume.name for volume in states])
        orphaned = [
            volume
            for volume in states
            if volume.name not in known and not await self._row_restored(volume)
        ]
        for volume in (*await self._fs.volumes(self._building), *orphaned):
            await self._fs.remove(volume)
        for area in (self._root, *self.areas):
            await self._fs.purge(area)

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

    async def _base(self, base: str, initialise: Initialise) -> Path:
        volume = self._bases / base.rpartition(":")[2]
        if await self._whole(volume, base):
            return volume
        async with self._leases.hold(base):
            if not await self._whole(volume, base):
                await self._fs.remove(volume)
                await self._make_base(volume, base, initialise)
        return volume

    async def _make_base(self, volume: Path, base: str, initialise: Initialise) -> None:
        async with self._scaffold() as building:
            await self._fs.create(building)
            await initialise(building / DATA)
            if defect := await self._dbms.defect(building / DATA):
                raise StateUnusableError(f"the base state of {base} cannot be kept: {defect}")
            await self._fs.publish(building, volume, _marker(base))

    @asynccontextmanager
    async def _scaffold(self) -> AsyncIterator[Path]:
        """Yield the path of a volume to build in; if it still exists afterwards, remove it."""
        building = self._building / uuid.uuid4().hex
        try:
            yield building
        finally:
            await finish(self._fs.remove(building))

    async def _whole(self, volume: Path, holds: str) -> bool:
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

    async def _throw_out(self, state_id: str) -> bool:
        """Remove a dirty state. Returns whether its row was removed, too.

        If it has descendants, they stay usable, since their files are their own, and its row stays
        for them. Without files it is dirty, and the rebuilt state takes its place.
        """
        try:
            await self._store.remove_state(state_id, why="dirty")
        except ConflictError:
            await self._record_empty(state_id)
            return False
        finally:
            await self._fs.remove(self._states / state_id)
            await self._settled.remove(state_id)
        return True

    async def _record_empty(self, state_id: str) -> None:
        """Record that a state whose row stays no longer takes any space."""
        state = await self._store.state(state_id)
        if state is not None and state.size_bytes:
            await self._store.add_state(
                msgspec.structs.replace(state, size_bytes=0, shared_bytes=0)
            )


def _begun(lease: BuildLease) -> _Build:
    return _Build(lease, time.monotonic(), time.time() - _TICK_SECONDS)


@contextmanager
def _the_steps_fault(state: State) -> Iterator[None]:
    """Raise ``StateUnusableError`` for files that only the step can have planted."""
    try:
        yield
    except PlantedFileError as error:
        raise _not_kept(state, str(error)) from error


def _not_kept(state: State, defect: str) -> StateUnusableError:
    return StateUnusableError(
        f"the cluster after `{state.prepare_args_normalized}` cannot be kept: {defect}",
        remedy="check what this step does to the server itself",
    )


def _marker(holds: str, *, recovers: bool = False, row: bytes | None = None) -> bytes:
    told = _NO_ROW if row is None else msgspec.Raw(row)
    marker = Marker(format=MARKER_FORMAT, holds=holds, recovers=recovers, row=told)
    return msgspec.json.encode(marker)
