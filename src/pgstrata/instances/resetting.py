"""Puts an instance back to its state, in place: the same id, port and password, the state's data.

The row says first that the instance is being reset. A kill before that has changed nothing; after a
kill later on, the next start completes the reset, however far it had come.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from pgstrata.cache.disk_full import map_full_disk
from pgstrata.cache.settled import SettledCopies
from pgstrata.cache.trash import Trash
from pgstrata.dbms.base import Dbms
from pgstrata.domain.instance import Instance
from pgstrata.errors import ConflictError, PgstrataError, ServerError
from pgstrata.instances.again import gone, start_again
from pgstrata.instances.limits import HostLimits
from pgstrata.runtime.base import Runtime
from pgstrata.runtime.clients import count_clients
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.store.base import Store
from pgstrata.system.cancellation import finish
from pgstrata.system.turns import Turns

_log = logging.getLogger(__name__)

Suspect = Callable[[str, PgstrataError, Mapping[str, str]], Awaitable[None]]
"""Called if no server starts on a clone of a state, with its id, the error and the server's
settings. It raises ``StateDamagedError`` if that is due to the state's files."""

_SERVERS_AT_ONCE = 8
"""How many are started at a time: a classroom's at once would answer none in time."""


class Resetting:
    """Resets instances."""

    def __init__(
        self,
        *,
        root: Path,
        statefs: StateFS,
        runtime: Runtime,
        dbms: Dbms,
        store: Store,
        limits: HostLimits,
        trash: Trash,
        turns: Turns,
        suspect: Suspect,
        settled: SettledCopies,
    ) -> None:
        """``root``: the store's directory. ``turns``: see ``InstanceStarter``."""
        self._root = root
        self._fs = statefs
        self._runtime = runtime
        self._dbms = dbms
        self._store = store
        self._limits = limits
        self._trash = trash
        self._turns = turns
        self._suspect = suspect
        self._settled = settled

    async def reset(self, instance_id: str, *, force: bool) -> None:
        """Put an instance back to its state; with ``force`` even if clients are connected.

        Raises ``NotFoundError``, ``ConflictError`` if clients are connected or may be, its state is
        gone or its port is taken, ``HostLimitError``, ``ServerError``, and ``StateDamagedError`` if
        that is due to the files of its state, which is gone then. If that happens after its data
        was thrown away, the instance has no server until it is reset again.
        """
        async with self._turns.take(instance_id):
            instance = await self._store.instance(instance_id)
            if instance is None:
                raise gone(instance_id)
            await self._check(instance, force=force)
            await finish(self._reset(instance))

    async def recover(self) -> None:
        """Complete the resets that a killed engine had begun. One that fails can be begun again."""
        begun = [one for one in await self._store.instances() if one.resetting]
        slots = asyncio.Semaphore(_SERVERS_AT_ONCE)

        async def reset(instance: Instance) -> None:
            async with slots:
                await self._reset(instance)

        outcomes = await asyncio.gather(*map(reset, begun), return_exceptions=True)
        for instance, outcome in zip(begun, outcomes, strict=True):
            if isinstance(outcome, Exception):
                _log.warning(
                    "the reset of %s is not complete: %s",
                    instance.instance_id,
                    outcome,
                    exc_info=None if isinstance(outcome, PgstrataError) else outcome,
                )

    async def _check(self, instance: Instance, *, force: bool) -> None:
        self._limits.check_server()
        if await self._fs.marker(self._state(instance)) is None:
            raise ConflictError(
                f"state {instance.state_id} of instance {instance.instance_id} is gone",
                remedy="prepare again, with --replace if the instance has a name",
            )
        if force or not await self._runtime.alive(instance.server):
            return
        try:
            number = await count_clients(instance.server, self._runtime, self._dbms)
        except ServerError as error:
            raise ConflictError(
                f"instance {instance.instance_id} may be in use: {error.message}",
                remedy="if it is not, or that does not matter: --force (force=true)",
            ) from error
        if number:
            raise ConflictError(
                f"instance {instance.instance_id} is in use: {number} "
                f"client{'' if number == 1 else 's'} connected",
                remedy="disconnect, or do it all the same: --force (force=true)",
            )

    async def _reset(self, instance: Instance) -> None:
        instance_id = instance.instance_id
        directory = self._root / "instances" / instance_id
        if not await self._store.begin_reset(instance_id):
            raise gone(instance_id)
        await self._runtime.stop(instance.server, clean=False)
        # A killed engine may have started the new server and not stored it.
        if (unknown := await self._runtime.owner_of(directory / DATA)) is not None:
            await self._runtime.stop(unknown, clean=False)
        await self._trash.put([directory])
        with map_full_disk(self._root):
            await self._settled.clone(instance.state_id, directory)
        try:
            await start_again(instance, root=self._root, runtime=self._runtime, store=self._store)
        except ServerError as error:
            if self._settled.of(instance.state_id) is None:
                await self._suspect(instance.state_id, error, instance.settings)
            else:
                # Should that be its fault, the next reset does without it.
                await self._settled.remove(instance.state_id)
            raise
        self._settled.use(instance.state_id)

    def _state(self, instance: Instance) -> Path:
        return self._root / "states" / instance.state_id
