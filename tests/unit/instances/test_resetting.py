"""An instance goes back to its state, and stays where it is."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pgstrata.dbms.memory import PID_FILE
from pgstrata.domain.instance import Instance, Server
from pgstrata.errors import ConflictError, NotFoundError, ServerError
from tests.unit.prepare.heart import Heart, engine, run


async def changed(heart: Heart) -> Instance:
    """An instance whose data is not its state's any more."""
    job = await heart.finish("a")
    assert job.result is not None
    instance = await heart.store.instance(job.result.instance_id)
    assert instance is not None
    heart.disk.write(place_of(heart, instance) / "data" / "steps", b"changed\n")
    return instance


def place_of(heart: Heart, instance: Instance) -> Path:
    return heart.root / "instances" / instance.instance_id


async def check_it_is_reset(heart: Heart, before: Instance) -> None:
    [after] = await heart.store.instances()
    assert (after.instance_id, after.dsn) == (before.instance_id, before.dsn)
    assert not after.resetting
    assert heart.runtime.running == (after.server,)
    assert heart.steps_in(place_of(heart, after)) == ["a"]
    assert await heart.statefs.volumes(heart.root / "instances") == [place_of(heart, after)]


def test_it_is_back_at_its_state_with_the_same_dsn(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart)
            await heart.resetting.reset(instance.instance_id, force=False)
            await check_it_is_reset(heart, instance)

    run(scenario())


def test_one_whose_server_has_died_is_reset_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart)
            heart.runtime.kill(instance.server)
            await heart.resetting.reset(instance.instance_id, force=False)
            await check_it_is_reset(heart, instance)

    run(scenario())


def test_its_clients_are_disconnected_only_by_force(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart)
            heart.dbms.clients[instance.server.runtime_id] = 2
            with pytest.raises(ConflictError, match="2 clients") as refused:
                await heart.resetting.reset(instance.instance_id, force=False)
            assert "--force" in (refused.value.remedy or "")
            assert heart.steps_in(place_of(heart, instance)) == ["changed"]
            assert heart.runtime.running == (instance.server,)
            await heart.resetting.reset(instance.instance_id, force=True)
            await check_it_is_reset(heart, instance)

    run(scenario())


def test_one_that_lets_nobody_in_is_reset_by_force_and_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart)
            heart.disk.write(place_of(heart, instance) / "data" / PID_FILE, b"0\n")
            with pytest.raises(ConflictError, match="does not answer") as refused:
                await heart.resetting.reset(instance.instance_id, force=False)
            assert "--force" in (refused.value.remedy or "")
            await heart.resetting.reset(instance.instance_id, force=True)
            await check_it_is_reset(heart, instance)

    run(scenario())


def test_without_its_state_it_is_left_as_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            instance = await changed(heart)
            await heart.statefs.remove(tmp_path / "states" / instance.state_id)
            with pytest.raises(ConflictError, match=instance.state_id):
                await heart.resetting.reset(instance.instance_id, force=True)
            assert heart.runtime.running == (instance.server,)

    run(scenario())


def test_two_resets_at_once_are_two_resets(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.give_way()
        async with engine(heart):
            instance = await changed(heart)
            resets = (heart.resetting.reset(instance.instance_id, force=False) for _ in range(2))
            await asyncio.gather(*resets)
            await check_it_is_reset(heart, instance)

    run(scenario())


def test_a_reset_that_failed_is_completed_by_the_next_one_or_the_next_engine(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        start = heart.runtime.start

        async def fail(*args: Any, **more: Any) -> object:
            raise ServerError("it does not start")

        async with engine(heart):
            instance = await changed(heart)
            for _ in range(2):
                heart.runtime.start = fail  # type: ignore[method-assign,assignment]
                with pytest.raises(ServerError):
                    await heart.resetting.reset(instance.instance_id, force=False)
                [broken] = await heart.store.instances()
                assert broken.resetting
                heart.runtime.start = start  # type: ignore[method-assign]
                await heart.resetting.reset(instance.instance_id, force=False)
                await check_it_is_reset(heart, instance)
            await heart.store.begin_reset(instance.instance_id)
        heart.start_engine()
        async with engine(heart):
            await heart.resetting.recover()
            await check_it_is_reset(heart, instance)

    run(scenario())


def test_what_is_not_there_cannot_be_reset(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            with pytest.raises(NotFoundError):
                await heart.resetting.reset("0" * 32, force=True)

    run(scenario())


def test_what_goes_wrong_with_one_reset_keeps_no_other_and_no_engine_from_going_on(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            first, second = await changed(heart), await changed(heart)
            for instance in (first, second):
                await heart.store.begin_reset(instance.instance_id)
        heart.start_engine()
        clone = heart.statefs.clone

        async def fail_for_first(source: Path, volume: Path) -> None:
            if volume == place_of(heart, first):
                raise PermissionError(str(volume))
            await clone(source, volume)

        heart.statefs.clone = fail_for_first  # type: ignore[method-assign]
        async with engine(heart):
            await heart.resetting.recover()
            left = {one.instance_id: one.resetting for one in await heart.store.instances()}
            assert left == {first.instance_id: True, second.instance_id: False}
            assert heart.steps_in(place_of(heart, second)) == ["a"]

    run(scenario())


def test_a_few_at_a_time_are_completed(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            for _ in range(20):
                await heart.store.begin_reset((await changed(heart)).instance_id)
        heart.start_engine()
        start, starting, most = heart.runtime.start, 0, 0

        async def slow(*args: Any, **more: Any) -> Server:
            nonlocal starting, most
            starting += 1
            most = max(most, starting)
            for _ in range(50):
                await asyncio.sleep(0)
            starting -= 1
            return await start(*args, **more)

        heart.runtime.start = slow  # type: ignore[method-assign]
        async with engine(heart):
            await heart.resetting.recover()
            assert 1 < most <= 8
            assert not any(one.resetting for one in await heart.store.instances())

    run(scenario())
