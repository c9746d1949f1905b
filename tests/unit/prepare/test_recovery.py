"""An engine that starts goes on with what an earlier one left, wherever that was stopped."""

import asyncio
from pathlib import Path

from msgspec.structs import replace

from pgstrata.domain.job import Job, Status, Transition
from pgstrata.queue.memory import MemoryQueue
from tests.unit.prepare.heart import Heart, engine, run, with_jobs


async def left_at(heart: Heart, *steps: str, **more: object) -> Job:
    """A job that an engine left when it was stopped in a step that hangs."""
    heart.hanging.clear()
    async with engine(heart):
        job = await heart.manager.submit(heart.request(*steps, **more))
        await heart.hangs_or_ends(job)
    heart.start_engine()
    return job


def ran(heart: Heart) -> list[str]:
    return [command.args[-1] for command in heart.runtime.commands]


def test_finished_steps_are_not_run_again_and_the_plan_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        job = await left_at(heart, "a", "hang", "c")
        heart.runtime.tool = heart.without_hanging
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.status is Status.SUCCEEDED
            assert ran(heart) == ["a", "hang", "hang", "c"]
            said = await heart.said(job.job_id)
            assert said.count("task plan succeeded") == 1
            assert said.count("status running") == 1
            assert said.count("task execute-0 succeeded") == 1
            assert said[-2:] == ["result", "status succeeded"]

    run(scenario())


def test_a_step_whose_state_was_stored_before_the_end_is_not_run_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        job = await left_at(heart, "hang")
        heart.runtime.tool = heart.without_hanging
        async with engine(heart):
            await heart.end_of(job.job_id)
        # The state is there; the job is put back to where it was before anybody knew.
        heart.queue = MemoryQueue()
        await heart.queue.add(replace(job, status=Status.QUEUED), ())
        heart.start_engine()
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.status is Status.SUCCEEDED
            assert ran(heart) == ["hang", "hang"]

    run(scenario())


def test_an_input_that_changed_meanwhile_is_planned_anew_and_that_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        job = await left_at(heart, "a", "hang", "c")
        heart.sources.write("/hang", b"other")
        heart.runtime.tool = heart.without_hanging
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.status is Status.SUCCEEDED
            said = await heart.said(job.job_id)
            assert "log planned again: hang has changed" in said
            assert said.count("task plan succeeded") == 2

    run(scenario())


def test_an_input_that_is_gone_meanwhile_fails_the_job_and_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        job = await left_at(heart, "a", "hang", "c")
        heart.sources.remove("/c")
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.status is Status.FAILED
            assert ended.error is not None
            assert ended.error.message == "c does not exist"

    run(scenario())


def test_a_state_that_was_lost_meanwhile_is_built_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        job = await left_at(heart, "a", "hang")
        [lost] = await heart.store.states()
        await heart.statefs.remove(tmp_path / "states" / lost.state_id)
        heart.runtime.tool = heart.without_hanging
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.status is Status.SUCCEEDED
            assert ran(heart) == ["a", "hang", "a", "hang"]

    run(scenario())


def test_a_job_that_was_to_be_cancelled_when_the_engine_ended_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        job = await left_at(heart, "hang")
        await heart.queue.request_cancel(job.job_id)
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.error is not None
            assert ended.error.code == "cancelled"
            assert ran(heart) == ["hang"]

    run(scenario())


def test_a_job_whose_kind_this_engine_does_not_know_fails_with_that_reason(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        job = await left_at(heart, "hang")
        heart.recipe._name = "other"
        heart.start_engine()
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.error is not None
            assert "'memory'" in ended.error.message

    run(scenario())


class NeverSucceeds(MemoryQueue):
    """A queue that is killed, with the engine, just before a job's success is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.killed = asyncio.Event()

    async def apply(self, transition: Transition) -> bool:
        if transition.job.status is Status.SUCCEEDED and not self.killed.is_set():
            self.killed.set()
            raise asyncio.CancelledError
        return await super().apply(transition)


def test_an_instance_made_before_a_kill_is_the_one_the_job_gets(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.queue = queue = NeverSucceeds()
        heart.start_engine()
        async with engine(heart):
            job = await heart.manager.submit(heart.request("a"))
            await queue.killed.wait()
        [made] = await heart.store.instances()
        heart.start_engine()
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.result is not None
            assert ended.result.instance_id == made.instance_id
            assert await heart.store.instances() == [made]
            assert heart.runtime.running == (made.server,)

    run(scenario())


def test_an_instance_made_before_a_kill_goes_when_its_job_is_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.queue = queue = NeverSucceeds()
        heart.start_engine()
        async with engine(heart):
            job = await heart.manager.submit(heart.request("a"))
            await queue.killed.wait()
        await heart.queue.request_cancel(job.job_id)
        heart.start_engine()
        async with engine(heart):
            assert (await heart.end_of(job.job_id)).status is Status.FAILED
            assert await heart.store.instances() == []
            assert heart.runtime.running == ()
            assert await heart.statefs.volumes(tmp_path / "instances") == []

    run(scenario())


def test_an_instance_whose_server_died_with_the_engine_is_made_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.queue = queue = NeverSucceeds()
        heart.start_engine()
        async with engine(heart):
            job = await heart.manager.submit(heart.request("a"))
            await queue.killed.wait()
        [made] = await heart.store.instances()
        heart.runtime.kill(made.server)
        heart.start_engine()
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.status is Status.SUCCEEDED
            [instance] = await heart.store.instances()
            assert heart.runtime.running == (instance.server,)

    run(scenario())


def test_what_is_left_of_a_job_s_time_is_all_it_has_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        job = await left_at(heart, "hang", timeout=0.05)
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.error is not None
            assert ended.error.code == "timeout"

    run(scenario())


def test_jobs_go_on_in_the_order_they_came(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, with_jobs(max_parallel=1))
        async with engine(heart):
            await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
            jobs = [await heart.manager.submit(heart.request(step)) for step in ("c", "a", "b")]
        heart.start_engine()
        heart.runtime.tool = heart.without_hanging
        async with engine(heart):
            for job in jobs:
                await heart.end_of(job.job_id)
            assert ran(heart) == ["hang", "hang", "c", "a", "b"]

    run(scenario())


def test_what_a_killed_engine_was_building_can_be_built_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            built = await heart.finish("a")
        assert built.result is not None
        await heart.store.remove_instance(built.result.instance_id)
        await heart.store.remove_state(built.result.state_id)
        assert await heart.store.lease_build(built.result.state_id, "a killed engine")
        heart.start_engine()
        async with engine(heart):
            again = await heart.finish("a")
        assert again.error is None
        assert await heart.store.build_leases() == {}

    run(scenario())
