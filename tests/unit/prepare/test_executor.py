"""The executor: one server for consecutive steps, and what a step leaves as metadata."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.plan import StateExecuteTask, TaskInput
from pgstrata.errors import ServerError, StepFailedError, StoreUnusableError
from pgstrata.instances.starting import InstanceOrder
from pgstrata.prepare import planner
from pgstrata.prepare.executor import Executor, StateOrder
from pgstrata.runtime.base import LineSink, ToolCommand
from pgstrata.runtime.memory import ToolRun
from pgstrata.settings import SnapshotSettings
from pgstrata.store.memory import MemoryStore
from tests.servers import data_dir_of, pid_of
from tests.unit.prepare.heart import SETTINGS, Heart, run


async def orders(heart: Heart, *texts: str) -> list[StateOrder]:
    """What the coordinator would order for these steps."""
    image = await heart.runtime.resolve("postgres:17")
    steps = await heart.recipe.steps(heart.request(*texts), heart.sources)
    chain = planner.chain(image.image_id, steps, server_settings={})
    tasks = planner.tasks(heart.request(*texts), chain, frozenset())
    executing = [task for task in tasks if isinstance(task, StateExecuteTask)]
    return [
        StateOrder(
            job_id="job",
            image_id=image.image_id,
            task=task,
            step=step,
            target=task.output_state_id,
            last=False,
        )
        for task, step in zip(executing, steps, strict=True)
    ]


async def build(executor: Executor, order: StateOrder, log: LineSink) -> bool:
    """Run a step and keep its state, as the runner does; whether it was not there yet."""
    if not await executor.run_steps([order], log):
        return False
    await executor.keep_state(order.job_id)
    return True


async def unheard(line: str) -> None:
    raise AssertionError(f"nothing was expected to be said, but: {line}")


def test_consecutive_steps_use_one_data_directory_and_clone_no_parent_again(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        for order in await orders(heart, "a", "b"):
            assert await build(heart.executor, order, unheard)
            [workspace] = await heart.statefs.volumes(tmp_path / "work")
            assert workspace.name == "job"
        assert heart.steps_in(workspace) == ["a", "b"]
        await heart.executor.close_workspace("job")
        assert await heart.statefs.volumes(tmp_path / "work") == []

    run(scenario())


def test_nothing_of_a_data_directory_is_left_even_if_who_closes_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        stopping, goes_on, stop = asyncio.Event(), asyncio.Event(), heart.runtime.stop

        async def slow(server: Server, *, clean: bool = True) -> None:
            stopping.set()
            await goes_on.wait()
            await stop(server, clean=clean)

        monkeypatch.setattr(heart.runtime, "stop", slow)
        [order, _] = await orders(heart, "a", "b")
        await build(heart.executor, order, unheard)
        closing = asyncio.ensure_future(heart.executor.close_workspace("job"))
        await stopping.wait()
        closing.cancel()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert await heart.statefs.volumes(tmp_path / "work") == []
        assert heart.runtime.running == ()

    run(scenario())


def test_nothing_of_a_data_directory_is_left_even_if_its_server_cannot_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)

        async def failing(_server: Server, *, clean: bool = True) -> None:
            raise ServerError("no luck")

        [order, _] = await orders(heart, "a", "b")
        await build(heart.executor, order, unheard)
        monkeypatch.setattr(heart.runtime, "stop", failing)
        with pytest.raises(ServerError, match="no luck"):
            await heart.executor.close_workspace("job")
        assert await heart.statefs.volumes(tmp_path / "work") == []

    run(scenario())


def test_after_the_last_step_its_data_directory_itself_is_the_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        [order] = await orders(heart, "a")
        await build(heart.executor, replace(order, last=True), unheard)
        assert await heart.statefs.volumes(tmp_path / "work") == []
        assert await heart.files.is_clean(order.task.output_state_id)

    run(scenario())


def test_a_step_leaves_a_whole_state_and_its_row(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        first, second = await orders(heart, "a", "b")
        await build(heart.executor, first, unheard)
        await build(heart.executor, second, unheard)
        state = await heart.store.state(second.task.output_state_id)
        assert state is not None
        assert state.parent_state_id == first.task.output_state_id
        assert state.prepare_kind == heart.recipe.name
        assert state.prepare_args_normalized == second.step.title
        assert state.size_bytes is not None
        assert state.size_bytes > 0
        assert await heart.files.is_clean(state.state_id)
        parent = await heart.store.state(first.task.output_state_id)
        assert parent is not None
        assert parent.parent_state_id is None

    run(scenario())


def test_one_server_serves_all_steps_and_their_states_are_as_a_crash_leaves_them(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        servers: set[int] = set()
        for order in await orders(heart, "a", "b", "c"):
            await build(heart.executor, order, unheard)
            servers.update(pid_of(server) for server in heart.runtime.running)
            place = tmp_path / "states" / order.task.output_state_id
            assert await heart.dbms.defect(place / "data", recovers=True) is None
            assert await heart.files.is_clean(order.task.output_state_id)
        assert len(servers) == 1

    run(scenario())


def test_after_the_last_step_the_server_is_stopped_and_its_state_is_clean(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        [order] = await orders(heart, "a")
        await build(heart.executor, replace(order, last=True), unheard)
        assert heart.runtime.running == ()
        place = tmp_path / "states" / order.task.output_state_id
        assert await heart.dbms.defect(place / "data") is None

    run(scenario())


@pytest.mark.parametrize("left", ["unlogged", "postgresql.auto.conf"])
def test_a_step_after_which_a_running_server_will_not_do_has_it_stopped(
    tmp_path: Path, left: str
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        tool = heart.runtime.tool

        def leaving(server: Server, command: ToolCommand) -> ToolRun:
            heart.disk.write(data_dir_of(server) / left, b"something")
            return tool(server, command)

        heart.runtime.tool = leaving
        [order] = await orders(heart, "a")
        await build(heart.executor, order, unheard)
        assert heart.runtime.running == ()
        place = tmp_path / "states" / order.task.output_state_id
        assert await heart.dbms.defect(place / "data") is None

    run(scenario())


def test_states_as_a_crash_leaves_them_can_be_had_after_the_last_step_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, SETTINGS._replace(snapshot=SnapshotSettings(consistency="crash")))
        [order] = await orders(heart, "a")
        await build(heart.executor, replace(order, last=True), unheard)
        assert heart.runtime.running == ()
        assert await heart.statefs.volumes(tmp_path / "work") == []
        place = tmp_path / "states" / order.task.output_state_id
        assert await heart.dbms.defect(place / "data", recovers=True) is None

    run(scenario())


def test_a_replication_slot_is_dropped_and_that_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        said: list[str] = []
        tool = heart.runtime.tool

        def with_slot(server: Server, command: ToolCommand) -> ToolRun:
            heart.disk.write(data_dir_of(server) / "pg_replslot" / "mine" / "state", b"")
            return tool(server, command)

        async def hear(line: str) -> None:
            said.append(line)

        heart.runtime.tool = with_slot
        [order] = await orders(heart, "a")
        await build(heart.executor, order, hear)
        assert said == ["replication slot mine was dropped: states do not keep them"]

    run(scenario())


def test_a_step_that_fails_leaves_neither_state_nor_server_nor_files(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        [order] = await orders(heart, "fail")
        with pytest.raises(StepFailedError):
            await build(heart.executor, order, unheard)
        assert heart.runtime.running == ()
        assert await heart.store.states() == []
        for area in ("work", "building", "states"):
            assert await heart.statefs.volumes(tmp_path / area) == []

    run(scenario())


def test_a_state_that_is_there_meanwhile_is_not_built_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        [order] = await orders(heart, "a")
        assert await build(heart.executor, order, unheard)
        assert not await build(heart.executor, order, unheard)
        assert len(heart.runtime.commands) == 1

    run(scenario())


def test_after_a_state_that_others_built_work_goes_on_from_that_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        first, second, third = await orders(heart, "a", "b", "c")
        await build(heart.executor, first, unheard)
        other = replace(second, job_id="other")
        await build(heart.executor, other, unheard)
        await build(heart.executor, second, unheard)
        await build(heart.executor, third, unheard)
        state = tmp_path / "states" / third.task.output_state_id
        assert heart.steps_in(state) == ["a", "b", "c"]

    run(scenario())


def test_an_instance_has_its_own_clone_and_is_stored_with_its_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        [order] = await orders(heart, "a")
        await build(heart.executor, order, unheard)
        wanted = InstanceOrder(
            job_id="job",
            image_id=order.image_id,
            state_id=order.task.output_state_id,
            name="mine",
            ttl_seconds=60,
        )
        instance = await heart.executor.start_instance(wanted)
        assert await heart.store.instance_named("mine") == instance
        assert instance.expires_at is not None
        assert (instance.expires_at - instance.created_at).total_seconds() == 60
        assert await heart.runtime.alive(instance.server)
        state = await heart.store.state(order.task.output_state_id)
        assert state is not None
        assert (state.use_count, state.refcount) == (1, 1)

    run(scenario())


def test_the_base_state_is_the_input_of_a_first_step(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        [order] = await orders(heart, "a")
        assert order.task.input == TaskInput(kind="image", id=order.image_id)
        await build(heart.executor, order, unheard)
        [base] = await heart.statefs.volumes(tmp_path / "bases")
        assert heart.steps_in(base) == []

    run(scenario())


class FullStore(MemoryStore):
    """Has no room for what concerns instances."""

    async def add_instance(self, instance: Instance) -> None:
        raise StoreUnusableError("the disk is full")

    async def remove_instance(self, instance_id: str) -> bool:
        raise StoreUnusableError("the disk is full")


def test_an_instance_that_can_neither_be_stored_nor_taken_back_leaves_no_server(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.store = FullStore()
        heart.start_engine()
        [order] = await orders(heart, "a")
        await build(heart.executor, replace(order, last=True), unheard)
        wish = InstanceOrder(
            job_id="job",
            image_id=order.image_id,
            state_id=order.task.output_state_id,
            name=None,
            ttl_seconds=None,
        )
        with pytest.raises(StoreUnusableError):
            await heart.executor.start_instance(wish)
        assert heart.runtime.running == ()
        assert await heart.statefs.volumes(tmp_path / "instances") == []

    run(scenario())
