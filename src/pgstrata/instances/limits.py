"""Limits that protect the machine and the engine: of instances, memory and file descriptors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgstrata.errors import HostLimitError
from pgstrata.store.base import Store
from pgstrata.system import open_files


class HostLimits:
    """Rejects instances and servers that the machine has no capacity for."""

    def __init__(
        self,
        *,
        store: Store,
        max_instances: int,
        min_free_memory_bytes: int,
        available_memory: Callable[[], int],
    ) -> None:
        """``max_instances``: 0 for no limit. ``available_memory``: returns the bytes that a new
        program can use without swapping."""
        self._store = store
        self.max_instances = max_instances
        self.min_free_memory_bytes = min_free_memory_bytes
        self._available_memory = available_memory
        self._starting: set[str] = set()

    async def check(self, replaced: str | None = None) -> None:
        """Raise ``HostLimitError`` if no further instance can be started now.

        ``replaced``: the instance that ends in its favour.
        """
        self.check_server()
        if self.max_instances:
            await self._check_number(replaced)

    def check_server(self) -> None:
        """Raise ``HostLimitError`` if there is too little to start a server with."""
        open_files.check()
        available = self._available_memory()
        if available < self.min_free_memory_bytes:
            raise HostLimitError(
                f"{available >> 20} MiB of memory are available, and starting a server "
                f"requires {self.min_free_memory_bytes >> 20} MiB",
                remedy="remove instances that are not needed (pgstrata ls, pgstrata rm), "
                "or lower instances.minFreeMemory",
            )

    async def check_count(self, instance_id: str, replaced: str | None = None) -> None:
        """Raise ``HostLimitError`` if this starting instance would be one too many.

        ``replaced``: the instance that ends in its favour.
        """
        if self.max_instances:
            await self._check_number(instance_id, replaced)

    @contextmanager
    def starting(self, instance_id: str) -> Iterator[None]:
        """Count an instance that does not have a row yet."""
        self._starting.add(instance_id)
        try:
            yield
        finally:
            self._starting.discard(instance_id)

    async def _check_number(self, *not_counted: str | None) -> None:
        stored = {instance.instance_id for instance in await self._store.instances()}
        others = (stored | self._starting) - set(not_counted)
        if len(others) >= self.max_instances:
            raise HostLimitError(
                f"there are {len(others)} instances, and at most {self.max_instances} are allowed",
                remedy="remove some (pgstrata ls, pgstrata rm), give them a --ttl, "
                "or raise instances.max",
            )
