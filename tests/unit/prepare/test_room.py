"""Jobs whose steps or instances find no room: they wait for some, but not for ever."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pgstrata.cache.capacity import Disk
from pgstrata.domain.durations import Seconds
from pgstrata.domain.job import Job
from pgstrata.domain.sizes import Bytes
from pgstrata.prepare import room
from pgstrata.settings import CacheCapacity
from pgstrata.statefs.memory import MemoryStateFS
from tests.unit.prepare.heart import Heart, engine, run, with_jobs

PLENTY = Disk(total_bytes=1 << 40, free_bytes=1 << 39)
LITTLE = Disk(total_bytes=1 << 40, free_bytes=1 << 20)
MANY_LOOKS = 10


IsFull = Callable[[Heart, str], bool]
"""Whether there is no room for one more volume in an area of the store."""


class SmallDisk(MemoryStateFS):
    """A disk that gets full at some calls, whatever it says of its free space."""

    def __init__(self, heart: Heart, is_full: IsFull) -> None:
        super().__init__(heart.disk)
        self._heart = heart
        self._is_full = is_full

    async def clone(self, source: Path, volume: Path) -> None:
        self._check(volume)
        await super().clone(source, volume)

    async def publish(self, building: Path, volume: Path, marker: bytes) -> None:
        self._check(volume)
        await super().publish(building, volume, marker)

    def _check(self, volume: Path) -> None:
        if self._is_full(self._heart, volume.parent.name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def never(_heart: Heart, _area: str) -> bool:
    return False


def once(wanted: str) -> IsFull:
    """Full the first time that something is made in this area."""
    left = [wanted]

    def is_full(_heart: Heart, area: str) -> bool:
        if area not in left:
            return False
        left.remove(area)
        return True

    return is_full


@asynccontextmanager
async def cramped(
    root: Path,
    is_full: IsFull = never,
    patience: int = 300,
) -> AsyncIterator[Heart]:
    heart = Heart(root, with_jobs(room_timeout=Seconds(patience)))
    heart.limits = CacheCapacity(reserve_bytes=Bytes(1 << 30))
    heart.statefs = SmallDisk(heart, is_full)
    heart.start_engine()
    async with engine(heart):
        yield heart


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "AGAIN_SECONDS", 0.001)


async def waiting(heart: Heart, *jobs: Job) -> None:
    """Wait until all of these jobs wait for room, and have looked for it more than once."""
    looked = asyncio.Event()
    measure = heart.measure

    def seen() -> Disk:
        looked.set()
        return measure()

    heart.measure = seen
    for job in jobs:
        number = 0
        while not any("waits for room" in line for line in await heart.said(job.job_id)):
            assert await heart.manager.wait_for_event(job.job_id, number)
            number += 1
    looked.clear()
    for _ in range(MANY_LOOKS * len(jobs)):
        await looked.wait()
        looked.clear()
    heart.measure = measure


async def said_so(heart: Heart, job: Job) -> int:
    return sum("waits for room" in line for line in await heart.said(job.job_id))


def test_jobs_that_find_the_disk_full_wait_and_go_on_when_there_is_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path) as heart:
            cached = await heart.finish("a")
            heart.space = LITTLE
            # More than there are slots for: those that wait leave theirs to others.
            jobs = [
                await heart.manager.submit(heart.request("a", f"step{number}"))
                for number in range(6)
            ]
            await waiting(heart, *jobs)
            assert heart.disk.children(tmp_path / "work") == []
            assert len(heart.runtime.running) == 1
            assert (await heart.finish("a")).status == cached.status == "succeeded"
            heart.space = PLENTY
            for job in jobs:
                assert (await heart.end_of(job.job_id)).status == "succeeded"
                assert await said_so(heart, job) == 1

    run(scenario())


def content(heart: Heart, job: Job) -> list[str]:
    """The steps that made what is in a job's instance."""
    assert job.result is not None, job.error
    return heart.steps_in(heart.root / "instances" / job.result.instance_id)


def runs(heart: Heart, step: str) -> int:
    return sum(command.args[-1] == step for command in heart.runtime.commands)


@pytest.mark.parametrize("area", ["work", "states", "instances"])
def test_a_job_that_runs_out_of_room_tries_again(tmp_path: Path, area: str) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path, once(area)) as heart:
            job = await heart.finish("a", "b")
            assert content(heart, job) == ["a", "b"]
            assert await said_so(heart, job) == 1
            assert heart.disk.children(tmp_path / "work") == []
            assert len(heart.runtime.running) == 1

    run(scenario())


def test_a_step_that_needs_more_room_than_there_is_fails_when_it_has_run_twice(
    tmp_path: Path,
) -> None:
    def too_much(heart: Heart, area: str) -> bool:
        return area == "states" and runs(heart, "huge") > 0

    async def scenario() -> None:
        async with cramped(tmp_path, too_much) as heart:
            job = await heart.finish("a", "huge")
            assert job.error is not None
            assert job.error.code == "disk_full"
            assert runs(heart, "huge") == 2
            assert heart.disk.children(tmp_path / "work") == []
            assert not heart.runtime.running

    run(scenario())


def test_steps_that_have_no_room_together_run_one_after_the_other(tmp_path: Path) -> None:
    def crowded(heart: Heart, area: str) -> bool:
        return area == "states" and len(heart.disk.children(heart.root / "work")) > 1

    async def scenario() -> None:
        async with cramped(tmp_path, crowded) as heart:
            steps = [f"gate{number}" for number in range(3)]
            jobs = []
            for step in steps:
                jobs.append(await heart.manager.submit(heart.request(step)))
                await heart.at_gate.wait()
                heart.at_gate.clear()
            heart.gate.set()
            ended = [await heart.end_of(job.job_id) for job in jobs]
            assert [content(heart, job) for job in ended] == [[step] for step in steps]

    run(scenario())


def test_a_state_that_is_there_needs_no_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path) as heart:
            job = await heart.finish("a")
            assert job.result is not None
            heart.space = LITTLE
            assert await heart.executor.has_room(job.result.state_id)
            assert not await heart.executor.has_room("f" * 64)
            assert not await heart.executor.has_room(None)

    run(scenario())


@pytest.mark.parametrize("patience", [0, 1])
def test_a_job_that_no_room_is_made_for_fails_in_the_end(tmp_path: Path, patience: int) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path, patience=patience) as heart:
            heart.space = LITTLE
            job = await heart.finish("a")
            assert job.error is not None
            assert job.error.code == "cache_full_unreclaimable"
            assert await said_so(heart, job) == (patience > 0)
            assert runs(heart, "a") == 0

    run(scenario())


def test_a_job_that_a_full_cache_has_no_room_for_fails_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path) as heart:
            first = await heart.finish("a")
            assert first.result is not None
            heart.evictor.limits = CacheCapacity(max_bytes=Bytes(1))
            job = await heart.finish("a", "b")
            assert job.error is not None
            assert job.error.code == "cache_full_unreclaimable"
            assert await said_so(heart, job) == 0

    run(scenario())


def test_a_job_that_waits_for_room_can_be_cancelled_and_ends_with_its_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path) as heart:
            heart.space = LITTLE
            job = await heart.manager.submit(heart.request("a"))
            await waiting(heart, job)
            await heart.manager.cancel(job.job_id)
            for ended, code in (
                (await heart.end_of(job.job_id), "cancelled"),
                (await heart.finish("b", timeout=0.05), "timeout"),
            ):
                assert ended.error is not None
                assert ended.error.code == code

    run(scenario())


def test_an_engine_that_stops_leaves_a_job_that_waits_to_the_next_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cramped(tmp_path) as heart:
            heart.space = LITTLE
            job = await heart.manager.submit(heart.request("a"))
            await waiting(heart, job)
            await heart.coordinator.drain(300)
            heart.space = PLENTY
        heart.start_engine()
        async with engine(heart):
            assert content(heart, await heart.end_of(job.job_id)) == ["a"]

    run(scenario())
