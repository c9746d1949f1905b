"""The store in memory: for tests, and for engines that keep nothing."""

from collections.abc import Iterable

import msgspec

from pgstrata.domain.instance import Instance
from pgstrata.domain.state import State
from pgstrata.errors import ConflictError, NotFoundError


class MemoryStore:
    """A ``Store`` that lives as long as its process."""

    def __init__(self) -> None:
        self._states: dict[str, State] = {}
        self._instances: dict[str, Instance] = {}

    async def add_state(self, state: State) -> None:
        parent = state.parent_state_id
        if parent is not None and (parent == state.state_id or parent not in self._states):
            raise ConflictError(
                f"state {state.state_id} cannot be stored without its parent {parent}",
                remedy="build the parent first",
            )
        self._states[state.state_id] = state

    async def state(self, state_id: str) -> State | None:
        state = self._states.get(state_id)
        return None if state is None else self._counted(state)

    async def states(
        self, *, kind: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[State]:
        return [
            self._counted(state)
            for state in self._states.values()
            if kind in (None, state.prepare_kind)
            and image_id in (None, state.image_id)
            and state.state_id.startswith(id_prefix)
        ]

    async def existing_states(self, state_ids: Iterable[str]) -> frozenset[str]:
        return frozenset(self._states.keys() & state_ids)

    async def children(self, state_id: str) -> list[State]:
        return [
            self._counted(state)
            for state in self._states.values()
            if state.parent_state_id == state_id
        ]

    async def remove_state(self, state_id: str) -> bool:
        if state_id not in self._states:
            return False
        descendant = self._descendant(state_id)
        if descendant is not None:
            raise ConflictError(
                f"state {state_id} cannot be removed: {descendant} stems from it",
                remedy="remove what stems from it first",
            )
        del self._states[state_id]
        return True

    async def add_instance(self, instance: Instance) -> None:
        """As the port says. Raises ``ConflictError`` also when the instance's id is not new."""
        if instance.instance_id in self._instances:
            raise ConflictError(
                f"instance {instance.instance_id} exists already",
                remedy="give the new instance an id of its own",
            )
        if instance.state_id not in self._states:
            raise ConflictError(
                f"instance {instance.instance_id} cannot be stored without its "
                f"state {instance.state_id}",
                remedy="build the state first",
            )
        self._check_free(instance.name, instance.instance_id)
        self._instances[instance.instance_id] = instance
        state = self._states[instance.state_id]
        self._states[instance.state_id] = msgspec.structs.replace(
            state, use_count=(state.use_count or 0) + 1, last_used_at=instance.created_at
        )

    async def instance(self, instance_id: str) -> Instance | None:
        return self._instances.get(instance_id)

    async def instance_named(self, name: str) -> Instance | None:
        return self._bearer(name)

    async def bind_name(self, name: str, instance_id: str) -> None:
        instance = self._instances.get(instance_id)
        if instance is None:
            raise NotFoundError(
                f"there is no instance {instance_id}", remedy="name an instance that is there"
            )
        self._check_free(name, instance_id)
        self._instances[instance_id] = msgspec.structs.replace(instance, name=name)

    async def unbind_name(self, name: str) -> bool:
        bearer = self._bearer(name)
        if bearer is None:
            return False
        self._instances[bearer.instance_id] = msgspec.structs.replace(bearer, name=None)
        return True

    async def instances(
        self, *, state_id: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[Instance]:
        return [
            instance
            for instance in reversed(self._instances.values())
            if state_id in (None, instance.state_id)
            and image_id in (None, instance.image_id)
            and instance.instance_id.startswith(id_prefix)
        ]

    async def remove_instance(self, instance_id: str) -> bool:
        return self._instances.pop(instance_id, None) is not None

    async def close(self) -> None:
        """Nothing is held open."""

    def _counted(self, state: State) -> State:
        clones = sum(instance.state_id == state.state_id for instance in self._instances.values())
        return msgspec.structs.replace(state, refcount=clones)

    def _bearer(self, name: str | None) -> Instance | None:
        if name is None:
            return None
        instances = self._instances.values()
        return next((instance for instance in instances if instance.name == name), None)

    def _check_free(self, name: str | None, instance_id: str) -> None:
        bearer = self._bearer(name)
        if bearer is not None and bearer.instance_id != instance_id:
            raise ConflictError(
                f"the name {name} is taken by instance {bearer.instance_id}",
                remedy="choose another name, or remove that instance first",
            )

    def _descendant(self, state_id: str) -> str | None:
        """What stems from a state, in words, or None."""
        for state in self._states.values():
            if state.parent_state_id == state_id:
                return f"state {state.state_id}"
        for instance in self._instances.values():
            if instance.state_id == state_id:
                return f"instance {instance.instance_id}"
        return None
