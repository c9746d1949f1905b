"""Settled copies are what instances are cloned from, and nothing else knows that they are there."""

import asyncio
from pathlib import Path

import pytest

from pgstrata.dbms.memory import SETTLED
from pgstrata.domain.durations import Seconds
from pgstrata.domain.instance import Instance
from pgstrata.domain.job import Job
from pgstrata.errors import ServerError
from pgstrata.prepare import settling
from pgstrata.prepare.verification import Verification
from pgstrata.registry.registry import Registry
from pgstrata.settings import Settings, Settle, SnapshotSettings
from tests.unit.cache.test_eviction import bounded, state_size
from tests.unit.prepare.heart import SETTINGS, Heart, engine, run

POOL_OF_ONE = SETTINGS.pool._replace(max=1)


def settled_by(how: Settle, timeout: int = 600) -> Settings:
    return SETTINGS._replace(snapshot=SnapshotSettings(settle=how, settle_timeout=Seconds(timeout)))


async def copies(heart: Heart) -> set[str]:
    """The states that have copies, by what lies in the store."""
    there = {volume.name for volume in await heart.statefs.volumes(heart.root / "settled")}
    assert there == {copy.state_id for copy in heart.settled.known}
    return there


async def prepared(heart: Heart, *steps: str) -> Instance:
    return await instance_of(heart, await heart.finish(*steps))


async def instance_of(heart: Heart, job: Job) -> Instance:
    assert job.result is not None, job.error
    instance = await heart.store.instance(job.result.instance_id)
    assert instance is not None
    await heart.settling.join()
    return instance


def is_settled(heart: Heart, instance: Instance) -> bool:
    place = heart.root / "instances" / instance.instance_id
    return heart.disk.exists(place / "data" / SETTLED)


def test_instances_are_cloned_from_the_copy_and_steps_start_from_the_state(tmp_path: Path) -> None:
    async def ids(how: Settle) -> list[str]:
        root = tmp_path / how
        async with engine(Heart(root, settled_by(how))) as heart:
            before = await prepared(heart, "a")
            after = await prepared(heart, "a")
            longer = await prepared(heart, "a", "b")
            assert not is_settled(heart, before)
            assert is_settled(heart, after) == (how == "always")
            assert heart.steps_in(root / "instances" / after.instance_id) == ["a"]
            for state in await heart.store.states():
                assert not heart.disk.exists(root / "states" / state.state_id / "data" / SETTLED)
            if how == "always":
                assert await copies(heart) == {before.state_id, longer.state_id}
            return [state.state_id for state in await heart.store.states()]

    async def scenario() -> None:
        assert await ids("always") == await ids("off")

    run(scenario())


def test_what_is_large_and_asked_for_again_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        size = await state_size(tmp_path)
        async with engine(Heart(tmp_path, settled_by("auto"))) as heart:
            for _ in range(3):
                await prepared(heart, "a")
            assert await copies(heart) == set()
            monkeypatch.setattr(settling, "LEAST_BYTES", size)
            await prepared(heart, "b")
            assert await copies(heart) == set()
            again = await prepared(heart, "b")
            assert await copies(heart) == {again.state_id}

    run(scenario())


def test_the_server_that_settles_does_nothing_by_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, settled_by("always"))) as heart:
            await prepared(heart, "a")
            assert dict(heart.runtime.started_with[-1]) == dict(heart.dbms.settling_settings)

    run(scenario())


def test_without_settling_what_was_settled_is_not_handed_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, settled_by("always"))
        async with engine(heart):
            await prepared(heart, "a")
            heart.settling.want(SnapshotSettings(settle="off"))
            assert not is_settled(heart, await prepared(heart, "a"))
            assert await copies(heart) == set()
            heart.settling.want(SnapshotSettings(settle="always"))
            await prepared(heart, "a")
            assert await copies(heart)
        heart.settings = settled_by("off")
        heart.start_engine()
        async with engine(heart):
            assert not is_settled(heart, await prepared(heart, "a"))
            assert await copies(heart) == set()

    run(scenario())


def test_states_are_settled_after_a_copy_that_could_not_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, settled_by("always"))) as heart:
            first, second = await prepared(heart, "a"), await prepared(heart, "b")
            remove = heart.statefs.remove

            async def failing(volume: Path) -> None:
                if volume.name == first.state_id:
                    raise OSError("busy")
                await remove(volume)

            monkeypatch.setattr(heart.statefs, "remove", failing)
            heart.settling.want(SnapshotSettings(settle="off"))
            await heart.settling.join()
            assert "busy" in caplog.text
            assert heart.settled.of(second.state_id) is None
            heart.settling.want(SnapshotSettings(settle="always"))
            await prepared(heart, "b")
            assert heart.settled.of(second.state_id) is not None

    run(scenario())


def test_copies_are_known_again_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, settled_by("always"))
        async with engine(heart):
            made = await prepared(heart, "a")
            [before] = heart.settled.known
        heart.start_engine()
        async with engine(heart):
            assert heart.settled.of(made.state_id) == before
            assert is_settled(heart, await prepared(heart, "a"))

    run(scenario())


def test_a_copy_without_the_state_that_it_was_made_from_is_removed(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, settled_by("always"))
        async with engine(heart):
            gone, other = await prepared(heart, "a"), await prepared(heart, "b")
            await heart.store.remove_instance(gone.instance_id)
            await heart.store.remove_state(gone.state_id)
            heart.disk.write(heart.root / "settled" / other.state_id / "marker", b"{}")
        heart.start_engine()
        await heart.settled.load()
        assert await copies(heart) == set()

    run(scenario())


def test_a_kill_in_the_middle_leaves_nothing_of_a_copy(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, settled_by("always"))
        heart.dbms.settling_hangs = True
        killed = engine(heart)
        await killed.__aenter__()
        await heart.finish("a")
        await heart.dbms.settling.wait()
        old = heart.settling
        heart.dbms.settling_hangs = False
        heart.start_engine()
        await heart.settled.load()
        await heart.manager.recover()
        assert await heart.statefs.volumes(tmp_path / "work") == []
        assert await copies(heart) == set()
        assert len(heart.runtime.running) == len(await heart.store.instances()) == 1
        await old.__aexit__(None, None, None)

    run(scenario())


def test_an_engine_that_stops_does_not_wait_for_a_copy(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, settled_by("always"))
        heart.dbms.settling_hangs = True
        async with engine(heart):
            await heart.finish("a")
            await heart.dbms.settling.wait()
        assert await heart.statefs.volumes(tmp_path / "work") == []
        assert len(heart.runtime.running) == 1

    run(scenario())


def test_what_takes_too_long_is_given_up_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, settled_by("always", timeout=1))
        heart.dbms.settling_hangs = True
        async with engine(heart):
            for _ in range(3):
                assert not is_settled(heart, await prepared(heart, "a"))
            assert await copies(heart) == set()
            assert await heart.statefs.volumes(tmp_path / "work") == []
            assert len(heart.runtime.running) == 3

    run(scenario())
    assert [record.message for record in caplog.records if "not settled" in record.message] == [
        record.message for record in caplog.records if "snapshot.settleTimeout" in record.message
    ]
    assert caplog.text.count("not settled") == 1


def test_a_state_is_not_kept_from_being_removed_by_being_settled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, settled_by("always"))) as heart:
            heart.dbms.settling_hangs = True
            job = await heart.finish("a")
            assert job.result is not None
            await heart.dbms.settling.wait()
            await heart.store.remove_instance(job.result.instance_id)
            assert await heart.removal.remove(job.result.state_id)
            await heart.settling.join()
            assert await copies(heart) == set()
            assert await heart.statefs.volumes(tmp_path / "states") == []
            assert await heart.statefs.volumes(tmp_path / "work") == []

    run(scenario())


def test_a_copy_goes_with_its_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, settled_by("always"))) as heart:
            made = await prepared(heart, "a")
            await heart.store.remove_instance(made.instance_id)
            assert await heart.removal.remove(made.state_id)
            assert await copies(heart) == set()

    run(scenario())


def test_whenever_its_removal_is_cancelled_a_copy_is_whole_or_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, settled_by("always"))
        heart.give_way()
        async with engine(heart):
            found = []
            for moment in range(5):
                made = await prepared(heart, f"step{moment}")
                removal = asyncio.create_task(heart.settled.remove(made.state_id))
                for _ in range(moment):
                    await asyncio.sleep(0)
                removal.cancel()
                await asyncio.wait((removal,))
                found.append(made.state_id in await copies(heart))
            assert found == sorted(found, reverse=True)
            assert len(set(found)) == 2

    run(scenario())


def test_a_copy_is_evicted_before_any_state_and_not_made_where_there_is_no_room(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = await bounded(tmp_path, states=2.5)
        heart.settings = settled_by("always")
        heart.start_engine()
        async with engine(heart):
            first = await prepared(heart, "a")
            assert await copies(heart) == {first.state_id}
            status = await heart.evictor.status()
            assert (status.settled_count, status.state_count) == (1, 1)
            assert status.usage_bytes == status.settled_bytes + (
                (await heart.store.count_states()).size_bytes
            )
            assert status.reclaimable_bytes == 0
            await heart.store.remove_instance(first.instance_id)
            assert (await heart.evictor.status()).reclaimable_bytes == status.usage_bytes
            second = await prepared(heart, "b")
            assert {state.state_id for state in await heart.store.states()} == {
                first.state_id,
                second.state_id,
            }
            assert await copies(heart) == set()
            last = await heart.store.last_eviction()
            assert last is not None
            assert (last.evicted_count, last.settled_count) == (0, 1)
            assert last.freed_bytes == status.settled_bytes

    run(scenario())


def test_a_copy_that_no_server_starts_on_goes_and_the_state_is_cloned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, settled_by("always"))) as heart:
            made = await prepared(heart, "a")
            heart.disk.remove_tree(heart.root / "settled" / made.state_id / "data" / "PG_VERSION")
            job = await heart.finish("a")
            assert job.result is not None, job.error
            assert "no server starts on it" in caplog.text
            await heart.settling.join()
            assert not is_settled(heart, await instance_of(heart, job))
            assert not is_settled(heart, await prepared(heart, "a"))
            assert is_settled(heart, await prepared(heart, "a"))

    run(scenario())


def test_a_reset_takes_the_copy_and_does_without_one_that_no_server_starts_on(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, settled_by("always"))) as heart:
            made = await prepared(heart, "a")
            await heart.resetting.reset(made.instance_id, force=False)
            await heart.settling.join()
            assert is_settled(heart, made)
            heart.disk.remove_tree(heart.root / "settled" / made.state_id / "data" / "PG_VERSION")
            with pytest.raises(ServerError):
                await heart.resetting.reset(made.instance_id, force=False)
            await heart.resetting.reset(made.instance_id, force=False)
            await heart.settling.join()
            assert not is_settled(heart, made)

    run(scenario())


def test_servers_that_wait_are_renewed_once_there_is_a_copy(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path, SETTINGS._replace(pool=POOL_OF_ONE))
        async with engine(heart):
            made = await prepared(heart, "a")
            await heart.pool.want(made.state_id, 1)
            await heart.pool.join()
            heart.settling.want(SnapshotSettings(settle="always"))
            heart.settled.use(made.state_id)
            await heart.settling.join()
            await heart.pool.join()
            assert heart.pool.status.ready == 1
            assert is_settled(heart, await prepared(heart, "a"))

    run(scenario())


def test_a_copy_is_listed_with_its_state_and_verified(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, settled_by("always"))) as heart:
            made = await prepared(heart, "a")
            registry = Registry(
                store=heart.store, runtime=heart.runtime, turns=heart.turns, settled=heart.settled
            )
            [listed] = await registry.states()
            assert listed.settled_bytes == heart.settled.totals.size_bytes
            assert listed == await registry.state(made.state_id)
            verification = Verification(heart.files, heart.suspicion, heart.settled, heart.in_use)
            assert (await anext(verification.verify(repair=False))).problem is None
            heart.disk.remove_tree(heart.root / "settled" / made.state_id / "data" / "PG_VERSION")
            found = await anext(verification.verify(repair=True))
            assert (found.state_id, found.outcome) == (made.state_id, "removed")
            assert "settled copy" in (found.problem or "")
            assert await copies(heart) == set()
            assert len(await registry.states()) == 1

    run(scenario())


def test_nothing_is_settled_twice_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, settled_by("always"))) as heart:
            await asyncio.gather(*(heart.finish("a") for _ in range(2)))
            await heart.settling.join()
            settled = [
                one for one in heart.runtime.started_with if one == heart.dbms.settling_settings
            ]
            assert len(settled) == 1

    run(scenario())
