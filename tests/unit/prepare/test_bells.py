"""Bells: who listens before looking misses no ring."""

import asyncio

from pgstrata.prepare.bells import Bell


def test_a_ring_wakes_everyone_who_listened_before_it() -> None:
    async def scenario() -> None:
        bell = Bell()
        waiting = [bell.listen() for _ in range(3)]
        bell.ring()
        await asyncio.gather(*waiting)

    asyncio.run(scenario())


def test_a_ring_before_listening_is_not_heard() -> None:
    async def scenario() -> None:
        bell = Bell()
        bell.ring()
        news = asyncio.ensure_future(bell.listen())
        await asyncio.wait((news,), timeout=0)
        assert not news.done()
        news.cancel()

    asyncio.run(scenario())


def test_one_listener_that_gives_up_leaves_the_others_waiting() -> None:
    async def scenario() -> None:
        bell = Bell()
        gone, staying = asyncio.ensure_future(bell.listen()), asyncio.ensure_future(bell.listen())
        gone.cancel()
        await asyncio.wait((gone,))
        bell.ring()
        await staying

    asyncio.run(scenario())
