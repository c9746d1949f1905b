"""Jobs side by side: those that need the same state, and those that wait for their turn."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pgstrata.domain.job import Job, Status
from pgstrata.domain.state import State
from tests.unit.prepare.heart import Heart, engine, run, with_jobs

KEEP_ALL = with_jobs(max_identical=0)


async def submitted(heart: Heart, number: int, *steps: str) -> list[Job]:
    return [await heart.manager.submit(heart.request(*steps)) for _ in range(number)]


async def all_say(heart: Heart, jobs: list[Job], what: str) -> None:
    """Wait until every one of these jobs has said this."""
    for job in jobs:
        number = 0
        while what not in await heart.said(job.job_id):
            number += 1
            assert await heart.manager.wait_for_event(job.job_id, number), f"never said: {what}"


async def ends(heart: Heart, jobs: list[Job]) -> list[Job]:
    return [await heart.end_of(job.job_id) for job in jobs]


def ran(heart: Heart) -> list[str]:
    return [command.args[-1] for command in heart.runtime.commands]


def test_a_hundred_equal_requests_build_once_watch_the_same_and_get_an_instance_each(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, KEEP_ALL)) as heart:
            [builder, *others] = await submitted(heart, 100, "chatter gate", "b")
            builds = f"log job {builder.job_id} is building this state"
            await heart.at_gate.wait()
            await all_say(heart, others, builds)
            heart.gate.set()
            ended = await ends(heart, [builder, *others])
            assert {job.status for job in ended} == {Status.SUCCEEDED}
            assert ran(heart) == ["chatter gate", "b"]
            instances = {job.result.instance_id for job in ended if job.result}
            assert len(instances) == len(heart.runtime.running) == 100

    run(scenario())


def test_a_waiting_job_builds_a_state_that_was_removed_as_soon_as_it_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, KEEP_ALL)) as heart:
            add, removed = heart.store.add_state, False

            async def add_and_remove(state: State, **more: Any) -> None:
                nonlocal removed
                await add(state, **more)
                if not removed:
                    removed = True
                    await heart.files.remove_dirty(state.state_id)

            monkeypatch.setattr(heart.store, "add_state", add_and_remove)
            [builder, other] = await submitted(heart, 2, "gate", "b")
            await all_say(heart, [other], f"log job {builder.job_id} is building this state")
            heart.gate.set()
            _, ended = await ends(heart, [builder, other])
            assert ended.error is None
            assert ended.result is not None
            made = heart.steps_in(tmp_path / "instances" / ended.result.instance_id)
            assert made == ["gate", "b"]

    run(scenario())


def test_a_waiting_job_is_told_what_the_builder_s_tool_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, KEEP_ALL)) as heart:
            said = asyncio.Event()
            tool = heart.runtime.tool
            run_tool = heart.runtime.run

            async def late(server, command, output):  # type: ignore[no-untyped-def]
                ended = await run_tool(server, command, output)
                await output("stdout", b"nearly there\n")
                said.set()
                return ended

            heart.runtime.run = late  # type: ignore[method-assign]
            assert tool is heart.runtime.tool
            [_, waiting] = await submitted(heart, 2, "gate")
            await heart.at_gate.wait()
            await all_say(heart, [waiting], "task execute-0 running")
            heart.gate.set()
            await heart.end_of(waiting.job_id)
            assert "log nearly there" in await heart.said(waiting.job_id)
            assert await heart.cached(waiting.job_id) == [True]

    run(scenario())


def test_when_the_builder_s_step_fails_all_who_wait_fail_with_its_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, KEEP_ALL)) as heart:
            jobs = await submitted(heart, 20, "gate fail")
            await all_say(heart, jobs, "task execute-0 running")
            heart.gate.set()
            ended = await ends(heart, jobs)
            assert {job.status for job in ended} == {Status.FAILED}
            [error] = {job.error for job in ended}
            assert error is not None
            assert error.code == "step_failed"
            assert ran(heart) == ["gate fail"]

    run(scenario())


def test_when_the_builder_is_cancelled_one_who_waits_takes_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, KEEP_ALL)) as heart:
            [builder, *others] = await submitted(heart, 10, "gate")
            await all_say(heart, others, "task execute-0 running")
            await heart.manager.cancel(builder.job_id)
            assert (await heart.end_of(builder.job_id)).status is Status.FAILED
            heart.gate.set()
            assert {job.status for job in await ends(heart, others)} == {Status.SUCCEEDED}
            assert ran(heart) == ["gate", "gate"]

    run(scenario())


def test_cancelling_one_who_waits_disturbs_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, KEEP_ALL)) as heart:
            [builder, waiting] = await submitted(heart, 2, "gate")
            await all_say(heart, [waiting], "task execute-0 running")
            await heart.manager.cancel(waiting.job_id)
            assert (await heart.end_of(waiting.job_id)).status is Status.FAILED
            heart.gate.set()
            assert (await heart.end_of(builder.job_id)).status is Status.SUCCEEDED

    run(scenario())


def test_jobs_that_wait_for_another_s_work_take_no_turn_from_different_jobs(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        two = with_jobs(max_identical=0, max_parallel=2)
        async with engine(Heart(tmp_path, two)) as heart:
            same = await submitted(heart, 5, "gate")
            await all_say(heart, same, "task execute-0 running")
            assert (await heart.finish("a")).status is Status.SUCCEEDED
            heart.gate.set()
            assert {job.status for job in await ends(heart, same)} == {Status.SUCCEEDED}

    run(scenario())


def test_a_job_that_waits_for_its_turn_tells_its_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        one = with_jobs(max_parallel=1)
        async with engine(Heart(tmp_path, one)) as heart:
            [at_it] = await submitted(heart, 1, "gate")
            await heart.at_gate.wait()
            waiting = [await heart.manager.submit(heart.request(step)) for step in ("a", "b")]
            places = [heart.manager.queue_position(job.job_id) for job in (at_it, *waiting)]
            assert places == [None, 1, 2]
            heart.gate.set()
            await ends(heart, waiting)
            assert ran(heart) == ["gate", "a", "b"]

    run(scenario())


@pytest.mark.parametrize("limit", ["asked", "allowed"])
def test_a_job_that_runs_for_too_long_is_stopped_with_a_code_of_its_own(
    tmp_path: Path, limit: str
) -> None:
    async def scenario() -> None:
        brief = with_jobs(timeout=0.01 if limit == "allowed" else None)
        async with engine(Heart(tmp_path, brief)) as heart:
            asked = {"timeout": 0.01} if limit == "asked" else {}
            job = await heart.finish("a", "hang", **asked)
            assert job.status is Status.FAILED
            assert job.error is not None
            assert job.error.code == "timeout"
            assert (await heart.said(job.job_id))[-2:] == ["error", "status failed"]
            assert heart.runtime.running == ()
            assert await heart.statefs.volumes(tmp_path / "work") == []

    run(scenario())


def test_time_in_the_line_does_not_count(tmp_path: Path) -> None:
    async def scenario() -> None:
        one = with_jobs(max_parallel=1)
        async with engine(Heart(tmp_path, one)) as heart:
            first = await heart.manager.submit(heart.request("hang", timeout=0.05))
            await heart.hangs_or_ends(first)
            patient = await heart.finish("a", timeout=300)
            assert patient.status is Status.SUCCEEDED

    run(scenario())
