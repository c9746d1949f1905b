"""What is in an instance is kept as a state; the instance is as before."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pgstrata.cache.capacity import Disk
from pgstrata.dbms.memory import UNLOGGED
from pgstrata.domain.durations import Seconds
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.state import State
from pgstrata.errors import (
    ConflictError,
    InvalidNameError,
    NotFoundError,
    ServerError,
    StateUnusableError,
    StoreUnusableError,
)
from pgstrata.runtime.memory import MemoryRuntime
from pgstrata.settings import CacheCapacity
from pgstrata.store.memory import MemoryStore
from tests.unit.prepare.heart import Heart, engine, run
from tests.unit.prepare.test_interrupted import kill_before_the_first_stop


async def changed(heart: Heart, **more: object) -> Instance:
    """An instance whose data is not its state's any more."""
    job = await heart.finish("a", **more)
    assert job.result is not None
    instance = await heart.store.instance(job.result.instance_id)
    assert instance is not None
    heart.disk.write(data_of(heart, instance) / "steps", b"changed\n")
    return instance


def data_of(heart: Heart, instance: Instance) -> Path:
    return heart.root / "instances" / instance.instance_id / "data"


async def check_nothing_else_is_there(heart: Heart, instance: Instance, *states: State) -> None:
    """The instance runs, under its address, and of copies nothing is left."""
    [after] = await heart.store.instances()
    assert (after.instance_id, after.dsn, after.paused) == (
        instance.instance_id,
        instance.dsn,
        None,
    )
    assert heart.runtime.running == (after.server,)
    assert heart.steps_in(data_of(heart, instance).parent) == ["changed"]
    for area in ("work", "building"):
        assert await heart.statefs.volumes(heart.root / area) == []
    known = {instance.state_id, *(state.state_id for state in states)}
    assert {state.state_id for state in await heart.store.states()} == known
    assert set(await heart.files.known()) == known
    assert await heart.store.build_leases() == {}


def test_it_is_a_state_of_its_own_and_the_server_stays_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart, instance_name="dev", settings={"work_mem": "1MB"})
            one = await heart.instance_snapshots.snapshot(instance.instance_id, name="seeded")
            two = await heart.instance_snapshots.snapshot(instance.instance_id)
            assert one.state_id != two.state_id
            assert (one.name, two.name, one.parent_state_id) == ("seeded", None, None)
            assert one.prepare_args_normalized == "snapshot of dev"
            assert (one.pinned, one.settings) == (True, {"work_mem": "1MB"})
            assert heart.steps_in(tmp_path / "states" / one.state_id) == ["changed"]
            assert await heart.files.defect(one.state_id) is None
            assert (await heart.store.instances())[0].server == instance.server
            await check_nothing_else_is_there(heart, instance, one, two)

    run(scenario())


def test_it_is_never_evicted(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.limits = CacheCapacity(min_state_age=Seconds(0))
        heart.start_engine()
        async with engine(heart):
            instance = await changed(heart)
            state = await heart.instance_snapshots.snapshot(instance.instance_id)
            heart.space = Disk(total_bytes=1 << 30, free_bytes=0)
            await heart.evictor.relieve("after_snapshot")
            assert await heart.files.is_clean(state.state_id)

    run(scenario())


def test_a_server_that_would_lose_something_is_stopped_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart)
            heart.disk.write(data_of(heart, instance) / UNLOGGED, b"u")
            heart.dbms.clients[instance.server.runtime_id] = 2
            with pytest.raises(ConflictError, match=r"unlogged relation u .*2 clients") as refused:
                await heart.instance_snapshots.snapshot(instance.instance_id)
            assert "--force" in (refused.value.remedy or "")
            await check_nothing_else_is_there(heart, instance)
            state = await heart.instance_snapshots.snapshot(instance.instance_id, force=True)
            assert (await heart.store.instances())[0].server != instance.server
            await check_nothing_else_is_there(heart, instance, state)

    run(scenario())


def test_names_that_are_taken_or_invalid_are_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart, instance_name="dev")
            seeded = await heart.instance_snapshots.snapshot(instance.instance_id, name="seeded")
            for name in ("seeded", "dev"):
                with pytest.raises(ConflictError, match="taken"):
                    await heart.instance_snapshots.snapshot(instance.instance_id, name=name)
            with pytest.raises(InvalidNameError):
                await heart.instance_snapshots.snapshot(instance.instance_id, name="a/b")
            with pytest.raises(NotFoundError):
                await heart.instance_snapshots.snapshot("0" * 32, name="other")
            await check_nothing_else_is_there(heart, instance, seeded)

    run(scenario())


@pytest.mark.parametrize("planted", ["tablespace", "cluster"])
def test_what_cannot_be_a_state_is_refused(tmp_path: Path, planted: str) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart, instance_name="dev")
            data = data_of(heart, instance)
            if planted == "tablespace":
                heart.disk.write(data / "pg_tblspc" / "1", b"/elsewhere")
            else:
                heart.disk.remove_tree(data / "PG_VERSION")
            with pytest.raises(StateUnusableError, match="what is in instance dev cannot") as told:
                await heart.instance_snapshots.snapshot(instance.instance_id)
            assert "pgstrata reset dev" in (told.value.remedy or "")
            await check_nothing_else_is_there(heart, instance)

    run(scenario())


def test_one_whose_server_has_ended_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart)
            heart.runtime.kill(instance.server)
            with pytest.raises(ConflictError, match="no server"):
                await heart.instance_snapshots.snapshot(instance.instance_id)

    run(scenario())


def test_a_copys_server_that_somebody_ends_says_so_and_blames_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart)
            kill_before_the_first_stop(heart, monkeypatch)
            with pytest.raises(ServerError, match="the server was ended") as told:
                await heart.instance_snapshots.snapshot(instance.instance_id)
            assert told.value.remedy == "keep it once more"
            await check_nothing_else_is_there(heart, instance)
            state = await heart.instance_snapshots.snapshot(instance.instance_id)
            await check_nothing_else_is_there(heart, instance, state)

    run(scenario())


def test_one_whose_job_is_cancelled_just_then_was_never_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            written, goes_on = asyncio.Event(), asyncio.Event()
            add, alive = heart.store.add_instance, heart.runtime.alive

            async def slow(instance: Instance) -> None:
                await add(instance)
                written.set()
                await goes_on.wait()

            async def alive_until_cancelled(server: Server) -> bool:
                found = await alive(server)
                await heart.end_of(job.job_id)
                return found

            monkeypatch.setattr(heart.store, "add_instance", slow)
            job = await heart.manager.submit(heart.request("a"))
            await written.wait()
            [instance] = await heart.store.instances()
            monkeypatch.setattr(heart.runtime, "alive", alive_until_cancelled)
            keeping = heart.instance_snapshots.snapshot(instance.instance_id)
            snapshot = asyncio.create_task(keeping)
            await heart.manager.cancel(job.job_id)
            goes_on.set()
            with pytest.raises(NotFoundError):
                await snapshot
            assert await heart.store.instances() == []

    run(scenario())


@pytest.mark.parametrize("how", ["frozen", "stopped"])
@pytest.mark.parametrize("alive", [True, False])
def test_the_next_engine_has_a_paused_server_go_on(tmp_path: Path, how: str, alive: bool) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            instance = await changed(heart)
            await heart.store.begin_pause(instance.instance_id, how)  # type: ignore[arg-type]
            if not alive:
                await heart.runtime.stop(instance.server)
        heart.start_engine()
        await heart.instance_snapshots.recover()
        async with engine(heart):
            await check_nothing_else_is_there(heart, instance)
            [after] = await heart.store.instances()
            assert (after.server == instance.server) == (how == "frozen" and alive)

    run(scenario())


def test_a_server_that_would_not_start_again_is_not_stopped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart)
            data = data_of(heart, instance)
            heart.disk.write(data / UNLOGGED, b"u")
            heart.disk.remove_tree(data / "PG_VERSION")
            with pytest.raises(StateUnusableError, match="no server starts on it"):
                await heart.instance_snapshots.snapshot(instance.instance_id)
            await check_nothing_else_is_there(heart, instance)
            assert (await heart.store.instances())[0].server == instance.server

    run(scenario())


def test_a_server_that_does_not_start_again_is_told_of(tmp_path: Path) -> None:
    class OnCopiesOnly(MemoryRuntime):
        async def start(self, image_id: str, data_dir: Path, **more: Any) -> Server:
            if more.get("address") is not None:
                raise ServerError("it does not start")
            return await super().start(image_id, data_dir, **more)

    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.runtime = OnCopiesOnly(heart.disk, tool=heart.runtime.tool)
        heart.start_engine()
        async with engine(heart):
            instance = await changed(heart)
            heart.disk.write(data_of(heart, instance) / UNLOGGED, b"u")
            with pytest.raises(ServerError, match="does not start"):
                await heart.instance_snapshots.snapshot(instance.instance_id)
            assert await heart.statefs.volumes(tmp_path / "work") == []
            [after] = await heart.store.instances()
            assert after == replace(instance, paused="stopped")

    run(scenario())


def test_a_server_that_is_started_again_and_cannot_be_stored_does_not_stay(tmp_path: Path) -> None:
    class Full(MemoryStore):
        async def set_server(self, instance_id: str, server: Server) -> bool:
            known = await self.instance(instance_id)
            if known is not None and known.server == server:
                return await super().set_server(instance_id, server)
            raise StoreUnusableError("the disk is full")

    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.store = Full()
        heart.start_engine()
        async with engine(heart):
            instance = await changed(heart)
            heart.disk.write(data_of(heart, instance) / UNLOGGED, b"u")
            with pytest.raises(StoreUnusableError):
                await heart.instance_snapshots.snapshot(instance.instance_id)
            assert heart.runtime.running == ()

    run(scenario())


def test_one_whose_row_is_lost_is_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            instance = await changed(heart)
            kept = [
                await heart.instance_snapshots.snapshot(instance.instance_id, name=name)
                for name in ("seeded", "other")
            ]
        heart.store = MemoryStore()  # the rows of recipes' states are lost with them
        await heart.store.add_state(replace(kept[1], state_id="f" * 64))
        heart.start_engine()
        async with engine(heart):
            known = {state.state_id: state for state in await heart.store.states()}
            assert known.keys() - {"f" * 64} == {state.state_id for state in kept}
            assert known[kept[0].state_id].name == "seeded"
            assert known[kept[1].state_id].name is None
            assert all(known[state.state_id].pinned for state in kept)

    run(scenario())


def test_one_that_was_removed_stays_so_whatever_is_left_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            instance = await changed(heart)
            state = await heart.instance_snapshots.snapshot(instance.instance_id)
            await heart.store.remove_all(state_ids=[state.state_id], instance_ids=[])
        heart.start_engine()
        async with engine(heart):
            await check_nothing_else_is_there(heart, instance)

    run(scenario())


def test_cut_off_at_any_moment_it_leaves_a_whole_state_or_none(tmp_path: Path) -> None:
    async def cut_off(after_turns: int, *, unlogged: bool) -> bool:
        heart = Heart(tmp_path)
        heart.give_way()
        async with engine(heart):
            instance = await changed(heart)
            if unlogged:
                heart.disk.write(data_of(heart, instance) / UNLOGGED, b"u")
            call = asyncio.create_task(heart.instance_snapshots.snapshot(instance.instance_id))
            for _ in range(after_turns):
                await asyncio.sleep(0)
            call.cancel()
            [outcome] = await asyncio.gather(call, return_exceptions=True)
            made = [one for one in await heart.store.states() if one.prepare_kind == "snapshot"]
            await check_nothing_else_is_there(heart, instance, *made)
            for state in made:
                assert await heart.files.is_clean(state.state_id)
            return not isinstance(outcome, asyncio.CancelledError)

    for unlogged in (False, True):
        for turns in range(400):
            if asyncio.run(cut_off(turns, unlogged=unlogged)):
                break
        else:
            pytest.fail("it never came to an end")
        assert turns > 10
