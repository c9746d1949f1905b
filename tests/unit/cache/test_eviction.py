"""The bounded cache: what goes, what stays, and what a job is told when nothing can go."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgstrata.cache.capacity import Disk
from pgstrata.domain.durations import Seconds
from pgstrata.domain.model import utc_now
from pgstrata.domain.reason import RemovedFor
from pgstrata.domain.sizes import Bytes
from pgstrata.domain.state import State
from pgstrata.errors import CacheEnforcementUnavailableError, split_details
from pgstrata.settings import CacheCapacity
from tests.unit.prepare.heart import Heart, engine, holding, run

ANY_AGE = Seconds(0)


async def state_size(tmp_path: Path) -> int:
    """What the state of a one-letter step holds in memory."""
    root = tmp_path / "sample"
    root.mkdir(exist_ok=True)
    heart = Heart(root)
    async with engine(heart):
        await heart.finish("a")
        [state] = await heart.store.states()
    assert state.size_bytes
    return state.size_bytes


async def bounded(tmp_path: Path, *, states: float, **more: Any) -> Heart:
    """An engine whose cache takes so many states of one-letter steps."""
    size = await state_size(tmp_path)
    heart = Heart(tmp_path)
    limits = CacheCapacity(
        max_bytes=Bytes(int(size * states)), reserve_bytes=Bytes(0), min_state_age=ANY_AGE
    )
    heart.limits = limits._replace(**more)
    heart.start_engine()
    return heart


async def built(heart: Heart, *steps: str, keep: bool = False) -> str:
    """Prepare and let go of the instance; the last state's id."""
    job = await heart.finish(*steps)
    assert job.result is not None, job.error
    if not keep:
        await heart.store.remove_instance(job.result.instance_id)
    return job.result.state_id


async def kept(heart: Heart) -> set[str]:
    return {state.state_id for state in await heart.store.states()}


def test_the_state_worth_least_goes_when_another_needs_its_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=3.5)) as heart:
            first, second, third = [await built(heart, step) for step in "abc"]
            for _ in range(5):
                await built(heart, "a")
            fourth = await built(heart, "d")
            assert first in await kept(heart)
            assert fourth in await kept(heart)
            gone = {first, second, third, fourth} - await kept(heart)
            assert gone
            places = await heart.statefs.volumes(tmp_path / "states")
            assert {place.name for place in places} == await kept(heart)
            last = await heart.store.last_eviction()
            assert last is not None
            assert (last.trigger, last.evicted_count) == ("before_snapshot", len(gone))
            assert last.freed_bytes == last.usage_bytes_before - last.usage_bytes_after

    run(scenario())


def test_the_cache_never_holds_more_than_it_may(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=4)) as heart:
            for number in range(20):
                await built(heart, f"step-{number}")
                usage = (await heart.store.count_states()).size_bytes
                assert usage <= (heart.limits.max_bytes or 0)
            assert len(await kept(heart)) >= 2

    run(scenario())


def test_leaves_go_before_what_they_stem_from_and_then_that_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=3.6)) as heart:
            await built(heart, "a", "b")
            stem, leaf = [state.state_id for state in await heart.store.states()]
            last = await built(heart, "c")
            assert await kept(heart) == {stem, last}
            assert leaf not in await kept(heart)
            half = Bytes((heart.limits.max_bytes or 0) // 2)
            heart.limits = heart.limits._replace(max_bytes=half)
            heart.start_engine()
            async with engine(heart):
                newest = await built(heart, "d")
            assert await kept(heart) == {newest}

    run(scenario())


def test_a_pinned_state_and_what_it_stems_from_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=5)) as heart:
            pinned = await built(heart, "a", "b")
            chain = await kept(heart)
            await heart.store.set_pinned(pinned, pinned=True)
            for number in range(5):
                await built(heart, f"{number}")
                assert chain <= await kept(heart)

    run(scenario())


def test_a_state_with_an_instance_stays_and_one_too_young_does_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = await bounded(tmp_path, states=2.5, min_state_age=Seconds(3600))
        async with engine(heart):
            used = await built(heart, "a", keep=True)
            young = await built(heart, "b")
            job = await heart.finish("c")
            assert job.error is not None
            assert job.error.code == "cache_full_unreclaimable"
            assert split_details(job.error.details)[0]
            assert await kept(heart) == {used, young}
            heart.now = lambda: utc_now() + timedelta(hours=2)
            last = await built(heart, "c")
            assert await kept(heart) == {used, last}

    run(scenario())


def test_a_job_that_finds_the_cache_full_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=1.5)) as heart:
            await built(heart, "a", keep=True)
            job = await heart.finish("b")
            assert job.error is not None
            assert job.error.code == "cache_full_unreclaimable"
            assert len(await kept(heart)) == 1
            for area in ("work", "building"):
                assert await heart.statefs.volumes(tmp_path / area) == []
            assert len(heart.runtime.running) == 1

    run(scenario())


def test_a_state_larger_than_the_whole_cache_is_told_so_and_nothing_goes_for_it(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=1.5)) as heart:
            small = await built(heart, "a")
            job = await heart.finish("b" * 200)
            assert job.error is not None
            assert job.error.code == "cache_limit_too_small"
            assert await kept(heart) == {small}

    run(scenario())


def test_with_less_free_than_is_to_stay_so_states_go_before_a_step_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=1000, reserve_bytes=10)) as heart:
            old = await built(heart, "a")
            place = tmp_path / "states" / old

            def measure() -> Disk:
                return Disk(total_bytes=1 << 40, free_bytes=9 if heart.disk.exists(place) else 50)

            heart.measure = measure
            new = await built(heart, "b")
            assert await kept(heart) == {new}
            last = await heart.store.last_eviction()
            assert last is not None
            assert last.trigger == "before_step"
            assert (last.free_bytes_before, last.free_bytes_after) == (9, 50)

    run(scenario())


def test_a_full_disk_that_no_state_can_relieve_is_told_before_the_step_runs(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=1000, reserve_bytes=10)) as heart:
            heart.space = Disk(total_bytes=1 << 40, free_bytes=9)
            job = await heart.finish("a")
            assert job.error is not None
            assert job.error.code == "cache_full_unreclaimable"
            assert heart.runtime.commands == []

    run(scenario())


def test_a_disk_that_cannot_be_measured_fails_the_job_with_its_reason(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)

        def broken() -> Disk:
            raise OSError(5, "Input/output error")

        heart.measure = broken
        heart.start_engine()
        async with engine(heart):
            job = await heart.finish("a")
            assert job.error is not None
            assert job.error.code == "cache_enforcement_unavailable"
            assert "Input/output error" in job.error.message
            with pytest.raises(CacheEnforcementUnavailableError):
                await heart.evictor.status()

    run(scenario())


def test_states_that_cannot_be_removed_are_told_apart_from_those_that_may_not(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = await bounded(tmp_path, states=1.5)
        async with engine(heart):
            await built(heart, "a")
            remove = heart.statefs.remove

            async def stubborn(volume: Path) -> None:
                if volume.parent.name == "states":
                    raise OSError(30, "Read-only file system")
                await remove(volume)

            heart.statefs.remove = stubborn  # type: ignore[method-assign]
            with pytest.raises(CacheEnforcementUnavailableError, match="Read-only"):
                await heart.evictor.make_room("before_snapshot", heart.limits.max_bytes or 0)

    run(scenario())


def test_the_states_of_a_running_job_s_chain_stay_while_it_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=4)) as heart:
            start = await built(heart, "a")
            slow = await heart.manager.submit(heart.request("a", "gate"))
            await heart.at_gate.wait()
            for number in range(8):
                await built(heart, f"{number}")
                assert start in await kept(heart)
            heart.gate.set()
            job = await heart.end_of(slow.job_id)
            assert job.error is None

    run(scenario())


class SlowRows:
    """Holds up the removal of a state's row, so that others get to work in between."""

    def __init__(self, heart: Heart) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self._remove = heart.store.remove_state
        heart.store.remove_state = self.remove_state  # type: ignore[method-assign]

    async def remove_state(self, state_id: str, *, why: RemovedFor = "removed") -> bool:
        self.reached.set()
        await self.go_on.wait()
        return await self._remove(state_id, why=why)


Remove = Callable[[Heart, str], Awaitable[bool]]


def evicted(heart: Heart, state_id: str) -> Awaitable[bool]:
    return heart.removal.remove(state_id)


def found_dirty(heart: Heart, state_id: str) -> Awaitable[bool]:
    return heart.files.remove_dirty(state_id)


def test_a_job_that_wants_a_state_just_as_it_goes_builds_it_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=10)) as heart:
            state_id = await built(heart, "a")
            slow = SlowRows(heart)
            eviction = asyncio.create_task(heart.removal.remove(state_id))
            await slow.reached.wait()
            # Row, marker and files are all still there.
            job = await heart.manager.submit(heart.request("a"))
            while "task execute-0 running" not in await heart.said(job.job_id):
                await heart.manager.wait_for_event(job.job_id, len(await heart.said(job.job_id)))
            slow.go_on.set()
            assert await eviction
            ended = await heart.end_of(job.job_id)
            assert ended.error is None
            assert await heart.cached(job.job_id) == [False]
            assert await heart.files.is_clean(state_id)

    run(scenario())


@pytest.mark.parametrize("remove", [evicted, found_dirty])
def test_what_is_removed_is_gone_even_if_who_wanted_that_is_cancelled(
    tmp_path: Path, remove: Remove
) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=10)) as heart:
            state_id = await built(heart, "a")
            slow = SlowRows(heart)
            removal = asyncio.ensure_future(remove(heart, state_id))
            await slow.reached.wait()
            removal.cancel()
            slow.go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await removal
            assert await heart.files.known() == []

    run(scenario())


def test_a_state_that_a_job_took_up_just_before_stays(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=10)) as heart:
            state_id = await built(heart, "a")
            with holding(heart.in_use, [state_id]):
                assert not await heart.removal.remove(state_id)
            assert await heart.files.is_clean(state_id)
            assert await heart.removal.remove(state_id)
            assert await kept(heart) == set()

    run(scenario())


def test_many_jobs_in_a_small_cache_all_come_to_their_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(await bounded(tmp_path, states=6.5)) as heart:
            recipes = [(f"{n % 5}", f"{n % 7}") for n in range(60)]

            async def one(recipe: tuple[str, str]) -> str | None:
                job = await heart.finish(*recipe)
                if job.result is not None:
                    await heart.store.remove_instance(job.result.instance_id)
                    assert heart.steps_in(tmp_path / "states" / job.result.state_id) in (
                        list(recipe),
                        [],  # evicted meanwhile
                    )
                return job.error.code if job.error else None

            codes = set(await asyncio.gather(*map(one, recipes)))
            # So many at once may hold all there is; but no job stumbles over another's eviction.
            assert codes <= {None, "cache_full_unreclaimable"}
            assert None in codes
            usage = (await heart.store.count_states()).size_bytes
            assert usage <= (heart.limits.max_bytes or 0)
            assert heart.in_use.held == frozenset()

    run(scenario())


def test_the_status_tells_what_could_go_and_what_could_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = await bounded(tmp_path, states=10)
        async with engine(heart):
            await built(heart, "a", keep=True)
            await built(heart, "b", "c")
            status = await heart.evictor.status()
            sizes = [state.size_bytes or 0 for state in await heart.store.states()]
            assert status.state_count == 3
            assert status.usage_bytes == sum(sizes)
            assert status.reclaimable_bytes == sum(sizes[1:])
            assert status.blocked_count == 1
            assert status.pressure_reasons == ()
            assert status.configured_max_bytes == status.effective_max_bytes
            assert status.min_state_age == "0s"
            assert status.last_eviction is None
            with holding(heart.in_use, [state.state_id for state in await heart.store.states()]):
                assert (await heart.evictor.status()).reclaimable_bytes == 0

    run(scenario())


def test_how_long_a_state_took_to_build_is_kept_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a")
            [state] = await heart.store.states()
            assert isinstance(state, State)
            assert state.build_seconds is not None
            assert 0 <= state.build_seconds < 20
            assert isinstance(state.created_at, datetime)

    run(scenario())
