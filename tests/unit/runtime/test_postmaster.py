import asyncio
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from pgstrata.runtime import postmaster
from pgstrata.runtime.postmaster import PidFile, read_pid_file


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


def test_a_process_that_is_no_server_owns_nothing(tmp_path: Path) -> None:
    ourselves = psutil.Process()
    note(ourselves.pid, int(ourselves.create_time()), tmp_path)
    assert postmaster.owner(tmp_path) is None


def test_a_pid_that_is_used_by_a_later_process_owns_nothing(tmp_path: Path) -> None:
    note(os.getpid(), int(psutil.Process().create_time()) - 3600, tmp_path)
    assert postmaster.owner(tmp_path) is None


def test_the_start_time_of_a_process_is_the_kernels() -> None:
    assert postmaster.started_at(os.getpid()) == psutil.Process().create_time()


def test_a_zombie_has_ended() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert postmaster.started_at(child.pid) is None


def test_the_end_of_a_child_is_waited_for_and_no_zombie_stays() -> None:
    child = subprocess.Popen(["true"])
    asyncio.run(postmaster.gone(child.pid))
    assert not psutil.pid_exists(child.pid)
    assert child.wait() == 0


def test_the_end_of_a_process_that_is_gone_is_there_at_once() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    asyncio.run(postmaster.gone(child.pid))


def test_without_pidfds_the_end_is_noticed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    child = subprocess.Popen(["true"])
    asyncio.run(postmaster.gone(child.pid))
    assert child.wait() == 0
    assert not psutil.pid_exists(child.pid)
