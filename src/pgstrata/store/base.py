"""The store port: what is known of states, instances and names."""

from collections.abc import Iterable
from typing import Protocol

from pgstrata.domain.instance import Instance
from pgstrata.domain.state import State


class Store(Protocol):
    """Keeps the metadata of states and instances. Every method that writes is one transaction.

    ``State.refcount`` is never stored: it is counted from the instances whenever a state is read.
    """

    async def add_state(self, state: State) -> None:
        """Store a state; the same id again replaces its row.

        Raises ``ConflictError`` when its parent is not stored.
        """

    async def state(self, state_id: str) -> State | None:
        """The state, or None."""

    async def states(
        self, *, kind: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[State]:
        """The states that match every filter given, oldest first (parents before children)."""

    async def existing_states(self, state_ids: Iterable[str]) -> frozenset[str]:
        """Which of these ids are stored, in one read."""

    async def children(self, state_id: str) -> list[State]:
        """The states made directly from this one, oldest first."""

    async def remove_state(self, state_id: str) -> bool:
        """Remove a state's row. False when there is none.

        Raises ``ConflictError`` when another state or an instance stems from it.
        """

    async def add_instance(self, instance: Instance) -> None:
        """Store a new instance, its name bound with it, and count it as a use of its state.

        That raises the state's ``use_count`` by 1 and sets ``last_used_at`` to the instance's
        ``created_at``.

        Raises ``ConflictError`` when the name is another living instance's, or its state is not
        stored.
        """

    async def instance(self, instance_id: str) -> Instance | None:
        """The instance, or None."""

    async def instance_named(self, name: str) -> Instance | None:
        """The instance that bears this name, or None."""

    async def bind_name(self, name: str, instance_id: str) -> None:
        """Give an instance this name, in place of the one it has. The same again is fine.

        Raises ``NotFoundError`` when the instance is not stored, ``ConflictError`` when the name
        is another instance's.
        """

    async def unbind_name(self, name: str) -> bool:
        """Take the name from the instance that bears it. False when none does."""

    async def instances(
        self, *, state_id: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[Instance]:
        """The instances that match every filter given, newest first."""

    async def remove_instance(self, instance_id: str) -> bool:
        """Remove an instance's row, its name with it. False when there is none."""

    async def close(self) -> None:
        """Let go of what is held open. Twice is fine."""
