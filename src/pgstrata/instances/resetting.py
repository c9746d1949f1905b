"""Puts an instance back to its state, in place: the same id, port and password, the state's data.

The row says first that the instance is being reset. A kill before that has changed nothing; after a
kill later on, the next start completes the reset, however far it had come.
"""

import logging
from pathlib import Path

from pgstrata.cache.cloning import clone_state
from pgstrata.cache.disk_full import map_full_disk
from pgstrata.cache.trash import Trash
from pgstrata.dbms.base import Dbms
from pgstrata.domain.instance import Instance
from pgstrata.errors import ConflictError, NotFoundError, PgstrataError
from pgstrata.instances.limits import HostLimits
from pgstrata.runtime.base import Runtime
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.store.base import Store
from pgstrata.system.cancellation import finish
from pgstrata.system.turns import Turns

_log = logging.getLogger(__name__)


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

    async def reset(self, instance_id: str, *, force: bool) -> None:
        """Put an instance back to its state; with ``force`` even if clients are connected.

        Raises ``NotFoundError``, ``ConflictError`` if clients are connected, its state is gone or
        its port is taken, ``HostLimitError`` and ``ServerError``. If that happens after its data
        was thrown away, the instance has no server until it is reset again.
        """
        async with self._turns.take(instance_id):
            instance = await self._store.instance(instance_id)
            if instance is None:
                raise _gone(instance_id)
            await self._check(instance, force=force)
            await finish(self._reset(instance))

    async def recover(self) -> None:
        """Complete the resets that a killed engine had begun."""
        for instance in await self._store.instances():
            if instance.resetting:
                try:
                    await self._reset(instance)
                except PgstrataError as error:
                    _log.warning("the reset of %s is not complete: %s", instance.instance_id, error)

    async def _check(self, instance: Instance, *, force: bool) -> None:
        self._limits.check_memory()
        if await self._fs.marker(self._state(instance)) is None:
            raise ConflictError(
                f"state {instance.state_id} of instance {instance.instance_id} is gone",
                remedy="prepare again, with --replace if the instance has a name",
            )
        if force or not await self._runtime.alive(instance.server):
            return
        if number := await self._dbms.connections(instance.server):
            raise ConflictError(
                f"instance {instance.instance_id} is in use: {number} "
                f"client{'' if number == 1 else 's'} connected",
                remedy="disconnect, or do it all the same: --force (force=true)",
            )

    async def _reset(self, instance: Instance) -> None:
        instance_id = instance.instance_id
        directory = self._root / "instances" / instance_id
        if not await self._store.begin_reset(instance_id):
            raise _gone(instance_id)
        await self._runtime.stop(instance.server, clean=False)
        # A killed engine may have started the new server and not stored it.
        if (unknown := await self._runtime.owner_of(directory / DATA)) is not None:
            await self._runtime.stop(unknown, clean=False)
        await self._trash.put([directory])
        with map_full_disk(self._root):
            await clone_state(self._fs, self._state(instance), directory)
            server = await self._runtime.start(
                instance.image_id,
                directory / DATA,
                address=instance.server.endpoint.address,
                settings=instance.settings,
            )
        if not await self._store.set_server(instance_id, server):
            # It was removed meanwhile.
            await self._runtime.stop(server, clean=False)
            await self._trash.put([directory])
            raise _gone(instance_id)

    def _state(self, instance: Instance) -> Path:
        return self._root / "states" / instance.state_id


def _gone(instance_id: str) -> NotFoundError:
    return NotFoundError(f"there is no instance {instance_id}", remedy="see `pgstrata ls`")
