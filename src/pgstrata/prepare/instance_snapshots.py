"""Keeps what is in an instance as a state.

The instance's files are copied while its server is frozen, or stopped where a crash would lose
something. A server is started on the copy, which shows that one can be, and stopped cleanly; what
that leaves is the state. Nothing is done to the instance's own files. Its server is stopped only
after one has started on a copy: a superuser may have left settings that no server starts with.

Its row says first that its server is paused, and how. A kill before that has changed nothing; after
a kill later on, the next engine has the server go on, and clears away a copy that is not a state.
"""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pgstrata.dbms.base import Dbms
from pgstrata.domain import identity
from pgstrata.domain.instance import Instance, Pause, Server
from pgstrata.domain.model import utc_now
from pgstrata.domain.name import invalid
from pgstrata.domain.state import SNAPSHOT, State
from pgstrata.errors import (
    ConflictError,
    InvalidNameError,
    NotFoundError,
    PgstrataError,
    ServerError,
    StateUnusableError,
    StepInterruptedError,
)
from pgstrata.instances.again import gone, start_again
from pgstrata.instances.limits import HostLimits
from pgstrata.prepare.consistency import Situation, reason_to_stop
from pgstrata.prepare.snapshots import SnapshotOrchestrator, Workspace
from pgstrata.prepare.suspicion import Suspicion, complains
from pgstrata.runtime.base import Runtime
from pgstrata.runtime.clients import count_clients
from pgstrata.store.base import Store, name_taken
from pgstrata.system.cancellation import finish
from pgstrata.system.planted import PlantedFileError
from pgstrata.system.turns import Turns, of_name

_log = logging.getLogger(__name__)


class InstanceSnapshots:
    """Makes states of instances."""

    def __init__(
        self,
        *,
        root: Path,
        snapshots: SnapshotOrchestrator,
        runtime: Runtime,
        dbms: Dbms,
        store: Store,
        limits: HostLimits,
        turns: Turns,
        suspicion: Suspicion,
    ) -> None:
        """``root``: the store's directory. ``turns``: see ``InstanceStarter``."""
        self._root = root
        self._snapshots = snapshots
        self._runtime = runtime
        self._dbms = dbms
        self._store = store
        self._limits = limits
        self._turns = turns
        self._suspicion = suspicion

    async def snapshot(
        self, instance_id: str, *, name: str | None = None, force: bool = False
    ) -> State:
        """Keep what is in an instance as a new state, with this name, and pinned.

        With ``force`` even if its server must be stopped for that and clients are connected. Raises
        ``InvalidNameError``, ``NotFoundError``, ``ConflictError`` if the name is taken, the
        instance has no server that runs or clients would be disconnected, ``StateUnusableError``
        for what cannot be a state, ``StateDamagedError`` if that is due to the files of the
        instance's own state, which is gone then, ``HostLimitError``, and like
        ``Evictor.make_room``.
        """
        if name is not None and (reason := invalid(name)):
            raise InvalidNameError(name, reason)
        token = uuid.uuid4().hex
        async with (
            self._turns.take(of_name(name or token)),
            self._turns.take(instance_id),
        ):
            instance = await self._store.instance(instance_id)
            if instance is None:
                raise gone(instance_id)
            await self._check(instance, name)
            state_id = identity.snapshot_id(token)
            try:
                with _told_of(instance), self._snapshots.map_full_disk():
                    await self._snapshot(instance, state_id, token, name, force=force)
            except (ServerError, StateUnusableError) as error:
                if complains(error):
                    await self._suspicion.of_state(instance.state_id, error, instance.settings)
                raise
        state = await self._store.state(state_id)
        if state is None:
            raise NotFoundError(f"state {state_id} was removed again", remedy="keep it once more")
        return state

    async def _snapshot(
        self, instance: Instance, state_id: str, token: str, name: str | None, *, force: bool
    ) -> None:
        async with self._snapshots.building(state_id):
            held = await self._snapshots.instance_bytes(instance)
            try:
                workspace = await self._copy(instance, token, force=force)
                state = await self._state(instance, state_id, name, held)
                await self._keep(instance, workspace, state)
            finally:
                await finish(self._snapshots.discard_of(token))

    async def recover(self) -> None:
        """Have the servers go on that a killed engine had paused."""
        for instance in await self._store.instances():
            if instance.paused and self._runtime.is_of_this_boot(instance.server):
                try:
                    await self._go_on(instance, instance.paused)
                except PgstrataError as error:
                    _log.warning(
                        "the server of instance %s does not go on: %s", instance.instance_id, error
                    )

    async def _check(self, instance: Instance, name: str | None) -> None:
        self._limits.check_server()
        if name is not None:
            if (known := await self._store.state_named(name)) is not None:
                raise name_taken(name, f"state {known.state_id}")
            if await self._store.name(name) is not None:
                raise name_taken(name, "an instance")
        if not await self._runtime.alive(instance.server):
            raise ConflictError(
                f"instance {instance.instance_id} has no server that runs",
                remedy="have it started first, for instance by pgstrata run:psql, or reset it",
            )

    async def _state(
        self, instance: Instance, state_id: str, name: str | None, size_bytes: int
    ) -> State:
        origin = await self._store.state(instance.state_id)
        return State(
            state_id=state_id,
            # It needs nothing of its origin's, and must not be removed with it.
            parent_state_id=None,
            image_id=instance.image_id,
            prepare_kind=SNAPSHOT,
            prepare_args_normalized=f"snapshot of {instance.known_as}",
            created_at=utc_now(),
            size_bytes=size_bytes,
            pinned=True,
            refcount=0,
            name=name,
            settings={**(origin.settings if origin else {}), **instance.settings},
        )

    # The copy

    async def _copy(self, instance: Instance, token: str, *, force: bool) -> Workspace:
        reason = await self._reason_to_stop(instance)
        if reason is not None and not force:
            await self._check_unused(instance, reason)
        if reason is None:
            return await self._paused_copy(instance, token, "frozen")
        await self._check_that_one_starts(instance)
        _log.info("instance %s is stopped to be copied: %s", instance.instance_id, reason)
        return await self._paused_copy(instance, token, "stopped")

    async def _check_that_one_starts(self, instance: Instance) -> None:
        token = uuid.uuid4().hex
        try:
            workspace = await self._paused_copy(instance, token, "frozen")
            server = await self._started(instance, workspace)
            await finish(self._runtime.stop(server, clean=False))
        finally:
            await finish(self._snapshots.discard_of(token))

    async def _paused_copy(self, instance: Instance, token: str, how: Pause) -> Workspace:
        try:
            # If this is cancelled meanwhile, it may be noted all the same.
            if not await self._store.begin_pause(instance.instance_id, how):
                raise gone(instance.instance_id)
            if how == "frozen":
                async with self._runtime.freeze(instance.server):
                    return await self._snapshots.workspace_of(instance, token)
            await self._runtime.stop(instance.server)
            return await self._snapshots.workspace_of(instance, token)
        finally:
            await finish(self._go_on(instance, how))

    async def _reason_to_stop(self, instance: Instance) -> str | None:
        """Why the server must be stopped, for people. If it need not, it was flushed."""
        lost = await self._dbms.lost_in_crash(self._snapshots.data_dir_of(instance))
        reason = reason_to_stop(
            self._snapshots.consistency,
            Situation(last=False, can_clone_live=True, lost=lost, settings_changed=False),
        )
        if reason is None:
            try:
                await self._dbms.flush(instance.server)
            except ServerError as error:
                return error.message
        return reason

    async def _check_unused(self, instance: Instance, reason: str) -> None:
        with suppress(ServerError):  # one that lets nobody in has no clients that could be asked
            if number := await count_clients(instance.server, self._runtime, self._dbms):
                raise ConflictError(
                    f"instance {instance.known_as} must be stopped for a moment, since {reason}; "
                    f"{number} client{' is' if number == 1 else 's are'} connected",
                    remedy="disconnect, or do it all the same: --force (force=true)",
                )

    async def _go_on(self, instance: Instance, paused: Pause) -> None:
        """Have an instance's server run, as before it was paused."""
        server = instance.server
        await self._runtime.resume(server)
        if paused == "stopped":
            # It may have been told to, and a killed engine may have started the next one.
            for one in (
                server,
                await self._runtime.owner_of(self._snapshots.data_dir_of(instance)),
            ):
                if one is not None:
                    await self._runtime.stop(one)
        if not await self._runtime.alive(server):
            await start_again(instance, root=self._root, runtime=self._runtime, store=self._store)
        elif not await self._store.set_server(instance.instance_id, server):
            await self._runtime.stop(server, clean=False)

    async def _started(self, instance: Instance, workspace: Workspace) -> Server:
        """A server on a copy. Raises ``StateUnusableError`` if none starts on it."""
        try:
            return await self._runtime.start(
                instance.image_id,
                workspace.data_dir,
                building=True,
                settings=workspace.server_settings,
            )
        except ServerError as error:
            raise StateUnusableError(
                "no server starts on it",
                details=f"{error.message}\n\n{error.details or ''}".strip(),
            ) from error

    # The state

    async def _keep(self, instance: Instance, workspace: Workspace, state: State) -> None:
        server = await self._started(instance, workspace)
        witness = self._runtime.witness(server)
        try:
            await self._dbms.drop_replication_slots(server, workspace.data_dir)
            await self._snapshots.take(workspace, state, server, witness, last=True)
        except StepInterruptedError as error:
            raise ServerError(error.message, remedy="keep it once more") from error
        finally:
            # It runs only if it is not needed any more, or something failed.
            await finish(self._runtime.stop(server, clean=False))


@contextmanager
def _told_of(instance: Instance) -> Iterator[None]:
    """Say of errors about a state which instance it would be of."""
    try:
        yield
    except (PlantedFileError, StateUnusableError) as error:
        raise StateUnusableError(
            f"what is in instance {instance.known_as} cannot be kept: {error}",
            remedy="check what was done to the server itself, or put the instance back: "
            f"pgstrata reset {instance.known_as}",
            details=error.details if isinstance(error, StateUnusableError) else None,
        ) from error
