"""JobSlots: first come, first served, and those who lent theirs come back first."""

import asyncio
import gc
import weakref
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.domain.job import Event, Job
from pgstrata.prepare.coordinator import LONG_STDIN
from pgstrata.prepare.job_slots import JobSlots
from pgstrata.queue.memory import MemoryQueue
from tests.unit.prepare.heart import Heart, engine, run, with_jobs


async def settle() -> None:
    """Let everybody come as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Line:
    """Jobs that each want a slot, noted in the order they get it, and held until told."""

    def __init__(self, slots: JobSlots) -> None:
        self.slots = slots
        self.began: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, *names: str) -> None:
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._work(name))
        await settle()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await settle()

    async def _work(self, name: str) -> None:
        async with self.slots.hold(name):
            self.began.append(name)
            await self.ends[name].wait()


def test_slots_are_given_in_the_order_they_were_asked_for_and_positions_tell_it() -> None:
    async def scenario() -> None:
        line = Line(JobSlots(2))
        await line.join("a", "b", "c", "d")
        assert line.began == ["a", "b"]
        assert [line.slots.position(name) for name in "abcd"] == [None, None, 1, 2]
        assert line.slots.waiting == ("c", "d")
        await line.end("b")
        assert line.began == ["a", "b", "c"]
        assert line.slots.position("d") == 1

    run(scenario())


def test_a_job_that_leaves_the_queue_lets_the_others_move_up() -> None:
    async def scenario() -> None:
        line = Line(JobSlots(1))
        await line.join("a", "b", "c")
        line.tasks["b"].cancel()
        await settle()
        assert line.slots.position("c") == 1
        await line.end("a")
        assert line.began == ["a", "c"]

    run(scenario())


def test_a_slot_given_to_a_job_that_leaves_in_that_moment_is_not_lost() -> None:
    async def scenario() -> None:
        line = Line(JobSlots(1))
        await line.join("a", "b", "c")
        line.ends["a"].set()
        await asyncio.sleep(0)
        line.tasks["b"].cancel()
        await settle()
        await line.end("b")
        assert line.began[-1] == "c"

    run(scenario())


def test_a_lent_slot_is_used_by_others_and_returned_before_those_who_wait() -> None:
    async def scenario() -> None:
        slots = JobSlots(1)
        line = Line(slots)
        async with AsyncExitStack() as held:
            await held.enter_async_context(slots.hold("lender"))
            await line.join("a", "b")
            back = asyncio.Event()

            async def lend() -> None:
                async with slots.lend("lender"):
                    await back.wait()

            lending = asyncio.create_task(lend())
            await settle()
            assert line.began == ["a"]
            back.set()
            await settle()
            assert slots.position("lender") is None
            await line.end("a")
            assert lending.done()
            assert line.began == ["a"]
        await settle()
        assert line.began == ["a", "b"]

    run(scenario())


def test_a_lender_that_fails_meanwhile_gives_back_nothing_it_does_not_have() -> None:
    async def scenario() -> None:
        slots = JobSlots(1)
        line = Line(slots)
        with suppress(ZeroDivisionError):
            async with slots.hold("lender"), slots.lend("lender"):
                raise ZeroDivisionError
        await line.join("a", "b")
        assert line.began == ["a"]

    run(scenario())


def test_more_slots_go_to_those_who_wait_and_fewer_are_given_back_first() -> None:
    async def scenario() -> None:
        line = Line(JobSlots(1))
        await line.join("a", "b", "c", "d")
        line.slots.resize(2)
        await settle()
        assert line.began == ["a", "b"]
        line.slots.resize(1)
        await line.end("a")
        assert line.began == ["a", "b"]
        await line.end("b")
        assert line.began == ["a", "b", "c"]
        line.slots.resize(5)
        await settle()
        assert line.began == ["a", "b", "c", "d"]
        await line.end("c")
        await line.end("d")

    run(scenario())


class Seen(str):
    """Text of which can be told whether anybody still has it."""

    __slots__ = ("__weakref__",)


class CopyingQueue(MemoryQueue):
    """Keeps a copy of standard input, as a database does."""

    async def add(self, job: Job, events: Sequence[Event]) -> None:
        copy = None if job.request.stdin is None else str(job.request.stdin)
        await super().add(replace(job, request=replace(job.request, stdin=copy)), events)


@pytest.mark.parametrize(("size", "kept"), [(LONG_STDIN, True), (LONG_STDIN + 1, False)])
def test_a_job_that_waits_keeps_no_long_standard_input_in_memory(
    tmp_path: Path, size: int, *, kept: bool
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, with_jobs(max_parallel=1))
        heart.queue = CopyingQueue()
        heart.start_engine()
        async with engine(heart):
            first = await heart.manager.submit(heart.request("gate"))
            await heart.at_gate.wait()
            stdin = Seen("x" * size)
            waiting = (await heart.manager.submit(heart.request("a", stdin=stdin))).job_id
            seen = weakref.ref(stdin)
            del stdin
            gc.collect()
            assert (seen() is not None) == kept
            heart.gate.set()
            await heart.end_of(first.job_id)
            assert (await heart.end_of(waiting)).error is None

    run(scenario())
