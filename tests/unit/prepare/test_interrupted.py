"""Steps whose server or tool is ended from outside, which is no fault of theirs."""

from pathlib import Path

from pgstrata.domain.instance import Server
from pgstrata.domain.job import Job, Status
from pgstrata.runtime.base import ToolCommand, ToolExit
from pgstrata.runtime.memory import ToolRun
from tests.unit.prepare.heart import Heart, engine, run


def kill_the_first(heart: Heart, times: int) -> None:
    """Have the server killed under the first tools, each after it has done something."""
    usual = heart.runtime.tool
    left = times

    def tool(server: Server, command: ToolCommand) -> ToolRun:
        nonlocal left
        done = usual(server, command)
        if not left:
            return done
        left -= 1
        heart.runtime.kill(server)
        return ToolRun(ended=ToolExit(exit_code=2, stderr_tail="connection to server was lost"))

    heart.runtime.tool = tool


def error_of(job: Job) -> tuple[str, str]:
    assert job.error is not None
    return job.error.code, job.error.message


def test_a_step_whose_server_was_killed_is_run_once_more_from_its_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a")
            kill_the_first(heart, 1)
            job = await heart.finish("a", "b", "c")
            assert job.status is Status.SUCCEEDED
            assert job.result is not None
            assert heart.steps_in(tmp_path / "instances" / job.result.instance_id) == [
                "a",
                "b",
                "c",
            ]
            said = await heart.said(job.job_id)
            assert "log the server was ended: the step is run once more" in said

    run(scenario())


def test_a_step_whose_server_is_killed_again_is_told_so_and_blames_nobody_else(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            kill_the_first(heart, 2)
            job = await heart.finish("a")
            assert error_of(job) == ("step_interrupted", "the server was ended")
            assert job.error is not None
            assert "correct" not in (job.error.details or "")
            assert heart.runtime.running == ()

    run(scenario())


def test_a_step_that_may_have_done_something_elsewhere_is_not_run_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            kill_the_first(heart, 1)
            job = await heart.finish("unknowable", uncacheable="run")
            assert error_of(job) == ("step_interrupted", "the server was ended")
            assert len(heart.runtime.commands) == 1

    run(scenario())
