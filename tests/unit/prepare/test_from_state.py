"""A recipe goes on from any state, as it would from the image."""

from pathlib import Path

import pytest

from pgstrata.domain.initdb import Initdb
from pgstrata.domain.job import Job, Status
from pgstrata.domain.plan import StateExecuteTask, TaskInput
from pgstrata.domain.state import State
from pgstrata.errors import ConflictError, InvalidArgumentError
from pgstrata.runtime.memory import INSTALLATIONS
from tests.unit.prepare.heart import SETTINGS, Heart, engine, run

OLDER = f"postgres:{INSTALLATIONS[-1].version}"


async def executing(heart: Heart, job: Job) -> list[StateExecuteTask]:
    tasks = await heart.manager.list_tasks(job.job_id)
    return [task.spec for task in tasks if isinstance(task.spec, StateExecuteTask)]


async def seeded(heart: Heart, **more: object) -> State:
    """A state that no recipe leads to."""
    job = await heart.finish("a", **more)
    assert job.result is not None
    return await heart.instance_snapshots.snapshot(job.result.instance_id, name="seeded")


def test_its_steps_are_run_on_that_state_and_named_after_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state = await seeded(heart)
            job = await heart.finish("b", "c", start_from="seeded", image_id="")
            assert job.result is not None
            assert (job.request.start_from, job.request.image_id) == (
                state.state_id,
                state.image_id,
            )
            first, second = await executing(heart, job)
            assert first.input == TaskInput(kind="state", id=state.state_id)
            parents = {one.state_id: one.parent_state_id for one in await heart.store.states()}
            assert parents[second.output_state_id] == first.output_state_id
            assert parents[first.output_state_id] == state.state_id
            place = tmp_path / "states" / second.output_state_id
            assert heart.steps_in(place) == ["a", "b", "c"]
            # The same again, with the beginning of its id.
            again = await heart.finish("b", "c", start_from=state.state_id[:8].upper())
            assert await heart.cached(again.job_id) == [True, True]
            assert again.signature == job.signature
            # But not the same from the image.
            other = await heart.finish("a", "b", "c")
            assert await heart.cached(other.job_id) == [True, False, False]

    run(scenario())


def test_without_steps_the_instance_is_of_that_very_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state = await seeded(heart)
            before = {one.state_id for one in await heart.store.states()}
            job = await heart.finish(start_from="seeded", image_id="")
            assert job.result is not None
            assert job.result.state_id == state.state_id
            assert await executing(heart, job) == []
            assert {one.state_id for one in await heart.store.states()} == before
            found = await heart.manager.explain(
                heart.request(start_from="seeded", image_id="", plan_only=True)
            )
            assert (found.decision, found.matched_state_id) == ("hit", state.state_id)

    run(scenario())


def test_from_a_recipe_s_state_its_steps_are_those_of_the_recipe(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = {"datestyle": "German", "work_mem": "1MB"}
        async with engine(Heart(tmp_path)) as heart:
            whole = await heart.finish("a", "b", settings=settings)
            middle, last = await executing(heart, whole)
            job = await heart.finish("b", start_from=middle.output_state_id)
            assert job.request.settings == settings
            assert job.result is not None
            assert job.result.state_id == last.output_state_id
            # With another setting it is another state.
            other = await heart.finish(
                "b", start_from=middle.output_state_id, settings={"datestyle": "ISO"}
            )
            assert other.request.settings == settings | {"datestyle": "ISO"}
            assert await heart.cached(other.job_id) == [False]
            assert (await executing(heart, other))[0].reason.input == "server settings"  # type: ignore[union-attr]

    run(scenario())


def test_what_an_engine_added_since_is_part_of_the_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            whole = await heart.finish("a", "b")
        runtime = SETTINGS.runtime._replace(settings={"datestyle": "German"})
        heart.settings = SETTINGS._replace(runtime=runtime)
        heart.start_engine()
        async with engine(heart):
            middle, last = await executing(heart, whole)
            job = await heart.finish("b", start_from=middle.output_state_id)
            assert job.result is not None
            assert job.result.state_id != last.output_state_id

    run(scenario())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"start_from": "nope"}, "no state 'nope'"),
        ({"start_from": "abcdef0"}, "too short"),
        ({"start_from": "0" * 64}, "no state"),
        ({"start_from": "dev"}, "the name of an instance"),
        ({"start_from": "seeded", "image_id": OLDER}, "another image"),
        ({"start_from": "seeded", "initdb": Initdb(encoding="LATIN1")}, "a cluster already"),
    ],
)
def test_what_it_cannot_go_on_from_is_refused(
    tmp_path: Path, more: dict[str, object], said: str
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await seeded(heart, instance_name="dev")
            for ask in (heart.manager.submit, heart.manager.explain):
                with pytest.raises(InvalidArgumentError, match=said):
                    await ask(heart.request("b", **more))

    run(scenario())


def test_no_instance_gets_the_name_of_a_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await seeded(heart)
            with pytest.raises(ConflictError, match="taken by state"):
                await heart.manager.submit(heart.request("b", instance_name="seeded"))

    run(scenario())


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state = await seeded(heart)
            heart.disk.remove_tree(tmp_path / "states" / state.state_id / "marker")
            with pytest.raises(ConflictError, match="missing or damaged"):
                await heart.manager.submit(heart.request("b", start_from="seeded"))
            assert heart.in_use.held == frozenset()

    run(scenario())


def test_a_plan_and_an_explanation_start_from_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state = await seeded(heart)
            planned = await heart.finish("b", start_from="seeded", plan_only=True)
            [step] = await executing(heart, planned)
            assert (step.input.id, step.cached) == (state.state_id, False)
            why = await heart.manager.explain(heart.request("b", start_from="seeded"))
            assert (why.decision, why.matched_state_id) == ("miss", state.state_id)
            await heart.finish("b", start_from="seeded")
            why = await heart.manager.explain(heart.request("b", start_from="seeded"))
            assert (why.decision, why.matched_state_id) == ("hit", step.output_state_id)
            assert heart.in_use.held == frozenset()

    run(scenario())


def test_it_is_kept_while_a_job_waits_and_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state = await seeded(heart)
            jobs = [
                await heart.manager.submit(heart.request(f"gate{n}", start_from="seeded"))
                for n in range(5)  # one more than may run
            ]
            await heart.at_gate.wait()
            assert not await heart.removal.remove(state.state_id)
            heart.gate.set()
            for job in jobs:
                assert (await heart.end_of(job.job_id)).status is Status.SUCCEEDED
            assert heart.in_use.held == frozenset()

    run(scenario())


def test_a_job_that_another_engine_began_goes_on_from_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            state = await seeded(heart)
            job = await heart.manager.submit(heart.request("b", "gate", start_from="seeded"))
            await heart.at_gate.wait()
        heart.gate.set()
        heart.start_engine()
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.result is not None
            tree = await heart.store.tree(state.state_id)
            assert tree is not None
            assert ended.result.state_id in {one.state_id for one in tree.states}
            assert heart.in_use.held == frozenset()

    run(scenario())
