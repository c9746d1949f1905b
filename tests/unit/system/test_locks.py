"""Locks between tasks and between processes."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pgstrata.errors import StoreUnusableError
from pgstrata.system import subprocesses
from pgstrata.system.locks import locked, read_holder, try_lock
from pgstrata.system.output import Lines, Stream


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.lock"


@asynccontextmanager
async def another_process_holding(path: Path) -> AsyncIterator[int]:
    """The pid of a second process that holds the lock until the block ends."""
    pid = asyncio.get_running_loop().create_future()

    async def read(stream: Stream, line: str) -> None:
        assert stream == "stdout", line
        pid.set_result(int(line))

    async with asyncio.TaskGroup() as tasks:
        command = [sys.executable, __file__, str(path)]
        process = tasks.create_task(
            subprocesses.stream(command, on_output=Lines(read).feed), name="holder"
        )
        yield await pid
        process.cancel()


async def is_locked(path: Path) -> bool:
    lock = try_lock(path)
    if lock is not None:
        lock.close()
    return lock is None


def test_only_one_holds_a_lock_at_a_time(path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    async def visit(number: int) -> None:
        async with locked(path):
            inside.append(number)
            await asyncio.sleep(0)
            most.append(len(inside))
            inside.remove(number)

    async def visit_together() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(10):
                tasks.create_task(visit(number))

    asyncio.run(visit_together())
    assert most == [1] * 10


def test_waiters_get_the_lock_in_the_order_they_came(path: Path) -> None:
    order: list[int] = []

    async def visit(number: int) -> None:
        async with locked(path):
            order.append(number)

    async def queue_up() -> None:
        async with asyncio.TaskGroup() as tasks:
            async with locked(path):
                for number in range(10):
                    tasks.create_task(visit(number))
                    await asyncio.sleep(0)
            # It was let go this very moment, and those who have waited still come first.
            await visit(10)

    asyncio.run(queue_up())
    assert order == list(range(11))


def test_different_locks_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async def hold_both() -> bool:
        async with asyncio.timeout(60), locked(tmp_path / "a"), locked(tmp_path / "b"):
            return await is_locked(tmp_path / "a") and await is_locked(tmp_path / "b")

    assert asyncio.run(hold_both())


def test_a_lock_is_free_after_its_block_even_when_that_failed(path: Path) -> None:
    async def fail_inside() -> None:
        async with locked(path):
            assert await is_locked(path)
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(fail_inside())
    assert not asyncio.run(is_locked(path))


def test_a_waiter_in_this_process_can_be_cancelled(path: Path) -> None:
    async def wait_in_vain() -> None:
        async with locked(path):
            await cancel_a_waiter(path)
        assert not await is_locked(path)

    asyncio.run(wait_in_vain())


def test_a_waiter_for_another_process_can_be_cancelled(path: Path) -> None:
    async def wait_in_vain() -> None:
        async with another_process_holding(path):
            await cancel_a_waiter(path)
            await cancel_a_waiter(path)

    asyncio.run(wait_in_vain())


async def cancel_a_waiter(path: Path) -> None:
    async def wait() -> None:
        async with locked(path):
            pytest.fail("it was held by another")

    waiter = asyncio.create_task(wait())
    done, _ = await asyncio.wait([waiter], timeout=0.02)
    assert not done
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter


def test_a_lock_that_another_process_holds_is_waited_for(path: Path) -> None:
    steps: list[str] = []

    async def wait() -> None:
        async with locked(path):
            steps.append("taken")

    async def take_turns() -> None:
        async with another_process_holding(path):
            waiter = asyncio.create_task(wait())
            await asyncio.wait([waiter], timeout=0.02)
            steps.append("let go")
        await waiter

    asyncio.run(take_turns())
    assert steps == ["let go", "taken"]


def test_a_lock_vanishes_with_its_holder_however_that_ends(path: Path) -> None:
    async def kill_the_holder() -> None:
        async with another_process_holding(path) as pid:
            assert await is_locked(path)
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(60), locked(path):
                assert await is_locked(path)

    asyncio.run(kill_the_holder())


def test_a_lock_on_the_whole_store_is_refused_at_once_while_another_has_it(path: Path) -> None:
    async def try_while_held() -> None:
        async with another_process_holding(path) as pid:
            assert try_lock(path) is None
            assert read_holder(path) == pid

    asyncio.run(try_while_held())


def test_a_lock_excludes_its_own_process_too(path: Path) -> None:
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None
    first.close()
    second = try_lock(path)
    assert second is not None
    second.close()


def test_the_holders_pid_is_noted_in_place_of_a_longer_one(path: Path) -> None:
    path.write_text("99999999999999")
    with try_lock(path) or pytest.fail("nobody else holds it"):
        assert read_holder(path) == os.getpid()


def test_closing_a_lock_twice_is_fine_and_hurts_no_later_holder(path: Path) -> None:
    first = try_lock(path)
    assert first is not None
    first.close()
    with try_lock(path) or pytest.fail("nobody else holds it"):
        first.close()
        assert try_lock(path) is None


@pytest.mark.parametrize("note", [None, "", "not a number"])
def test_no_holder_is_read_from_a_file_without_a_pid(path: Path, note: str | None) -> None:
    if note is not None:
        path.write_text(note)
    assert read_holder(path) is None


def test_the_lock_file_stays_and_is_its_owners_alone(path: Path) -> None:
    async def hold() -> None:
        async with locked(path):
            pass

    asyncio.run(hold())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lock_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "store.lock"

    async def hold() -> None:
        async with locked(nowhere):
            pytest.fail("there is nothing to hold")

    with pytest.raises(StoreUnusableError, match=str(nowhere)):
        asyncio.run(hold())
    with pytest.raises(StoreUnusableError, match=str(nowhere)) as refusal:
        try_lock(nowhere)
    assert refusal.value.remedy


def test_a_lock_file_that_cannot_be_written_is_named() -> None:
    with pytest.raises(StoreUnusableError, match="/dev/full cannot be written") as refusal:
        try_lock(Path("/dev/full"))
    assert refusal.value.remedy


def hold_until_ended(path: Path) -> None:
    with try_lock(path) or pytest.fail("nobody else holds it"):
        print(os.getpid(), flush=True)
        signal.pause()


if __name__ == "__main__":
    hold_until_ended(Path(sys.argv[1]))
