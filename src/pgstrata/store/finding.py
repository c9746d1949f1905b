"""Finds what is meant by an id, by 8 or more characters of one, or by a name.

A name takes precedence over the beginning of an id. Every function raises ``InvalidArgumentError``
for a beginning that is too short or several ids have, and ``NotFoundError``.
"""

import re
from collections.abc import Sequence
from typing import Final, TypeVar

from pgstrata.domain.instance import Instance
from pgstrata.domain.state import State
from pgstrata.errors import InvalidArgumentError, NotFoundError
from pgstrata.store.base import Store

Found = TypeVar("Found", Instance, State, Instance | State)

_PREFIX: Final = re.compile("[0-9a-f]{8,}", re.IGNORECASE)
_SHORT: Final = re.compile("[0-9a-f]{1,7}", re.IGNORECASE)


async def find_instance(store: Store, ref: str) -> Instance:
    """The instance that is meant."""
    found = await _instance(store, ref)
    if found is not None:
        return found
    prefix = _prefix(ref, "instance")
    return _only(ref, "instance", await store.instances(id_prefix=prefix) if prefix else ())


async def find_state(store: Store, ref: str) -> State:
    """The state that is meant. Also raises ``InvalidArgumentError`` for an instance's name."""
    found = await _state(store, ref)
    if found is not None:
        return found
    if await store.name(ref) is not None:
        raise InvalidArgumentError(
            f"{ref!r} is the name of an instance, not of a state",
            remedy=f"keep what is in it as a state first: pgstrata snapshot {ref}",
        )
    prefix = _prefix(ref, "state")
    states = await store.states(id_prefix=prefix) if prefix else ()
    if not states and await store.run_before((ref.lower(),)):
        raise NotFoundError(
            f"there is no state {ref!r}: the result of that step was not kept",
            remedy="prepare the same with --states=all, or choose a later state",
        )
    return _only(ref, "state", states)


async def find(store: Store, ref: str) -> Instance | State:
    """The instance or the state that is meant."""
    found = await _instance(store, ref) or await _state(store, ref)
    if found is not None:
        return found
    if await store.name(ref) is not None:
        raise NotFoundError(
            f"the instance with the name {ref!r} is gone",
            remedy=f"prepare it again with --name {ref}",
        )
    several: Sequence[Instance | State] = ()
    if prefix := _prefix(ref, "instance or state"):
        several = (
            *await store.instances(id_prefix=prefix),
            *await store.states(id_prefix=prefix),
        )
    return _only(ref, "instance or state", several)


async def _instance(store: Store, ref: str) -> Instance | None:
    return await store.instance(ref.lower()) or await store.instance_named(ref)


async def _state(store: Store, ref: str) -> State | None:
    return await store.state(ref.lower()) or await store.state_named(ref)


def _prefix(ref: str, what: str) -> str | None:
    """What ids begin with; None if none does."""
    if not ref or _SHORT.fullmatch(ref):
        raise InvalidArgumentError(
            f"there is no {what} with the name {ref!r}, and it is too short for the beginning of "
            "an id",
            remedy="give 8 or more characters of the id",
        )
    return ref.lower() if _PREFIX.fullmatch(ref) else None


def _only(ref: str, what: str, found: Sequence[Found]) -> Found:
    if not found:
        option = " -s" if what == "state" else ""
        raise NotFoundError(f"there is no {what} {ref!r}", remedy=f"see `pgstrata ls{option}`")
    if len(found) > 1:
        ids = [each.state_id if isinstance(each, State) else each.instance_id for each in found]
        raise InvalidArgumentError(
            f"{ref!r} is the beginning of the ids of {len(found)} {what.replace(' or ', 's or ')}s",
            remedy="give more of the id",
            details="\n".join(ids),
        )
    return found[0]
