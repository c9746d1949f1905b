import asyncio
import os
import subprocess
from pathlib import Path

import msgspec
import psutil
import pytest

from pgstrata.domain.model import from_plain
from pgstrata.runtime import postmaster
from pgstrata.runtime.postmaster import PidFile, Postmaster, read_pid_file
from pgstrata.system import processes
from tests import needs
from tests.forks import NOBODY, done_as_nobody


def note(pid: int, started: int, data_dir: Path, *rest: str) -> None:
    lines = [str(pid), str(data_dir), str(started), *rest]
    (data_dir / "postmaster.pid").write_text("\n".join(lines) + "\n")


def test_a_server_is_ready_when_its_pid_file_says_so(tmp_path: Path) -> None:
    note(7, 11, tmp_path, "5432", "/run", "127.0.0.1", " 1 2", "ready   ")
    assert read_pid_file(tmp_path) == PidFile(pid=7, data_dir=str(tmp_path), started=11, ready=True)


def test_a_server_that_recovers_is_not_ready(tmp_path: Path) -> None:
    note(7, 11, tmp_path, "5432", "/run", "127.0.0.1", " 1 2", "starting")
    found = read_pid_file(tmp_path)
    assert found is not None
    assert not found.ready


@pytest.mark.parametrize("text", ["", "\n", "12", "12\n/data\n", "x\n/data\n12\n", "1\n/data\nx\n"])
def test_a_pid_file_that_is_not_one_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "postmaster.pid").write_text(text)
    assert read_pid_file(tmp_path) is None


def test_a_pid_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert read_pid_file(tmp_path) is None
    assert read_pid_file(tmp_path / "missing") is None


def test_a_directory_that_its_server_has_shut_says_nothing(reachable_dir: Path) -> None:
    data_dir = reachable_dir / "data"
    data_dir.mkdir()
    note(os.getpid(), 11, data_dir)
    data_dir.chmod(0)

    async def looked_into() -> None:
        assert read_pid_file(data_dir) is None
        assert postmaster.owner(data_dir) is None
        postmaster.forget(data_dir)

    if needs.IS_ROOT:
        os.chown(data_dir, NOBODY, NOBODY)
        done_as_nobody(looked_into)
    else:
        asyncio.run(looked_into())
    data_dir.chmod(0o700)
    assert read_pid_file(data_dir) is not None


def test_a_process_that_is_no_server_owns_nothing(tmp_path: Path) -> None:
    ourselves = psutil.Process()
    note(ourselves.pid, int(ourselves.create_time()), tmp_path)
    assert postmaster.owner(tmp_path) is None


def test_the_start_time_of_a_process_is_the_kernels() -> None:
    # Counted from the boot, whose moment moves when the clock is set.
    started = psutil.Process().create_time()
    assert postmaster.started_at(os.getpid()) == pytest.approx(started, abs=2)


def test_a_zombie_has_ended() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert postmaster.started_at(child.pid) is None


def test_the_end_of_a_child_is_waited_for_and_no_zombie_stays() -> None:
    child = subprocess.Popen(["true"])
    asyncio.run(processes.wait_exit(child.pid))
    assert not psutil.pid_exists(child.pid)
    assert child.wait() == 0


def test_the_end_of_a_process_that_is_gone_is_there_at_once() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    asyncio.run(processes.wait_exit(child.pid))


def test_without_pidfds_the_end_is_noticed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    child = subprocess.Popen(["true"])
    asyncio.run(processes.wait_exit(child.pid))
    assert child.wait() == 0
    assert not psutil.pid_exists(child.pid)


def test_the_birth_of_a_process_is_its_own_and_stays_the_same() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        ours, its = processes.birth(os.getpid()), processes.birth(child.pid)
        assert ours is not None
        assert ours != its
        assert ours == processes.birth(os.getpid())
        child.kill()
    assert processes.birth(child.pid) is None


def a_server(pid: int, data_dir: Path, started: float, birth: str | None) -> Postmaster:
    return Postmaster(
        pid=pid,
        started=started,
        birth=birth,
        image_id="",
        data_dir=data_dir,
    )


def test_a_server_is_known_by_its_birth_whatever_clocks_say(tmp_path: Path) -> None:
    birth = processes.birth(os.getpid())
    assert postmaster.is_running(a_server(os.getpid(), tmp_path, 0.0, birth))


def test_a_process_of_the_same_pid_and_time_from_another_boot_is_another(tmp_path: Path) -> None:
    now = psutil.Process().create_time()
    other = f"another-boot:{processes.started(os.getpid())}"
    assert not postmaster.is_running(a_server(os.getpid(), tmp_path, now, other))


def test_a_server_noted_before_births_were_is_known_by_its_start_time(tmp_path: Path) -> None:
    now = psutil.Process().create_time()
    assert postmaster.is_running(a_server(os.getpid(), tmp_path, now, None))
    assert not postmaster.is_running(a_server(os.getpid(), tmp_path, now - 3600, None))


def test_rows_written_before_births_were_noted_can_be_read(tmp_path: Path) -> None:
    row = {"pid": 1, "started": 2.5, "image_id": "", "data_dir": str(tmp_path)}
    process = msgspec.convert(row, Postmaster, dec_hook=from_plain)
    assert (process.started, process.birth) == (2.5, None)
