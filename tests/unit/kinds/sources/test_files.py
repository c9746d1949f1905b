"""Reading files that others may be writing to."""

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.sources import files
from pgstrata.kinds.sources.files import ABSENT, Files, stamp_at, stamp_of


class Counting:
    """Reads a whole file, and counts how often."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self, file: BinaryIO) -> bytes:
        self.reads += 1
        return file.read()


def test_a_file_that_stays_the_same_is_read_once(tmp_path: Path) -> None:
    counting = Counting()
    reader = Files(counting, memo_size=8)
    (tmp_path / "a").write_bytes(b"x")
    first, second = reader.read(tmp_path / "a"), reader.read(tmp_path / "a")
    assert first == second
    assert counting.reads == 1


def test_a_file_by_another_name_is_read_once(tmp_path: Path) -> None:
    counting = Counting()
    reader = Files(counting, memo_size=8)
    (tmp_path / "a").write_bytes(b"x")
    os.link(tmp_path / "a", tmp_path / "b")
    stamp, made = reader.read(tmp_path / "a")
    assert reader.read(tmp_path / "b") == (stamp, made)
    assert stamp == stamp_of((tmp_path / "a").stat())
    assert counting.reads == 1


def test_a_change_right_after_reading_is_seen_even_with_the_old_size_and_time(
    tmp_path: Path,
) -> None:
    reader = Files(Counting(), memo_size=8)
    path = tmp_path / "a"
    for content in (b"a", b"b", b"c", b"d"):
        before = path.stat() if path.exists() else None
        path.write_bytes(content)
        if before is not None:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        stamp, made = reader.read(path)
        assert made == content
        assert stamp_at(path) == stamp


def test_a_file_from_the_future_is_read_every_time(tmp_path: Path) -> None:
    counting = Counting()
    reader = Files(counting, memo_size=8)
    (tmp_path / "a").write_bytes(b"x")
    tomorrow = time.time() + 86400
    os.utime(tmp_path / "a", (tomorrow, tomorrow))
    reader.read(tmp_path / "a")
    reader.read(tmp_path / "a")
    assert counting.reads == 2


def test_the_memo_forgets_what_was_not_used_longest(tmp_path: Path) -> None:
    counting = Counting()
    reader = Files(counting, memo_size=2)
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    for name in "abacba":
        reader.read(tmp_path / name)
    # b was forgotten for c, and a for b.
    assert counting.reads == 5


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    seen: list[bytes] = []

    def disturbed(file: BinaryIO) -> bytes:
        seen.append(file.read())
        if len(seen) == 1:
            path.write_bytes(b"newer")
        return seen[-1]

    assert Files(disturbed, memo_size=8).read(path)[1] == b"newer"
    assert seen == [b"old", b"newer"]


def test_a_file_that_never_stops_changing_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")

    def disturbed(file: BinaryIO) -> bytes:
        with path.open("ab") as more:
            more.write(b"x")
        return file.read()

    with pytest.raises(InvalidArgumentError, match="does not stop changing"):
        Files(disturbed, memo_size=8).read(path)


def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    reader = Files(Counting(), memo_size=8)
    results: list[bytes] = []
    with path.open("r+b") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: results.append(reader.read(path)[1]))
        thread.start()
        writer.write(b"y")
        writer.flush()
        fcntl.flock(writer, fcntl.LOCK_UN)
        thread.join()
    assert results == [b"y"]


def test_a_file_that_stays_locked_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with path.open("r+b") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with pytest.raises(InvalidArgumentError, match="is locked"):
            Files(Counting(), memo_size=8).read(path)


def test_a_pipe_and_a_directory_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(InvalidArgumentError, match="not a regular file"):
            Files(Counting(), memo_size=8).read(path)


def test_a_loop_of_symbolic_links_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "a")
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        Files(Counting(), memo_size=8).read(tmp_path / "a")


@pytest.mark.parametrize("name", ["none", "file/below"])
def test_a_missing_file_is_told_apart(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileNotFoundError):
        Files(Counting(), memo_size=8).read(tmp_path / name)
    assert stamp_at(tmp_path / name) == ABSENT


def test_what_was_missing_and_is_there_now_has_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert stamp_at(tmp_path / "a") != ABSENT


def test_another_file_in_the_same_place_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    stamp, _made = Files(Counting(), memo_size=8).read(path)
    status = path.stat()
    (tmp_path / "b").write_bytes(b"x")
    os.utime(tmp_path / "b", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "b").replace(path)
    assert stamp_at(path) != stamp
