"""Deleting what does not behave as it should."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.deletion.deletion import Deletion
from pgstrata.domain.instance import Server
from pgstrata.errors import ConflictError, ServerError, StoreUnusableError
from pgstrata.store.memory import MemoryStore
from pgstrata.system.memory_disk import MemoryDisk
from tests.servers import data_dir_of
from tests.unit.prepare.heart import Heart, engine, run
from tests.unit.prepare.test_job_slots import settle


def deletion_of(heart: Heart) -> Deletion:
    return Deletion(
        instances=heart.root / "instances",
        store=heart.store,
        runtime=heart.runtime,
        dbms=heart.dbms,
        in_use=heart.in_use,
        removal=heart.removal,
        trash=heart.trash,
        turns=heart.turns,
    )


class FullStore(MemoryStore):
    """A store that takes no change while there is anything on its disk that could go."""

    def __init__(self, disk: MemoryDisk, root: Path) -> None:
        super().__init__()
        self.disk = disk
        self.root = root

    async def remove_all(
        self, *, state_ids: Collection[str], instance_ids: Collection[str]
    ) -> None:
        for state_id in state_ids:
            self._check(self.root / "states" / state_id)
        for instance_id in instance_ids:
            self._check(self.root / "instances" / instance_id)
        await super().remove_all(state_ids=state_ids, instance_ids=instance_ids)

    def _check(self, place: Path) -> None:
        if self.disk.exists(place):
            raise StoreUnusableError("the disk is full")


def test_an_instance_whose_server_answers_nobody_is_deleted_by_force_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a")
            assert job.result is not None
            deletion = deletion_of(heart)
            [server] = heart.runtime.running
            heart.disk.write(data_dir_of(server) / "postmaster.pid", b"1\n")
            with pytest.raises(ServerError, match="does not answer") as refused:
                await deletion.delete_instance(job.result.instance_id, force=False, dry_run=False)
            assert "--force" in (refused.value.remedy or "")
            assert server in heart.runtime.running
            done = await deletion.delete_instance(job.result.instance_id, force=True, dry_run=False)
            assert done.outcome == "deleted"
            assert heart.runtime.running == ()
            assert await heart.store.instances() == []

    run(scenario())


def test_on_a_disk_too_full_to_note_it_instances_and_states_can_be_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.store = FullStore(heart.disk, tmp_path)
        heart.start_engine()
        async with engine(heart):
            job = await heart.finish("a")
            assert job.result is not None
            done = await deletion_of(heart).delete_state(
                job.result.state_id, recurse=True, force=False, dry_run=False
            )
            assert done.outcome == "deleted"
            assert heart.runtime.running == ()
            assert await heart.store.instances() == []
            assert await heart.store.states() == []
            for area in ("instances", "states"):
                assert await heart.statefs.volumes(tmp_path / area) == []

    run(scenario())


async def a_tree(heart: Heart) -> tuple[str, dict[str, str]]:
    """A state with two below it, an instance on each of those; the root, and instances by step."""
    jobs = {step: await heart.finish("a", step) for step in "bc"}
    root, *_ = await heart.store.states()
    return root.state_id, {
        step: job.result.instance_id for step, job in jobs.items() if job.result is not None
    }


def test_an_instance_that_comes_while_a_tree_waits_for_its_turns_is_waited_for_as_well(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a")
            [instance] = await heart.store.instances()
            later = replace(instance, instance_id="1" * 32, job_id=None)
            deletion = deletion_of(heart)
            async with AsyncExitStack() as turn_of_the_later:
                await turn_of_the_later.enter_async_context(heart.turns.take(later.instance_id))
                async with heart.turns.take(instance.instance_id):
                    going = asyncio.create_task(
                        deletion.delete_state(
                            instance.state_id, recurse=True, force=False, dry_run=False
                        )
                    )
                    await settle()
                    await heart.store.add_instance(later)
                await settle()
                assert len(await heart.store.instances()) == 2
            assert (await going).outcome == "deleted"
            assert await heart.store.instances() == []

    run(scenario())


async def everything(heart: Heart) -> tuple[object, ...]:
    """All that a deletion could have touched."""
    places = [await heart.statefs.volumes(heart.root / area) for area in ("instances", "states")]
    return await heart.store.states(), await heart.store.instances(), heart.runtime.running, places


def test_a_tree_goes_whole_and_its_files_a_little_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            root, _ = await a_tree(heart)
            held_up = asyncio.Event()
            delete = heart.statefs.delete

            async def slow(hidden: Path) -> None:
                await held_up.wait()
                await delete(hidden)

            heart.statefs.delete = slow  # type: ignore[method-assign]
            done = await deletion_of(heart).delete_state(
                root, recurse=True, force=False, dry_run=False
            )
            assert done.outcome == "deleted"
            assert await everything(heart) == ([], [], (), [[], []])
            assert heart.disk.children(tmp_path / "states") != []
            held_up.set()
            await heart.trash.join()
            for area in ("states", "instances"):
                assert heart.disk.children(tmp_path / area) == []

    run(scenario())


def test_files_that_an_engine_had_no_time_to_delete_are_gone_after_the_next_start(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart), heart.trash:
            root, _ = await a_tree(heart)

            async def never(hidden: Path) -> None:
                await asyncio.Event().wait()

            delete, heart.statefs.delete = heart.statefs.delete, never  # type: ignore[method-assign]
            await deletion_of(heart).delete_state(root, recurse=True, force=False, dry_run=False)
        heart.statefs.delete = delete  # type: ignore[method-assign]
        heart.start_engine()
        async with engine(heart):
            for area in ("states", "instances"):
                assert heart.disk.children(tmp_path / area) == []

    run(scenario())


def test_one_connected_client_keeps_the_whole_tree(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            root, instances = await a_tree(heart)
            instance = await heart.store.instance(instances["c"])
            assert instance is not None
            heart.dbms.clients[instance.server.runtime_id] = 1
            before = await everything(heart)
            done = await deletion_of(heart).delete_state(
                root, recurse=True, force=False, dry_run=False
            )
            assert (done.outcome, done.root.blocked) == ("blocked", "blocked_by_descendant")
            assert await everything(heart) == before
            assert heart.in_use.held == frozenset()
            done = await deletion_of(heart).delete_state(
                root, recurse=True, force=True, dry_run=False
            )
            assert done.outcome == "deleted"

    run(scenario())


def test_a_client_that_comes_while_the_others_are_counted_keeps_the_whole_tree(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            root, instances = await a_tree(heart)
            count = heart.dbms.connections
            asked = []

            async def connections(server: Server) -> int:
                asked.append(server.runtime_id)
                if len(asked) == len(instances):
                    heart.dbms.clients[asked[0]] = 1
                return 0 if server.runtime_id not in asked[:-1] else await count(server)

            heart.dbms.connections = connections  # type: ignore[method-assign]
            before = await everything(heart)
            done = await deletion_of(heart).delete_state(
                root, recurse=True, force=False, dry_run=False
            )
            assert done.outcome == "blocked"
            assert await everything(heart) == before

    run(scenario())


def test_a_server_that_has_no_process_for_a_client_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            root, _ = await a_tree(heart)
            monkeypatch.setattr(heart.runtime, "has_others", lambda _server: False)
            monkeypatch.setattr(heart.dbms, "connections", None)
            done = await deletion_of(heart).delete_state(
                root, recurse=True, force=False, dry_run=True
            )
            assert done.outcome == "would_delete"
            assert done.root.blocked is None

    run(scenario())


def test_a_job_at_work_on_a_state_of_the_tree_keeps_all_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            root, _ = await a_tree(heart)
            job = await heart.manager.submit(heart.request("a", "gate"))
            await heart.at_gate.wait()
            before = await everything(heart)
            for dry_run in (True, False):
                done = await deletion_of(heart).delete_state(
                    root, recurse=True, force=False, dry_run=dry_run
                )
                assert (done.outcome, done.root.blocked) == ("blocked", "active_tasks")
            assert (await everything(heart))[:2] == before[:2]
            heart.gate.set()
            assert (await heart.end_of(job.job_id)).error is None

    run(scenario())


def test_a_job_that_starts_from_the_state_as_it_is_deleted_builds_it_again(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            root, _ = await a_tree(heart)
            reached, go_on = asyncio.Event(), asyncio.Event()
            remove_all = heart.store.remove_all

            async def slow(*, state_ids: Collection[str], instance_ids: Collection[str]) -> None:
                reached.set()
                await go_on.wait()
                await remove_all(state_ids=state_ids, instance_ids=instance_ids)

            heart.store.remove_all = slow  # type: ignore[method-assign]
            deleting = asyncio.create_task(
                deletion_of(heart).delete_state(root, recurse=True, force=False, dry_run=False)
            )
            await reached.wait()
            job = await heart.manager.submit(heart.request("a", "d"))
            while "task execute-0 running" not in await heart.said(job.job_id):
                await heart.manager.wait_for_event(job.job_id, len(await heart.said(job.job_id)))
            go_on.set()
            assert (await deleting).outcome == "deleted"
            ended = await heart.end_of(job.job_id)
            assert ended.error is None
            assert await heart.cached(job.job_id) == [False, False]

    run(scenario())


def test_a_dry_run_changes_nothing_and_says_what_would_go(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            root, instances = await a_tree(heart)
            before = await everything(heart)
            done = await deletion_of(heart).delete_state(
                root, recurse=True, force=False, dry_run=True
            )
            assert done.outcome == "would_delete"
            assert await everything(heart) == before
            found = {leaf.id for child in done.root.children for leaf in child.children}
            assert found == set(instances.values())
            alone = await deletion_of(heart).delete_state(
                root, recurse=False, force=True, dry_run=False
            )
            assert (alone.outcome, alone.root.blocked) == ("blocked", "has_descendants")
            assert alone.root.children == ()

    run(scenario())


def test_rows_that_cannot_go_leave_everything_as_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            root, _ = await a_tree(heart)
            before = await everything(heart)

            async def refuse(**_: object) -> None:
                raise ConflictError("something was made from it")

            heart.store.remove_all = refuse  # type: ignore[method-assign]
            with pytest.raises(ConflictError):
                await deletion_of(heart).delete_state(root, recurse=True, force=True, dry_run=False)
            assert await everything(heart) == before

    run(scenario())


@pytest.mark.parametrize("disk_is_full", [False, True])
def test_files_and_rows_go_even_if_a_server_cannot_be_stopped(
    disk_is_full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        if disk_is_full:
            heart.store = FullStore(heart.disk, tmp_path)
            heart.start_engine()
        async with engine(heart):
            root, instances = await a_tree(heart)
            stubborn = await heart.store.instance(instances["b"])
            assert stubborn is not None
            stop = heart.runtime.stop

            async def failing(server: Server, *, clean: bool = True) -> None:
                if server == stubborn.server:
                    raise ServerError("no luck")
                await stop(server, clean=clean)

            monkeypatch.setattr(heart.runtime, "stop", failing)
            with pytest.raises(ServerError, match="no luck"):
                await deletion_of(heart).delete_state(root, recurse=True, force=True, dry_run=False)
            assert await everything(heart) == ([], [], (stubborn.server,), [[], []])

    run(scenario())


def test_what_a_kill_right_after_the_rows_went_leaves_is_gone_after_the_next_start(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            root, instances = await a_tree(heart)
            tree = await heart.store.tree(root)
            assert tree is not None
            await heart.store.remove_all(
                state_ids=[state.state_id for state in tree.states],
                instance_ids=list(instances.values()),
            )
            assert len(heart.runtime.running) == 2
        heart.start_engine()
        async with engine(heart):
            assert await everything(heart) == ([], [], (), [[], []])

    run(scenario())


@pytest.mark.parametrize("of_state", [False, True])
def test_what_is_being_reset_is_deleted_with_the_server_that_it_gets(
    of_state: bool, tmp_path: Path
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.give_way()
        async with engine(heart):
            job = await heart.finish("a")
            assert job.result is not None
            deletion, result = deletion_of(heart), job.result
            resetting = asyncio.create_task(
                heart.resetting.reset(result.instance_id, force=True), name="reset"
            )
            while len(heart.runtime.running) == 1:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            if of_state:
                await deletion.delete_state(
                    result.state_id, recurse=True, force=True, dry_run=False
                )
            else:
                await deletion.delete_instance(result.instance_id, force=True, dry_run=False)
            await resetting
            assert heart.runtime.running == ()
            assert await heart.store.instances() == []

    run(scenario())
