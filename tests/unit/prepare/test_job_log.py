"""The job log: a watcher misses nothing, and many watchers cost what one does."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from pgstrata.domain.job import Event, Job, Status
from pgstrata.domain.model import utc_now
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import StoreUnusableError
from pgstrata.prepare import job_log as module
from pgstrata.prepare.job_log import BATCH_BYTES, BATCH_EVENTS, CLOSED_TAILS, TAIL_BYTES, JobLog
from pgstrata.queue.memory import MemoryQueue
from tests.unit.prepare.heart import Heart, run

JOB = "1" * 32


class CountingQueue(MemoryQueue):
    """Notes where each reading of events began, and can fail to tell whether it wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        self.counted = 0
        self.failing: list[bool] = []
        """For each of the next writes: whether it is lost, or written and then reported as lost."""

    async def events(
        self,
        job_id: str,
        start: int = 0,
        limit: int | None = None,
        *,
        max_bytes: int | None = None,
    ) -> list[Event]:
        self.reads.append(start)
        # A database is not done at once: whoever asks meanwhile must wait.
        await asyncio.sleep(0)
        return await super().events(job_id, start, limit, max_bytes=max_bytes)

    async def count_events(self, job_id: str) -> int:
        self.counted += 1
        return await super().count_events(job_id)

    async def append(self, job_id: str, events: Sequence[Event]) -> bool:
        await asyncio.sleep(0)
        if self.failing:
            if self.failing.pop(0):
                await super().append(job_id, events)
            raise StoreUnusableError("the disk is full")
        return await super().append(job_id, events)


class Talk:
    """One job that talks, and its log."""

    def __init__(self) -> None:
        self.queue = CountingQueue()
        self.log = JobLog(self.queue)

    async def begin(self) -> None:
        request = PrepareRequest(prepare_kind="memory", image_id="postgres")
        job = Job(
            job_id=JOB,
            status=Status.QUEUED,
            request=request,
            prepare_args_normalized="",
            created_at=utc_now(),
        )
        await self.log.add(job, ())

    async def say(self, *messages: str) -> bool:
        events = [Event(type="log", ts=utc_now(), message=text) for text in messages]
        return await self.log.append(JOB, events)

    async def heard(self, start: int = 0) -> list[str]:
        """What a watcher hears who follows the job from ``start`` until it is closed."""
        messages: list[str] = []
        while await self.log.wait_for_event(JOB, start + len(messages)):
            batch = await self.log.events_since(JOB, start + len(messages), BATCH_EVENTS)
            messages += [event.message or "" for event in batch]
        return messages


@pytest.fixture
def small_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail that holds a few events only."""
    monkeypatch.setattr(module, "TAIL_BYTES", 1000)
    monkeypatch.setattr(module, "BATCH_EVENTS", 10)


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last)]


def test_who_watches_from_the_beginning_hears_everything_in_order_without_a_read() -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(talk.heard()) for _ in range(100)]
            for number in range(200):
                await talk.say(str(number))
            talk.log.close(JOB)
        assert all(watcher.result() == numbers(0, 200) for watcher in watchers)
        assert talk.queue.reads == []
        assert talk.queue.counted == 0

    run(scenario())


@pytest.mark.usefixtures("small_tail")
def test_watchers_who_are_behind_share_their_reads() -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        await talk.say(*numbers(0, 100))
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(talk.heard()) for _ in range(100)]
            await asyncio.sleep(0)
            talk.log.close(JOB)
        assert all(watcher.result() == numbers(0, 100) for watcher in watchers)
        assert len(talk.queue.reads) == len(set(talk.queue.reads)) <= 10

    run(scenario())


@pytest.mark.usefixtures("small_tail")
def test_who_comes_later_finds_what_was_read_for_another() -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        await talk.say(*numbers(0, 100))
        first = await talk.log.events_since(JOB, 0, BATCH_EVENTS)
        assert await talk.log.events_since(JOB, 0, BATCH_EVENTS) == first
        assert talk.queue.reads == [0]

    run(scenario())


@pytest.mark.usefixtures("small_tail")
def test_one_watcher_who_leaves_does_not_take_the_reading_from_the_others() -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        await talk.say(*numbers(0, 100))
        leaving = asyncio.create_task(talk.log.events_since(JOB, 0, BATCH_EVENTS))
        staying = asyncio.create_task(talk.log.events_since(JOB, 0, BATCH_EVENTS))
        await asyncio.sleep(0)
        leaving.cancel()
        assert len(await staying) > 0
        assert leaving.cancelled()
        assert talk.queue.reads == [0]

    run(scenario())


def test_what_is_kept_is_bounded_however_much_is_said() -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        for _ in range(30):
            await talk.say(*["x" * 10_000] * 10)
        tail = talk.log._open[JOB]
        kept = 300 - tail.first
        assert 0 < kept * 10_000 <= TAIL_BYTES
        assert (
            len(await talk.log.events_since(JOB, tail.first, BATCH_EVENTS)) <= BATCH_BYTES // 10_000
        )
        assert len(await talk.log.events_since(JOB, 0, BATCH_EVENTS)) <= BATCH_BYTES // 10_000

    run(scenario())


def test_a_line_larger_than_everything_that_is_kept_comes_whole_by_one_read() -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        line = "long " * 2_000_000
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(talk.heard()) for _ in range(100)]
            await asyncio.sleep(0)
            await talk.say("before", line, "after")
            talk.log.close(JOB)
        assert all(watcher.result() == ["before", line, "after"] for watcher in watchers)
        assert talk.queue.reads == [0, 1]

    run(scenario())


@pytest.mark.parametrize("written", [True, False])
def test_a_write_whose_outcome_is_unknown_puts_no_event_in_anothers_place(*, written: bool) -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(talk.heard())
            await talk.say("one")
            talk.queue.failing = [written]
            with pytest.raises(StoreUnusableError):
                await talk.say("perhaps")
            await talk.say("two")
            await talk.say("three")
            talk.log.close(JOB)
        between = ["perhaps"] if written else []
        assert watcher.result() == ["one", *between, "two", "three"]

    run(scenario())


def test_a_writer_who_is_cancelled_tells_what_was_written_all_the_same() -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        writer = asyncio.create_task(talk.say("one"))
        await asyncio.sleep(0)
        writer.cancel()
        await asyncio.wait((writer,))
        assert writer.cancelled()
        await talk.say("two")
        talk.log.close(JOB)
        assert await talk.heard() == ["one", "two"]
        assert talk.queue.reads == []

    run(scenario())


def test_writers_at_once_are_told_in_the_order_of_their_commits() -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        await asyncio.gather(*(talk.say(f"{n}a", f"{n}b") for n in range(20)))
        talk.log.close(JOB)
        stored = [event.message for event in await talk.queue.events(JOB)]
        assert await talk.heard() == stored

    run(scenario())


def test_who_finds_something_stored_finds_it_counted_too() -> None:
    class Slow(CountingQueue):
        """Takes its time after a commit."""

        def __init__(self) -> None:
            super().__init__()
            self.stored = asyncio.Event()
            self.told = asyncio.Event()

        async def append(self, job_id: str, events: Sequence[Event]) -> bool:
            await super().append(job_id, events)
            self.stored.set()
            return await self.told.wait()

    async def scenario() -> None:
        talk = Talk()
        talk.queue = queue = Slow()
        talk.log = JobLog(queue)
        await talk.begin()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(talk.say("the end"))
            await queue.stored.wait()
            counting = tasks.create_task(talk.log.count_events(JOB))
            await asyncio.sleep(0)
            queue.told.set()
        assert counting.result() == len(await queue.events(JOB)) == 1

    run(scenario())


def test_events_of_a_job_that_runs_here_no_more_are_read_from_the_queue() -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        await talk.say("one", "two")
        later = JobLog(talk.queue)
        assert await later.wait_for_event(JOB, 1)
        assert not await later.wait_for_event(JOB, 2)
        assert await later.count_events(JOB) == 2
        assert [event.message for event in await later.events_since(JOB, 1, 10)] == ["two"]
        assert await later.events_since(JOB, 2, 10) == []

    run(scenario())


def test_a_job_that_goes_on_after_a_restart_is_heard_from_where_it_was() -> None:
    async def scenario() -> None:
        talk = Talk()
        await talk.begin()
        await talk.say("one", "two")
        talk.log = JobLog(talk.queue)
        await talk.log.reopen(JOB)
        async with asyncio.TaskGroup() as group:
            old, new = (group.create_task(talk.heard(start)) for start in (0, 2))
            await talk.say("three")
            talk.log.close(JOB)
        assert (old.result(), new.result()) == (["one", "two", "three"], ["three"])

    run(scenario())


def test_of_jobs_that_ended_only_the_latest_stay_in_memory() -> None:
    async def scenario() -> None:
        log = JobLog(MemoryQueue())
        for number in range(CLOSED_TAILS + 10):
            await log.reopen(str(number))
            log.close(str(number))
        assert len(log._closed) == CLOSED_TAILS
        assert not log._open

    run(scenario())


def test_a_hundred_watchers_of_one_job_cost_no_more_reads_than_one(tmp_path: Path) -> None:
    async def reads(watchers: int) -> int:
        root = tmp_path / str(watchers)
        root.mkdir()
        heart = Heart(root)
        heart.queue = queue = CountingQueue()
        heart.start_engine()
        job = await heart.manager.submit(heart.request("chatter", "more chatter"))

        async def watch() -> int:
            number = 0
            while await heart.manager.wait_for_event(job.job_id, number):
                number += len(await heart.manager.events_since(job.job_id, number, 500))
            return number

        heard = await asyncio.gather(*(watch() for _ in range(watchers)))
        assert set(heard) == {await queue.count_events(job.job_id)}
        return len(queue.reads)

    async def scenario() -> None:
        assert await reads(100) == await reads(1) == 0

    run(scenario())
