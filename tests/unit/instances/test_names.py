"""Names of instances: they stay, with their port and password, whatever becomes of the instance."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.job import Job, Status
from pgstrata.domain.name import LONGEST_NAME
from pgstrata.errors import ConflictError, HostLimitError, InvalidArgumentError, ServerError
from pgstrata.settings import InstanceLimits
from tests.unit.prepare.heart import SETTINGS, Heart, engine, run


async def instance_of(heart: Heart, job: Job) -> Instance:
    assert job.result is not None, job.error
    found = await heart.store.instance(job.result.instance_id)
    assert found is not None
    return found


async def named(heart: Heart, *steps: str, **more: Any) -> Instance:
    return await instance_of(heart, await heart.finish(*steps, instance_name="dev", **more))


def test_a_name_whose_instance_is_gone_goes_to_the_next_with_port_and_password(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first = await named(heart, "a")
            await heart.runtime.stop(first.server, clean=False)
            await heart.store.remove_instance(first.instance_id)
            unnamed = await instance_of(heart, await heart.finish("a"))
            second = await named(heart, "a", "b")
            assert second.dsn == first.dsn != unnamed.dsn

    run(scenario())


def test_an_instance_is_replaced_with_its_clients_none_the_wiser(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first = await named(heart, "a")
            second = await named(heart, "a", "b", replace=True)
            assert second.dsn == first.dsn
            assert await heart.store.instances() == [second]
            assert heart.runtime.running == (second.server,)
            [place] = await heart.statefs.volumes(tmp_path / "instances")
            assert heart.steps_in(place) == ["a", "b"]

    run(scenario())


def test_of_two_that_replace_one_at_once_the_later_stays(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.give_way()
        async with engine(heart):
            first = await named(heart, "a")
            both = await asyncio.gather(
                *(heart.finish("a", instance_name="dev", replace=True) for _ in range(2))
            )
            assert [job.status for job in both] == [Status.SUCCEEDED] * 2
            [last] = await heart.store.instances()
            assert last.dsn == first.dsn
            assert heart.runtime.running == (last.server,)

    run(scenario())


def test_an_instance_that_cannot_be_replaced_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first = await named(heart, "a")
            start = heart.runtime.start

            async def fail_once(*args: Any, **more: Any) -> object:
                heart.runtime.start = start  # type: ignore[method-assign]
                raise ServerError("it does not start")

            heart.runtime.start = fail_once  # type: ignore[method-assign,assignment]
            job = await heart.finish("a", instance_name="dev", replace=True)
            assert job.status is Status.FAILED
            [still] = await heart.store.instances()
            assert (still.instance_id, still.dsn) == (first.instance_id, first.dsn)
            assert heart.runtime.running == (still.server,)

    run(scenario())


def test_who_replaces_takes_no_more_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        only_one = SETTINGS._replace(instances=InstanceLimits(max=1))
        async with engine(Heart(tmp_path, only_one)) as heart:
            await named(heart, "a")
            await named(heart, "a", replace=True)
            with pytest.raises(HostLimitError):
                await heart.finish("a", instance_name="other", replace=True)

    run(scenario())


def test_a_taken_name_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await named(heart, "a")
            with pytest.raises(ConflictError, match="dev") as refused:
                await heart.finish("a", instance_name="dev")
            assert "pgstrata reset dev" in (refused.value.remedy or "")
            assert "--replace" in (refused.value.remedy or "")

    run(scenario())


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "-f", " a", "a\nb", "é" * (LONGEST_NAME + 1), "ab" * 16]
)
def test_what_cannot_be_a_name_is_refused(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            with pytest.raises(InvalidArgumentError, match="cannot be a name") as refused:
                await heart.manager.submit(heart.request("a", instance_name=name))
            assert refused.value.remedy

    run(scenario())


def test_only_a_name_can_be_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            with pytest.raises(InvalidArgumentError, match="without the name"):
                await heart.manager.submit(heart.request("a", replace=True))

    run(scenario())


def test_a_replacement_that_is_cancelled_too_late_stays(tmp_path: Path) -> None:
    """The other is gone already, and the name must not be left without any."""

    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first = await named(heart, "a")
            replace = heart.store.replace_instance

            async def replace_and_be_cancelled(old: str, new: Instance) -> None:
                await replace(old, new)
                [job] = [job for job in await heart.manager.list_jobs() if not job.status.terminal]
                await heart.manager.cancel(job.job_id)

            heart.store.replace_instance = replace_and_be_cancelled  # type: ignore[method-assign,assignment]
            await heart.finish("a", "b", instance_name="dev", replace=True)
            [left] = await heart.store.instances()
            assert (left.name, left.dsn) == ("dev", first.dsn)
            assert heart.runtime.running == (left.server,)
            assert left.instance_id != first.instance_id

    run(scenario())


def test_a_replacement_that_is_cancelled_while_the_other_goes_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first = await named(heart, "a")
            hide = heart.statefs.hide

            async def be_cancelled_and_hide(volume: Path) -> Path | None:
                [job] = [job for job in await heart.manager.list_jobs() if not job.status.terminal]
                await heart.manager.cancel(job.job_id)
                hidden = await hide(volume)
                await asyncio.sleep(0)
                return hidden

            with monkeypatch.context() as cancelling:
                cancelling.setattr(heart.statefs, "hide", be_cancelled_and_hide)
                await heart.finish("a", "b", instance_name="dev", replace=True)
            [left] = await heart.store.instances()
            assert (left.name, left.dsn) == ("dev", first.dsn)
            assert heart.runtime.running == (left.server,)
            await heart.trash.join()
            assert [one.name for one in heart.disk.children(tmp_path / "instances")] == [
                left.instance_id
            ]

    run(scenario())


def test_one_that_is_being_stopped_for_its_replacement_runs_again_if_that_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first = await named(heart, "a")
            stopping, goes_on, stop = asyncio.Event(), asyncio.Event(), heart.runtime.stop

            async def ending() -> None:
                """As a real one ends, whether that is waited for or not."""
                await goes_on.wait()
                await stop(first.server)

            ends = asyncio.create_task(ending())

            async def told_to_stop(server: Server, *, clean: bool = True) -> None:
                if server == first.server:
                    stopping.set()
                    await asyncio.shield(ends)
                else:
                    await stop(server, clean=clean)

            monkeypatch.setattr(heart.runtime, "stop", told_to_stop)
            job = await heart.manager.submit(
                heart.request("a", "b", instance_name="dev", replace=True)
            )
            await stopping.wait()
            await heart.manager.cancel(job.job_id)
            for _ in range(200):  # for as long as it may take somebody not to wait
                await asyncio.sleep(0)
            goes_on.set()
            await ends
            assert (await heart.end_of(job.job_id)).status is Status.FAILED
            [left] = await heart.store.instances()
            assert left.instance_id == first.instance_id
            assert heart.runtime.running == (left.server,)

    run(scenario())


def test_one_that_gets_another_name_while_its_replacement_waits_is_not_replaced(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first = await named(heart, "a")
            async with heart.turns.take(first.instance_id):
                job = await heart.manager.submit(
                    heart.request("a", instance_name="dev", replace=True)
                )
                while "task prepare-instance running" not in (said := await heart.said(job.job_id)):
                    await heart.manager.wait_for_event(job.job_id, len(said))
                await heart.store.bind_name("old", first.instance_id)
            assert (await heart.end_of(job.job_id)).status is Status.SUCCEEDED
            names = {one.instance_id: one.name for one in await heart.store.instances()}
            assert names.pop(first.instance_id) == "old"
            assert list(names.values()) == ["dev"]

    run(scenario())


def test_one_that_was_stopped_stays_so_when_its_replacement_fails(tmp_path: Path) -> None:
    """It may have been stopped for a reason, and its data need not be fit to be started on."""

    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first = await named(heart, "a")
            await heart.runtime.stop(first.server, clean=False)
            start = heart.runtime.start

            async def fail(image_id: str, data_dir: Path, **how: Any) -> object:
                if data_dir.is_relative_to(tmp_path / "instances"):
                    raise ServerError("it does not start")
                return await start(image_id, data_dir, **how)

            heart.runtime.start = fail  # type: ignore[method-assign,assignment]
            job = await heart.finish("a", instance_name="dev", replace=True)
            heart.runtime.start = start  # type: ignore[method-assign]
            assert job.status is Status.FAILED
            assert await heart.store.instances() == [first]
            assert heart.runtime.running == ()

    run(scenario())
