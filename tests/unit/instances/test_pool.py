"""Servers wait for whoever asks next, and leave no trace when nobody does."""

import asyncio
from pathlib import Path

import pytest

from pgstrata.domain import identity
from pgstrata.domain.instance import Instance
from pgstrata.domain.job import Job, Transition
from pgstrata.domain.sizes import Bytes
from pgstrata.errors import ConflictError, HostLimitError, ServerError, StoreUnusableError
from pgstrata.instances.starting import InstanceOrder
from pgstrata.settings import PoolSettings
from tests.unit.prepare.heart import SETTINGS, Heart, engine, holding, run

POOL = PoolSettings(max=3, max_starting=2)


def warm_heart(place: Path, pool: PoolSettings = POOL) -> Heart:
    return Heart(place, SETTINGS._replace(pool=pool))


async def ready(heart: Heart, number: int) -> None:
    """Wait until so many servers wait, and nothing else happens."""
    await heart.pool.join()
    await heart.trash.join()
    assert heart.pool.status.ready == number


async def prepared(heart: Heart, *steps: str, **more: object) -> Instance:
    job = await heart.finish(*steps, **more)
    return await instance_of(heart, job)


async def instance_of(heart: Heart, job: Job) -> Instance:
    assert job.result is not None
    instance = await heart.store.instance(job.result.instance_id)
    assert instance is not None
    return instance


async def in_demand(heart: Heart, *steps: str) -> Instance:
    """Ask until a server waits."""
    await prepared(heart, *steps)
    second = await prepared(heart, *steps)
    await ready(heart, 1)
    return second


def test_what_is_asked_for_again_waits_and_is_handed_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await in_demand(heart, "a")
            started = len(heart.runtime.started_with)
            [warm] = heart.runtime.paused
            instance = await prepared(heart, "a")
            assert instance.server.handle == warm
            assert len(heart.runtime.started_with) == started
            assert warm not in heart.runtime.paused
            assert heart.steps_in(tmp_path / "instances" / instance.instance_id) == ["a"]

    run(scenario())


def test_a_job_that_was_waited_for_is_stored_twice_and_tells_what_others_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await prepared(heart, "a")
            cold = await heart.finish("a")
            await ready(heart, 1)
            changes = []
            apply = heart.queue.apply

            async def counted(transition: Transition) -> bool:
                changes.append(transition.job.status)
                return await apply(transition)

            monkeypatch.setattr(heart.queue, "apply", counted)
            warm = await heart.finish("a")
            assert changes == ["succeeded"]
            assert await heart.said(warm.job_id) == await heart.said(cold.job_id)

    run(scenario())


def test_a_job_that_was_waited_for_and_fails_tells_how_far_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await in_demand(heart, "a")

            async def failing(_: object) -> None:
                raise ServerError("no luck")

            monkeypatch.setattr(heart.store, "add_instance", failing)
            job = await heart.finish("a")
            assert job.error is not None
            assert job.started_at is not None
            assert "task prepare-instance running" in await heart.said(job.job_id)
            assert (await heart.manager.list_tasks(job.job_id))[-1].status == "failed"

    run(scenario())


def test_an_instance_that_waited_is_like_any_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await in_demand(heart, "a")
            before = await prepared(heart, "a", instance_name="dev", instance_ttl=60)
            assert before.expires_at is not None
            assert (before.expires_at - before.created_at).total_seconds() == 60
            job = await heart.manager.get(before.job_id or "")
            assert job is not None
            assert before.created_at >= job.created_at
            state = await heart.store.state(before.state_id)
            assert state is not None
            assert (state.use_count, state.refcount) == (3, 3)
            # The name has its own port and password now, which no waiting server has.
            await ready(heart, 1)
            after = await prepared(heart, "a", instance_name="dev", replace=True)
            assert after.dsn == before.dsn
            assert heart.pool.status.ready == 1

    run(scenario())


def test_a_request_with_other_settings_gets_a_server_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await prepared(heart, "a", settings={"work_mem": "1MB"})
            await prepared(heart, "a", settings={"work_mem": "1MB"})
            await ready(heart, 1)
            assert heart.runtime.started_with[-1] == {"work_mem": "1MB"}
            await prepared(heart, "a")
            assert heart.pool.status.ready == 1
            await prepared(heart, "a", settings={"work_mem": "1MB"})
            await ready(heart, 1)

    run(scenario())


def test_servers_are_kept_warm_although_the_store_or_the_system_failed_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        heart = warm_heart(tmp_path)
        async with engine(heart):
            state_id = (await prepared(heart, "a")).state_id
            await heart.pool.want(state_id, 1)
            await ready(heart, 1)
        heart.start_engine()
        warm_states, alive = heart.store.warm_states, heart.runtime.alive

        async def unusable() -> dict[str, int]:
            monkeypatch.setattr(heart.store, "warm_states", warm_states)
            raise StoreUnusableError("the database is locked")

        async def failing(_: object) -> bool:
            monkeypatch.setattr(heart.runtime, "alive", alive)
            raise OSError("too many open files")

        monkeypatch.setattr(heart.store, "warm_states", unusable)
        async with engine(heart):
            await ready(heart, 0)
            heart.pool.wake()
            await ready(heart, 1)
            monkeypatch.setattr(heart.runtime, "alive", failing)
            heart.pool.wake()
            await ready(heart, 1)
            await heart.pool.want(state_id, 2)
            await ready(heart, 2)

    run(scenario())


def test_an_engine_that_stops_leaves_no_server_waiting(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await in_demand(heart, "a")
        instances = await heart.store.instances()
        assert {one.handle for one in heart.runtime.running} == {
            one.server.handle for one in instances
        }

    run(scenario())


def test_what_a_killed_engine_kept_warm_is_cleared_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = warm_heart(tmp_path)
        killed = engine(heart)
        await killed.__aenter__()
        await in_demand(heart, "a")
        old = heart.pool
        heart.start_engine()
        await heart.manager.recover()
        directories = await heart.statefs.volumes(tmp_path / "instances")
        instances = await heart.store.instances()
        assert {one.name for one in directories} == {one.instance_id for one in instances}
        assert len(heart.runtime.running) == len(instances)
        await old.__aexit__(None, None, None)

    run(scenario())


def test_a_job_that_was_killed_after_the_hand_over_keeps_its_instance(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await in_demand(heart, "a")
            instance = await prepared(heart, "a")
            assert instance.job_id is not None
            order = InstanceOrder(
                job_id=instance.job_id,
                image_id=instance.image_id,
                state_id=instance.state_id,
                name=None,
                ttl_seconds=None,
            )
            assert await heart.instances.start(order) == instance
            await heart.instances.discard(instance.job_id)
            assert await heart.store.instance(instance.instance_id) is None
            assert instance.server not in heart.runtime.running

    run(scenario())


def test_a_job_that_goes_on_waits_until_its_earlier_instance_is_removed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            before = await prepared(heart, "a")
            order = InstanceOrder(
                job_id="job",
                image_id=before.image_id,
                state_id=before.state_id,
                name=None,
                ttl_seconds=None,
            )
            place = tmp_path / "instances" / identity.instance_id("job")
            async with heart.turns.take(place.name):
                # Its row is gone, and its files are not yet.
                heart.disk.make_dir(place)
                starting = asyncio.create_task(heart.instances.start(order))
                for _ in range(50):
                    await asyncio.sleep(0)
                heart.disk.remove_tree(place)
            assert (await starting).server in heart.runtime.running

    run(scenario())


def test_a_server_that_died_while_it_waited_is_not_handed_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await in_demand(heart, "a")
            instances = await heart.store.instances()
            known = {one.server.handle for one in instances}
            [warm] = [one for one in heart.runtime.running if one.handle not in known]
            heart.runtime.kill(warm)
            instance = await prepared(heart, "a")
            assert instance.server in heart.runtime.running
            await ready(heart, 1)

    run(scenario())


@pytest.mark.parametrize("moment", ["resume", "alive"])
def test_a_job_that_is_cancelled_just_as_it_is_served_leaves_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await in_demand(heart, "a")
            [warm] = heart.runtime.paused

            async def never(_: object) -> bool:
                monkeypatch.undo()
                reached.set()
                return await asyncio.Event().wait()

            reached = asyncio.Event()
            monkeypatch.setattr(heart.runtime, moment, never)
            job = await heart.manager.submit(heart.request("a"))
            await reached.wait()
            await heart.manager.cancel(job.job_id)
            assert (await heart.end_of(job.job_id)).status == "failed"
            await ready(heart, 1)
            assert warm not in {server.handle for server in heart.runtime.running}
            assert len(heart.runtime.running) == 3
            assert len(heart.disk.children(tmp_path / "instances")) == 3

    run(scenario())


def test_a_server_that_died_while_it_waited_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            instance = await in_demand(heart, "a")
            known = {one.server.handle for one in await heart.store.instances()}
            [warm] = [one for one in heart.runtime.running if one.handle not in known]
            await heart.pool.want(instance.state_id, 1)
            heart.runtime.kill(warm)
            heart.pool.wake()
            await ready(heart, 1)
            assert warm not in heart.runtime.running
            assert len(heart.runtime.running) == 3

    run(scenario())


def test_a_state_that_is_removed_takes_its_servers_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            instance = await in_demand(heart, "a")
            for one in await heart.store.instances():
                await heart.store.remove_instance(one.instance_id)
                await heart.runtime.stop(one.server)
            assert await heart.removal.remove(instance.state_id)
            await ready(heart, 0)
            assert heart.runtime.running == ()

    run(scenario())


def test_a_state_that_is_found_to_be_damaged_takes_its_servers_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            state_id = (await in_demand(heart, "a")).state_id
            suspect = await heart.files.suspect(state_id)
            assert suspect is not None
            with holding(heart.in_use, [state_id]):
                assert await heart.files.remove_damaged(suspect)
            assert not await heart.files.is_clean(state_id)
            await ready(heart, 0)
            assert len(heart.runtime.running) == len(await heart.store.instances())

    run(scenario())


def test_none_are_kept_for_a_state_that_is_being_removed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            instance = await in_demand(heart, "a")
            state_id = instance.state_id
            with heart.in_use.removing([state_id]):
                assert await heart.pool.want(state_id, 1) is not None
                for _ in range(2):
                    assert await heart.pool.take(state_id, instance.image_id, {}) is None
                await ready(heart, 0)
                assert heart.pool.status.wanted == 0

    run(scenario())


def test_a_state_that_was_removed_just_before_a_start_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            instance = await prepared(heart, "a")
            await heart.store.remove_instance(instance.instance_id)

            async def overtaken(*_: object) -> None:
                await heart.store.remove_state(instance.state_id)
                raise FileNotFoundError

            monkeypatch.setattr(heart.statefs, "clone", overtaken)
            await heart.pool.want(instance.state_id, 1)
            await ready(heart, 0)
            assert heart.pool.status.wanted == 0

    run(scenario())


def test_a_waiting_server_is_never_in_the_way_of_an_eviction(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            instance = await in_demand(heart, "a")
            assert not heart.in_use.held
            with holding(heart.in_use, [instance.state_id]):
                assert not await heart.removal.remove(instance.state_id)
            assert heart.pool.status.ready == 1

    run(scenario())


def test_servers_are_given_up_when_memory_runs_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await in_demand(heart, "a")
            heart.memory = POOL.min_free_memory - 1
            heart.pool.wake()
            await ready(heart, 0)
            await prepared(heart, "a")
            await prepared(heart, "a")
            assert heart.pool.status.ready == 0
            assert len(heart.runtime.running) == len(await heart.store.instances())

    run(scenario())


def test_servers_that_nobody_wants_any_more_are_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            await in_demand(heart, "a")
            heart.monotonic += POOL.idle + 1
            heart.pool.wake()
            await ready(heart, 0)
            assert heart.pool.status.wanted == 0

    run(scenario())


def test_what_is_in_demand_now_takes_the_place_of_what_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path, POOL._replace(max=1))) as heart:
            await in_demand(heart, "a")
            heart.monotonic += 1
            await in_demand(heart, "b")
            instance = await prepared(heart, "b")
            assert heart.steps_in(tmp_path / "instances" / instance.instance_id) == ["b"]
            assert heart.pool.status.ready <= 1

    run(scenario())


def test_so_many_wait_as_somebody_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            state_id = (await prepared(heart, "a")).state_id
            warmth = await heart.pool.want(state_id, 2)
            assert warmth is not None
            assert (warmth.wanted, warmth.ready) == (2, 0)
            await ready(heart, 2)
            heart.monotonic += POOL.idle + 1
            heart.pool.wake()
            await ready(heart, 2)
            with pytest.raises(HostLimitError, match="4 warm servers"):
                await heart.pool.want(state_id, 4)
            assert await heart.pool.want("0" * 64, 1) is None
        heart.start_engine()
        async with engine(heart):
            await ready(heart, 2)
            await heart.pool.want(state_id, 0)
            await ready(heart, 0)

    run(scenario())


def test_none_wait_where_there_may_be_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path, POOL._replace(max=0))) as heart:
            for _ in range(3):
                await prepared(heart, "a")
            assert heart.pool.status.wanted == 0
            assert len(heart.runtime.running) == 3

    run(scenario())


def test_none_is_started_where_the_machine_has_no_room_for_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path, POOL._replace(min_free_memory=Bytes(0)))) as heart:
            state_id = (await prepared(heart, "a")).state_id
            heart.memory = 0
            await heart.pool.want(state_id, 1)
            await ready(heart, 0)
            assert len(await heart.statefs.volumes(tmp_path / "instances")) == 1

    run(scenario())


@pytest.mark.parametrize("fails", ["clone", "start", "pause"])
def test_one_that_cannot_be_started_leaves_nothing_and_is_told(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            state_id = (await prepared(heart, "a")).state_id

            async def failing(*_: object, **__: object) -> None:
                raise (ConflictError if fails == "clone" else ServerError)("no luck")

            part = heart.statefs if fails == "clone" else heart.runtime
            with monkeypatch.context() as broken:
                broken.setattr(part, fails, failing)
                await heart.pool.want(state_id, 1)
                await ready(heart, 0)
            assert "no luck" in caplog.text
            assert len(heart.runtime.running) == 1
            assert len(await heart.statefs.volumes(tmp_path / "instances")) == 1
            await heart.pool.want(state_id, 1)
            await ready(heart, 1)

    run(scenario())


@pytest.mark.parametrize("error", [ServerError("no luck"), ValueError("nobody thought of that")])
def test_a_start_that_fails_is_not_tried_again_at_once_whatever_the_failure(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            state_id = (await prepared(heart, "a")).state_id
            tries = 0

            async def failing(*_: object, **__: object) -> None:
                nonlocal tries
                tries += 1
                raise error

            monkeypatch.setattr(heart.runtime, "start", failing)
            await heart.pool.want(state_id, 1)
            for _ in range(3):
                heart.pool.wake()
                await heart.pool.join()
            assert tries == 1

    run(scenario())


def test_those_of_a_state_that_stays_after_all_are_kept_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(warm_heart(tmp_path)) as heart:
            state_id = (await prepared(heart, "a")).state_id
            await heart.pool.want(state_id, 1)
            await ready(heart, 1)
            with heart.in_use.removing([state_id]):
                await ready(heart, 0)
                await heart.pool.want(state_id, 2)
            await ready(heart, 2)

    run(scenario())
