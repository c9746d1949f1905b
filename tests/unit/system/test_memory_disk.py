"""The file tree in memory behaves like the one on disk."""

from pathlib import Path

import pytest

from pgstrata.system.memory_disk import MemoryDisk

A, B = Path("/a"), Path("/b")


@pytest.fixture
def disk() -> MemoryDisk:
    disk = MemoryDisk()
    disk.write(A / "inner" / "file", b"content")
    return disk


def test_the_directories_above_a_file_are_made_with_it(disk: MemoryDisk) -> None:
    assert disk.exists(A / "inner")
    assert disk.children(A) == [A / "inner"]
    assert disk.children(Path("/")) == [A]


def test_a_directory_and_a_missing_file_have_no_content(disk: MemoryDisk) -> None:
    assert disk.read(A / "inner") is None
    assert disk.read(A / "missing") is None


def test_children_are_direct_ones_by_name(disk: MemoryDisk) -> None:
    disk.make_dir(A / "z")
    disk.write(A / "b", b"")
    assert disk.children(A) == [A / "b", A / "inner", A / "z"]


def test_a_copy_is_independent(disk: MemoryDisk) -> None:
    disk.copy_tree(A, B)
    disk.write(B / "inner" / "file", b"changed")
    assert disk.read(A / "inner" / "file") == b"content"


def test_a_rename_moves_all_of_a_tree(disk: MemoryDisk) -> None:
    disk.rename(A, B)
    assert disk.read(B / "inner" / "file") == b"content"
    assert not disk.exists(A)


def test_a_removed_tree_is_gone_and_twice_is_fine(disk: MemoryDisk) -> None:
    disk.remove_tree(A)
    disk.remove_tree(A)
    assert not disk.exists(A / "inner" / "file")


def test_a_missing_source_and_an_existing_target_are_refused(disk: MemoryDisk) -> None:
    disk.make_dir(B)
    with pytest.raises(FileNotFoundError):
        disk.rename(Path("/missing"), Path("/c"))
    with pytest.raises(FileExistsError):
        disk.copy_tree(A, B)


def test_a_file_is_no_directory_and_a_directory_no_file(disk: MemoryDisk) -> None:
    with pytest.raises(NotADirectoryError):
        disk.make_dir(A / "inner" / "file" / "deeper")
    with pytest.raises(IsADirectoryError):
        disk.write(A / "inner", b"")
