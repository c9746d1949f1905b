"""Tools that stay connected: some steps are run in one call, and each is told of all the same."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pgstrata.domain.instance import Server
from pgstrata.domain.job import Status
from pgstrata.domain.plan import Step
from pgstrata.kinds.memory import MemoryRunner
from pgstrata.kinds.sources.base import LocalSources
from pgstrata.prepare import task_log
from pgstrata.runtime.base import LineSink, Passed, Runtime, ToolCommand
from pgstrata.runtime.memory import ToolRun
from tests.servers import data_dir_of
from tests.unit.prepare.heart import Heart, engine, run
from tests.unit.prepare.test_interrupted import error_of
from tests.unit.prepare.test_states import contents, kept, many


class Connected(MemoryRunner):
    """Stays connected, and tells how many steps it has run in each call."""

    keeps_session = True

    def __init__(self) -> None:
        self.calls: list[int] = []

    async def execute_many(
        self,
        steps: Sequence[Step],
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
        goes_on: Callable[[], bool],
    ) -> None:
        self.calls.append(0)
        for number, step in enumerate(steps):
            if number:
                if not goes_on():
                    return
                await line(Passed())
            await self.execute(step, sources, server, runtime, line)
            self.calls[-1] += 1


def connected(root: Path) -> tuple[Heart, Connected]:
    heart, runner = Heart(root), Connected()
    heart.runner = runner
    heart.start_engine()
    return heart, runner


def test_what_is_told_of_steps_is_the_same_whether_they_are_run_in_one_call(tmp_path: Path) -> None:
    async def told(heart: Heart) -> list[str]:
        async with engine(heart):
            job = await heart.finish(*many(5), "s5-tagged", "chatter", "s7", states="tags")
            assert contents(heart, job) == [*many(5), "s5-tagged", "chatter", "s7"]
            assert await kept(heart, job) == [False] * 5 + [True, False, True]
            return await heart.said(job.job_id)

    async def scenario() -> None:
        heart, runner = connected(tmp_path / "connected")
        assert await told(heart) == await told(Heart(tmp_path / "alone"))
        assert runner.calls == [6, 2]

    run(scenario())


def test_what_was_left_out_of_a_steps_lines_is_told_before_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_log, "MOST_LINES", 1)

    async def scenario() -> None:
        heart, _ = connected(tmp_path)
        async with engine(heart):
            job = await heart.finish("chatter", "b", states="tags")
            said = await heart.said(job.job_id)
            assert said.index("log world") < said.index("task execute-0 succeeded")

    run(scenario())


def test_a_step_that_fails_in_a_call_with_others_is_the_one_that_failed(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart, runner = connected(tmp_path)
        async with engine(heart):
            job = await heart.finish("a", "b", "fail", "d", states="tags")
            assert error_of(job) == ("step_failed", "fail ended with exit code 3")
            tasks = await heart.manager.list_tasks(job.job_id)
            assert [task.status for task in tasks if task.task_id.startswith("execute")] == [
                Status.SUCCEEDED,
                Status.SUCCEEDED,
                Status.FAILED,
                Status.QUEUED,
            ]
            assert runner.calls == [2]
            assert await heart.store.states() == []

    run(scenario())


@pytest.mark.parametrize("left", ["postgresql.auto.conf", "pg_replslot/slot"])
def test_a_step_after_which_the_server_must_be_seen_to_ends_its_call(
    tmp_path: Path, left: str
) -> None:
    async def scenario() -> None:
        heart, runner = connected(tmp_path)
        usual = heart.runtime.tool

        def tool(server: Server, command: ToolCommand) -> ToolRun:
            if command.args[-1] == "leaves":
                heart.disk.write(data_dir_of(server) / left, b"work_mem = '7MB'")
            return usual(server, command)

        heart.runtime.tool = tool
        async with engine(heart):
            steps = "a", "leaves", "b", "c"
            job = await heart.finish(*steps, states="tags")
            assert contents(heart, job) == list(steps)
            assert runner.calls == [2, 2]

    run(scenario())
