"""Why a step is a hit or a miss: decided from what is known, and told with a job's plan."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.cache.capacity import Disk
from pgstrata.domain import identity
from pgstrata.domain.durations import Seconds
from pgstrata.domain.plan import CACHED, Reason, StateExecuteTask, Step
from pgstrata.domain.reason import Evidence, Removal, RemovedFor, StepRecord, step_record
from pgstrata.prepare import planner, reasons
from pgstrata.store.memory import MemoryStore
from tests.unit.prepare.heart import Heart, engine, run

IMAGE = "postgres@sha256:" + "1" * 64
OTHER_IMAGE = "postgres@sha256:" + "2" * 64
MIDNIGHT = datetime(2025, 5, 1, tzinfo=UTC)


def step(title: str = "-f a.sql", /, **parts: str) -> Step:
    """A step of these parts, by their names and contents."""
    named = {name: identity.digest(content) for name, content in parts.items()}
    return Step(
        kind="psql",
        digest=identity.digest([title, parts]),
        args=(),
        title=title,
        work_dir=Path("/"),
        parts=named,
    )


def uncacheable(known: Step) -> Step:
    return replace(known, uncacheable=True)


def chain(
    *steps: Step, image: str = IMAGE, parts: dict[str, str] | None = None, **settings: str
) -> planner.Chain:
    return planner.chain(image, steps, server_settings=settings, image_parts=parts or {})


def record(
    *steps: Step, image: str = IMAGE, parts: dict[str, str] | None = None, **settings: str
) -> StepRecord:
    """What is kept of the last of these steps."""
    made = chain(*steps, image=image, parts=parts, **settings)
    return step_record(made.state_ids[-1], made.inputs[-1], steps[-1], made.image_parts)


def compared(wanted: Step, *others: StepRecord, parts: dict[str, str] | None = None) -> Reason:
    """Why a step is to be built where these are known to be like it."""
    wanted_chain = chain(wanted, parts=parts)
    explained = reasons.explain(wanted_chain, frozenset(), Evidence(alike=others))
    return explained[wanted_chain.state_ids[0]]


def codes(found: Iterable[Reason]) -> list[str]:
    return [reason.code for reason in found]


PARTS = {"tzdata": "2025a", "ICU": "72", "extensions": "1"}


@pytest.mark.parametrize(
    ("now", "says", "named"),
    [
        ({"tzdata": "2025b"}, "PostgreSQL differs: tzdata changed (compared", "tzdata"),
        ({"ICU": "73", "tzdata": "2025b"}, "PostgreSQL differs: tzdata, ICU changed", "tzdata"),
        ({}, f"the image differs from {OTHER_IMAGE}", "image"),
    ],
)
def test_what_changed_of_postgresql_is_named(now: dict[str, str], says: str, named: str) -> None:
    before = record(step(a="1"), image=OTHER_IMAGE, parts=PARTS)
    reason = compared(step(a="1"), before, parts=PARTS | now)
    assert (reason.code, reason.input) == ("input_changed", named)
    assert reason.text.startswith(says)


def test_of_a_state_kept_before_parts_were_known_only_the_image_is_named() -> None:
    reason = compared(step(a="1"), record(step(a="1"), image=OTHER_IMAGE), parts=PARTS)
    assert reason.input == "image"


def test_a_state_that_is_there_is_cached_whatever_else_is_known() -> None:
    states = chain(step(a="1"), uncacheable(step(b="1")))
    evidence = Evidence(removals={states.state_ids[0]: Removal(why="evicted", at=MIDNIGHT)})
    assert codes(reasons.explain(states, set(states.state_ids), evidence).values()) == [
        "cached",
        "cached",
    ]


def test_what_comes_after_a_miss_is_a_miss_for_want_of_its_start() -> None:
    states = chain(step(a="1"), step(b="1"), step(c="1"))
    explained = reasons.explain(states, {states.state_ids[0]}, Evidence())
    assert codes(explained.values()) == ["cached", "never_built", "parent_missing"]


def test_a_step_that_cannot_be_cached_says_so_wherever_it_stands() -> None:
    first, second = uncacheable(step(a="1")), uncacheable(step(b="1"))
    explained = reasons.explain(chain(first, second, step(c="1")), frozenset(), Evidence())
    assert codes(explained.values()) == ["uncacheable", "uncacheable", "parent_missing"]


@pytest.mark.parametrize("why", ["evicted", "dirty", "removed"])
def test_a_state_that_went_says_why_and_when_even_after_another(why: RemovedFor) -> None:
    states = chain(step(a="1"), step(b="1"))
    gone = Removal(why=why, at=MIDNIGHT)
    evidence = Evidence(
        removals=dict.fromkeys(states.state_ids, gone), alike=(record(step(a="2")),)
    )
    explained = reasons.explain(states, frozenset(), evidence)
    assert codes(explained.values()) == [why, why]
    assert all("2025-05-01 00:00:00 UTC" in reason.text for reason in explained.values())


def test_only_the_first_state_to_be_built_is_compared_with_others() -> None:
    states = chain(step(a="1"), step(b="1"), step(c="1"))
    cached = {states.state_ids[0]}
    assert reasons.missing(states, cached) == states.state_ids[1:]
    assert reasons.first_missing(states, cached) == record(step(a="1"), step(b="1"))
    assert reasons.first_missing(states, set(states.state_ids)) is None


@pytest.mark.parametrize(
    ("before", "now", "name", "text"),
    [
        ({"a": "1", "b": "1"}, {"a": "1", "b": "2"}, "b", "b differs"),
        ({"a": "1"}, {"a": "1", "v": "1"}, None, None),
        ({"a": "1", "b": "1"}, {"a": "1", "b": "1", "v": "1"}, "v", "v is new"),
        ({"a": "1", "b": "1", "v": "1"}, {"a": "1", "b": "1"}, "v", "v is gone"),
        ({"a": "1", "b": "1"}, {"a": "2", "b": "2"}, "a", "a differs, and 1 more input"),
        ({"a": "1", "b": "1"}, {"a": "2", "c": "2"}, "a", "a differs, and 2 more inputs"),
        ({"a": "1", "b": "2"}, {"a": "2", "b": "1"}, "a", "a differs, and 1 more input"),
    ],
)
def test_the_input_that_differs_is_named(
    before: dict[str, str], now: dict[str, str], name: str | None, text: str | None
) -> None:
    other = record(step(**before))
    reason = compared(step(**now), other)
    assert reason.input == name
    if text is None:
        assert reason.code == "never_built"
    else:
        assert reason.code == "input_changed"
        assert reason.text == f"{text} (compared with state {other.state_id[:12]})"


def test_a_file_that_is_only_called_otherwise_is_no_difference() -> None:
    other = record(step(x="1", y="2", z="3"))
    assert compared(step(a="1", b="2", z="4"), other).input == "z"


def test_steps_that_have_no_more_in_common_than_not_are_not_alike() -> None:
    assert compared(step("-f b.sql", b="1", v="1"), record(step(a="2", v="1"))).code == (
        "never_built"
    )


def test_the_nearest_is_the_one_with_the_fewest_differences_and_the_first_of_those() -> None:
    far = record(step(a="2", b="2", c="1"))
    near = record(step(a="1", b="1", c="2"))
    as_near = record(step(a="1", b="3", c="1"))
    for others, name in (((far, near, as_near), "c"), ((as_near, near), "b"), ((far,), "a")):
        assert compared(step(a="1", b="1", c="1"), *others).input == name


def test_the_same_step_on_another_image_names_the_image() -> None:
    reason = compared(step(a="1"), record(step(a="2")), record(step(a="1"), image=OTHER_IMAGE))
    assert (reason.code, reason.input) == ("input_changed", "image")
    assert OTHER_IMAGE in reason.text


def test_the_same_step_under_other_settings_of_the_server_names_them() -> None:
    on_another = record(step(a="1"), image=OTHER_IMAGE)
    reason = compared(step(a="1"), on_another, record(step(a="1"), DateStyle="German"))
    assert (reason.code, reason.input) == ("input_changed", "server settings")


def test_without_anything_alike_nothing_is_claimed() -> None:
    assert compared(step(a="1")).code == "never_built"
    assert compared(step(a="1"), record(step())).code == "never_built"
    assert compared(step(), record(step("-f b.sql"))).code == "never_built"


def test_of_very_many_parts_only_that_some_differ_is_kept_and_told() -> None:
    parts = {f"file {number}": "1" for number in range(1000)}
    many = record(step(**parts))
    assert len(many.parts) == 1
    assert compared(step(**(parts | {"file 7": "2"})), many).input == "inputs"
    assert compared(step(**dict(list(parts.items())[:9])), many).input == "inputs"


# Told with a job's plan


async def told(heart: Heart, *texts: str, **more: object) -> list[Reason]:
    """The reasons of a plan alone."""
    job = await heart.finish(*texts, plan_only=True, **more)
    return await reasons_of(heart, job.job_id)


async def reasons_of(heart: Heart, job_id: str) -> list[Reason]:
    specs = [task.spec for task in await heart.manager.list_tasks(job_id)]
    found = [spec for spec in specs if isinstance(spec, StateExecuteTask)]
    assert all((spec.reason == CACHED) == spec.cached for spec in found)
    return [spec.reason for spec in found if spec.reason is not None]


def test_a_plan_says_why_of_each_step_and_a_prepare_keeps_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            assert codes(await told(heart, "a", "b")) == ["never_built", "parent_missing"]
            built = await heart.finish("a", "b")
            assert codes(await reasons_of(heart, built.job_id)) == [
                "never_built",
                "parent_missing",
            ]
            for plan_only in (True, False):
                again = await heart.finish("a", "b", plan_only=plan_only)
                assert codes(await reasons_of(heart, again.job_id)) == ["cached", "cached"]

    run(scenario())


def test_a_script_that_was_edited_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a", "b", "c")
            heart.sources.write("/b", b"b, but better")
            found = await told(heart, "a", "b", "c")
            assert codes(found) == ["cached", "input_changed", "parent_missing"]
            assert found[1].input == "b"
            assert found[1].text.startswith("b differs (compared with state ")

    run(scenario())


def test_a_state_that_was_evicted_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.limits = heart.limits._replace(min_state_age=Seconds(0))
        heart.start_engine()
        async with engine(heart):
            job = await heart.finish("a", "b")
            assert job.result is not None
            await heart.store.remove_instance(job.result.instance_id)
            heart.space = Disk(total_bytes=1 << 40, free_bytes=1)
            await heart.evictor.relieve("after_snapshot")
            found = await told(heart, "a", "b")
            assert codes(found) == ["evicted", "evicted"]

    run(scenario())


def test_a_state_whose_files_are_not_whole_says_so_while_it_is_there_and_afterwards(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a", "b")
            assert job.result is not None
            await heart.store.remove_instance(job.result.instance_id)
            marker = heart.root / "states" / job.result.state_id / "marker"
            heart.disk.remove_tree(marker)
            assert codes(await told(heart, "a", "b")) == ["cached", "dirty"]
            rebuilt = await heart.finish("a", "b")
            assert codes(await reasons_of(heart, rebuilt.job_id)) == ["cached", "dirty"]

            assert rebuilt.result is not None
            await heart.store.remove_instance(rebuilt.result.instance_id)
            heart.disk.remove_tree(marker)
            assert await heart.files.throw_out(job.result.state_id) == "removed"
            assert codes(await told(heart, "a", "b")) == ["cached", "dirty"]

    run(scenario())


def test_a_damaged_state_that_an_instance_was_made_from_says_so_even_when_emptied(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a", "b")
            assert job.result is not None
            heart.disk.remove_tree(heart.root / "states" / job.result.state_id / "marker")
            assert await heart.files.throw_out(job.result.state_id) == "emptied"
            assert codes(await told(heart, "a", "b")) == ["cached", "dirty"]

    run(scenario())


def test_a_state_that_someone_removed_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a")
            assert job.result is not None
            await heart.store.remove_all(
                state_ids=[job.result.state_id], instance_ids=[job.result.instance_id]
            )
            assert codes(await told(heart, "a")) == ["removed"]

    run(scenario())


def test_a_step_that_cannot_be_cached_says_so_each_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            for _ in range(2):
                job = await heart.finish("unknowable", "b", uncacheable="run")
                found = await reasons_of(heart, job.job_id)
                assert codes(found) == ["uncacheable", "parent_missing"]

    run(scenario())


def test_a_state_that_another_job_built_meanwhile_is_a_hit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first = await heart.manager.submit(heart.request("gate"))
            await heart.at_gate.wait()
            second = await heart.manager.submit(heart.request("gate"))
            number = 0
            while "building" not in (await heart.said(second.job_id))[-1]:
                number += 1
                await heart.manager.wait_for_event(second.job_id, number)
            assert codes(await reasons_of(heart, second.job_id)) == ["never_built"]
            heart.gate.set()
            for job, code in ((first, "never_built"), (second, "cached")):
                await heart.end_of(job.job_id)
                assert codes(await reasons_of(heart, job.job_id)) == [code]

    run(scenario())


def test_a_state_that_was_lost_while_no_engine_ran_is_built_again_with_the_reason(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            built = await heart.finish("a")
            assert built.result is not None
            job = await heart.manager.submit(heart.request("a", "hang"))
            await heart.hanging.wait()
        heart.disk.remove_tree(heart.root / "states" / built.result.state_id)
        heart.runtime.tool = heart.without_hanging
        heart.start_engine()
        async with engine(heart):
            await heart.end_of(job.job_id)
            found = await reasons_of(heart, job.job_id)
            assert codes(found) == ["dirty", "never_built"]

    run(scenario())


class CountingStore(MemoryStore):
    """Counts how often it is asked for evidence."""

    questions = 0

    async def evidence(self, state_ids: Collection[str], step: StepRecord | None) -> Evidence:
        self.questions += 1
        return await super().evidence(state_ids, step)


def test_a_plan_asks_for_evidence_once_if_anything_is_to_be_built_and_else_never(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        store = CountingStore()
        heart.store = store
        heart.start_engine()
        async with engine(heart):
            await heart.finish("a", "b", "c")
            assert store.questions == 1
            await heart.finish("a", "b", "c")
            await heart.finish("a", "b", "c", plan_only=True)
            assert store.questions == 1
            await heart.finish("a", "b", "d", "e", plan_only=True)
            assert store.questions == 2

    run(scenario())


def test_a_request_is_explained_by_its_first_step_that_would_run_and_nothing_is_made(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a", "b")
            jobs = await heart.manager.list_jobs()
            hit = await heart.manager.explain(heart.request("a", "b"))
            assert (hit.decision, hit.reason_code) == ("hit", "cached")
            assert hit.matched_state_id == hit.tasks[-1].output_state_id
            heart.sources.write("/b", b"changed")
            miss = await heart.manager.explain(heart.request("a", "b", "c"))
            assert (miss.decision, miss.reason_code) == ("miss", "input_changed")
            assert miss.matched_state_id == hit.tasks[0].output_state_id
            assert miss.step == miss.tasks[1].args_summary
            assert miss.reason.input is not None
            assert miss.reason.input.endswith("b")
            never = await heart.manager.explain(heart.request("z"))
            assert (never.decision, never.matched_state_id) == ("miss", None)
            assert await heart.manager.list_jobs() == jobs

    run(scenario())
