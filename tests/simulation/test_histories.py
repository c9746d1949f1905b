"""Whatever befalls it, the heart keeps what it promises; and a heart that does not is found out."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from pgstrata.cache.in_use import InUse
from tests.simulation.histories import live
from tests.simulation.world import Meddling, World

FEW = 40
MANY = 1000


def test_whatever_happens_nothing_is_wrong() -> None:
    found = [finding for seed in range(FEW) if (finding := live(seed).finding)]
    assert not found, f"make simulate SEED={found[0].seed} tells how: {found[0].error}"


def test_a_seed_takes_the_same_course_each_time() -> None:
    digests = [live(seed).digest for seed in range(3)]
    assert digests == [live(seed).digest for seed in range(3)]
    assert len(set(digests)) == 3


# Each breaks one promise of a port or of a part of the heart.


def spoil(port: object, name: str, call: Callable[..., Awaitable[Any]]) -> None:
    """Have this called in place of what the port has."""
    setattr(port, name, call)


def later(whole: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[None]]:
    """A call that returns before it has done anything."""

    async def call(*args: Any, **kwargs: Any) -> None:
        async def work() -> None:
            await asyncio.sleep(0.01)
            await whole(*args, **kwargs)

        asyncio.create_task(work(), name="too late")  # noqa: RUF006 - the loop has it while it waits

    return call


def show_states_before_their_markers(world: World) -> None:
    for name in ("publish", "snapshot"):
        spoil(world.statefs, name, later(getattr(world.statefs, name)))


def hand_instances_out_before_their_rows(world: World) -> None:
    spoil(world.store, "add_instance", later(world.store.add_instance))


def evict_states_that_jobs_hold(world: World) -> None:
    whole = world.store.evictable

    async def evictable(*, excluding: Iterable[str] = (), **more: Any) -> Any:
        return await whole(**more)

    spoil(world.store, "evictable", evictable)
    world.removal._in_use = InUse()


def end_build_leases_early(world: World) -> None:
    whole = world.store.lease_build

    async def lease_build(item: str, owner: str) -> bool:
        granted = await whole(item, owner)
        await world.store.end_build(item, owner)
        return granted

    spoil(world.store, "lease_build", lease_build)


def lose_the_directories_of_warm_servers(world: World) -> None:
    class Lost:
        async def put(self, volumes: Iterable[Path]) -> None:
            """Forget them."""

    world.pool._trash = Lost()  # type: ignore[assignment]


def keep_leases_that_ended(world: World) -> None:
    async def expired(now: object) -> list[object]:
        return []

    spoil(world.store, "expired", expired)


def tell_of_ends_that_are_not_synced(world: World) -> None:
    world.durability.queue.synced = lambda: None


def leave_the_data_of_instances_that_are_reset(world: World) -> None:
    async def reset(_instance_id: str, *, force: bool) -> None:
        assert force

    spoil(world.resetting, "reset", reset)


def build_from_settled_copies(world: World) -> None:
    whole = world.statefs.clone

    async def clone(source: Path, target: Path) -> None:
        copy = world.root / "settled" / source.name
        builds = source.parent.name == "states" and target.parent.name == "work"
        await whole(copy if builds and world.disk.exists(copy) else source, target)

    spoil(world.statefs, "clone", clone)


@pytest.mark.parametrize(
    "meddle",
    [
        show_states_before_their_markers,
        hand_instances_out_before_their_rows,
        evict_states_that_jobs_hold,
        end_build_leases_early,
        lose_the_directories_of_warm_servers,
        keep_leases_that_ended,
        tell_of_ends_that_are_not_synced,
        leave_the_data_of_instances_that_are_reset,
        build_from_settled_copies,
    ],
    ids=lambda meddle: meddle.__name__,
)
def test_a_broken_promise_is_found(meddle: Meddling) -> None:
    assert any(live(seed, meddle=meddle).finding for seed in range(MANY))
