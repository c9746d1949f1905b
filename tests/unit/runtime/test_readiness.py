"""When a server is known to accept connections."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.runtime import readiness
from pgstrata.runtime.postmaster import PID_FILE, Postmaster
from pgstrata.runtime.readiness import PidFiles

pytestmark = pytest.mark.anyio

PID = 4711


@pytest.fixture
def pid_files() -> Iterator[PidFiles]:
    files = PidFiles()
    yield files
    files.close()


@pytest.fixture
def told_or_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody look again who was not told to."""
    monkeypatch.setattr(readiness, "_LOOK_SECONDS", 1e6)


def a_server(data_dir: Path, *, first: bool = False) -> Postmaster:
    return Postmaster(pid=PID, started=0.0, image_id="", data_dir=data_dir, first=first)


def write(data_dir: Path, status: str, pid: int = PID) -> None:
    """The pid file as PostgreSQL has it after each line that it adds."""
    lines = (str(pid), str(data_dir), "1700000000", "5432", "/run", "", "1 2", status)
    (data_dir / PID_FILE).write_text("\n".join(lines) + "\n")


def waiting(
    pid_files: PidFiles, server: Postmaster, ended: asyncio.Future[None]
) -> "asyncio.Task[bool]":
    async def exit_of_the_process() -> None:
        await ended

    return asyncio.create_task(
        pid_files.until_ready(server, asyncio.create_task(exit_of_the_process()))
    )


@pytest.mark.usefixtures("told_or_never")
@pytest.mark.parametrize("first", [True, False])
async def test_servers_are_ready_when_their_pid_files_say_so(
    tmp_path: Path, pid_files: PidFiles, first: bool
) -> None:
    places = [tmp_path / name for name in ("a", "b")]
    found = []
    for place in places:
        place.mkdir()
        server = a_server(place, first=first)
        found.append(waiting(pid_files, server, asyncio.Future()))
    for place, one in zip(places, found, strict=True):
        await asyncio.sleep(0)
        (place / "PG_VERSION").write_text("18\n")
        write(place, "ready", pid=PID + 1)  # another's
        write(place, "starting", pid=1 if first else PID)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not one.done()
        write(place, "ready   ", pid=1 if first else PID)
        assert await one


@pytest.mark.usefixtures("told_or_never")
async def test_one_that_ends_is_waited_for_no_longer(tmp_path: Path, pid_files: PidFiles) -> None:
    ended: asyncio.Future[None] = asyncio.Future()
    one = waiting(pid_files, a_server(tmp_path), ended)
    await asyncio.sleep(0)
    write(tmp_path, "starting")
    ended.set_result(None)
    assert not await one


async def test_one_whose_files_nobody_can_watch_is_looked_at(
    tmp_path: Path, pid_files: PidFiles
) -> None:
    place = tmp_path / "later"
    one = waiting(pid_files, a_server(place), asyncio.Future())
    await asyncio.sleep(0)
    place.mkdir()
    write(place, "ready")
    assert await one
