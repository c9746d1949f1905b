"""Steps whose server or tool is ended from outside, which is no fault of theirs."""

from pathlib import Path

import pytest

from pgstrata.dbms.memory import SETTINGS_FILE
from pgstrata.domain.instance import Server
from pgstrata.domain.job import Job, Status
from pgstrata.runtime.base import ToolCommand, ToolExit
from pgstrata.runtime.memory import ToolRun
from pgstrata.settings import Consistency, SnapshotSettings
from tests.servers import data_dir_of
from tests.unit.prepare.heart import SETTINGS, Heart, engine, run


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


async def check_made_once_more(heart: Heart, job: Job, what: str = "the step is") -> None:
    """The job has its three steps, and was told what was run again."""
    assert job.error is None
    assert job.result is not None
    made = heart.steps_in(heart.root / "instances" / job.result.instance_id)
    assert made == ["a", "b", "c"]
    assert f"log the server was ended: {what} run once more" in await heart.said(job.job_id)


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


@pytest.mark.parametrize("consistency", ["clean", "crash"])
def test_what_a_server_held_that_was_killed_before_it_was_kept_is_made_once_more(
    tmp_path: Path, consistency: Consistency, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        settings = SETTINGS._replace(snapshot=SnapshotSettings(consistency=consistency))
        async with engine(Heart(tmp_path, settings)) as heart:
            await heart.finish("a")
            check, killed = heart.dbms.check_snapshot, False

            async def kill_and_check(data_dir: Path) -> None:
                nonlocal killed
                if not killed:
                    killed = True
                    [server] = [
                        one for one in heart.runtime.running if data_dir_of(one) == data_dir
                    ]
                    heart.runtime.kill(server)
                await check(data_dir)

            monkeypatch.setattr(heart.dbms, "check_snapshot", kill_and_check)
            job = await heart.finish("a", "b", "c")
            await check_made_once_more(heart, job)

    run(scenario())


def kill_before_the_first_stop(heart: Heart, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first server that is to be stopped cleanly killed before it hears of that."""
    stop, killed = heart.runtime.stop, False

    async def kill_and_stop(server: Server, *, clean: bool = True) -> None:
        nonlocal killed
        if clean and not killed:
            killed = True
            heart.runtime.kill(server)
        await stop(server, clean=clean)

    monkeypatch.setattr(heart.runtime, "stop", kill_and_stop)


@pytest.mark.parametrize(
    ("kept", "what"),
    [
        ("all", "the step is"),
        ("tags", "it and the step before it, which had no state yet, are"),
    ],
)
def test_what_a_server_held_that_was_killed_as_it_was_to_be_stopped_is_made_once_more(
    tmp_path: Path, kept: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            tool = heart.runtime.tool

            def changing_settings(server: Server, command: ToolCommand) -> ToolRun:
                heart.disk.write(data_dir_of(server) / SETTINGS_FILE, command.args[-1].encode())
                return tool(server, command)

            heart.runtime.tool = changing_settings
            await heart.finish("a")
            kill_before_the_first_stop(heart, monkeypatch)
            job = await heart.finish("a", "b", "c", states=kept)
            await check_made_once_more(heart, job, what)

    run(scenario())
