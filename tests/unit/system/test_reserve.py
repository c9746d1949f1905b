"""Room that is kept for a full disk."""

from pathlib import Path

import pytest

from pgstrata.system.reserve import FILES, NAME, Reserve
from tests.filesystems import exhaust, new_mount


def allocated(file: Path) -> int:
    return file.stat().st_blocks * 512


def test_room_is_set_aside_once_and_given_up_once(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    assert not reserve.give_up()
    reserve.keep()
    file = tmp_path / NAME
    assert allocated(file) >= 4 << 20
    assert {one.name for one in tmp_path.iterdir()} <= {NAME, FILES}
    before = file.stat().st_ino
    reserve.keep()
    assert file.stat().st_ino == before
    assert [reserve.give_up(), reserve.give_up()] == [True, False]
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_little_room_none_is_set_aside_but_for_the_next_engine() -> None:
    with new_mount("tmpfs", 3 << 20) as disk:
        reserve = Reserve(disk)
        assert reserve.is_needed
        reserve.keep()
        assert list(disk.iterdir()) == []
        reserve.keep(whatever_is_left=True)
        assert {one.name for one in disk.iterdir()} == {NAME, FILES}
        file = disk / NAME
        assert 1 << 20 <= allocated(file) < 3 << 20


def test_files_are_set_aside_where_only_so_many_can_be() -> None:
    with new_mount("tmpfs", 64 << 20, files=2000) as disk:
        reserve = Reserve(disk)
        reserve.keep(whatever_is_left=True)
        exhaust(disk)
        assert reserve.is_needed
        with pytest.raises(OSError, match="No space"):
            (disk / "one").touch()
        assert reserve.give_up()
        for number in range(512):
            (disk / f"another{number}").touch()


def test_files_whose_making_was_cut_short_are_completed() -> None:
    with new_mount("tmpfs", 128 << 20, files=10_000) as disk:
        begun = disk / f".{FILES}"
        begun.mkdir()
        (begun / "0").touch()
        Reserve(disk).keep()
        assert {one.name for one in disk.iterdir()} == {NAME, FILES}
        assert len(list((disk / FILES).iterdir())) == 512


def test_a_store_that_is_not_there_is_told_of_and_no_reason_to_fail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Reserve(tmp_path / "gone").keep()
    assert "no room can be kept" in caplog.text
