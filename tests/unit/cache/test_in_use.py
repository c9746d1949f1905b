"""Who uses a state and who removes it: one always comes first."""

import asyncio

from pgstrata.cache.in_use import InUse
from tests.unit.prepare.heart import holding


def test_what_is_held_cannot_be_claimed_and_nothing_with_it() -> None:
    reservations = InUse()
    with holding(reservations, ["a", "b"]):
        with reservations.removing(["b", "c"]) as in_the_way:
            assert in_the_way == {"b"}
            assert not reservations.is_leaving("c")
        assert reservations.held == {"a", "b"}
    assert reservations.held == frozenset()
    with reservations.removing(["b", "c"]) as in_the_way:
        assert not in_the_way
        assert reservations.is_leaving("b")
    assert not reservations.is_leaving("b")


def test_a_state_that_two_hold_is_held_until_both_let_go() -> None:
    reservations = InUse()
    with holding(reservations, ["a"]):
        with holding(reservations, ["a", "a"]):
            pass
        assert reservations.held == {"a"}


def test_by_force_a_held_state_is_claimed_but_not_one_that_is_leaving() -> None:
    reservations = InUse()
    with holding(reservations, ["a"]), reservations.removing(["a"], even_held=True) as in_the_way:
        assert not in_the_way
        with reservations.removing(["a"], even_held=True) as second:
            assert second == {"a"}
        assert reservations.is_leaving("a")


def test_whoever_waits_for_a_state_to_be_gone_goes_on_when_it_is() -> None:
    async def scenario() -> None:
        reservations = InUse()
        await reservations.gone("a")
        with reservations.removing(["a", "b"]):
            waiter = asyncio.create_task(reservations.gone("a"))
            await asyncio.sleep(0)
            assert not waiter.done()
        await waiter

    asyncio.run(scenario())


def test_a_lease_that_is_ended_twice_ends_nobody_else_s() -> None:
    reservations = InUse()
    first, second = reservations.acquire(["a"]), reservations.acquire(["a"])
    reservations.release(first)
    reservations.release(first)
    assert reservations.held == {"a"}
    reservations.release(second)
    assert reservations.held == frozenset()
