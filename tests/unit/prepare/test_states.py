"""Recipes whose steps do not all leave a state: the same ids, and every step accounted for."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pgstrata.domain.instance import Server
from pgstrata.domain.job import Job, Status
from pgstrata.domain.plan import StateExecuteTask, States
from pgstrata.errors import InvalidArgumentError, NotFoundError
from pgstrata.prepare import spans
from pgstrata.runtime.base import ToolCommand, ToolExit
from pgstrata.runtime.memory import ToolRun
from pgstrata.store.finding import find_state
from tests.unit.prepare.heart import Heart, engine, run, with_jobs
from tests.unit.prepare.test_interrupted import error_of

TAGS = "a", "b", "c-tagged", "d", "e"


async def executing(heart: Heart, job: Job) -> list[StateExecuteTask]:
    tasks = await heart.manager.list_tasks(job.job_id)
    return [task.spec for task in tasks if isinstance(task.spec, StateExecuteTask)]


async def kept(heart: Heart, job: Job) -> list[bool]:
    return [task.kept for task in await executing(heart, job)]


def ran(heart: Heart) -> list[str]:
    return [command.args[-1] for command in heart.runtime.commands]


def contents(heart: Heart, job: Job) -> list[str]:
    """The steps whose work is in a job's instance."""
    assert job.result is not None
    return heart.steps_in(heart.root / "instances" / job.result.instance_id)


def many(count: int) -> tuple[str, ...]:
    return tuple(f"s{number}" for number in range(count))


def test_only_tagged_steps_and_the_last_leave_states(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish(*TAGS, states="tags")
            assert contents(heart, job) == list(TAGS)
            assert await kept(heart, job) == [False, False, True, False, True]
            tasks = await executing(heart, job)
            first, second = await heart.store.states()
            assert first.state_id == tasks[2].output_state_id
            assert second.state_id == tasks[4].output_state_id
            assert (first.parent_state_id, second.parent_state_id) == (None, first.state_id)
            assert (first.steps, second.steps) == (3, 2)
            said = await heart.said(job.job_id)
            for task in tasks:
                assert said.count(f"task {task.task_id} running") == 1
                assert said.count(f"task {task.task_id} succeeded") == 1

    run(scenario())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c-tagged"]), min_size=1, max_size=40))
def test_what_is_kept_changes_no_id_and_no_signature(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    async def scenario() -> None:
        found = []
        async with engine(Heart(tmp_path_factory.mktemp("store"))) as heart:
            for how in ("all", "auto", "tags"):
                job = await heart.finish(*texts, states=how, plan_only=True)
                tasks = await executing(heart, job)
                inputs = [task.input for task in tasks]
                found.append((job.signature, [task.output_state_id for task in tasks], inputs))
        assert found[0] == found[1] == found[2]

    run(scenario())


@pytest.mark.parametrize("first", ["all", "auto", "tags"])
@pytest.mark.parametrize("second", ["all", "auto", "tags"])
def test_what_one_has_kept_is_a_hit_for_the_other(
    tmp_path: Path, first: States, second: States
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            built = await heart.finish(*TAGS, states=first)
            commands = len(heart.runtime.commands)
            again = await heart.finish(*TAGS, states=second)
            assert again.signature == built.signature
            assert len(heart.runtime.commands) == commands
            assert await heart.cached(again.job_id) == [True] * len(TAGS)
            # Whatever was asked for, it is told what is there.
            assert await kept(heart, again) == await kept(heart, built)

    run(scenario())


def test_a_long_recipe_is_run_without_a_state_for_each_step(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish(*many(100))
            assert contents(heart, job) == list(many(100))
            assert len(await heart.store.states()) == sum(await kept(heart, job)) < 40

    run(scenario())


def test_a_change_within_a_span_splits_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish(*many(100))
            before = await kept(heart, job)
            changed = next(at for at in range(40, 60) if not (before[at - 1] or before[at - 2]))
            heart.runtime.commands.clear()
            texts = (*many(100)[:changed], "new", *many(100)[changed + 1 :])
            job = await heart.finish(*texts)
            assert contents(heart, job) == list(texts)
            assert (await kept(heart, job))[changed - 1]
            start = max(at for at in range(changed) if before[at]) + 1
            assert ran(heart) == list(texts[start:])

            # Who changes it once more runs nothing else again.
            heart.runtime.commands.clear()
            texts = (*texts[:changed], "newer", *texts[changed + 1 :])
            await heart.finish(*texts)
            assert ran(heart) == list(texts[changed:])

    run(scenario())


def test_a_plan_tells_what_is_new_apart_from_what_is_only_run_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish(*many(100))
            texts = many(100)[:50], many(100)[51:]
            heart.sources.write("/s50", b"other")
            request = heart.request(*texts[0], "s50", *texts[1])
            why = await heart.manager.explain(request)
            assert (why.decision, why.reason_code, why.step) == ("miss", "input_changed", "s50")
            codes = [task.reason.code for task in why.tasks if task.reason is not None]
            again = codes.count("not_kept")
            assert again > 0
            assert codes[50 - again : 51] == ["not_kept"] * again + ["input_changed"]
            assert set(codes[: 50 - again]) == {"cached"}
            assert set(codes[51:]) == {"parent_missing"}

    run(scenario())


def test_a_kill_within_a_span_has_it_start_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        texts = ("a-tagged", "b", "c", "hang", "e")
        async with engine(heart):
            job = await heart.manager.submit(heart.request(*texts, states="tags"))
            await heart.hanging.wait()
        heart.start_engine()
        heart.runtime.tool = heart.without_hanging
        heart.runtime.commands.clear()
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert contents(heart, ended) == list(texts)
            assert ran(heart) == ["b", "c", "hang", "e"]
            assert await kept(heart, ended) == [True, False, False, False, True]
            assert await heart.store.build_leases() == {}

    run(scenario())


def test_a_step_that_fails_is_named_and_what_came_before_it_is_kept_next_time(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a", "b", "fail", "d", states="tags")
            assert error_of(job) == ("step_failed", "fail ended with exit code 3")
            tasks = await heart.manager.list_tasks(job.job_id)
            assert [task.status for task in tasks if task.task_id.startswith("execute")] == [
                Status.SUCCEEDED,
                Status.SUCCEEDED,
                Status.FAILED,
                Status.QUEUED,
            ]
            assert await heart.store.states() == []
            assert await heart.store.build_leases() == {}

            texts = (*many(70)[:40], "fail", *many(70)[41:])
            await heart.finish(*texts)
            heart.runtime.commands.clear()
            texts = (*texts[:40], "mended", *texts[41:])
            job = await heart.finish(*texts)
            assert contents(heart, job) == list(texts)
            assert (await kept(heart, job))[39]

    run(scenario())


def test_what_has_taken_long_is_kept_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(spans, "WORTH_TIMES", 0)

    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish(*many(50))
            assert contents(heart, job) == list(many(50))
            assert await kept(heart, job) == [True] * 50
            chain = await heart.store.states()
            assert [state.parent_state_id for state in chain[1:]] == [
                state.state_id for state in chain[:-1]
            ]

    run(scenario())


def test_an_engine_that_stops_keeps_what_a_span_has_led_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            job = await heart.manager.submit(heart.request("a", "gate", "c", "d", states="tags"))
            await heart.at_gate.wait()
            drain = heart.coordinator.drain(20.0)
            heart.gate.set()
            await drain
            assert await kept(heart, job) == [False, True, False, True]
            assert len(await heart.store.states()) == 1
        heart.start_engine()
        heart.runtime.commands.clear()
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert contents(heart, ended) == ["a", "gate", "c", "d"]
            assert ran(heart) == ["c", "d"]

    run(scenario())


@pytest.mark.parametrize("times", [1, 2])
def test_a_server_that_is_killed_within_a_span_has_it_run_once_more(
    tmp_path: Path, times: int
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a-tagged", "b-tagged")
            kill_at(heart, "d", times)
            job = await heart.finish("a-tagged", "b-tagged", "c", "d", "e", states="tags")
            if times == 2:
                assert error_of(job) == ("step_interrupted", "the server was ended")
                return
            assert contents(heart, job) == ["a-tagged", "b-tagged", "c", "d", "e"]
            assert (
                "log the server was ended: it and the step before it, which had no state yet, are "
                "run once more"
            ) in await heart.said(job.job_id)

    run(scenario())


def kill_at(heart: Heart, step: str, times: int) -> None:
    """Have the server killed under the tool of a step, so many times."""
    usual, left = heart.runtime.tool, times

    def tool(server: Server, command: ToolCommand) -> ToolRun:
        nonlocal left
        if command.args[-1] != step or not left:
            return usual(server, command)
        left -= 1
        heart.runtime.kill(server)
        return ToolRun(ended=ToolExit(exit_code=2, stderr_tail="connection to server was lost"))

    heart.runtime.tool = tool


def test_others_follow_a_span_and_learn_which_step_failed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, with_jobs(max_identical=0))) as heart:
            for texts in (("a", "gate", "c"), ("a", "b", "gate-fail", "d")):
                heart.gate.clear()
                heart.at_gate.clear()
                heart.runtime.commands.clear()
                jobs = [
                    await heart.manager.submit(heart.request(*texts, states="tags"))
                    for _ in range(3)
                ]
                await heart.at_gate.wait()
                heart.gate.set()
                ended = [await heart.end_of(job.job_id) for job in jobs]
                fails = "gate-fail" in texts
                assert {job.status for job in ended} == {
                    Status.FAILED if fails else Status.SUCCEEDED
                }
                assert ran(heart) == list(texts[:3])
                for job in ended:
                    tasks = await heart.manager.list_tasks(job.job_id)
                    failed = [task.task_id for task in tasks if task.status is Status.FAILED]
                    assert failed == (["execute-2"] if fails else [])

    run(scenario())


def test_a_step_without_a_state_is_no_state_to_start_from_and_that_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a", "b", states="tags")
            first, _ = await executing(heart, job)
            with pytest.raises(NotFoundError, match="was not kept"):
                await find_state(heart.store, first.output_state_id)

    run(scenario())


def test_a_kind_without_tags_refuses_to_keep_tagged_steps(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.recipe.has_tags = False
        async with engine(heart):
            with pytest.raises(InvalidArgumentError, match="have no tags"):
                await heart.manager.submit(heart.request("a", states="tags"))

    run(scenario())


def test_a_state_is_gone_with_what_is_known_of_the_steps_in_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a", "b", states="tags")
            ids = [task.output_state_id for task in await executing(heart, job)]
            assert await heart.store.run_before(ids) == set(ids)
            assert job.result is not None
            await heart.store.remove_instance(job.result.instance_id)
            await heart.store.remove_state(ids[-1])
            assert await heart.store.run_before(ids) == frozenset()

    run(scenario())


def test_an_input_that_changes_while_a_span_runs_fails_the_job(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            request = heart.request("a", "gate", "c", states="tags")
            job = await heart.manager.submit(request)
            await heart.at_gate.wait()
            heart.sources.write("/c", b"other")
            heart.gate.set()
            ended = await heart.end_of(job.job_id)
            assert error_of(ended)[0] == "input_changed"
            assert await heart.store.states() == []

    run(scenario())


def test_a_plan_made_before_is_resumed_with_what_is_to_be_kept_now(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            job = await heart.manager.submit(heart.request("a", "hang", "c", states="tags"))
            await heart.hanging.wait()
        stored = await heart.queue.get(job.job_id)
        assert stored is not None
        heart.start_engine()
        heart.runtime.tool = heart.without_hanging
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert (await heart.said(job.job_id)).count("task plan succeeded") == 1
            assert replace(ended, status=Status.RUNNING, result=None, finished_at=None) == stored

    run(scenario())
