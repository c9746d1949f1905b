"""What of a database survives a power cut: what was synced, and of the rest nothing for certain."""

from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from typing import Any

from pgstrata.domain.job import Transition
from pgstrata.queue.memory import MemoryQueue
from pgstrata.store.memory import MemoryStore


class DurableQueue(MemoryQueue):
    """A queue whose changes last once they are synced."""

    def __init__(self, synced: Callable[[], None]) -> None:
        super().__init__()
        self.synced = synced

    async def apply(self, transition: Transition) -> bool:
        applied = await super().apply(transition)
        if transition.job.status.terminal:
            self.synced()
        return applied

    async def sync(self) -> None:
        self.synced()


class DurableStore(MemoryStore):
    """A store in the same database."""

    def __init__(self, synced: Callable[[], None]) -> None:
        super().__init__()
        self.synced = synced

    async def remove_all(
        self, *, state_ids: Collection[str], instance_ids: Collection[str]
    ) -> None:
        await super().remove_all(state_ids=state_ids, instance_ids=instance_ids)
        self.synced()


class Durability:
    """The queue and the store of a world, and both as they were when they were last synced."""

    def __init__(self) -> None:
        self.queue = DurableQueue(self._sync)
        self.store = DurableStore(self._sync)
        self._sync()

    def _sync(self) -> None:
        self._lasting = [_copied(vars(one)) for one in (self.queue, self.store)]

    def lose(self) -> None:
        """Lose all that was not synced."""
        for one, lasting in zip((self.queue, self.store), self._lasting, strict=True):
            vars(one).update(_copied(lasting))


def _copied(value: Any) -> Any:
    """A copy of containers; what is in them is frozen."""
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    if isinstance(value, list):
        return list(value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{one.name: _copied(getattr(value, one.name)) for one in fields(value)})
    return value
