"""States whose files are damaged: noticed by what servers say, thrown out and built again."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pgstrata.domain.instance import Server
from pgstrata.domain.job import Job
from pgstrata.errors import ServerError, StateDamagedError, StateUnusableError
from pgstrata.prepare.suspicion import complains
from pgstrata.prepare.verification import Verification
from pgstrata.runtime.base import ToolCommand, ToolExit
from pgstrata.runtime.memory import ToolRun
from tests.servers import data_dir_of
from tests.unit.prepare.heart import Heart, engine, run

LOST = 'could not open file "base/5/16384": No such file or directory'


async def state_of(heart: Heart, *steps: str) -> str:
    job = await heart.finish(*steps)
    assert job.result is not None
    return job.result.state_id


def lose_a_file(heart: Heart, state_id: str) -> None:
    heart.disk.remove_tree(heart.root / "states" / state_id / "data" / "steps")


def complain(heart: Heart, step: str, times: int = 1, words: str = LOST) -> None:
    """Have a step's tool say what its server says, so many times."""
    usual, left = heart.runtime.tool, times

    def tool(server: Server, command: ToolCommand) -> ToolRun:
        nonlocal left
        if command.args[-1] != step or not left:
            return usual(server, command)
        left -= 1
        return ToolRun(ended=ToolExit(exit_code=3, stderr_tail=f"ERROR: {words}"))

    heart.runtime.tool = tool


def damage_pages(heart: Heart, step: str, times: int = 1) -> None:
    """Have the files damaged from the start that a step writes, so many times."""
    usual, left = heart.runtime.tool, times

    def tool(server: Server, command: ToolCommand) -> ToolRun:
        nonlocal left
        if command.args[-1] == step and left:
            left -= 1
            heart.disk.write(data_dir_of(server) / "damaged", b"")
        return usual(server, command)

    heart.runtime.tool = tool


def commands(heart: Heart) -> list[str]:
    return [command.args[-1] for command in heart.runtime.commands]


async def check_mended(heart: Heart, job: Job, *steps: str) -> None:
    assert job.error is None
    assert job.result is not None
    assert heart.steps_in(heart.root / "instances" / job.result.instance_id) == list(steps)
    said = await heart.said(job.job_id)
    assert sum("was damaged" in line and "built again" in line for line in said) == 1


def test_a_state_of_which_a_server_misses_a_file_is_built_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            lost = await state_of(heart, "a", "b")
            lose_a_file(heart, lost)
            complain(heart, "c")
            job = await heart.finish("a", "b", "c")
            await check_mended(heart, job, "a", "b", "c")
            assert commands(heart) == ["a", "b", "c", "b", "c"]
            assert await heart.files.defect(lost, deep=True) is None
            assert await heart.cached(job.job_id) == [True, False, False]

    run(scenario())


def test_a_state_whose_pages_are_damaged_is_found_by_reading_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            damage_pages(heart, "a")
            damaged = await state_of(heart, "a")
            complain(heart, "b", words="invalid page in block 7 of relation base/5/16384")
            await check_mended(heart, await heart.finish("a", "b"), "a", "b")
            assert commands(heart) == ["a", "b", "a", "b"]
            assert not heart.disk.exists(tmp_path / "states" / damaged / "data" / "damaged")
            assert heart.disk.children(tmp_path / "work") == []

    run(scenario())


def test_a_state_on_whose_clone_no_server_starts_is_built_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state_id = await state_of(heart, "a")
            lose_a_file(heart, state_id)
            starts = heart.runtime.start

            async def start(image_id: str, data_dir: Path, **more: Any) -> Server:
                if not heart.disk.exists(data_dir / "steps") and not more.get("building"):
                    raise ServerError("PostgreSQL does not start")
                return await starts(image_id, data_dir, **more)

            heart.runtime.start = start  # type: ignore[method-assign]
            await check_mended(heart, await heart.finish("a"), "a")
            assert commands(heart) == ["a", "a"]

    run(scenario())


def test_a_sound_state_stays_whatever_a_step_or_a_server_complains_of(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state_id = await state_of(heart, "a")
            complain(heart, "b")
            error = (await heart.finish("a", "b")).error
            assert error is not None
            assert (error.code, LOST in (error.details or "")) == ("step_failed", True)

            async def start(*_args: object, **_more: object) -> Server:
                raise ServerError("out of memory")

            heart.runtime.start = start  # type: ignore[method-assign]
            error = (await heart.finish("a")).error
            assert error is not None
            assert error.message == "out of memory"
            assert await heart.files.is_clean(state_id)
            assert commands(heart) == ["a", "b"]

    run(scenario())


def test_a_failure_is_told_as_it_was_when_there_is_no_room_to_examine_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a")
            assert job.result is not None

            async def start(*_args: object, **_more: object) -> Server:
                async def clone(*_: object) -> None:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

                monkeypatch.setattr(heart.statefs, "clone", clone)
                raise ServerError("out of memory")

            monkeypatch.setattr(heart.runtime, "start", start)
            with pytest.raises(ServerError, match="out of memory"):
                await heart.resetting.reset(job.result.instance_id, force=True)
            assert await heart.files.is_clean(job.result.state_id)

    run(scenario())


def test_damage_of_a_state_that_is_being_removed_is_told_without_waiting_for_anybody(
    tmp_path: Path,
) -> None:
    """Who removes it may wait for whom this is told, and a builder for its removal."""

    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state_id = await state_of(heart, "a")
            lose_a_file(heart, state_id)
            assert await heart.store.lease_build(state_id, "somebody who builds it")
            with (
                heart.in_use.removing([state_id]),
                pytest.raises(StateDamagedError),
            ):
                await heart.suspicion.of_state(state_id, ServerError(LOST), {})
            await heart.store.clear_build_leases()

    run(scenario())


def test_states_that_are_damaged_again_and_again_fail_the_job(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            damage_pages(heart, "a", times=1000)
            complain(heart, "b", times=1000)
            error = (await heart.finish("a", "b")).error
            assert error is not None
            assert error.code == "state_damaged"
            assert "cache verify --deep" in (error.details or "")

    run(scenario())


def test_what_nothing_can_build_again_is_told_and_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a")
            assert job.result is not None
            kept = await heart.instance_snapshots.snapshot(job.result.instance_id)
            lose_a_file(heart, kept.state_id)
            complain(heart, "b")
            error = (await heart.finish("b", start_from=kept.state_id, image_id="")).error
            assert error is not None
            assert (error.code, "is damaged" in error.message) == ("conflict", True)
            assert await heart.store.state(kept.state_id) is not None

    run(scenario())


def test_a_deep_check_reads_what_was_never_read_and_finds_bad_pages(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            damage_pages(heart, "a")
            damaged = await state_of(heart, "a")
            await state_of(heart, "b")
            verification = Verification(heart.files, heart.suspicion, heart.settled, heart.in_use)
            for repair, outcome in ((False, "would_remove"), (True, "emptied")):
                checks = [one async for one in verification.verify(repair=repair, deep=True)]
                [problem] = [one for one in checks if one.problem is not None]
                assert (problem.state_id, problem.outcome) == (damaged, outcome)
                assert problem.problem == "a page is damaged"

    run(scenario())


def refuse_without_steps(heart: Heart) -> None:
    """Have no server start on what has lost a file, except to have it read."""
    starts = heart.runtime.start

    async def start(image_id: str, data_dir: Path, **more: Any) -> Server:
        if not heart.disk.exists(data_dir / "steps"):
            raise ServerError(f"PostgreSQL does not start: FATAL: {LOST}")
        return await starts(image_id, data_dir, **more)

    heart.runtime.start = start  # type: ignore[method-assign]


@pytest.mark.parametrize("damaged", [True, False])
def test_a_reset_that_meets_a_damaged_state_says_so_and_a_prepare_builds_it_again(
    tmp_path: Path, damaged: bool
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a", instance_name="dev")
            assert job.result is not None
            if damaged:
                lose_a_file(heart, job.result.state_id)
                refuse_without_steps(heart)
            else:
                heart.runtime.start = never_starts  # type: ignore[method-assign]
            with pytest.raises(StateDamagedError if damaged else ServerError) as refusal:
                await heart.resetting.reset(job.result.instance_id, force=True)
            assert "was damaged" in refusal.value.message or not damaged
            del heart.runtime.start
            again = await heart.finish("a", instance_name="dev", replace=True)
            assert again.result is not None, again.error
            assert again.result.dsn == job.result.dsn
            assert await heart.cached(again.job_id) == [not damaged]

    run(scenario())


async def never_starts(*_args: object, **_more: object) -> Server:
    raise ServerError("there is no memory")


def test_a_snapshot_that_meets_damage_has_the_instances_own_state_checked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a")
            assert job.result is not None
            data = heart.root / "instances" / job.result.instance_id / "data"
            refuse_without_steps(heart)
            heart.disk.remove_tree(data / "steps")
            with pytest.raises(StateUnusableError):
                await heart.instance_snapshots.snapshot(job.result.instance_id)
            lose_a_file(heart, job.result.state_id)
            with pytest.raises(StateDamagedError, match="was damaged"):
                await heart.instance_snapshots.snapshot(job.result.instance_id)
            [still] = await heart.store.instances()
            assert await heart.runtime.alive(still.server)
            assert heart.disk.children(tmp_path / "work") == []

    run(scenario())


@pytest.mark.parametrize(
    "words",
    [
        LOST,
        'could not read blocks 3..3 in file "base/5/16384": read only 0 of 8192 bytes',
        'ERROR:  invalid page in block 0 of relation "base/5/1259"',
        'FATAL:  could not open file "global/pg_filenode.map": No such file or directory',
        "PANIC:  could not locate a valid checkpoint record",
        "psql:a.sql:1: ERROR:  XX001",
        "ERROR:  missing chunk number 0 for toast value 16389 in pg_toast_2619",
    ],
)
def test_postgresqls_words_for_damage_are_known(words: str) -> None:
    assert complains(ServerError("psql failed", details=f"x\n{words}\ny"))


@pytest.mark.parametrize(
    "words",
    [
        'relation "t" does not exist',
        'could not open file "/srv/data.csv" for reading: No such file or directory',
        "could not map anonymous shared memory: Cannot allocate memory",
        "duplicate key value violates unique constraint",
    ],
)
def test_other_complaints_are_no_sign_of_damage(words: str) -> None:
    assert not complains(ServerError("psql failed", details=words))
