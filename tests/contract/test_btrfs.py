"""What only the btrfs backend promises."""

import asyncio
import errno
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest

from pgstrata.cache.disk_full import disk_of
from pgstrata.errors import StoreUnusableError
from pgstrata.sqlite.in_place import make_in_place
from pgstrata.statefs import subvolumes, trees
from pgstrata.statefs.base import DATA
from pgstrata.statefs.btrfs import BtrfsStateFS
from pgstrata.statefs.copy import CopyStateFS
from tests.filesystems import CannotMountError, give_up, loop_mounted
from tests.forks import NOBODY, done_as_nobody


@pytest.fixture
def area(btrfs_mount: Path) -> Iterator[Path]:
    directory = btrfs_mount / uuid.uuid4().hex
    directory.mkdir()
    yield directory
    trees.delete(directory)


async def publish(statefs: BtrfsStateFS, area: Path) -> Path:
    await statefs.create(area / "building")
    (area / "building" / DATA / "file").write_bytes(b"original")
    await statefs.publish(area / "building", area / "state", b"whole")
    return area / "state"


def test_published_data_is_read_only(area: Path) -> None:
    state = asyncio.run(publish(BtrfsStateFS(), area))
    with pytest.raises(OSError, match="Read-only") as raised:
        (state / DATA / "file").write_bytes(b"changed")
    assert raised.value.errno == errno.EROFS


def test_other_threads_run_while_the_kernel_takes_a_snapshot(area: Path) -> None:
    """No thread has to give way to another here, so the other runs only while one waits for the
    kernel, which has much to write out first. A turn takes less than a tenth of a millisecond."""
    subvolumes.create(area / "source")
    (area / "source" / "file").write_bytes(os.urandom(64 << 20))
    turns = 0

    def turns_a_millisecond() -> float:
        before, began = turns, time.monotonic()
        subvolumes.snapshot(area / "source", area / "snapshot", read_only=True)
        return (turns - before) / (time.monotonic() - began) / 1000

    switching = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        with ThreadPoolExecutor(1) as other:
            taken = other.submit(turns_a_millisecond)
            while not taken.done():
                turns += 1
                time.sleep(0)
    finally:
        sys.setswitchinterval(switching)
    assert taken.result() > 0.5


def test_subvolumes_within_a_volume_go_with_it(area: Path) -> None:
    statefs, volume = BtrfsStateFS(), area / "volume"
    asyncio.run(statefs.create(volume))
    (volume / DATA / "base").mkdir()
    subvolumes.create(volume / DATA / "base" / "inner")
    (volume / DATA / "base" / "inner" / "file").write_bytes(b"rows")
    subvolumes.snapshot(
        volume / DATA / "base" / "inner", volume / DATA / "base" / "frozen", read_only=True
    )
    asyncio.run(statefs.remove(volume))
    assert list(area.iterdir()) == []


def test_another_backend_can_remove_what_this_one_published(area: Path) -> None:
    state = asyncio.run(publish(BtrfsStateFS(), area))
    asyncio.run(CopyStateFS().remove(state))
    assert list(area.iterdir()) == []


def test_a_directory_of_another_backend_is_refused_with_a_remedy(area: Path) -> None:
    asyncio.run(CopyStateFS().create(area / "plain"))
    with pytest.raises(StoreUnusableError, match="not a btrfs subvolume") as raised:
        asyncio.run(BtrfsStateFS().clone(area / "plain", area / "clone"))
    assert raised.value.remedy
    assert list(area.iterdir()) == [area / "plain"]


def test_without_rights_everything_works_too(area: Path) -> None:
    os.chown(area, NOBODY, NOBODY)

    async def life_of_a_state() -> None:
        statefs = BtrfsStateFS()
        state = await publish(statefs, area)
        await statefs.clone(state, area / "clone")
        (area / "clone" / DATA / "file").write_bytes(b"changed")
        assert (state / DATA / "file").read_bytes() == b"original"
        for volume in (area / "clone", state):
            await statefs.remove(volume)

    done_as_nobody(life_of_a_state)
    assert list(area.iterdir()) == []


def test_a_clone_takes_the_same_steps_whatever_the_size(area: Path) -> None:
    """A snapshot shares every file: the clone's files lie where the source's do, unread."""
    statefs = BtrfsStateFS()
    state = asyncio.run(publish(statefs, area))
    asyncio.run(statefs.clone(state, area / "clone"))
    original, clone = ((volume / DATA / "file").stat() for volume in (state, area / "clone"))
    assert clone.st_ino == original.st_ino
    assert clone.st_ctime_ns == original.st_ctime_ns


def is_in_place(path: Path) -> bool:
    """Whether a file has the attribute C, by which btrfs never copies it on write."""
    listed = subprocess.run(["lsattr", path], check=True, capture_output=True, text=True)
    return "C" in listed.stdout.split()[0]


def test_a_file_made_in_place_is_never_copied_on_write_and_an_old_one_left_alone(
    area: Path,
) -> None:
    make_in_place(area / "new")
    assert is_in_place(area / "new")
    (area / "old").write_bytes(b"rows")
    make_in_place(area / "old")
    assert (area / "old").read_bytes() == b"rows"
    assert not is_in_place(area / "old")


def test_the_room_of_what_is_removed_from_a_full_disk_comes_back_soon(tmp_path: Path) -> None:
    try:
        with loop_mounted("btrfs", 200 << 20, tmp_path) as mount:
            statefs, volume = BtrfsStateFS(), mount / "volume"
            asyncio.run(statefs.create(volume))
            with (volume / DATA / "rows").open("wb") as file, suppress(OSError):
                while True:
                    file.write(os.urandom(1 << 20))
                    file.flush()
            full = disk_of(mount).free_bytes
            asyncio.run(statefs.remove(volume))
            # By itself the file system takes half a minute; a slow one is asked again.
            tries = (asyncio.run(statefs.remove(volume)) for _ in range(20))
            assert any(disk_of(mount).free_bytes > full + (10 << 20) for _ in chain([None], tries))
    except CannotMountError as error:
        give_up(error)
