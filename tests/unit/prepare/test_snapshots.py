"""The orchestrator: what it believes of a state on disk, and how it makes one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from pgstrata.dbms.memory import CLEAN, CONTROL_FILE
from pgstrata.domain.plan import TaskInput
from pgstrata.domain.reason import StepRecord
from pgstrata.domain.state import State
from pgstrata.errors import ConflictError, StateUnusableError, StoreUnusableError
from pgstrata.store.memory import MemoryStore
from tests.servers import data_dir_of
from tests.unit.prepare.heart import Heart, engine, run

IMAGE = TaskInput(kind="image", id="postgres@sha256:" + "1" * 64)


class Base:
    """Counts how often a cluster is initialised, and can be made to wait or fail."""

    def __init__(self, heart: Heart) -> None:
        self.heart = heart
        self.made = 0
        self.error: Exception | None = None

    async def __call__(self, data_dir: Path) -> None:
        self.made += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.heart.disk.write(data_dir / "PG_VERSION", b"17\n")
        self.heart.disk.write(data_dir / CONTROL_FILE, CLEAN)


def test_the_base_state_is_made_once_for_all_who_want_it_at_the_same_moment(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        base = Base(heart)
        await asyncio.gather(
            *(heart.snapshots.workspace(f"job-{n}", IMAGE, base) for n in range(10))
        )
        assert base.made == 1
        assert len(await heart.statefs.volumes(tmp_path / "work")) == 10

    run(scenario())


def test_each_way_of_making_a_cluster_of_an_image_has_a_base_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        plain, german = Base(heart), Base(heart)
        for n in range(2):
            await heart.snapshots.workspace(f"plain-{n}", IMAGE, plain)
            await heart.snapshots.workspace(f"german-{n}", IMAGE, german, {"locale": "de-DE"})
        assert (plain.made, german.made) == (1, 1)
        names = await heart.files.bases()
        assert IMAGE.id.rpartition(":")[2] in names
        assert len(names) == 2
        assert [await heart.files.throw_out_base(name) for name in names] == ["sound"] * 2

    run(scenario())


def test_a_base_state_that_could_not_be_made_leaves_nothing_and_is_tried_again(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        base = Base(heart)
        base.error = StateUnusableError("no room")
        with pytest.raises(StateUnusableError, match="no room"):
            await heart.snapshots.workspace("job", IMAGE, base)
        for area in ("bases", "building", "work"):
            assert await heart.statefs.volumes(tmp_path / area) == []
        base.error = None
        await heart.snapshots.workspace("job", IMAGE, base)
        assert base.made == 2

    run(scenario())


def test_a_clone_whose_settings_cannot_be_read_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:

            async def unreadable(_: Path) -> bytes:
                raise StateUnusableError("it was tampered with")

            monkeypatch.setattr(heart.dbms, "start_settings", unreadable)
            job = await heart.finish("a")
            assert job.error is not None
            assert job.error.message == "it was tampered with"
            assert await heart.statefs.volumes(tmp_path / "work") == []

    run(scenario())


def test_a_damaged_base_state_is_made_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        base = Base(heart)
        await heart.snapshots.workspace("one", IMAGE, base)
        [place] = await heart.statefs.volumes(tmp_path / "bases")
        heart.disk.remove_tree(place / "data" / "PG_VERSION")
        await heart.snapshots.workspace("two", IMAGE, base)
        assert base.made == 2

    run(scenario())


@pytest.mark.parametrize(
    "damage",
    ["no marker", "another's marker", "garbage marker", "no PG_VERSION", "pid file", "no row"],
)
def test_a_dirty_cached_state_is_thrown_out_and_built_again(tmp_path: Path, damage: str) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a")
            assert job.result is not None
            await heart.store.remove_instance(job.result.instance_id)
            state_id = job.result.state_id
            place = tmp_path / "states" / state_id
            match damage:
                case "no marker":
                    heart.disk.remove_tree(place / "marker")
                case "another's marker":
                    marker = heart.disk.read(place / "marker") or b""
                    heart.disk.write(
                        place / "marker", marker.replace(state_id[:8].encode(), b"0" * 8)
                    )
                case "garbage marker":
                    heart.disk.write(place / "marker", b"\x00garbage")
                case "no PG_VERSION":
                    heart.disk.remove_tree(place / "data" / "PG_VERSION")
                case "pid file":
                    heart.disk.write(place / "data" / "postmaster.pid", b"1\n")
                case "no row":
                    await heart.store.remove_state(state_id)
            assert not await heart.files.is_clean(state_id)
            again = await heart.finish("a")
            assert await heart.cached(again.job_id) == [False]
            assert [command.args[-1] for command in heart.runtime.commands] == ["a", "a"]
            assert await heart.files.is_clean(state_id)

    run(scenario())


def test_a_dirty_state_in_the_middle_is_no_matter_to_one_who_starts_behind_it(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a", "b")
            first, _ = await heart.store.states()
            heart.disk.remove_tree(tmp_path / "states" / first.state_id)
            ran = len(heart.runtime.commands)
            await heart.finish("a", "b")
            assert len(heart.runtime.commands) == ran

    run(scenario())


def test_a_dirty_state_that_others_stem_from_is_rebuilt_under_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a", "b")
            first, second = await heart.store.states()
            heart.disk.remove_tree(tmp_path / "states" / first.state_id)
            job = await heart.finish("a", "c")
            assert await heart.cached(job.job_id) == [False, False]
            assert await heart.files.is_clean(first.state_id)
            assert await heart.files.is_clean(second.state_id)

    run(scenario())


def test_a_cluster_with_a_tablespace_elsewhere_is_not_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            tool = heart.runtime.tool

            def with_tablespace(server, command):  # type: ignore[no-untyped-def]
                heart.disk.write(data_dir_of(server) / "pg_tblspc" / "16385", b"/elsewhere")
                return tool(server, command)

            heart.runtime.tool = with_tablespace
            job = await heart.finish("a")
            assert job.error is not None
            assert job.error.code == "state_unusable"
            assert "/elsewhere" in job.error.message
            assert await heart.store.states() == []
            assert await heart.statefs.volumes(tmp_path / "states") == []

    run(scenario())


def test_a_state_that_others_stem_from_is_not_removed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            await heart.finish("a", "b")
            first, _ = await heart.store.states()
            with pytest.raises(ConflictError):
                await heart.removal.remove(first.state_id)
            assert await heart.files.is_clean(first.state_id)

    run(scenario())


def test_whoever_waits_for_a_state_being_built_can_give_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            builder = await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
            waiter = await heart.manager.submit(heart.request("hang"))
            while "task execute-0 running" not in await heart.said(waiter.job_id):
                await heart.manager.wait_for_event(
                    waiter.job_id, len(await heart.said(waiter.job_id))
                )
            await heart.manager.cancel(waiter.job_id)
            ended = await heart.end_of(waiter.job_id)
            assert ended.error is not None
            assert ended.error.code == "cancelled"
            assert len(heart.runtime.commands) == 1
            await heart.manager.cancel(builder.job_id)
            await heart.end_of(builder.job_id)

    run(scenario())


def test_when_the_builder_is_cancelled_one_who_waited_builds_the_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            builder = await heart.manager.submit(heart.request("hang"))
            await heart.hanging.wait()
            waiter = await heart.manager.submit(heart.request("hang"))
            heart.hanging.clear()
            await heart.manager.cancel(builder.job_id)
            await heart.end_of(builder.job_id)
            await heart.hanging.wait()
            assert len(heart.runtime.commands) == 2
            await heart.manager.cancel(waiter.job_id)
            await heart.end_of(waiter.job_id)

    run(scenario())


def test_a_state_whose_row_cannot_be_written_leaves_no_files(tmp_path: Path) -> None:
    class FullStore(MemoryStore):
        async def add_state(
            self, state: State, *, built_by: str | None = None, steps: Sequence[StepRecord] = ()
        ) -> None:
            raise StoreUnusableError("the disk is full")

    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.store = FullStore()
        heart.start_engine()
        async with engine(heart):
            job = await heart.finish("a", "b")
            assert job.error is not None
            assert job.error.message == "the disk is full"
            for area in ("states", "building", "work"):
                assert await heart.statefs.volumes(tmp_path / area) == []

    run(scenario())


def test_files_of_a_state_without_a_row_are_cleared_away_at_the_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        async with engine(heart):
            await heart.finish("a")
            [state] = await heart.store.states()
        kept = tmp_path / "states" / state.state_id
        forgotten = kept.with_name("0" * 64)
        heart.disk.copy_tree(kept, forgotten)
        heart.start_engine()
        async with engine(heart):
            assert await heart.statefs.volumes(tmp_path / "states") == [kept]

    run(scenario())
