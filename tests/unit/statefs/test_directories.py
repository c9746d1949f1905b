"""Volumes on a disk that is too full to give them another name."""

import asyncio
import errno
from pathlib import Path

import pytest

from pgstrata.statefs.copy import CopyStateFS


def test_a_volume_that_cannot_be_renamed_for_want_of_room_is_deleted_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", str(self), None, str(target))

    volume = tmp_path / "volume"
    asyncio.run(CopyStateFS().create(volume))
    (volume / "marker").write_bytes(b"whole")
    monkeypatch.setattr(Path, "rename", full)
    asyncio.run(CopyStateFS().remove(volume))
    assert list(tmp_path.iterdir()) == []
