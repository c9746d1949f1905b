"""The machine is not asked for more than it should bear."""

import asyncio
from pathlib import Path

import pytest

from pgstrata.errors import HostLimitError
from pgstrata.settings import InstanceLimits
from tests.unit.prepare.heart import SETTINGS, Heart, engine, run, with_jobs


def test_one_instance_too_many_is_refused_before_there_is_a_job(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(
            Heart(tmp_path, SETTINGS._replace(instances=InstanceLimits(max=2)))
        ) as heart:
            jobs = [await heart.finish("a") for _ in range(2)]
            with pytest.raises(HostLimitError, match="at most 2") as refusal:
                await heart.manager.submit(heart.request("a"))
            assert refusal.value.remedy
            assert len(await heart.manager.list_jobs()) == 2
            assert (await heart.finish("a", plan_only=True)).error is None
            assert jobs[0].result is not None
            await heart.store.remove_instance(jobs[0].result.instance_id)
            assert (await heart.finish("a")).error is None

    run(scenario())


def test_of_many_at_once_only_so_many_get_an_instance(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = with_jobs(max_identical=0)._replace(instances=InstanceLimits(max=3))
        async with engine(Heart(tmp_path, settings)) as heart:
            jobs = [await heart.manager.submit(heart.request("gate")) for _ in range(8)]
            heart.gate.set()
            ended = await asyncio.gather(*(heart.end_of(job.job_id) for job in jobs))
            codes = [job.error.code if job.error else None for job in ended]
            assert codes.count(None) == 3
            assert codes.count("host_limit") == 5
            assert len(await heart.store.instances()) == len(heart.runtime.running) == 3
            assert len(await heart.statefs.volumes(tmp_path / "instances")) == 3

    run(scenario())


def test_no_server_is_started_with_too_little_memory(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            heart.memory = 100 << 20
            with pytest.raises(HostLimitError, match=r"100 MiB .* 128 MiB"):
                await heart.manager.submit(heart.request("a"))
            heart.memory = 1 << 30
            slow = await heart.manager.submit(heart.request("a", "gate"))
            await heart.at_gate.wait()
            heart.memory = 100 << 20
            heart.gate.set()
            ended = await heart.end_of(slow.job_id)
            assert ended.error is not None
            assert ended.error.code == "host_limit"
            assert heart.runtime.running == ()
            assert await heart.statefs.volumes(tmp_path / "instances") == []

    run(scenario())
