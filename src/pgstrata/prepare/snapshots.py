"""The SnapshotOrchestrator: states as files.

It initialises a base state once, makes workspaces of states and states of workspaces, checks a data
directory before and after a snapshot, freezes or stops its server for it, and holds the build
leases. It leaves what runs in between to the executor, how a directory is copied to the statefs,
and to tell what can be used to ``StateFiles``.

On disk, below the store::

    bases/<digest>      the cluster after initdb, one for each image and way of making it
    states/<state id>   published states
    settled/<state id>  copies of them for instances (``cache.settled``)
    building/<id>       volumes that are not complete yet; published in one step
    work/<job id>       the data directory that a job's steps run in
    instances/<id>      instances' data directories
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
from typing import NamedTuple

import msgspec

from pgstrata.cache.cloning import clone_state
from pgstrata.cache.disk_full import map_full_disk
from pgstrata.cache.eviction import Evictor
from pgstrata.cache.in_use import InUse
from pgstrata.dbms.base import Dbms
from pgstrata.domain.identity import base_id
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.plan import TaskInput
from pgstrata.domain.reason import StepRecord
from pgstrata.domain.state import State
from pgstrata.errors import PREPARE_AGAIN, ServerError, StateUnusableError, StepInterruptedError
from pgstrata.prepare.build_leases import BuildLease, BuildLeases
from pgstrata.prepare.consistency import Situation, reason_to_stop, settings_changed
from pgstrata.prepare.state_files import StateFiles, marker_of
from pgstrata.runtime.base import Runtime, Witness
from pgstrata.settings import Consistency
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.system.cancellation import finish
from pgstrata.system.planted import PlantedFileError

_log = logging.getLogger(__name__)

Keep = Callable[[Path, Path, bytes], Awaitable[None]]
"""Makes a published volume, with its marker, from a workspace."""

Initialise = Callable[[Path], Awaitable[None]]
"""Makes a cluster in an empty data directory."""


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
    """Makes states, and workspaces of them, in one store directory."""

    def __init__(
        self,
        *,
        root: Path,
        files: StateFiles,
        leases: BuildLeases,
        statefs: StateFS,
        runtime: Runtime,
        dbms: Dbms,
        in_use: InUse,
        evictor: Evictor,
        consistency: Consistency = "auto",
    ) -> None:
        self._fs = statefs
        self._runtime = runtime
        self._dbms = dbms
        self.consistency: Consistency = consistency
        self._in_use = in_use
        self._evictor = evictor
        self._files = files
        self._leases = leases
        self._builds: dict[str, _Build] = {}
        self._root = root
        self._building = root / "building"
        self._work = root / "work"
        self._instances = root / "instances"

    @property
    def areas(self) -> tuple[Path, ...]:
        """The directories that must exist before this component is used."""
        return (*self._files.areas, *self.server_areas)

    @property
    def server_areas(self) -> tuple[Path, ...]:
        """Those in which servers run, each of which knows its own directory's name only."""
        return (self._building, self._work, self._instances)

    async def has_room(self, state_id: str | None) -> bool:
        """Whether there is room to build a state, or it is there; None: whether for an instance."""
        if state_id is not None and await self._files.is_clean(state_id):
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
            clean = await self._files.is_clean(state_id)
            if not clean:
                await self._files.remove_dirty(state_id)
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
            if await self._files.is_clean(state_id):
                yield False
                return
            await self._files.remove_dirty(state_id)
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
            source = self._files.volume_of(start.id)
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
        witness: Witness,
        *,
        last: bool,
        steps: Sequence[StepRecord] = (),
    ) -> bool:
        """Keep the content of ``workspace`` as ``state``, whose build lease must be held.

        Returns whether the ``server`` on it is still running: it is if nothing is lost by freezing
        it while its files are cloned. Otherwise it is stopped cleanly, and the workspace itself
        becomes the state and, unless this was the ``last`` step, is cloned again from that.
        ``steps``: what the state was made from. Its ``size_bytes``, if it has any, are the least
        that it holds alone. ``witness``: of the server, since the first of what is to be kept was
        done. Raises ``StateUnusableError`` if the data directory cannot be kept,
        ``StepInterruptedError`` if somebody ended a process of the server, which loses what is in
        unlogged tables, and like ``Evictor.make_room``.
        """
        with _the_steps_fault(state):
            return await self._take(workspace, state, server, witness, last, steps)

    async def _take(
        self,
        workspace: Workspace,
        state: State,
        server: Server,
        witness: Witness,
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
        await _check_unharmed(witness)
        if reason is not None:
            _log.debug("the server on %s is stopped: %s", workspace.directory, reason)
            await self._stop(workspace, state, server, witness, settings)
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
                    await _check_unharmed(witness)
                else:
                    keep = self._fs.publish if last else self._fs.snapshot
                    await self._keep(workspace, measured, keep, recovers=False)
                took = time.monotonic() - build.monotonic
                await build.lease.complete(
                    msgspec.structs.replace(measured, build_seconds=round(took, 3)), steps
                )
            except BaseException:
                # Others may be using it already if it was stored before this was cancelled.
                if not build.lease.is_complete:
                    await self._files.remove_dirty(state.state_id)
                raise
        await self._evictor.relieve("after_snapshot")
        return reason is None

    async def pass_over(
        self,
        workspace: Workspace,
        state: State,
        server: Server,
        witness: Witness,
        *,
        connected: bool,
    ) -> bool:
        """Prepare for the next step, without keeping what there is as ``state``.

        The next step must meet what it would meet if the state had been kept. Returns whether the
        ``server`` is still running; raises like ``take`` for what could not be kept.
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
            await _check_unharmed(witness)
            await self._stop(workspace, state, server, witness, settings)
            return False

    def can_go_on(self, workspace: Workspace, server: Server) -> bool:
        """Whether there is nothing to do before the next step of a tool that stays connected.

        May be called in any thread.
        """
        return not server.undo and self._dbms.is_as_started(
            workspace.data_dir, workspace.start_settings
        )

    async def _stop(
        self,
        workspace: Workspace,
        state: State,
        server: Server,
        witness: Witness,
        settings: bytes,
    ) -> None:
        """Stop a server cleanly, and see whether one can be started again where that is in doubt.

        ``settings``: what the next server will read. Raises ``StepInterruptedError`` if somebody
        ended it first.
        """
        doubtful = settings != workspace.start_settings or not await self._dbms.lets_in(server)
        crashed = not await self._runtime.alive(server)
        await self._runtime.stop(server)
        if await self._dbms.defect(workspace.data_dir, recovers=True) is None:
            await _check_unharmed(witness)
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
        volume = self._files.volume_of(state.state_id)
        marker = marker_of(state.state_id, recovers=recovers, row=msgspec.json.encode(state))
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

    async def recover(self) -> None:
        """Delete what a kill left half built or half removed. Only while nothing is built."""
        await self._leases.clear()
        for directory in await self._fs.volumes(self._work):
            if server := await self._runtime.owner_of(directory / DATA):
                await self._runtime.stop(server, clean=False)
            await self._fs.remove(directory)
        for volume in await self._fs.volumes(self._building):
            await self._fs.remove(volume)
        await self._files.recover()
        # Clones first: what only they held can go then, too.
        for area in (self._root, *reversed(self.areas)):
            await self._fs.purge(area)

    async def _base(self, base: str, initialise: Initialise) -> Path:
        volume = self._files.volume_of_base(base)
        if await self._files.is_whole(volume, base):
            return volume
        async with self._leases.hold(base):
            if not await self._files.is_whole(volume, base):
                await self._fs.remove(volume)
                await self._make_base(volume, base, initialise)
        return volume

    async def _make_base(self, volume: Path, base: str, initialise: Initialise) -> None:
        async with self._scaffold() as building:
            await self._fs.create(building)
            await initialise(building / DATA)
            if defect := await self._dbms.defect(building / DATA):
                raise StateUnusableError(f"the base state of {base} cannot be kept: {defect}")
            await self._fs.publish(building, volume, marker_of(base))

    @asynccontextmanager
    async def _scaffold(self) -> AsyncIterator[Path]:
        """Yield the path of a volume to build in; if it still exists afterwards, remove it."""
        building = self._building / uuid.uuid4().hex
        try:
            yield building
        finally:
            await finish(self._fs.remove(building))


async def _check_unharmed(witness: Witness) -> None:
    harm = await witness.harm("")
    if harm is not None and harm.from_outside:
        raise StepInterruptedError(harm.what, remedy=PREPARE_AGAIN)


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
