"""The four components together, on in-memory adapters: what a job does, as its clients see it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pgstrata.domain.instance import Server
from pgstrata.domain.job import Event, Job, Status, Transition
from pgstrata.domain.plan import StateExecuteTask, Step
from pgstrata.domain.state import State
from pgstrata.errors import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    StoreUnusableError,
)
from pgstrata.kinds.memory import MemoryRecipe, MemoryRunner
from pgstrata.kinds.sources.base import LocalSources
from pgstrata.prepare.housekeeping import Housekeeping
from pgstrata.queue.memory import MemoryQueue
from pgstrata.runtime.base import Failed, LineSink, Runtime
from pgstrata.settings import THROW_AWAY_SETTINGS, ServerSettings
from tests.servers import data_dir_of
from tests.unit.prepare.heart import SETTINGS, Heart, engine, run, with_jobs


def test_planning_alone_names_the_steps_and_touches_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a", "b", plan_only=True)
            assert job.status is Status.SUCCEEDED
            assert job.result is None
            assert await heart.said(job.job_id) == [
                "status queued",
                "status running",
                "task plan running",
                "task plan succeeded",
                "task resolve-image succeeded",
                "status succeeded",
            ]
            assert await heart.cached(job.job_id) == [False, False]
            assert heart.runtime.running == ()
            assert heart.runtime.commands == []
            assert await heart.store.states() == []

    run(scenario())


def test_execution_says_each_task_and_log_between_running_and_the_result(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a", "chatter")
            assert await heart.said(job.job_id) == [
                "status queued",
                "status running",
                "task plan running",
                "task plan succeeded",
                "task resolve-image succeeded",
                "task execute-0 running",
                "task execute-0 succeeded",
                "task execute-1 running",
                "log hello",
                "log world",
                "task execute-1 succeeded",
                "task prepare-instance running",
                "task prepare-instance succeeded",
                "result",
                "status succeeded",
            ]

    run(scenario())


def test_the_result_is_a_running_instance_of_the_last_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a", "b")
            assert job.result is not None
            instance = await heart.store.instance(job.result.instance_id)
            assert instance is not None
            assert heart.runtime.running == (instance.server,)
            assert instance.dsn == job.result.dsn
            assert heart.steps_in(data_dir_of(instance.server).parent) == ["a", "b"]

    run(scenario())


def test_the_second_time_everything_is_cached_and_no_tool_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            first = await heart.finish("a", "b")
            ran = len(heart.runtime.commands)
            second = await heart.finish("a", "b")
            assert await heart.cached(second.job_id) == [True, True]
            assert len(heart.runtime.commands) == ran
            assert first.result is not None
            assert second.result is not None
            assert first.result.state_id == second.result.state_id
            assert first.result.instance_id != second.result.instance_id

    run(scenario())


def test_a_state_that_cannot_be_used_is_not_planned_as_cached(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            heart.gate.set()
            await heart.finish("gate")
            [state] = await heart.store.states()
            heart.disk.remove_tree(tmp_path / "states" / state.state_id / "data" / "PG_VERSION")
            heart.gate.clear()
            heart.at_gate.clear()
            job = await heart.manager.submit(heart.request("gate"))
            await heart.at_gate.wait()
            assert await heart.cached(job.job_id) == [False]
            heart.gate.set()
            await heart.end_of(job.job_id)

    run(scenario())


def test_a_changed_last_step_builds_only_that_step(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a", "b")
            job = await heart.finish("a", "c")
            assert await heart.cached(job.job_id) == [True, False]
            assert [command.args[-1] for command in heart.runtime.commands] == ["a", "b", "c"]

    run(scenario())


def test_what_was_built_with_other_settings_of_the_server_is_not_what_is_asked_for(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            await heart.finish("a")
        heart.settings = SETTINGS._replace(runtime=ServerSettings(settings={"DateStyle": "German"}))
        heart.start_engine()
        async with engine(heart):
            job = await heart.finish("a")
            assert await heart.cached(job.job_id) == [False]
            again = await heart.finish("a")
            assert await heart.cached(again.job_id) == [True]

    run(scenario())


def test_a_setting_that_says_what_is_so_anyway_leaves_the_cache_as_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            await heart.finish("a")
        heart.settings = SETTINGS._replace(runtime=ServerSettings(settings=THROW_AWAY_SETTINGS))
        heart.start_engine()
        async with engine(heart):
            job = await heart.finish("a")
            assert await heart.cached(job.job_id) == [True]

    run(scenario())


def test_a_failing_step_fails_the_job_with_the_tools_words_and_keeps_the_steps_before(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a", "fail", "c")
            assert job.status is Status.FAILED
            assert job.error is not None
            assert "fail" in job.error.message
            assert (await heart.said(job.job_id))[-3:] == [
                "task execute-1 failed",
                "error",
                "status failed",
            ]
            assert heart.runtime.running == ()
            assert await heart.statefs.volumes(tmp_path / "work") == []
            again = await heart.finish("a", plan_only=True)
            assert await heart.cached(again.job_id) == [True]

    run(scenario())


def test_cancelling_stops_the_tool_and_undoes_the_step(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.manager.submit(heart.request("a", "hang"))
            await heart.hanging.wait()
            assert (await heart.manager.cancel(job.job_id)).cancel_requested
            ended = await heart.end_of(job.job_id)
            assert ended.status is Status.FAILED
            assert ended.error is not None
            assert ended.error.code == "cancelled"
            assert heart.runtime.running == ()
            assert await heart.statefs.volumes(tmp_path / "work") == []
            assert len(await heart.store.states()) == 1

    run(scenario())


def test_a_queued_job_can_be_cancelled_before_it_ever_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        one_at_a_time = with_jobs(max_parallel=1)
        async with engine(Heart(tmp_path, one_at_a_time)) as heart:
            await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
            waiting = await heart.manager.submit(heart.request("a"))
            await heart.manager.cancel(waiting.job_id)
            await heart.end_of(waiting.job_id)
            assert await heart.said(waiting.job_id) == ["status queued", "error", "status failed"]

    run(scenario())


def test_a_job_runs_even_if_the_one_who_asked_went_away_while_it_was_stored(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            stored = asyncio.Event()
            add = heart.queue.add

            async def slow_add(job: Job, events: Sequence[Event]) -> None:
                await add(job, events)
                stored.set()
                await asyncio.sleep(0)

            heart.queue.add = slow_add  # type: ignore[method-assign]
            asking = asyncio.create_task(heart.manager.submit(heart.request("a")))
            await stored.wait()
            asking.cancel()
            await asyncio.wait((asking,))
            [job] = await heart.manager.list_jobs()
            assert (await heart.end_of(job.job_id)).status is Status.SUCCEEDED

    run(scenario())


def test_a_job_that_runs_is_accepted_even_if_the_disk_cannot_be_waited_for(tmp_path: Path) -> None:
    class Unsynced(MemoryQueue):
        async def sync(self) -> None:
            raise StoreUnusableError("the disk is full")

    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.queue = Unsynced()
        heart.start_engine()
        async with engine(heart):
            assert (await heart.finish("a")).status is Status.SUCCEEDED

    run(scenario())


def test_cancelling_twice_or_after_the_end_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a")
            before = await heart.said(job.job_id)
            assert (await heart.manager.cancel(job.job_id)).status is Status.SUCCEEDED
            assert await heart.manager.cancel(job.job_id) == await heart.manager.get(job.job_id)
            assert await heart.said(job.job_id) == before

    run(scenario())


def test_jobs_beyond_the_limit_wait_their_turn_first_come_first_served(tmp_path: Path) -> None:
    async def scenario() -> None:
        one_at_a_time = with_jobs(max_parallel=1)
        async with engine(Heart(tmp_path, one_at_a_time)) as heart:
            jobs = [await heart.manager.submit(heart.request(name)) for name in ("c", "a", "b")]
            for job in jobs:
                await heart.end_of(job.job_id)
            assert [command.args[-1] for command in heart.runtime.commands] == ["c", "a", "b"]

    run(scenario())


def test_many_equal_requests_at_once_build_each_state_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        keep_all = with_jobs(max_identical=0)
        async with engine(Heart(tmp_path, keep_all)) as heart:
            jobs = [await heart.manager.submit(heart.request("a", "b")) for _ in range(20)]
            ended = [await heart.end_of(job.job_id) for job in jobs]
            assert {job.status for job in ended} == {Status.SUCCEEDED}
            assert [command.args[-1] for command in heart.runtime.commands] == ["a", "b"]
            assert len(heart.runtime.running) == 20

    run(scenario())


def test_a_request_of_an_unknown_kind_or_image_never_becomes_a_job(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            with pytest.raises(InvalidArgumentError, match="'nope'"):
                await heart.manager.submit(heart.request("a", prepare_kind="nope"))
            with pytest.raises(InvalidArgumentError, match="PostgreSQL 9 is not installed"):
                await heart.manager.submit(heart.request("a", image_id="postgres:9"))
            assert await heart.manager.list_jobs() == []

    run(scenario())


def test_a_name_that_is_taken_is_refused_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a", instance_name="mine")
            with pytest.raises(ConflictError, match="mine"):
                await heart.manager.submit(heart.request("a", instance_name="mine"))

    run(scenario())


def test_of_finished_jobs_that_ask_for_the_same_the_newest_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            jobs = [await heart.finish("a") for _ in range(4)]
            other = await heart.finish("b")
            left = [job.job_id for job in await heart.manager.list_jobs()]
            assert left == [other.job_id, jobs[3].job_id, jobs[2].job_id]

    run(scenario())


def test_of_finished_jobs_that_ask_for_different_things_the_newest_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, with_jobs(keep_number=3))) as heart:
            await heart.finish("fail")
            jobs = [await heart.finish(step) for step in "abcdef"]
            left = [job.job_id for job in await heart.manager.list_jobs()]
            assert left == [job.job_id for job in jobs[:2:-1]]

    run(scenario())


def test_jobs_that_are_too_old_go_and_room_is_given_back_once_nothing_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        done, again = asyncio.Queue[None](), asyncio.Queue[None]()
        given_back = 0

        async def give_back() -> None:
            nonlocal given_back
            given_back += 1

        async def sleep(_seconds: float) -> None:
            done.put_nowait(None)
            await again.get()

        async with engine(Heart(tmp_path, with_jobs(keep_age=3600))) as heart:
            ended = await heart.finish("a")
            assert ended.finished_at is not None
            old = replace(
                ended, job_id="0" * 32, finished_at=ended.finished_at - timedelta(hours=2)
            )
            await heart.queue.add(old, [])
            running = await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
            async with Housekeeping(heart.coordinator, give_back, sleep=sleep):
                await done.get()
                assert {job.job_id for job in await heart.manager.list_jobs()} == {
                    ended.job_id,
                    running.job_id,
                }
                assert given_back == 0
                await heart.manager.delete(running.job_id, force=True, dry_run=False)
                again.put_nowait(None)
                await done.get()
                assert given_back == 1

    run(scenario())


def test_room_is_given_back_after_that_failed_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        failures, given_back = [OSError("no luck")], asyncio.Event()

        async def give_back() -> None:
            if failures:
                raise failures.pop()
            given_back.set()

        async def sleep(_seconds: float) -> None:
            await asyncio.sleep(0)

        async with (
            engine(Heart(tmp_path)) as heart,
            Housekeeping(heart.coordinator, give_back, sleep=sleep),
        ):
            await given_back.wait()

    run(scenario(), seconds=10)


def test_who_follows_a_job_from_far_behind_hears_when_it_is_removed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("chatter")
            count = await heart.manager.count_events(job.job_id)
            assert await heart.manager.wait_for_event(job.job_id, count - 1)
            await heart.manager.delete(job.job_id, force=False, dry_run=False)
            assert not await heart.manager.wait_for_event(job.job_id, 0)

    run(scenario())


def test_a_job_that_has_only_just_finished_is_kept_for_its_client(tmp_path: Path) -> None:
    async def scenario() -> None:
        patient = with_jobs(finished_grace=60.0)
        async with engine(Heart(tmp_path, patient)) as heart:
            jobs = [await heart.finish("a") for _ in range(4)]
            assert len(await heart.manager.list_jobs()) == len(jobs)

    run(scenario())


def test_a_running_job_is_deleted_only_by_force_and_cancelled_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
            refused = await heart.manager.delete(job.job_id, force=False, dry_run=False)
            assert (refused.outcome, refused.root.blocked) == ("blocked", "active_tasks")
            told = await heart.manager.delete(job.job_id, force=True, dry_run=True)
            assert told.outcome == "would_delete"
            assert await heart.manager.get(job.job_id) is not None
            done = await heart.manager.delete(job.job_id, force=True, dry_run=False)
            assert done.outcome == "deleted"
            assert await heart.manager.get(job.job_id) is None
            assert heart.runtime.running == ()

    run(scenario())


def test_a_job_that_is_not_there_cannot_be_cancelled_or_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            with pytest.raises(NotFoundError):
                await heart.manager.cancel("0" * 32)
            with pytest.raises(NotFoundError):
                await heart.manager.delete("0" * 32, force=True, dry_run=False)

    run(scenario())


@pytest.mark.parametrize(("removed", "error"), [(True, NotFoundError), (False, ConflictError)])
def test_a_job_that_is_not_deleted_is_not_said_to_be(
    tmp_path: Path, removed: bool, error: type[Exception]
) -> None:
    class TakenAway(MemoryQueue):
        async def remove(self, job_id: str) -> bool:
            if removed:
                await super().remove(job_id)
            return False

    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.queue = TakenAway()
        heart.start_engine()
        async with engine(heart):
            job = await heart.finish("a")
            with pytest.raises(error):
                await heart.manager.delete(job.job_id, force=False, dry_run=False)

    run(scenario())


def test_a_quiet_task_repeats_its_last_event_as_a_sign_of_life(tmp_path: Path) -> None:
    async def scenario() -> None:
        lively = with_jobs(heartbeat=0.01)
        async with engine(Heart(tmp_path, lively)) as heart:
            job = await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
            said = len(await heart.said(job.job_id))
            await heart.manager.wait_for_event(job.job_id, said + 2)
            assert set((await heart.said(job.job_id))[said:]) == {"task execute-0 running"}

    run(scenario())


def test_waiting_for_an_event_that_will_never_be_ends_with_the_job(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.manager.submit(heart.request("a"))
            assert not await heart.manager.wait_for_event(job.job_id, 10_000)
            assert not await heart.manager.wait_for_event("0" * 32, 0)

    run(scenario())


def test_an_engine_that_starts_again_goes_on_with_what_was_running(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            job = await heart.manager.submit(heart.request("a", "hang"))
            await heart.hanging.wait()
        stopped = await heart.manager.get(job.job_id)
        assert stopped is not None
        assert stopped.status is Status.RUNNING
        heart.start_engine()
        heart.hanging.clear()
        async with engine(heart):
            await heart.hanging.wait()
            ran = [command.args[-1] for command in heart.runtime.commands]
            assert ran == ["a", "hang", "hang"]
            assert (await heart.said(job.job_id)).count("status running") == 1
            await heart.manager.cancel(job.job_id)
            await heart.end_of(job.job_id)

    run(scenario())


def test_what_a_killed_engine_left_is_cleared_away_and_instances_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            kept = await heart.finish("a")
            assert kept.result is not None
        state = tmp_path / "states" / kept.result.state_id
        await heart.statefs.clone(state, tmp_path / "work" / "killed")
        await heart.runtime.start("postgres", tmp_path / "work" / "killed" / "data")
        await heart.statefs.clone(state, tmp_path / "instances" / "unregistered")
        await heart.statefs.clone(state, tmp_path / "building" / "half")
        heart.start_engine()
        async with engine(heart):
            for area in ("work", "building"):
                assert await heart.statefs.volumes(tmp_path / area) == []
            [instance] = await heart.statefs.volumes(tmp_path / "instances")
            assert instance.name == kept.result.instance_id
            assert [data_dir_of(server).parent for server in heart.runtime.running] == [instance]

    run(scenario())


def test_a_fault_of_our_own_ends_the_job_and_is_reported_as_ours(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)

        def broken(*_: object) -> None:
            raise ZeroDivisionError("oops")

        heart.runtime.tool = broken  # type: ignore[assignment]
        async with engine(heart):
            job = await heart.finish("a")
            assert job.status is Status.FAILED
            assert job.error is not None
            assert job.error.code == "internal_error"
            assert heart.runtime.running == ()

    run(scenario())


def test_the_instance_of_a_cancelled_start_is_never_seen(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        starting = asyncio.Event()
        start = heart.runtime.start

        async def slow(image_id: str, data_dir: Path, **how: Any) -> object:
            server = await start(image_id, data_dir, **how)
            if data_dir.parent.parent.name == "instances":
                starting.set()
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    await heart.runtime.stop(server, clean=False)
            return server

        heart.runtime.start = slow  # type: ignore[method-assign,assignment]
        async with engine(heart):
            job = await heart.manager.submit(heart.request("a"))
            await starting.wait()
            await heart.manager.cancel(job.job_id)
            ended = await heart.end_of(job.job_id)
            assert ended.status is Status.FAILED
            assert await heart.store.instances() == []
            assert await heart.statefs.volumes(tmp_path / "instances") == []
            assert heart.runtime.running == ()

    run(scenario())


def test_a_state_that_was_stored_when_its_job_was_cancelled_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            stored, goes_on, add = asyncio.Event(), asyncio.Event(), heart.store.add_state

            async def slow(state: State, **how: Any) -> None:
                await add(state, **how)
                stored.set()
                await goes_on.wait()

            monkeypatch.setattr(heart.store, "add_state", slow)
            job = await heart.manager.submit(heart.request("a"))
            await stored.wait()
            [state] = await heart.store.states()
            await heart.manager.cancel(job.job_id)
            goes_on.set()
            assert (await heart.end_of(job.job_id)).status is Status.FAILED
            assert await heart.files.is_clean(state.state_id)

    run(scenario())


def test_the_end_of_a_job_is_written_as_soon_as_there_is_room_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        queue = FullQueue()
        heart.queue = queue
        heart.start_engine()
        async with engine(heart):
            job = await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
            queue.full = True
            await heart.manager.cancel(job.job_id)
            await queue.refused.wait()
            waiting = await heart.manager.get(job.job_id)
            assert waiting is not None
            assert waiting.status is Status.RUNNING
            queue.full = False
            ended = await heart.end_of(job.job_id)
            assert ended.error is not None
            assert ended.error.code == "cancelled"

    run(scenario())


def test_an_engine_can_end_while_the_end_of_a_job_cannot_be_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        queue = FullQueue()
        heart.queue = queue
        heart.start_engine()
        async with engine(heart):
            job = await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
            queue.full = True
            await heart.manager.cancel(job.job_id)
            await queue.refused.wait()
        queue.full = False
        heart.start_engine()
        async with engine(heart):
            ended = await heart.end_of(job.job_id)
            assert ended.status is Status.FAILED

    run(scenario())


class FullQueue(MemoryQueue):
    """A queue whose disk can be full: it takes no transitions then."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.refused = asyncio.Event()

    async def apply(self, transition: Transition) -> bool:
        if self.full:
            self.refused.set()
            raise StoreUnusableError("the disk is full")
        return await super().apply(transition)


class LenientRecipe(MemoryRecipe):
    """A kind whose steps can go on after errors."""

    can_continue = True


class LenientRunner(MemoryRunner):
    """Says of each step that part of it failed."""

    async def execute(
        self,
        step: Step,
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
    ) -> None:
        await line(f"{step.title} ran")
        await line(Failed(f"{step.title}:3: no such table"))
        return


def test_what_failed_in_a_step_that_went_on_stays_with_its_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.recipe, heart.runner = LenientRecipe(), LenientRunner()
        heart.start_engine()
        async with engine(heart):
            made = await heart.finish("a", on_error="continue")
            found = await heart.finish("a", on_error="continue")
            for job in (made, found):
                assert "log a:3: no such table" in await heart.said(job.job_id)
                [spec] = [
                    task.spec
                    for task in await heart.manager.list_tasks(job.job_id)
                    if isinstance(task.spec, StateExecuteTask)
                ]
                assert spec.failures == ("a:3: no such table",)
                assert spec.cached == (job is found)

    run(scenario())


def test_a_kind_that_cannot_go_on_after_errors_does_not_pretend_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            with pytest.raises(InvalidArgumentError, match="cannot go on after an error"):
                await heart.finish("a", on_error="continue")

    run(scenario())


def test_a_requests_server_settings_count_for_its_states_and_its_instance(tmp_path: Path) -> None:
    async def scenario() -> None:
        own = SETTINGS._replace(runtime=ServerSettings(settings={"work_mem": "1MB"}))
        async with engine(Heart(tmp_path, own)) as heart:
            plain = await heart.finish("a", "b")
            same = await heart.finish("a", "b", settings={"work_mem": "1MB"})
            assert await heart.cached(same.job_id) == [True, True]
            heart.runtime.started_with.clear()
            other = await heart.finish("a", "b", settings={"Work_Mem": "2MB", "jit": "off"})
            assert await heart.cached(other.job_id) == [False, False]
            wanted = {"work_mem": "2MB", "jit": "off"}
            assert heart.runtime.started_with == [wanted] * len(heart.runtime.started_with)
            assert other.result is not None
            assert plain.result is not None
            instance = await heart.store.instance(other.result.instance_id)
            assert instance is not None
            assert instance.settings == wanted
        async with engine(Heart(tmp_path)) as bare:
            # An engine whose own settings are these has the same states.
            job = await bare.finish("a", "b", settings={"work_mem": "1MB", "fsync": "off"})
            assert job.result is not None
            assert job.result.state_id == plain.result.state_id

    run(scenario())


@pytest.mark.parametrize(
    "settings", [{"Port": "1"}, {"a b": "1"}, {"x\ny": "1"}, {"": "1"}, {"jit": "\0"}]
)
def test_server_settings_that_cannot_be_set_are_refused(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            with pytest.raises(InvalidArgumentError, match="server setting"):
                await heart.finish("a", settings=settings)

    run(scenario())
