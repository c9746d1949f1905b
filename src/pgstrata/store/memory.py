"""The store in memory: for tests, and for engines that keep nothing."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec

from pgstrata.domain.cache import Eviction, Totals
from pgstrata.domain.instance import Instance, Pause, Server
from pgstrata.domain.model import utc_now
from pgstrata.domain.name import Name, name_of
from pgstrata.domain.reason import Evidence, Removal, RemovedFor, StepRecord
from pgstrata.domain.state import State, worth
from pgstrata.errors import ConflictError, NotFoundError
from pgstrata.store.base import (
    ALIKE_AT_MOST,
    NAMES_KEPT,
    REMOVALS_KEPT,
    Tree,
    lease_lost,
    name_taken,
)


class MemoryStore:
    """A ``Store`` that lives as long as its process."""

    def __init__(self, *, removals_kept: int = REMOVALS_KEPT, names_kept: int = NAMES_KEPT) -> None:
        self._states: dict[str, State] = {}
        self._children: dict[str, dict[str, None]] = {}
        """The ids of states by their parent's, in the order in which they were stored."""
        self._size_bytes = 0
        self._steps: dict[str, StepRecord] = {}
        self._kept_in: dict[str, str] = {}
        """The state with which each of the steps is forgotten."""
        self._contents: dict[str, list[str]] = {}
        """The steps that were forgotten with each state, unless another contains them since."""
        self._removals: dict[str, Removal] = {}
        self._removals_kept = removals_kept
        self._instances: dict[str, Instance] = {}
        self._names: dict[str, Name] = {}
        """The most recently used last."""
        self._names_kept = names_kept
        self._warm: dict[str, int] = {}
        self._last_eviction: Eviction | None = None
        self._build_leases: dict[str, str] = {}

    async def add_state(
        self, state: State, *, built_by: str | None = None, steps: Sequence[StepRecord] = ()
    ) -> None:
        parent = state.parent_state_id
        if parent is not None and (parent == state.state_id or parent not in self._states):
            raise ConflictError(
                f"state {state.state_id} cannot be stored without its parent {parent}",
                remedy="build the parent first",
            )
        if built_by is not None:
            if self._build_leases.get(state.state_id) != built_by:
                raise lease_lost(state)
            del self._build_leases[state.state_id]
        self._check_name_of_state(state)
        before = self._states.get(state.state_id)
        if before is not None:
            state = msgspec.structs.replace(state, pinned=before.pinned)
            self._forget(before)
        self._states[state.state_id] = state
        self._size_bytes += state.size_bytes or 0
        if parent is not None:
            self._children.setdefault(parent, {})[state.state_id] = None
        for step in steps:
            self._steps.pop(step.state_id, None)  # the newest is the last
            self._steps[step.state_id] = step
            self._kept_in[step.state_id] = state.state_id
            self._contents.setdefault(state.state_id, []).append(step.state_id)

    async def lease_build(self, item: str, owner: str) -> bool:
        return self._build_leases.setdefault(item, owner) == owner

    async def end_build(self, item: str, owner: str) -> None:
        if self._build_leases.get(item) == owner:
            del self._build_leases[item]

    async def build_leases(self) -> dict[str, str]:
        return dict(self._build_leases)

    async def clear_build_leases(self) -> None:
        self._build_leases.clear()

    async def state(self, state_id: str) -> State | None:
        state = self._states.get(state_id)
        return None if state is None else self._counted(state)

    async def state_named(self, name: str) -> State | None:
        named = self._named(name)
        return None if named is None else self._counted(named)

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

    async def evidence(self, state_ids: Collection[str], step: StepRecord | None) -> Evidence:
        return Evidence(
            removals={each: self._removals[each] for each in state_ids if each in self._removals},
            stored=tuple(each for each in state_ids if each in self._states),
            alike=() if step is None else self._alike(step),
        )

    async def failures(self, state_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        asked = (self._steps[each] for each in state_ids if each in self._steps)
        return {one.state_id: one.failures for one in asked if one.failures}

    async def run_before(self, state_ids: Collection[str]) -> frozenset[str]:
        return frozenset(self._steps.keys() & state_ids)

    def _alike(self, step: StepRecord) -> tuple[StepRecord, ...]:
        newest = [one for one in reversed(self._steps.values()) if one.state_id != step.state_id]
        siblings = [one for one in newest if (one.start, one.kind) == (step.start, step.kind)]
        found = (
            *[one for one in siblings if one.title == step.title][:ALIKE_AT_MOST],
            *siblings[:ALIKE_AT_MOST],
            *[
                one
                for one in newest
                if step.start.kind == one.start.kind == "image" and one.digest == step.digest
            ][:ALIKE_AT_MOST],
        )
        return tuple({one.state_id: one for one in found}.values())

    async def remove_state(self, state_id: str, *, why: RemovedFor = "removed") -> bool:
        if state_id not in self._states:
            return False
        for descendant in self._descendants(state_id).values():
            raise ConflictError(
                f"state {state_id} cannot be removed: {descendant} depends on it",
                remedy="remove what depends on it first",
            )
        self._drop_state(state_id, why)
        return True

    def _drop_state(self, state_id: str, why: RemovedFor) -> None:
        state = self._states.pop(state_id, None)
        if state is None:
            return
        self._forget(state)
        self._warm.pop(state_id, None)
        for step in self._contents.pop(state_id, ()):
            if self._kept_in.get(step) == state_id:
                del self._kept_in[step], self._steps[step]
        self._removals.pop(state_id, None)  # the newest is the last
        self._removals[state_id] = Removal(why=why, at=utc_now())
        while len(self._removals) > self._removals_kept:
            del self._removals[next(iter(self._removals))]

    def _forget(self, state: State) -> None:
        """Remove a state from what is counted, and from its parent's children."""
        self._size_bytes -= state.size_bytes or 0
        if siblings := self._children.get(state.parent_state_id or ""):
            siblings.pop(state.state_id, None)

    async def tree(self, state_id: str) -> Tree | None:
        if state_id not in self._states:
            return None
        ids = {state_id}
        for state in self._states.values():  # parents come before children
            if state.parent_state_id in ids:
                ids.add(state.state_id)
        return Tree(
            states=tuple(self._counted(self._states[each]) for each in self._states if each in ids),
            instances=tuple(
                instance
                for instance in reversed(self._instances.values())
                if instance.state_id in ids
            ),
        )

    async def remove_all(
        self, *, state_ids: Collection[str], instance_ids: Collection[str]
    ) -> None:
        removed = {*state_ids, *instance_ids}
        for state_id in state_ids:
            for stemming, words in self._descendants(state_id).items():
                if stemming not in removed:
                    raise ConflictError(
                        f"state {state_id} cannot be removed: {words} depends on it",
                        remedy="remove what depends on it first",
                    )
        for state_id in state_ids:
            self._drop_state(state_id, "removed")
        for instance_id in instance_ids:
            self._instances.pop(instance_id, None)

    async def set_warm(self, state_id: str, count: int) -> bool:
        if state_id not in self._states:
            return False
        self._warm[state_id] = count
        return True

    async def warm_states(self) -> dict[str, int]:
        return {state_id: count for state_id, count in self._warm.items() if count}

    async def set_pinned(self, state_id: str, *, pinned: bool) -> bool:
        state = self._states.get(state_id)
        if state is not None:
            self._states[state_id] = msgspec.structs.replace(state, pinned=pinned)
        return state is not None

    async def count_states(self) -> Totals:
        return Totals(states=len(self._states), size_bytes=self._size_bytes)

    async def evictable(
        self, *, created_before: datetime, limit: int, excluding: Collection[str] = ()
    ) -> list[State]:
        free = [
            self._counted(state)
            for state in self._states.values()
            if not state.pinned
            and state.state_id not in excluding
            and state.created_at <= created_before
            and not self._descendants(state.state_id)
        ]
        return sorted(free, key=worth)[:limit]

    async def not_evictable(
        self, *, created_before: datetime, excluding: Collection[str] = ()
    ) -> Totals:
        kept = {
            state.state_id
            for state in self._states.values()
            if state.pinned or state.created_at > created_before or state.state_id in excluding
        } | {instance.state_id for instance in self._instances.values()}
        for state in reversed(self._states.values()):  # children before parents
            if state.state_id in kept and state.parent_state_id is not None:
                kept.add(state.parent_state_id)
        return _totals([self._states[state_id] for state_id in kept])

    async def record_eviction(self, eviction: Eviction) -> None:
        self._last_eviction = eviction

    async def last_eviction(self) -> Eviction | None:
        return self._last_eviction

    async def add_instance(self, instance: Instance) -> None:
        """As in the port. Also raises ``ConflictError`` if the instance's id is not new."""
        if instance.instance_id in self._instances:
            raise ConflictError(
                f"instance {instance.instance_id} exists already",
                remedy="give the new instance a unique id",
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
        self._remember_name(instance, instance.created_at)

    async def replace_instance(self, instance_id: str, instance: Instance) -> None:
        before = dict(self._instances)
        self._instances.pop(instance_id, None)
        try:
            await self.add_instance(instance)
        except ConflictError:
            self._instances = before
            raise

    async def instance(self, instance_id: str) -> Instance | None:
        return self._instances.get(instance_id)

    async def instance_of_job(self, job_id: str) -> Instance | None:
        return next((one for one in self._instances.values() if one.job_id == job_id), None)

    async def instance_named(self, name: str) -> Instance | None:
        return self._bearer(name)

    async def name(self, name: str) -> Name | None:
        return self._names.get(name)

    async def names(self) -> list[Name]:
        return list(reversed(self._names.values()))

    async def ports_of_names(self) -> frozenset[int]:
        return frozenset(name.address.port for name in self._names.values())

    async def bind_name(self, name: str, instance_id: str) -> None:
        instance = self._instances.get(instance_id)
        if instance is None:
            raise NotFoundError(
                f"there is no instance {instance_id}", remedy="use an existing instance"
            )
        self._check_free(name, instance_id)
        if instance.name != name:
            self._names.pop(instance.name or "", None)
        named = self._instances[instance_id] = msgspec.structs.replace(instance, name=name)
        self._remember_name(named, utc_now())

    async def unbind_name(self, name: str) -> bool:
        bearer = self._bearer(name)
        if bearer is not None:
            self._instances[bearer.instance_id] = msgspec.structs.replace(bearer, name=None)
        return self._names.pop(name, None) is not None

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

    async def count_instances(self) -> int:
        return len(self._instances)

    async def expired(self, now: datetime) -> list[Instance]:
        return [instance for end, instance in self._by_expiry() if end <= now]

    async def next_expiry(self) -> datetime | None:
        return next((end for end, _ in self._by_expiry()), None)

    async def extend(self, instance_id: str, expires_at: datetime) -> bool:
        instance = self._instances.get(instance_id)
        if instance is not None:
            self._instances[instance_id] = msgspec.structs.replace(
                instance, expires_at=expires_at, extensions=instance.extensions + 1
            )
        return instance is not None

    async def begin_reset(self, instance_id: str) -> bool:
        instance = self._instances.get(instance_id)
        if instance is not None:
            self._instances[instance_id] = msgspec.structs.replace(instance, resetting=True)
        return instance is not None

    async def begin_pause(self, instance_id: str, how: Pause) -> bool:
        instance = self._instances.get(instance_id)
        if instance is not None:
            self._instances[instance_id] = msgspec.structs.replace(instance, paused=how)
        return instance is not None

    async def set_server(self, instance_id: str, server: Server) -> bool:
        instance = self._instances.get(instance_id)
        if instance is not None:
            self._instances[instance_id] = msgspec.structs.replace(
                instance, server=server, resetting=False, paused=None
            )
        return instance is not None

    async def remove_instance(self, instance_id: str) -> bool:
        return self._instances.pop(instance_id, None) is not None

    def _by_expiry(self) -> list[tuple[datetime, Instance]]:
        ending = [
            (instance.expires_at, instance)
            for instance in self._instances.values()
            if instance.expires_at is not None
        ]
        return sorted(ending, key=lambda pair: pair[0])

    def _counted(self, state: State) -> State:
        clones = sum(instance.state_id == state.state_id for instance in self._instances.values())
        return msgspec.structs.replace(state, refcount=clones)

    def _bearer(self, name: str | None) -> Instance | None:
        if name is None:
            return None
        instances = self._instances.values()
        return next((instance for instance in instances if instance.name == name), None)

    def _remember_name(self, instance: Instance, used_at: datetime) -> None:
        if instance.name is None:
            return
        self._names.pop(instance.name, None)
        self._names[instance.name] = name_of(instance, used_at)
        bound = {each.name for each in self._instances.values()}
        unbound = [name for name in self._names if name not in bound]
        for name in unbound[: max(len(unbound) - self._names_kept, 0)]:
            del self._names[name]

    def _check_free(self, name: str | None, instance_id: str) -> None:
        bearer = self._bearer(name)
        if bearer is not None and bearer.instance_id != instance_id:
            raise name_taken(name, f"instance {bearer.instance_id}")
        if name is not None and (state := self._named(name)) is not None:
            raise name_taken(name, f"state {state.state_id}")

    def _check_name_of_state(self, state: State) -> None:
        if state.name is None:
            return
        other = self._named(state.name)
        if other is not None and other.state_id != state.state_id:
            raise name_taken(state.name, f"state {other.state_id}")
        if state.name in self._names:
            raise name_taken(state.name, "an instance")

    def _named(self, name: str) -> State | None:
        states = self._states.values()
        return next((state for state in states if state.name == name), None)

    def _descendants(self, state_id: str) -> dict[str, str]:
        """The ids of a state's children and instances, each with a description for people."""
        children = {child: f"state {child}" for child in self._children.get(state_id, ())}
        instances = {
            instance.instance_id: f"instance {instance.instance_id}"
            for instance in self._instances.values()
            if instance.state_id == state_id
        }
        return children | instances


def _totals(states: Collection[State]) -> Totals:
    return Totals(states=len(states), size_bytes=sum(state.size_bytes or 0 for state in states))
