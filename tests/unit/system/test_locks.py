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
from pgstrata.system import processes, subprocesses
from pgstrata.system.locks import read_holder, try_lock
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


def test_a_lock_vanishes_with_its_holder_however_that_ends(path: Path) -> None:
    async def kill_the_holder() -> None:
        async with another_process_holding(path) as pid:
            assert try_lock(path) is None
            os.kill(pid, signal.SIGKILL)
            await processes.wait_exit(pid)
            with try_lock(path) or pytest.fail("nobody else holds it"):
                assert try_lock(path) is None

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
    with try_lock(path) or pytest.fail("nobody else holds it"):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lock_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "store.lock"

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
