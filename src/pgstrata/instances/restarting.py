"""Starts an instance's server again if it is gone, from the instance's own data."""

from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from pgstrata.domain.instance import Instance
from pgstrata.errors import ConflictError, ServerError
from pgstrata.instances.again import gone, start_again
from pgstrata.instances.limits import HostLimits
from pgstrata.runtime.base import Runtime
from pgstrata.store.base import Store
from pgstrata.system.turns import Turns


class Running(NamedTuple):
    """An instance whose server runs."""

    instance: Instance
    restarted: bool
    """Whether it had ended, and was started again for this."""


class Restarting:
    """Has servers of instances run."""

    def __init__(
        self, *, root: Path, runtime: Runtime, store: Store, limits: HostLimits, turns: Turns
    ) -> None:
        """``root``: the store's directory, with the instances below it. ``turns``: see
        ``InstanceStarter``."""
        self._root = root
        self._runtime = runtime
        self._store = store
        self._limits = limits
        self._turns = turns

    async def running(self, instance_id: str) -> Running:
        """The instance, its server started again if that is gone.

        Raises ``NotFoundError``, ``ConflictError`` if the engine itself stopped the server, its
        data cannot be trusted or its port is taken, ``HostLimitError``, ``ServerError`` if it
        does not start.
        """
        async with self._turns.take(instance_id):
            instance = await self._store.instance(instance_id)
            if instance is None:
                raise gone(instance_id)
            if await self._runtime.alive(instance.server):
                return Running(instance, restarted=False)
            self._check(instance)
            return Running(await self._restarted(instance), restarted=True)

    def _check(self, instance: Instance) -> None:
        if instance.resetting:
            raise ConflictError(
                f"the reset of instance {instance.instance_id} was not completed",
                remedy=f"reset it again: pgstrata reset {instance.name or instance.instance_id}",
            )
        again = f"remove it and prepare again: pgstrata rm {instance.name or instance.instance_id}"
        if why := self._runtime.stopped_for(instance.server):
            raise ConflictError(
                f"the engine stopped the server of instance {instance.instance_id}: {why}",
                remedy=again,
            )
        if not self._runtime.is_of_this_boot(instance.server):
            raise ConflictError(
                f"the machine was booted since the server of instance {instance.instance_id} ran, "
                "and its data cannot be trusted: servers run without fsync",
                remedy=again,
            )

    async def _restarted(self, instance: Instance) -> Instance:
        # What is left of the old one is cleared away.
        await self._runtime.stop(instance.server, clean=False)
        self._limits.check_memory()
        try:
            server = await start_again(
                instance, root=self._root, runtime=self._runtime, store=self._store
            )
        except ServerError as error:
            # A superuser may have left settings that no server starts with.
            known_as = instance.name or instance.instance_id
            error.remedy = error.remedy or f"put it back to its state: pgstrata reset {known_as}"
            raise
        return replace(instance, server=server)
