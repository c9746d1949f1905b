"""Starts instances: clones a state, starts a server on the clone, and stores the instance's row.

An instance is not visible before it is complete, and one that fails leaves nothing behind.
"""

from datetime import timedelta
from pathlib import Path

from pgstrata.cache.cloning import clone_state
from pgstrata.cache.disk_full import map_full_disk
from pgstrata.domain import identity
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.model import Model, utc_now
from pgstrata.errors import ConflictError
from pgstrata.instances.limits import HostLimits
from pgstrata.runtime.base import Runtime
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.store.base import Store
from pgstrata.system.cancellation import finish


class InstanceOrder(Model, frozen=True, kw_only=True):
    """What is needed to start an instance."""

    job_id: str
    image_id: str
    state_id: str
    name: str | None
    ttl_seconds: int | None


class InstanceStarter:
    """Starts instances, and removes those that no client knows about."""

    def __init__(
        self,
        *,
        root: Path,
        statefs: StateFS,
        runtime: Runtime,
        store: Store,
        limits: HostLimits,
        default_ttl_seconds: int | None = None,
    ) -> None:
        """``root``: the store's directory, with states and instances below it."""
        self._root = root
        self._directories = root / "instances"
        self._fs = statefs
        self._runtime = runtime
        self._store = store
        self._limits = limits
        self._default_ttl_seconds = default_ttl_seconds

    async def check_limits(self) -> None:
        """Raise ``HostLimitError`` if a limit of the machine rules out another instance."""
        await self._limits.check()

    async def check_name(self, name: str) -> None:
        """Raise ``ConflictError`` if the name is in use."""
        if taken := await self._store.instance_named(name):
            raise ConflictError(
                f"the name {name!r} is instance {taken.instance_id}'s",
                remedy=f"choose another name, or remove that instance: pgstrata rm {name}",
            )

    async def start(self, order: InstanceOrder) -> Instance:
        """Clone a state, start a server on the clone and store the instance once it is ready.

        A job has one instance: if one was started for it before the engine was killed, and it is
        still running, that is returned.
        """
        instance_id = identity.instance_id(order.job_id)
        started = await self._store.instance(instance_id)
        if started is not None and await self._runtime.alive(started.server):
            return started
        await self.discard(order.job_id)
        with self._limits.starting(instance_id):
            await self._limits.check_count(instance_id)
            return await self._start(order, instance_id)

    async def _start(self, order: InstanceOrder, instance_id: str) -> Instance:
        directory = self._directories / instance_id
        server: Server | None = None
        with map_full_disk(self._root):
            await clone_state(self._fs, self._root / "states" / order.state_id, directory)
        try:
            with map_full_disk(self._root):
                self._limits.check_memory()
                server = await self._runtime.start(order.image_id, directory / DATA)
            now = utc_now()
            ttl = order.ttl_seconds or self._default_ttl_seconds
            instance = Instance(
                instance_id=instance_id,
                image_id=order.image_id,
                state_id=order.state_id,
                name=order.name,
                created_at=now,
                expires_at=None if ttl is None else now + timedelta(seconds=ttl),
                server=server,
            )
            await self._store.add_instance(instance)
        except BaseException:
            await finish(self._undo(instance_id, server))
            raise
        return instance

    async def discard(self, job_id: str) -> None:
        """Remove the instance started for a job, if there is one: no client knows about it."""
        started = await self._store.instance(identity.instance_id(job_id))
        if started is not None:
            await self._undo(started.instance_id, started.server)

    async def recover(self) -> None:
        """Remove what a killed engine left of instances without a row."""
        known = {instance.instance_id for instance in await self._store.instances()}
        for directory in await self._fs.volumes(self._directories):
            if directory.name not in known:
                server = await self._runtime.owner_of(directory / DATA)
                await self._remove_files(directory.name, server)

    async def _undo(self, instance_id: str, server: Server | None) -> None:
        try:
            # If this was cancelled while the row was being written, the row may exist.
            await self._store.remove_instance(instance_id)
        finally:
            await self._remove_files(instance_id, server)

    async def _remove_files(self, instance_id: str, server: Server | None) -> None:
        if server is not None:
            await self._runtime.stop(server, clean=False)
        await self._fs.remove(self._directories / instance_id)
