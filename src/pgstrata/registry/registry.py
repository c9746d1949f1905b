"""The registry: states, instances and names as they are shown, looked up and listed."""

from typing import Final

from msgspec.structs import replace

from pgstrata.cache.settled import SettledCopies
from pgstrata.domain.instance import Instance
from pgstrata.domain.listing import ImageEntry, InstanceEntry, InstanceStatus, NameEntry
from pgstrata.domain.model import utc_now
from pgstrata.domain.name import Name, invalid
from pgstrata.domain.state import State
from pgstrata.errors import InvalidArgumentError, InvalidNameError, NotFoundError
from pgstrata.runtime.base import Runtime
from pgstrata.store.base import Store
from pgstrata.store.finding import find_instance
from pgstrata.system.turns import Turns, of_name

_UNFINISHED_RESET: Final = "its reset is not complete; reset it again if that stays so"
_ENDED: Final = "its server has ended: pgstrata start {0}"
_GONE: Final = "its data is gone: pgstrata reset {0}"
_RESET_OR_ANYWAY: Final = "pgstrata reset {0}, or pgstrata start --anyway {0}"
_BOOTED: Final = (
    "the machine was booted since its server ran, so its data may be incomplete: "
    + _RESET_OR_ANYWAY
)


class Registry:
    """Reads the store, and asks the runtime whether servers are still running."""

    def __init__(
        self, *, store: Store, runtime: Runtime, turns: Turns, settled: SettledCopies
    ) -> None:
        """``turns``: see ``InstanceStarter``."""
        self._store = store
        self._runtime = runtime
        self._turns = turns
        self._settled = settled

    async def states(
        self,
        *,
        kind: str | None = None,
        image_id: str | None = None,
        id_prefix: str = "",
        name: str | None = None,
    ) -> list[State]:
        """List the states that match all the filters given, parents before children."""
        if name is not None:
            named = await self._store.state_named(name)
            if named is None or not named.state_id.startswith(id_prefix):
                return []
            id_prefix = named.state_id
        found = await self._store.states(kind=kind, image_id=image_id, id_prefix=id_prefix)
        return [self._shown(state) for state in found]

    async def state(self, state_id: str) -> State | None:
        """The state, or None."""
        found = await self._store.state(state_id)
        return None if found is None else self._shown(found)

    async def pin(self, state_id: str, *, pinned: bool) -> State | None:
        """Pin or unpin a state. Returns the state, or None if it does not exist."""
        await self._store.set_pinned(state_id, pinned=pinned)
        return await self.state(state_id)

    async def instances(
        self, *, state_id: str | None = None, image_id: str | None = None, id_prefix: str = ""
    ) -> list[InstanceEntry]:
        """List the instances that match all the filters given, newest first."""
        found = await self._store.instances(
            state_id=state_id, image_id=image_id, id_prefix=id_prefix
        )
        return [await self._entry(instance) for instance in found]

    async def instance(self, id_or_name: str) -> InstanceEntry | None:
        """Find the instance with this id, otherwise the one with this name, otherwise None."""
        found = await self._store.instance(id_or_name)
        if found is None:
            found = await self._store.instance_named(id_or_name)
        return None if found is None else await self._entry(found)

    async def find(self, ref: str) -> Instance:
        """The instance that is meant: by its id, its name, or 8 or more characters of its id.

        A name takes precedence over the beginning of an id. Raises ``InvalidArgumentError`` if that
        is too short or several ids begin with it, ``NotFoundError``.
        """
        return await find_instance(self._store, ref)

    async def names(
        self,
        *,
        instance_id: str | None = None,
        state_id: str | None = None,
        image_id: str | None = None,
    ) -> list[NameEntry]:
        """List the names that match all the filters given, the most recently used first."""
        bearers = {each.name: each for each in await self._store.instances()}
        return [
            await self._name_entry(name, bearer)
            for name in await self._store.names()
            if state_id in (None, name.state_id) and image_id in (None, name.image_id)
            for bearer in (bearers.get(name.name),)
            if instance_id is None or (bearer is not None and bearer.instance_id == instance_id)
        ]

    async def name(self, name: str) -> NameEntry | None:
        """Find a name with its instance, or None."""
        found = await self._store.name(name)
        if found is None:
            return None
        return await self._name_entry(found, await self._store.instance_named(name))

    async def image(self, image_id: str) -> ImageEntry | None:
        """The PostgreSQL that an image stands for, or None if it is not installed."""
        try:
            found = await self._runtime.resolve(image_id)
        except InvalidArgumentError:
            return None
        return ImageEntry(image_id=found.image_id, version=found.version)

    async def bind_name(self, name: str, instance_id: str) -> NameEntry:
        """Give an instance this name, in place of any other.

        The name has the instance's port and password from then on. Raises ``InvalidArgumentError``
        for what cannot be a name, ``NotFoundError`` for an unknown instance, ``ConflictError`` if
        another instance has the name.
        """
        if reason := invalid(name):
            raise InvalidNameError(name, reason)
        async with self._turns.take(of_name(name)), self._turns.take(instance_id):
            await self._store.bind_name(name, instance_id)
        entry = await self.name(name)
        if entry is None:
            raise NotFoundError(
                f"the name {name!r} was given up again", remedy="give it to the instance again"
            )
        return entry

    async def unbind_name(self, name: str) -> bool:
        """Forget a name, and take it from its instance. Returns False if there is none."""
        async with self._turns.take(of_name(name)):
            return await self._store.unbind_name(name)

    def _shown(self, state: State) -> State:
        copy = self._settled.of(state.state_id)
        return state if copy is None else replace(state, settled_bytes=copy.size_bytes)

    async def _status(self, instance: Instance) -> InstanceStatus:
        if instance.expires_at is not None and instance.expires_at <= utc_now():
            return "expired"
        return "active" if await self._runtime.alive(instance.server) else "orphaned"

    async def _entry(self, instance: Instance) -> InstanceEntry:
        return InstanceEntry(
            instance_id=instance.instance_id,
            image_id=instance.image_id,
            state_id=instance.state_id,
            name=instance.name,
            created_at=instance.created_at,
            expires_at=instance.expires_at,
            status=await self._status(instance),
            dsn=instance.dsn,
            extensions=instance.extensions,
            stopped=await self._stopped(instance),
        )

    async def _stopped(self, instance: Instance) -> str | None:
        """Why it has no server, and what to do about that, for people."""
        if instance.resetting:
            return _UNFINISHED_RESET
        if reason := self._runtime.stopped_for(instance.server):
            return f"{reason}; {_RESET_OR_ANYWAY.format(instance.known_as)}"
        if await self._runtime.alive(instance.server):
            return None
        if not self._runtime.is_of_this_boot(instance.server):
            why = _BOOTED  # what is mounted for its data may not be there yet
        elif self._runtime.has_data(instance.server):
            why = _ENDED
        else:
            why = _GONE
        return why.format(instance.known_as)

    async def _name_entry(self, name: Name, bearer: Instance | None) -> NameEntry:
        status = "orphaned" if bearer is None else await self._status(bearer)
        return NameEntry(
            name=name.name,
            instance_id=None if bearer is None else bearer.instance_id,
            image_id=name.image_id,
            state_id=name.state_id,
            state_fingerprint=name.state_id,
            status="missing" if status == "orphaned" else status,
            last_used_at=name.last_used_at,
            dsn=None if bearer is None else bearer.dsn,
        )
