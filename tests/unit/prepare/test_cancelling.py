"""Cancelling at every moment there is: the job ends, its step is undone, the others go on."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path

from pgstrata.domain.job import Job, Status
from tests.unit.prepare.heart import Heart, engine, run, with_jobs

KEEP_ALL = with_jobs(max_identical=0)


def run_until_too_late(disturbed_at: Callable[[int], Coroutine[None, None, Status]]) -> None:
    """Disturb a job, each time a moment later, until it had succeeded before."""
    for moment in count():
        status = Status.QUEUED

        async def scenario(moment: int = moment) -> None:
            nonlocal status
            status = await disturbed_at(moment)

        run(scenario())
        if status is Status.SUCCEEDED:
            break
    assert moment > 50


def giving_way(root: Path) -> Heart:
    """A heart in whose work there are many moments."""
    root.mkdir()
    heart = Heart(root, KEEP_ALL)
    heart.give_way()
    return heart


async def check_nothing_is_left(heart: Heart) -> None:
    """What runs and what lies on the disk is what the rows say."""
    instances = {one.instance_id: one.server for one in await heart.store.instances()}
    states = {state.state_id for state in await heart.store.states()}
    assert set(heart.runtime.running) == set(instances.values())
    for area, expected in (
        ("work", set()),
        ("building", set()),
        ("instances", set(instances)),
        ("states", states),
    ):
        assert {place.name for place in await heart.statefs.volumes(heart.root / area)} == expected


async def twins(heart: Heart, moment: int) -> tuple[Job, Job]:
    """Two equal jobs of three steps, a number of moments after they were handed in."""
    job, twin = [await heart.manager.submit(heart.request(*"abc")) for _ in range(2)]
    for _ in range(moment):
        await asyncio.sleep(0)
    return job, twin


def test_whenever_it_is_cancelled_a_job_ends_so_and_its_twin_gets_its_instance(
    tmp_path: Path,
) -> None:
    async def cancelled_at(moment: int) -> Status:
        async with engine(giving_way(tmp_path / str(moment))) as heart:
            job, twin = await twins(heart, moment)
            await heart.manager.cancel(job.job_id)
            ended = await heart.end_of(job.job_id)
            assert (await heart.end_of(twin.job_id)).status is Status.SUCCEEDED
            await check_nothing_is_left(heart)
            if ended.error is not None:
                assert ended.error.code == "cancelled"
                said = await heart.said(job.job_id)
                assert said[-2:] == ["error", "status failed"]
                assert said.count("error") == 1
            return ended.status

    run_until_too_late(cancelled_at)


def test_whenever_it_is_deleted_a_job_goes_and_leaves_its_twin_alone(tmp_path: Path) -> None:
    async def deleted_at(moment: int) -> Status:
        async with engine(giving_way(tmp_path / str(moment))) as heart:
            job, twin = await twins(heart, moment)
            known = await heart.manager.get(job.job_id)
            assert known is not None
            await heart.manager.delete(job.job_id, force=True, dry_run=False)
            assert await heart.manager.get(job.job_id) is None
            assert (await heart.end_of(twin.job_id)).status is Status.SUCCEEDED
            await check_nothing_is_left(heart)
            return known.status

    run_until_too_late(deleted_at)


def test_whenever_its_engine_ends_a_job_goes_on_with_the_next(tmp_path: Path) -> None:
    async def ended_at(moment: int) -> Status:
        heart = giving_way(tmp_path / str(moment))
        async with engine(heart):
            job, twin = await twins(heart, moment)
            left = await heart.manager.get(job.job_id)
            assert left is not None
        heart.start_engine()
        async with engine(heart):
            for one in (job, twin):
                assert (await heart.end_of(one.job_id)).status is Status.SUCCEEDED
            await check_nothing_is_left(heart)
            said = await heart.said(job.job_id)
            assert said.count("status running") == said.count("result") == 1
        return left.status

    run_until_too_late(ended_at)
