"""An engine told to stop: no new work, a step that runs comes to its end, the rest stays."""

import asyncio
from pathlib import Path

import pytest

from pgstrata.domain.job import Job, Status
from pgstrata.errors import EngineStoppingError
from tests.unit.prepare.heart import Heart, engine, run, with_jobs

PATIENT = 20.0


async def status(heart: Heart, job: Job) -> Status:
    known = await heart.manager.get(job.job_id)
    assert known is not None
    return known.status


async def stopping(heart: Heart, seconds: float) -> asyncio.Task[None]:
    drain = asyncio.create_task(heart.coordinator.drain(seconds))
    await asyncio.sleep(0)
    return drain


def test_a_step_that_runs_reaches_its_state_and_the_next_is_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            job = await heart.manager.submit(heart.request("gate", "b"))
            await heart.at_gate.wait()
            drain = await stopping(heart, PATIENT)
            heart.gate.set()
            await drain
            assert await status(heart, job) is Status.RUNNING
            assert len(await heart.store.states()) == 1
            assert [command.args[-1] for command in heart.runtime.commands] == ["gate"]
            assert (await heart.said(job.job_id))[-1] == "task execute-0 succeeded"
        heart.start_engine()
        async with engine(heart):
            assert (await heart.end_of(job.job_id)).status is Status.SUCCEEDED
            assert [command.args[-1] for command in heart.runtime.commands] == ["gate", "b"]

    run(scenario())


def test_a_job_in_its_last_step_comes_to_its_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.manager.submit(heart.request("gate"))
            await heart.at_gate.wait()
            drain = await stopping(heart, PATIENT)
            heart.gate.set()
            await drain
            assert await status(heart, job) is Status.SUCCEEDED

    run(scenario())


def test_a_step_that_takes_too_long_is_undone_and_left_for_the_next_engine(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            job = await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
            await heart.coordinator.drain(0)
        assert await status(heart, job) is Status.RUNNING
        assert heart.runtime.running == ()
        assert await heart.statefs.volumes(tmp_path / "work") == []

    run(scenario())


def test_new_jobs_are_refused_and_queued_ones_stay_queued(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, with_jobs(max_parallel=1))
        async with engine(heart):
            await heart.manager.submit(heart.request("gate"))
            await heart.at_gate.wait()
            queued = await heart.manager.submit(heart.request("a"))
            drain = await stopping(heart, PATIENT)
            with pytest.raises(EngineStoppingError):
                await heart.manager.submit(heart.request("b"))
            heart.gate.set()
            await drain
            assert await status(heart, queued) is Status.QUEUED
            assert not await heart.manager.wait_for_event(queued.job_id, 1)

    run(scenario())


def test_instances_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            await heart.finish("a")
            await heart.coordinator.drain(PATIENT)
        assert len(heart.runtime.running) == 1

    run(scenario())
