"""Who uses a state and who removes it: one always comes first."""

import asyncio

from pgstrata.cache.in_use import InUse
from tests.unit.prepare.heart import holding


def test_what_is_held_cannot_be_claimed_and_nothing_with_it() -> None:
    in_use = InUse()
    with holding(in_use, ["a", "b"]):
        with in_use.removing(["b", "c"]) as in_the_way:
            assert in_the_way == {"b"}
            assert not in_use.is_leaving("c")
        assert in_use.held == {"a", "b"}
    assert in_use.held == frozenset()
    with in_use.removing(["b", "c"]) as in_the_way:
        assert not in_the_way
        assert in_use.is_leaving("b")
    assert not in_use.is_leaving("b")


def test_a_state_that_two_hold_is_held_until_both_let_go() -> None:
    in_use = InUse()
    with holding(in_use, ["a"]):
        with holding(in_use, ["a", "a"]):
            pass
        assert in_use.held == {"a"}


def test_by_force_a_held_state_is_claimed_but_not_one_that_is_leaving() -> None:
    in_use = InUse()
    with holding(in_use, ["a"]), in_use.removing(["a"], even_held=True) as in_the_way:
        assert not in_the_way
        with in_use.removing(["a"], even_held=True) as second:
            assert second == {"a"}
        assert in_use.is_leaving("a")


def test_whoever_waits_for_a_state_to_be_gone_goes_on_when_it_is() -> None:
    async def scenario() -> None:
        in_use = InUse()
        await in_use.wait_removed("a")
        with in_use.removing(["a", "b"]):
            waiter = asyncio.create_task(in_use.wait_removed("a"))
            await asyncio.sleep(0)
            assert not waiter.done()
        await waiter

    asyncio.run(scenario())


def test_a_lease_that_is_ended_twice_ends_nobody_else_s() -> None:
    in_use = InUse()
    first, second = in_use.acquire(["a"]), in_use.acquire(["a"])
    in_use.release(first)
    in_use.release(first)
    assert in_use.held == {"a"}
    in_use.release(second)
    assert in_use.held == frozenset()
