"""Jobs on a full disk: what cannot be stored yet waits until it can."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pgstrata.domain.instance import Server
from pgstrata.domain.job import Job, Status, Transition
from pgstrata.errors import DiskFullError, StoreUnusableError
from pgstrata.prepare import job_log
from pgstrata.queue.memory import MemoryQueue
from tests.unit.prepare.heart import Heart, engine, run


class LittleRoom(MemoryQueue):
    """A queue on a disk that is full for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self._refused: asyncio.Queue[None] = asyncio.Queue()
        self.fails_after = 0
        """How many more changes are stored, and are said not to be."""

    async def apply(self, transition: Transition) -> bool:
        if self.full:
            self._refused.put_nowait(None)
            raise DiskFullError("the disk is full")
        applied = await super().apply(transition)
        if self.fails_after:
            self.fails_after -= 1
            raise DiskFullError("the disk is full, but that was written")
        return applied

    async def refuse_some(self) -> None:
        """Wait until something could not be stored a few times more."""
        for _ in range(self._refused.qsize() + 5):
            await self._refused.get()


@asynccontextmanager
async def cramped(root: Path) -> AsyncIterator[tuple[Heart, LittleRoom]]:
    heart = Heart(root)
    heart.queue = queue = LittleRoom()
    heart.start_engine()
    async with engine(heart):
        yield heart, queue


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "AGAIN_SECONDS", 0)


async def submitted(heart: Heart, *steps: str) -> Job:
    return await heart.manager.submit(heart.request(*steps))


def test_jobs_that_were_queued_when_the_disk_filled_wait_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path) as (heart, queue):
            queue.full = True
            jobs = [await submitted(heart, step) for step in ("a", "b", "c")]
            await queue.refuse_some()
            assert await heart.said(jobs[0].job_id) == ["status queued"]
            queue.full = False
            ended = [await heart.end_of(job.job_id) for job in jobs]
            assert [job.status for job in ended] == ["succeeded"] * 3
            assert caplog.text.count("the disk is full") == 1
            queue.full = True
            again = await submitted(heart, "d")
            await queue.refuse_some()
            queue.full = False
            assert (await heart.end_of(again.job_id)).status == "succeeded"
            assert caplog.text.count("the disk is full") == 2

    run(scenario())


def test_what_was_stored_although_the_disk_was_full_is_not_stored_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path) as (heart, queue):
            plain = await heart.finish("a", "b")
            queue.fails_after = 1000
            other = await heart.finish("c", "d")
            assert await heart.said(other.job_id) == await heart.said(plain.job_id)

    run(scenario())


def test_a_job_that_waits_for_room_can_be_stopped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path) as (heart, queue):
            queue.full = True
            job = await submitted(heart, "a")
            await queue.refuse_some()
            await heart.manager.cancel(job.job_id)
            await queue.refuse_some()
            queue.full = False
            error = (await heart.end_of(job.job_id)).error
            assert error is not None
            assert error.code == "cancelled"

    run(scenario())


def test_an_engine_that_stops_leaves_a_job_that_waits_to_the_next(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path) as (heart, queue):
            queue.full = True
            job = await submitted(heart, "a")
            await queue.refuse_some()
        queue.full = False
        heart.start_engine()
        async with engine(heart):
            assert (await heart.end_of(job.job_id)).status == "succeeded"

    run(scenario())


class FailsOnce(MemoryQueue):
    """A queue that cannot store one change, for another reason than a full disk."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.failed = asyncio.Event()

    async def apply(self, transition: Transition) -> bool:
        if self.fails:
            self.fails = False
            self.failed.set()
            raise StoreUnusableError("disk I/O error")
        return await super().apply(transition)


def test_a_job_whose_start_could_not_be_stored_ends_and_keeps_what_it_says_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.queue = queue = FailsOnce()
        heart.start_engine()
        async with engine(heart):
            await heart.finish("a")
            begin = heart.runtime.start

            async def start(image_id: str, data_dir: Path, **more: Any) -> Server:
                queue.fails = True
                await queue.failed.wait()
                return await begin(image_id, data_dir, **more)

            monkeypatch.setattr(heart.runtime, "start", start)
            before = {instance.instance_id for instance in await heart.store.instances()}
            job = await heart.finish("a")
            made = {one.instance_id for one in await heart.store.instances()} - before
            if job.status is Status.SUCCEEDED:
                assert job.result is not None
                assert made == {job.result.instance_id}
            else:
                assert job.status is Status.FAILED
                assert made == set()

    run(scenario())
