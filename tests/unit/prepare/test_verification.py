"""Looking the whole cache over."""

import asyncio
import errno
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pgstrata.dbms.memory import CONTROL_FILE
from pgstrata.domain.cache import StateCheck
from pgstrata.prepare import verification
from pgstrata.prepare.verification import Verification
from pgstrata.statefs.base import Usage
from tests.unit.prepare.heart import Heart, engine, holding, run, with_jobs


async def found(heart: Heart, *, repair: bool = False, deep: bool = False) -> list[StateCheck]:
    """All findings; the check's last word must be its end."""
    looking = Verification(heart.files, heart.suspicion, heart.settled, heart.in_use).verify(
        repair=repair, deep=deep
    )
    checks = [check async for check in looking]
    assert checks[-1].checked == checks[-1].total
    assert checks[-1].problem is None
    return [check for check in checks if check.problem is not None]


async def built(heart: Heart, *steps: str) -> str:
    job = await heart.finish(*steps)
    assert job.result is not None
    await heart.store.remove_instance(job.result.instance_id)
    return job.result.state_id


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no marker", "no marker"),
        ("garbage marker", "cannot be read"),
        ("another's marker", "the marker names"),
        ("no PG_VERSION", "PG_VERSION is missing"),
        ("pid file", "postmaster.pid"),
        ("size zero", "PG_VERSION is empty"),
        ("unclean", "in production"),
        ("no files", "no marker"),
        ("no row", "no row"),
    ],
)
def test_whatever_is_wrong_with_a_state_is_told_and_mended(
    tmp_path: Path, damage: str, words: str
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            sound, broken = await built(heart, "a"), await built(heart, "b")
            place = tmp_path / "states" / broken
            match damage:
                case "no marker":
                    heart.disk.remove_tree(place / "marker")
                case "garbage marker":
                    heart.disk.write(place / "marker", b"")
                case "another's marker":
                    other = heart.disk.read(tmp_path / "states" / sound / "marker")
                    heart.disk.write(place / "marker", other or b"")
                case "no PG_VERSION":
                    heart.disk.remove_tree(place / "data" / "PG_VERSION")
                case "pid file":
                    heart.disk.write(place / "data" / "postmaster.pid", b"1\n")
                case "size zero":
                    heart.disk.write(place / "data" / "PG_VERSION", b"")
                case "unclean":
                    heart.disk.write(place / "data" / CONTROL_FILE, b"in production")
                case "no files":
                    heart.disk.remove_tree(place)
                case "no row":
                    await heart.store.remove_state(broken)
            for repair, outcome in ((False, "would_remove"), (True, "removed")):
                [finding] = await found(heart, repair=repair)
                assert (finding.state_id, finding.outcome) == (broken, outcome)
                assert words in (finding.problem or "")
            assert await found(heart) == []
            assert await heart.files.known() == [sound]
            assert await built(heart, "b") == broken

    run(scenario())


def test_a_broken_state_that_others_were_made_from_keeps_its_row_and_holds_nothing(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            child = await built(heart, "a", "b")
            [parent] = {state.state_id for state in await heart.store.states()} - {child}
            heart.disk.remove_tree(tmp_path / "states" / parent / "marker")
            [finding] = await found(heart, repair=True)
            assert (finding.state_id, finding.outcome) == (parent, "emptied")
            row = await heart.store.state(parent)
            assert row is not None
            assert row.size_bytes == 0
            assert await heart.files.is_clean(child)
            assert await built(heart, "a") == parent
            assert await found(heart) == []

    run(scenario())


def test_a_state_that_a_job_is_at_work_on_is_left_to_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state_id = await built(heart, "a")
            heart.disk.remove_tree(tmp_path / "states" / state_id / "marker")
            with holding(heart.in_use, [state_id]):
                [finding] = await found(heart, repair=True)
            assert finding.outcome == "in_use"
            assert await heart.store.state(state_id) is not None

    run(scenario())


def test_while_a_state_is_thrown_out_a_job_that_needs_it_waits_and_builds_it(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path, with_jobs(max_identical=0))) as heart:
            state_id = await built(heart, "a")
            heart.disk.remove_tree(tmp_path / "states" / state_id / "marker")
            reached, go_on = asyncio.Event(), asyncio.Event()
            remove = heart.statefs.remove

            async def slow(volume: Path) -> None:
                if volume.name == state_id:
                    reached.set()
                    await go_on.wait()
                await remove(volume)

            heart.statefs.remove = slow  # type: ignore[method-assign]
            mending = asyncio.create_task(found(heart, repair=True))
            await reached.wait()
            jobs = [await heart.manager.submit(heart.request("a")) for _ in range(3)]
            for job in jobs:
                while "task execute-0 running" not in await heart.said(job.job_id):
                    said = len(await heart.said(job.job_id))
                    await heart.manager.wait_for_event(job.job_id, said)
            go_on.set()
            assert (await mending)[0].outcome == "removed"
            for job in jobs:
                assert (await heart.end_of(job.job_id)).error is None
            assert await heart.files.is_clean(state_id)
            assert [command.args[-1] for command in heart.runtime.commands] == ["a", "a"]

    run(scenario())


def test_the_progress_of_a_long_check_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            monkeypatch.setattr(verification, "NEWS_EVERY", 2)
            for step in "abcde":
                await built(heart, step)
            checks = [
                check
                async for check in Verification(
                    heart.files, heart.suspicion, heart.settled, heart.in_use
                ).verify(repair=False)
            ]
            assert [(check.checked, check.total) for check in checks] == [(2, 5), (4, 5), (5, 5)]

    run(scenario())


def test_a_state_or_a_base_that_somebody_changed_is_told_and_mended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state_id = await built(heart, "a")
            [base] = heart.disk.children(tmp_path / "bases")
            for changed in (tmp_path / "states" / state_id, base):
                heart.disk.write(changed / "data" / "planted", b"evil")
                for repair, outcome in ((False, "would_remove"), (True, "removed")):
                    [one] = await found(heart, repair=repair)
                    assert (one.state_id, one.outcome) == (changed.name, outcome)
                    assert "changed" in (one.problem or "")
                assert await found(heart) == []
            assert await built(heart, "a") == state_id
            assert await found(heart) == []

    run(scenario())


def test_changed_content_is_found_by_the_second_deep_check(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state_id = await built(heart, "a")
            assert await found(heart, deep=True) == []
            [base] = heart.disk.children(tmp_path / "bases")
            for changed in (tmp_path / "states" / state_id, base):
                heart.disk.write(changed / "data" / "PG_VERSION", b"99\n")
                assert await found(heart) == []
                [one] = await found(heart, deep=True, repair=True)
                assert (one.state_id, one.outcome) == (changed.name, "removed")
            assert await found(heart, deep=True) == []

    run(scenario())


def test_a_state_is_not_evicted_while_it_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state_id = await built(heart, "a")
            altered = heart.statefs.altered
            evicted = []

            async def overtaken(volume: Path, *, deep: bool = False) -> str | None:
                if volume.name == state_id:
                    evicted.append(await heart.removal.remove(state_id))
                return await altered(volume, deep=deep)

            with monkeypatch.context() as busy:
                busy.setattr(heart.statefs, "altered", overtaken)
                assert await found(heart) == []
            assert evicted == [False]
            assert await heart.removal.remove(state_id)

    run(scenario())


@pytest.mark.parametrize("when", ["before", "meanwhile", "now"])
@pytest.mark.parametrize("deep", [False, True])
def test_a_state_that_is_removed_by_force_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, deep: bool
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state_id, other = await built(heart, "a"), await built(heart, "b")
            leaving = heart.in_use.removing([state_id], even_held=True)
            removing = ExitStack()

            async def remove() -> None:
                removing.enter_context(leaving)
                if when == "now":
                    # On a full disk the files go first.
                    await heart.statefs.remove(heart.files.volume_of(state_id))
                else:
                    await heart.files.remove_dirty(state_id)

            known, measure = heart.files.known, heart.statefs.usage

            async def listed() -> list[str]:
                state_ids = await known()
                if when == "before":
                    with removing:
                        await remove()
                return state_ids

            async def measured(volume: Path, **more: Any) -> Usage:
                if volume.name == state_id and when != "before":
                    await remove()
                    if when == "meanwhile":
                        removing.close()
                return await measure(volume, **more)

            monkeypatch.setattr(heart.files, "known", listed)
            monkeypatch.setattr(heart.statefs, "usage", measured)
            heart.disk.remove_tree(tmp_path / "states" / other / "marker")
            [finding] = await found(heart, deep=deep)
            removing.close()
            assert finding.state_id == other

    run(scenario())


def test_what_there_is_no_room_to_examine_is_told_and_left_and_the_rest_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            state_ids = [await built(heart, step) for step in "ab"]
            [base] = heart.disk.children(tmp_path / "bases")

            async def full(*_: object) -> bool:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            for part, told in (("learn", [*sorted(state_ids), base.name]), ("clone", state_ids)):
                monkeypatch.setattr(heart.statefs, part, full)
                findings = await found(heart, deep=True, repair=True)
                monkeypatch.undo()
                assert {one.outcome for one in findings} == {None}
                assert all("No space left" in (one.problem or "") for one in findings)
                assert sorted(one.state_id or "" for one in findings) == sorted(told)
                assert all([await heart.files.is_clean(state_id) for state_id in state_ids])

    run(scenario())
