"""The store port: metadata of states, instances and names."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from pgstrata.domain.cache import Eviction, Totals
from pgstrata.domain.instance import Instance, Pause, Server
from pgstrata.domain.model import Model
from pgstrata.domain.name import Name
from pgstrata.domain.reason import Evidence, RemovedFor, StepRecord
from pgstrata.domain.state import State
from pgstrata.errors import ConflictError

REMOVALS_KEPT = 10_000
"""For how many removed states a store remembers why they were removed."""
NAMES_KEPT = 1_000
"""How many names without an instance a store remembers."""
ALIKE_AT_MOST = 4
"""How many states are looked up for each kind of similarity."""


class Tree(Model, frozen=True, kw_only=True):
    """A state with all its descendants."""

    states: tuple[State, ...]
    """The state itself first, parents before children."""
    instances: tuple[Instance, ...]
    """All their instances, newest first."""


class Store(Protocol):
    """Keeps the metadata of states and instances. Every method that writes is one transaction.

    What is done to names, pins and warm servers, and removed on request, survives a power cut at
    once; all else does once the job that it was written for has ended (``Queue``).

    ``State.refcount`` is never stored: it is counted from the instances whenever a state is read.
    """

    async def add_state(
        self, state: State, *, built_by: str | None = None, steps: Sequence[StepRecord] = ()
    ) -> None:
        """Store a state. If its id exists, its row is replaced, but a pinned state stays pinned.

        ``built_by`` is the owner of its build lease, which ends with this. ``steps`` are those that
        made it from its parent, its own last; none keeps what is already known. Raises
        ``ConflictError`` if its parent is not stored, that owner no longer has a lease to build it,
        or another state has its name, or an instance has or had it.
        """

    async def lease_build(self, item: str, owner: str) -> bool:
        """Let only one owner build an item: a state, or a base by its image's id.

        False while another owner has the lease. May be called again.
        """

    async def end_build(self, item: str, owner: str) -> None:
        """End an owner's lease, if it has one."""

    async def build_leases(self) -> dict[str, str]:
        """The owner of each lease, by the item that is built."""

    async def clear_build_leases(self) -> None:
        """End the leases of all owners."""

    async def state(self, state_id: str) -> State | None:
        """The state, or None."""

    async def state_named(self, name: str) -> State | None:
        """The state with this name, or None."""

    async def states(
        self, *, kind: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[State]:
        """The states that match every filter given, oldest first (parents before children)."""

    async def existing_states(self, state_ids: Iterable[str]) -> frozenset[str]:
        """Which of these ids are stored, in one read."""

    async def tree(self, state_id: str) -> Tree | None:
        """A state with all its descendants, in one consistent read; None without the state.

        It may be deep: a state may have hundreds of ancestors.
        """

    async def evidence(self, state_ids: Collection[str], step: StepRecord | None) -> Evidence:
        """What may explain why these states are not in the cache, in one read.

        Similar states are a few made by steps with the kind and start of ``step``: first those with
        its title, then any, the newest first. If it starts from an image, they include some that
        the same step made from another image or with other settings. The time this takes does not
        grow with the number of states.
        """

    async def failures(self, state_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        """What failed when these states were made: only of those where something did."""

    async def run_before(self, state_ids: Collection[str]) -> frozenset[str]:
        """Those of these ids whose steps were run for a state that is stored: theirs or a later."""

    async def remove_state(self, state_id: str, *, why: RemovedFor = "removed") -> bool:
        """Remove a state's row, and remember why. False if there is none.

        Raises ``ConflictError`` if it has a child or an instance.
        """

    async def remove_all(
        self, *, state_ids: Collection[str], instance_ids: Collection[str]
    ) -> None:
        """Remove the rows of all of these on request, in one transaction.

        Some may be gone already. Raises ``ConflictError``, and removes nothing, if one of the
        states has any other child or instance.
        """

    async def set_pinned(self, state_id: str, *, pinned: bool) -> bool:
        """Protect a state from eviction, or end that. False if there is none."""

    async def set_warm(self, state_id: str, count: int) -> bool:
        """Note how many servers are to wait for a state; 0 for none. False if there is none."""

    async def warm_states(self) -> dict[str, int]:
        """How many servers are to wait for each state, of those where any are."""

    async def count_states(self) -> Totals:
        """The number and total size of all states, in constant time."""

    async def evictable(
        self, *, created_before: datetime, limit: int, excluding: Collection[str] = ()
    ) -> list[State]:
        """The first ``limit`` states that may be evicted, by ascending worth (``state.worth``).

        They have no children or instances, are not pinned, not in ``excluding``, and not younger
        than ``created_before``. The time this takes does not grow with the number of states.
        """

    async def not_evictable(
        self, *, created_before: datetime, excluding: Collection[str] = ()
    ) -> Totals:
        """The states that would remain even if all evictable ones were evicted, one by one.

        They are the pinned ones, the younger ones, those in ``excluding``, those with instances,
        and the ancestors of all of these.
        """

    async def record_eviction(self, eviction: Eviction) -> None:
        """Store the result of an eviction, in place of the previous one."""

    async def last_eviction(self) -> Eviction | None:
        """The result of the last eviction, or None if there was none yet."""

    async def add_instance(self, instance: Instance) -> None:
        """Store a new instance, bind its name, and count it as a use of its state.

        That raises the state's ``use_count`` by 1 and sets ``last_used_at`` to the instance's
        ``created_at``. The name is remembered with the instance's port and password, also when the
        instance is gone, until it is unbound; of those without an instance, the least recently used
        are forgotten beyond ``NAMES_KEPT``.

        Raises ``ConflictError`` if another instance or a state has the name, or its state is not
        stored.
        """

    async def replace_instance(self, instance_id: str, instance: Instance) -> None:
        """Remove an instance, if it is there, and add another, in one transaction."""

    async def instance(self, instance_id: str) -> Instance | None:
        """The instance, or None."""

    async def instance_of_job(self, job_id: str) -> Instance | None:
        """The instance that was made for a job, or None."""

    async def instance_named(self, name: str) -> Instance | None:
        """The instance with this name, or None."""

    async def name(self, name: str) -> Name | None:
        """What is remembered of a name, or None."""

    async def names(self) -> list[Name]:
        """All names, with an instance or without, the most recently used first."""

    async def ports_of_names(self) -> frozenset[int]:
        """The ports that belong to names."""

    async def bind_name(self, name: str, instance_id: str) -> None:
        """Give an instance this name, in place of the one it has. It may have it already.

        The name gets the instance's port and password. Raises ``NotFoundError`` if the instance is
        not stored, ``ConflictError`` if another instance or a state has the name.
        """

    async def unbind_name(self, name: str) -> bool:
        """Forget a name, and take it from the instance that has it. False if there is none."""

    async def instances(
        self, *, state_id: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[Instance]:
        """The instances that match every filter given, newest first."""

    async def count_instances(self) -> int:
        """How many instances there are."""

    async def expired(self, now: datetime) -> list[Instance]:
        """The expired instances, the longest expired first."""

    async def next_expiry(self) -> datetime | None:
        """When the next instance expires, or has expired; None if none ever does."""

    async def extend(self, instance_id: str, expires_at: datetime) -> bool:
        """Let an instance live until then, and count the extension. False if it is missing."""

    async def begin_reset(self, instance_id: str) -> bool:
        """Note that an instance is being reset, until it gets a server. False if it is missing."""

    async def begin_pause(self, instance_id: str, how: Pause) -> bool:
        """Note that an instance's server is paused, until one is set. False if it is missing."""

    async def set_server(self, instance_id: str, server: Server) -> bool:
        """Store the server that an instance has now, in place of one that is gone.

        If it was being reset or paused, that is done. False if there is no such instance.
        """

    async def remove_instance(self, instance_id: str) -> bool:
        """Remove an instance's row. Its name is remembered. False if there is none."""


def name_taken(name: str | None, bearer: str) -> ConflictError:
    """The error for a name that is in use. ``bearer``: by what, such as ``state 1234``."""
    return ConflictError(
        f"the name {name} is taken by {bearer}",
        remedy="choose another name, or remove what has it first",
    )


def lease_lost(state: State) -> ConflictError:
    """The error for a state whose builder has no lease to build it."""
    return ConflictError(
        f"state {state.state_id} cannot be stored: its builder no longer has the build lease",
        remedy="prepare again",
    )
