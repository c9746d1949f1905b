"""Starts instances: clones a state, starts a server on the clone, and stores the instance's row.

An instance is not visible before it is complete, and one that fails leaves nothing behind.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from pgstrata.cache.disk_full import map_full_disk
from pgstrata.cache.settled import SettledCopies
from pgstrata.cache.trash import Trash
from pgstrata.domain import identity
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.model import Model, utc_now
from pgstrata.domain.name import Name
from pgstrata.errors import ConflictError, PgstrataError
from pgstrata.instances.again import start_again
from pgstrata.instances.limits import HostLimits
from pgstrata.instances.pool import WarmPool
from pgstrata.runtime.base import Runtime
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.store.base import Store, name_taken
from pgstrata.system.cancellation import finish
from pgstrata.system.turns import Turns, of_name

_log = logging.getLogger(__name__)


class InstanceOrder(Model, frozen=True, kw_only=True):
    """What is needed to start an instance."""

    job_id: str
    image_id: str
    state_id: str
    name: str | None
    ttl_seconds: int | None
    replace: bool = False
    """Whether an instance that has the name ends in favour of this one."""
    settings: dict[str, str] = {}
    """The request's settings for its server."""
    plain: bool = False
    """Whether its data is the state itself, though that has a settled copy."""


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
        trash: Trash,
        turns: Turns,
        pool: WarmPool,
        settled: SettledCopies,
        default_ttl_seconds: int | None = None,
    ) -> None:
        """``root``: the store's directory, with states and instances below it. ``turns``: whose
        turn it is to change an instance, by its id, and a name."""
        self._root = root
        self._directories = root / "instances"
        self._fs = statefs
        self._runtime = runtime
        self._store = store
        self._limits = limits
        self._trash = trash
        self._turns = turns
        self._pool = pool
        self._settled = settled
        self.default_ttl_seconds = default_ttl_seconds

    async def check_limits(self, replaced: str | None = None) -> None:
        """Raise ``HostLimitError`` if a limit of the machine rules out another instance.

        ``replaced``: the name of one that ends in its favour.
        """
        bearer = await self._bearer(replaced, replace=True)
        await self._limits.check(None if bearer is None else bearer.instance_id)

    async def check_name(self, name: str) -> None:
        """Raise ``ConflictError`` if the name is in use."""
        if (state := await self._store.state_named(name)) is not None:
            raise name_taken(name, f"state {state.state_id}")
        await self._bearer(name, replace=False)

    async def start(self, order: InstanceOrder) -> Instance:
        """Clone a state, start a server on the clone and store the instance once it is ready.

        A job has one instance: if one was started for it before the engine was killed, and it is
        still running, that is returned.
        """
        instance_id = identity.instance_id(order.job_id)
        started = await self._of_job(order.job_id)
        if started is not None and await self._runtime.alive(started.server):
            return started
        if started is not None:
            await self.discard(order.job_id)
        async with self._turns.take(instance_id):
            pass  # whoever removes the one that an earlier engine started is done with its files
        async with self._having_name(order) as replaced:
            with self._limits.starting(instance_id):
                await self._limits.check_count(
                    instance_id, None if replaced is None else replaced.instance_id
                )
                return await self._start(order, instance_id, replaced)

    async def _of_job(self, job_id: str) -> Instance | None:
        """The instance of a job; also one of which its row does not say so yet."""
        return await self._store.instance_of_job(job_id) or await self._store.instance(
            identity.instance_id(job_id)
        )

    @asynccontextmanager
    async def _having_name(self, order: InstanceOrder) -> AsyncIterator[Instance | None]:
        """Nobody else gets the order's name in the block, which gets the instance to replace."""
        async with self._turns.take(of_name(order.name or order.job_id)):
            while bearer := await self._bearer(order.name, replace=order.replace):
                async with self._turns.take(bearer.instance_id):
                    current = await self._bearer(order.name, replace=order.replace)
                    if current is not None and current.instance_id == bearer.instance_id:
                        yield current
                        return
                    # It got another name while its turn was waited for, or was removed.
            yield None

    async def _bearer(self, name: str | None, *, replace: bool) -> Instance | None:
        bearer = None if name is None else await self._store.instance_named(name)
        if bearer is not None and not replace:
            raise ConflictError(
                f"the name {name!r} is instance {bearer.instance_id}'s",
                remedy=f"put that instance back to its state (pgstrata reset {name}), replace it "
                "(--replace), or choose another name",
            )
        return bearer

    async def _start(
        self, order: InstanceOrder, instance_id: str, replaced: Instance | None
    ) -> Instance:
        server: Server | None = None
        known = None if order.name is None else await self._store.name(order.name)
        if known is None and replaced is None:
            warm = await self._pool.take(order.state_id, order.image_id, order.settings)
            if warm is not None:
                instance_id, server = warm.instance_id, warm.server
        # Whoever meets it as soon as it has a row waits until it is sure to stay.
        async with self._turns.take(instance_id):
            return await self._place(order, instance_id, server, replaced, known)

    async def _place(
        self,
        order: InstanceOrder,
        instance_id: str,
        server: Server | None,
        replaced: Instance | None,
        known: Name | None,
    ) -> Instance:
        """Give an instance its server, unless it has one, and its row."""
        was_alive = False
        directory = self._directories / instance_id
        if server is None:
            with map_full_disk(self._root):
                await self._settled.clone(order.state_id, directory, plain=order.plain)
        try:
            with map_full_disk(self._root):
                if server is None:
                    self._limits.check_server()
                if replaced is not None:
                    # Its port is the new one's. It may have to start again.
                    was_alive = await self._runtime.alive(replaced.server)
                    await finish(self._runtime.stop(replaced.server))
                if server is None:
                    server = await self._runtime.start(
                        order.image_id,
                        directory / DATA,
                        address=None if known is None else known.address,
                        avoid=await self._store.ports_of_names(),
                        settings=order.settings,
                    )
            now = utc_now()
            ttl = order.ttl_seconds or self.default_ttl_seconds
            instance = Instance(
                instance_id=instance_id,
                image_id=order.image_id,
                state_id=order.state_id,
                name=order.name,
                created_at=now,
                expires_at=None if ttl is None else now + timedelta(seconds=ttl),
                server=server,
                settings=order.settings,
                job_id=order.job_id,
            )
            if replaced is None:
                await self._store.add_instance(instance)
            else:
                await self._replace(replaced, instance)
        except BaseException:
            await finish(self._undo(instance_id, server))
            if replaced is not None and was_alive:
                await finish(self._start_again(replaced))
            raise
        self._settled.use(order.state_id)
        return instance

    async def _replace(self, replaced: Instance, instance: Instance) -> None:
        try:
            await finish(self._take_over(replaced, instance))
        except asyncio.CancelledError:
            if await self._store.instance(instance.instance_id) is None:
                raise
            # It came too late: the other is gone.
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()

    async def _take_over(self, replaced: Instance, instance: Instance) -> None:
        await self._store.replace_instance(replaced.instance_id, instance)
        try:
            await self._trash.put([self._directories / replaced.instance_id])
        except OSError as error:
            _log.warning("what was replaced is left to the next engine: %s", error)

    async def discard(self, job_id: str) -> None:
        """Remove the instance started for a job, if there is one: no client knows about it."""
        if (started := await self._of_job(job_id)) is None:
            return
        async with self._turns.take(started.instance_id):
            if (started := await self._of_job(job_id)) is not None:
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

    async def _start_again(self, instance: Instance) -> None:
        """Give an instance that was to be replaced a server again."""
        if await self._runtime.alive(instance.server):
            return
        try:
            await start_again(instance, root=self._root, runtime=self._runtime, store=self._store)
        except PgstrataError as error:
            _log.warning(
                "instance %s was not replaced and does not start again: %s",
                instance.instance_id,
                error,
            )

    async def _remove_files(self, instance_id: str, server: Server | None) -> None:
        if server is not None:
            await self._runtime.stop(server, clean=False)
        await self._fs.remove(self._directories / instance_id)
