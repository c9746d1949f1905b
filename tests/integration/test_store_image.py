"""A store on a btrfs of its own, with real loop devices, as root; and what others are told."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgstrata.errors import ConflictError, NotFoundError, StoreUnusableError
from pgstrata.statefs.store_image import ENGINE_LOCK, LEAST_BYTES, StoreImage, host_free_bytes
from pgstrata.system import faults, locks
from tests import needs
from tests.filesystems import reachable_place

SIZE = LEAST_BYTES
MIB = 1 << 20


@pytest.fixture
def place() -> Iterator[Path]:
    """Where root may mount, and nothing stays mounted."""
    if not needs.IS_ROOT:
        needs.missing_root("only root can mount")
    with reachable_place() as directory:
        yield directory
        subprocess.run(["umount", "--quiet", directory / "store"], check=False)


@pytest.fixture
def image(place: Path) -> StoreImage:
    image = StoreImage(place / "store")
    try:
        image.create(SIZE)
    except StoreUnusableError as error:
        needs.missing(str(error))
    return image


def unmount(image: StoreImage) -> None:
    """Do what a boot does."""
    subprocess.run(["umount", image.store], check=True)


def left(place: Path) -> list[str]:
    return sorted(each.name for each in place.iterdir())


def test_a_store_is_made_with_a_btrfs_of_the_size_and_takes_little(image: StoreImage) -> None:
    assert image.is_mounted
    assert image.size_bytes == SIZE
    assert image.held_bytes < 64 * MIB
    assert (
        subprocess.run(
            ["stat", "-f", "-c", "%T", image.store], capture_output=True, text=True, check=True
        ).stdout
        == "btrfs\n"
    )
    assert left(image.store.parent) == ["store", "store.btrfs"]
    assert host_free_bytes(image.store) is not None
    assert host_free_bytes(image.store.parent) is None


def test_it_is_mounted_again_after_a_boot_with_what_was_in_it(image: StoreImage) -> None:
    (image.store / "kept").write_text("kept")
    assert not image.attach()
    unmount(image)
    assert not image.is_mounted
    assert image.attach()
    assert (image.store / "kept").read_text() == "kept"
    assert len(image._devices()) == 1


def test_it_grows_and_shrinks_while_it_is_used_and_not_below_what_is_in_it(
    image: StoreImage,
) -> None:
    with (image.store / "used").open("wb") as file:
        file.write(b"1" * (400 * MIB))
        file.flush()
        os.fsync(file.fileno())
        image.resize(3 * SIZE)
        assert os.statvfs(image.store).f_blocks * 4096 > 2.5 * SIZE
        image.resize(SIZE)
        assert image.size_bytes == SIZE
        assert os.statvfs(image.store).f_blocks * 4096 <= SIZE
        with pytest.raises(StoreUnusableError, match="does not fit"):
            image.resize(256 * MIB)
        assert image.size_bytes == SIZE
        held = image.held_bytes
    (image.store / "used").unlink()
    subprocess.run(["sync", "-f", image.store], check=True)
    subprocess.run(["fstrim", image.store], check=True)
    assert image.held_bytes < held - 300 * MIB
    with pytest.raises(StoreUnusableError, match="are free"):
        image.resize(1 << 55)


def test_it_is_removed_with_all_that_is_in_it(image: StoreImage, place: Path) -> None:
    with (image.store / "used").open("w"), pytest.raises(ConflictError, match="still used"):
        image.remove()
    assert image.is_mounted
    image.remove()
    assert left(place) == []
    with pytest.raises(NotFoundError, match="no btrfs"):
        image.remove()
    with pytest.raises(NotFoundError):
        image.resize(SIZE)
    assert not image.attach()


def test_what_is_there_is_not_covered(image: StoreImage, place: Path) -> None:
    with pytest.raises(ConflictError, match="already"):
        image.create(SIZE)
    (place / "full" / "file").mkdir(parents=True)
    with pytest.raises(ConflictError, match="not empty"):
        StoreImage(place / "full").create(SIZE)
    unmount(image)
    (image.store / "file").touch()
    with pytest.raises(StoreUnusableError, match="something else"):
        image.attach()
    with pytest.raises(ConflictError, match="already"):
        image.create(SIZE)
    (image.store / "file").unlink()


def test_it_is_never_mounted_twice(image: StoreImage, place: Path) -> None:
    other = place / "elsewhere"
    other.mkdir()
    unmount(image)
    subprocess.run(["mount", "-o", "loop", image.file, other], check=True)
    try:
        with pytest.raises(StoreUnusableError, match="in use already"):
            image.attach()
    finally:
        subprocess.run(["umount", other], check=True)
    assert image.attach()


def test_what_is_no_image_is_not_mounted(place: Path) -> None:
    (place / "store.btrfs").write_bytes(bytes(MIB))
    with pytest.raises(StoreUnusableError, match="no btrfs image"):
        StoreImage(place / "store").attach()


def test_there_must_be_room_and_a_place_for_it(place: Path) -> None:
    with pytest.raises(StoreUnusableError, match="are free"):
        StoreImage(place / "store").create(1 << 55)
    with pytest.raises(StoreUnusableError, match="no directory"):
        StoreImage(place / "missing" / "store").create(SIZE)
    assert left(place) == []


def test_a_store_on_btrfs_needs_none(image: StoreImage) -> None:
    with pytest.raises(ConflictError, match="is on btrfs"):
        StoreImage(image.store / "inner").create(SIZE)


@contextmanager
def killed_at(point: str) -> Iterator[None]:
    """What is done in the block is cut off at this point."""

    def die(reached: str) -> None:
        if reached == point:
            raise KeyboardInterrupt

    faults.arm(die)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        faults.arm(None)


@pytest.mark.parametrize(
    "point", [f"store_image.{step}" for step in ("show.before", "show.after", "mount.after")]
)
def test_a_kill_while_it_is_made_is_made_good_by_the_next_try(place: Path, point: str) -> None:
    image = StoreImage(place / "store")
    with killed_at(point):
        image.create(SIZE)
    if image.is_mounted:
        with pytest.raises(ConflictError):
            image.create(SIZE)
    else:
        image.create(SIZE)
    assert image.is_mounted
    assert left(place) == ["store", "store.btrfs"]
    image.remove()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_while_its_size_changes_is_made_good_by_the_next_try(
    image: StoreImage, moment: str
) -> None:
    for size in (2 * SIZE, SIZE):
        with killed_at(f"store_image.resize.{moment}"):
            image.resize(size)
        unmount(image)
        image.attach()
        image.resize(size)
        assert image.size_bytes == size
        assert 0.9 * size < os.statvfs(image.store).f_blocks * 4096 <= size


def test_a_kill_while_it_is_removed_is_made_good_by_the_next_try(
    image: StoreImage, place: Path
) -> None:
    with killed_at("store_image.remove.before"):
        image.remove()
    assert not image.is_mounted
    image.remove()
    assert left(place) == []


def test_an_engine_that_runs_keeps_it(image: StoreImage) -> None:
    engine = locks.try_lock(image.store / ENGINE_LOCK)
    assert engine is not None
    with engine, pytest.raises(ConflictError, match=f"pid {os.getpid()}"):
        image.remove()
    image.remove()


@needs.no_root
def test_who_is_not_root_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusableError, match="only root"):
        StoreImage(tmp_path / "store").create(SIZE)
    (tmp_path / "store.btrfs").write_bytes(bytes(MIB))
    with pytest.raises(StoreUnusableError, match="only root"):
        StoreImage(tmp_path / "store").attach()
    assert left(tmp_path) == ["store.btrfs"]


def test_what_cannot_be_looked_at_is_no_image(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        assert not StoreImage(closed / "store").attach()
    finally:
        closed.chmod(0o700)
    assert not StoreImage(tmp_path / ("x" * 255)).attach()
    assert not StoreImage(Path("/")).attach()
