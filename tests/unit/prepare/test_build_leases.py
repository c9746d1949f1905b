"""Build leases: one builds at a time, whichever engine, and the others wait or give up."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from pgstrata.domain.reason import StepRecord
from pgstrata.domain.state import State
from pgstrata.errors import ConflictError, StoreUnusableError
from pgstrata.prepare.build_leases import BuildLeases
from pgstrata.store.memory import MemoryStore
from tests.contract.test_store import state
from tests.unit.prepare.heart import run

ITEM = "a" * 64


def test_one_owners_jobs_build_one_after_the_other_in_the_order_they_came() -> None:
    async def scenario() -> None:
        leases = BuildLeases(MemoryStore(), "us")
        order: list[int] = []
        inside: list[int] = []

        async def visit(number: int) -> None:
            async with leases.hold(ITEM):
                inside.append(number)
                await asyncio.sleep(0)
                assert inside == [number]
                inside.remove(number)
                order.append(number)

        async with asyncio.TaskGroup() as tasks:
            for number in range(10):
                tasks.create_task(visit(number))
        assert order == list(range(10))

    run(scenario())


def test_builds_of_different_things_do_not_wait_for_each_other() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        leases = BuildLeases(store, "us")
        async with leases.hold("a"), leases.hold("b"):
            assert await store.build_leases() == {"a": "us", "b": "us"}
        assert await store.build_leases() == {}

    run(scenario())


def test_what_another_engine_builds_is_waited_for() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        ours, theirs = BuildLeases(store, "us"), BuildLeases(store, "them")
        steps: list[str] = []

        async def wait() -> None:
            async with ours.hold(ITEM):
                steps.append("taken")

        async with theirs.hold(ITEM):
            waiter = asyncio.create_task(wait())
            await asyncio.wait([waiter], timeout=0.02)
            steps.append("let go")
        await waiter
        assert steps == ["let go", "taken"]

    run(scenario())


@pytest.mark.parametrize("owner", ["us", "them"])
def test_waiting_can_be_cancelled_and_harms_nobody(owner: str) -> None:
    async def scenario() -> None:
        store = MemoryStore()
        ours = BuildLeases(store, "us")
        builder = ours if owner == "us" else BuildLeases(store, owner)
        async with builder.hold(ITEM):
            for _ in range(2):
                waiter = asyncio.create_task(ours.hold(ITEM).__aenter__())
                done, _ = await asyncio.wait([waiter], timeout=0.02)
                assert not done
                waiter.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiter
            assert await store.build_leases() == {ITEM: owner}
        assert await store.build_leases() == {}

    run(scenario())


def test_a_build_that_fails_ends_its_lease() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        with pytest.raises(KeyError):
            async with BuildLeases(store, "us").hold(ITEM):
                raise KeyError
        assert await store.build_leases() == {}

    run(scenario())


class CountingStore(MemoryStore):
    """Counts what would be transactions."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    async def lease_build(self, item: str, owner: str) -> bool:
        self.writes += 1
        return await super().lease_build(item, owner)

    async def end_build(self, item: str, owner: str) -> None:
        self.writes += 1
        await super().end_build(item, owner)

    async def add_state(
        self, state: State, *, built_by: str | None = None, steps: Sequence[StepRecord] = ()
    ) -> None:
        self.writes += 1
        await super().add_state(state, built_by=built_by, steps=steps)


def test_a_lease_costs_one_write_beside_that_of_the_state() -> None:
    async def scenario() -> None:
        store = CountingStore()
        built = replace(state(1), state_id=ITEM)
        async with BuildLeases(store, "us").hold(ITEM) as lease:
            await lease.complete(built)
        assert await store.state(ITEM) == built
        assert await store.build_leases() == {}
        assert store.writes == 2

    run(scenario())


def test_a_state_whose_lease_was_ended_meanwhile_is_not_stored() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        async with BuildLeases(store, "us").hold(ITEM) as lease:
            await store.clear_build_leases()
            with pytest.raises(ConflictError, match="lease"):
                await lease.complete(replace(state(1), state_id=ITEM))
        assert await store.states() == []

    run(scenario())


class FullStore(MemoryStore):
    """Can end no lease."""

    async def end_build(self, item: str, owner: str) -> None:
        raise StoreUnusableError("the disk is full")


def test_a_lease_that_cannot_be_ended_hides_no_other_error_and_can_be_had_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        leases = BuildLeases(FullStore(), "us")
        with pytest.raises(KeyError):
            async with leases.hold(ITEM):
                raise KeyError
        async with leases.hold(ITEM):
            assert "the disk is full" in caplog.text

    run(scenario())
