"""Signs of life: whatever a job is at, who watches it can tell alive from hung."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.kinds.sources.base import Sources
from tests.unit.prepare.heart import Heart, engine, run, with_jobs

LIVELY = with_jobs(heartbeat=0.01)


class Stuck:
    """Something that never comes to its end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self) -> None:
        self.begun.set()
        await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def living(heart: Heart, job_id: str, event: str) -> AsyncIterator[None]:
    """Wait for signs of life, each this event, and see that nothing else is said meanwhile."""
    while event not in (told := await heart.said(job_id)):
        assert await heart.manager.wait_for_event(job_id, len(told))
    said = len(told)
    await heart.manager.wait_for_event(job_id, said + 2)
    assert set((await heart.said(job_id))[said:]) == {event}
    yield
    await heart.manager.cancel(job_id)
    await heart.end_of(job_id)


def test_while_an_instance_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, LIVELY)) as heart:
            await heart.finish("a")
            stuck = Stuck()

            async def start(image_id: str, data_dir: Path, **_: object) -> Server:
                await stuck()
                raise AssertionError

            monkeypatch.setattr(heart.runtime, "start", start)
            job = await heart.manager.submit(heart.request("a"))
            await stuck.begun.wait()
            async with living(heart, job.job_id, "task prepare-instance running"):
                pass

    run(scenario())


def test_while_inputs_are_read_again_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, LIVELY)
        async with engine(heart):
            job = await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
        stuck = Stuck()

        async def steps(request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
            await stuck()
            raise AssertionError

        monkeypatch.setattr(heart.recipe, "steps", steps)
        heart.start_engine()
        async with engine(heart):
            await stuck.begun.wait()
            async with living(heart, job.job_id, "task plan succeeded"):
                pass

    run(scenario())
