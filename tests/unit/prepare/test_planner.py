"""Planning: from steps to named states to tasks."""

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from pgstrata.domain.plan import ResolveImageTask, StateExecuteTask, Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.prepare import planner

IMAGE = "postgres@sha256:" + "1" * 64
NO_SETTINGS: Mapping[str, str] = {}


def step(content: str) -> Step:
    return Step(
        kind="psql",
        digest=content.ljust(64, "0"),
        args=("-c", content),
        title=f"-c {content}",
        work_dir=Path("/"),
    )


def chain_of(
    *contents: str, image: str = IMAGE, server_settings: Mapping[str, str] = NO_SETTINGS
) -> planner.Chain:
    steps = [step(content) for content in contents]
    return planner.chain(image, steps, server_settings=server_settings)


def states(*contents: str, image: str = IMAGE) -> tuple[str, ...]:
    return chain_of(*contents, image=image).state_ids


def test_a_changed_step_changes_its_state_and_all_after_it_and_none_before() -> None:
    before, after = states("a", "b", "c"), states("a", "x", "c")
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert before[2] != after[2]


def test_another_image_makes_all_states_others() -> None:
    assert not set(states("a", "b")) & set(states("a", "b", image=IMAGE.replace("1", "2")))


def test_settings_of_the_server_make_all_states_others_and_leave_the_image_alone() -> None:
    german = chain_of("a", "b", server_settings={"DateStyle": "German"})
    iso = chain_of("a", "b", server_settings={"DateStyle": "ISO"})
    assert len({*states("a", "b"), *german.state_ids, *iso.state_ids}) == 6
    assert german.inputs[0] == iso.inputs[0]


def test_the_way_its_cluster_is_made_makes_all_states_others_and_leaves_the_image_alone() -> None:
    steps = [step("a"), step("b")]
    asked: list[Mapping[str, str]] = [{}, {"locale": "de"}, {"encoding": "de"}]
    made = [planner.chain(IMAGE, steps, server_settings={}, initdb=each) for each in asked]
    assert made[0].state_ids == states("a", "b")
    assert len({state for chain in made for state in chain.state_ids}) == 6
    assert len({chain.inputs[0] for chain in made}) == 1
    settings = planner.chain(IMAGE, steps, server_settings={"locale": "de"})
    assert settings.state_ids[0] != made[1].state_ids[0]


def test_the_order_of_steps_matters() -> None:
    assert states("a", "b")[-1] != states("b", "a")[-1]


def test_equal_steps_in_a_row_make_different_states() -> None:
    first, second = states("a", "a")
    assert first != second


def test_each_step_starts_from_the_state_before_and_the_first_from_the_image() -> None:
    chain = chain_of("a", "b")
    assert [(start.kind, start.id) for start in chain.inputs] == [
        ("image", IMAGE),
        ("state", chain.state_ids[0]),
    ]


def test_a_cached_step_is_a_task_like_any_other() -> None:
    chain = chain_of("a", "b")
    request = PrepareRequest(prepare_kind="psql", image_id="postgres")
    tasks = planner.tasks(request, chain, {chain.state_ids[0]})
    assert [task.task_id for task in tasks] == [
        "plan",
        "resolve-image",
        "execute-0",
        "execute-1",
        "prepare-instance",
    ]
    cached = [task.cached for task in tasks if isinstance(task, StateExecuteTask)]
    assert cached == [True, False]


def test_an_image_with_its_digest_needs_no_resolving() -> None:
    chain = chain_of("a")
    request = PrepareRequest(prepare_kind="psql", image_id=IMAGE)
    tasks = planner.tasks(request, chain, frozenset())
    assert not any(isinstance(task, ResolveImageTask) for task in tasks)


def test_a_task_tells_the_changeset_that_its_step_is_made_of() -> None:
    told = {"changeset_id": "7", "changeset_author": "ada", "changeset_path": "a/b.xml"}
    plain, changeset = step("a"), replace(step("b"), **told)
    chain = planner.chain(IMAGE, [plain, changeset], server_settings=NO_SETTINGS)
    request = PrepareRequest(prepare_kind="lb", image_id=IMAGE)
    one, other = (
        task
        for task in planner.tasks(request, chain, frozenset())
        if isinstance(task, StateExecuteTask)
    )
    assert one.changeset_id is None
    assert (other.changeset_id, other.changeset_author, other.changeset_path) == (
        "7",
        "ada",
        "a/b.xml",
    )
