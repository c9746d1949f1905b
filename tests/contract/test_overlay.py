"""What only the overlay backend promises."""

import asyncio
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pgstrata.errors import StoreUnusableError
from pgstrata.statefs import namespaces, trees
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.statefs.btrfs import BtrfsStateFS
from pgstrata.statefs.copy import CopyStateFS
from pgstrata.statefs.detect import BackendName, backend, enter_namespace
from pgstrata.statefs.overlay import OverlayStateFS
from pgstrata.system import subprocesses
from tests.filesystems import memory_mounted, mounts_below
from tests.forks import NOBODY, done_as_nobody

MIB = 1 << 20
MARKER = b"whole"


@pytest.fixture(params=["ext4", "xfs", "btrfs", "tmpfs"])
def area(request: pytest.FixtureRequest) -> Iterator[Path]:
    yield from _area(request, request.param)


@pytest.fixture
def xfs_area(request: pytest.FixtureRequest) -> Iterator[Path]:
    yield from _area(request, "xfs")


@pytest.fixture
def ext4_area(request: pytest.FixtureRequest) -> Iterator[Path]:
    yield from _area(request, "ext4")


@pytest.fixture
def btrfs_area(request: pytest.FixtureRequest) -> Iterator[Path]:
    yield from _area(request, "btrfs")


def _area(request: pytest.FixtureRequest, kind: str) -> Iterator[Path]:
    directory: Path = request.getfixturevalue(f"{kind}_mount") / uuid.uuid4().hex
    directory.mkdir()
    yield directory
    trees.delete(directory)


def publish(statefs: StateFS, volume: Path, content: bytes = b"original") -> Path:
    """A published volume with one file."""
    building = volume.with_name(f"{volume.name}-building")
    asyncio.run(statefs.create(building))
    (building / DATA / "file").write_bytes(content)
    asyncio.run(statefs.publish(building, volume, MARKER))
    return volume


def restart_machine(area: Path) -> None:
    """Do to the mounts of an area what a restart does to them."""
    for mount in mounts_below(area):
        subprocess.run(["umount", mount], check=True)


def test_what_is_written_by_an_open_descriptor_is_in_the_next_snapshot_alone(area: Path) -> None:
    async def scenario() -> None:
        statefs, clone = OverlayStateFS(), area / "clone"
        await statefs.clone(source, clone)
        with (clone / DATA / "file").open("r+b", buffering=0) as open_file:
            for number, content in enumerate((b"first", b"other", b"third")):
                open_file.seek(0)
                open_file.write(content)
                await statefs.snapshot(clone, area / str(number), MARKER)
        contents = [(area / str(number) / DATA / "file").read_bytes() for number in range(3)]
        assert contents == [b"firstnal", b"othernal", b"thirdnal"]
        assert (source / DATA / "file").read_bytes() == b"original"
        await statefs.remove(clone)

    source = publish(OverlayStateFS(), area / "source")
    asyncio.run(scenario())


def test_snapshots_share_what_was_not_written_to_in_between(area: Path) -> None:
    async def scenario() -> None:
        statefs, clone = OverlayStateFS(), area / "clone"
        await statefs.clone(source, clone)
        (clone / DATA / "large").write_bytes(os.urandom(MIB))
        places = [area / str(number) / DATA / "large" for number in range(1000)]
        await statefs.snapshot(clone, area / "0", MARKER)
        for number in range(1, 1000):
            await statefs.snapshot(clone, area / str(number), MARKER)
            # At first it may still be written to within the tick of the clock that its times show.
            if places[number].samefile(places[number - 1]):
                break
        assert places[number].samefile(places[number - 1])
        assert not places[number].samefile(clone / DATA / "large")
        assert (await statefs.usage(clone)).exclusive_bytes < MIB
        (clone / DATA / "large").write_bytes(os.urandom(MIB))
        assert (await statefs.usage(clone)).exclusive_bytes >= MIB

        # Without the earlier one there is nothing to share.
        await statefs.remove(area / str(number))
        await statefs.snapshot(clone, area / "last", MARKER)
        assert (area / "last" / DATA / "large").stat().st_nlink == 1
        for each in (clone, area / "last", *(area / str(n) for n in range(number))):
            await statefs.remove(each)

    source = publish(OverlayStateFS(), area / "source")
    asyncio.run(scenario())


def test_what_is_removed_with_its_last_clone_at_the_same_time_is_gone(area: Path) -> None:
    async def scenario(state: Path, clones: list[Path]) -> None:
        statefs = OverlayStateFS()
        await statefs.create(area / "building")
        await statefs.publish(area / "building", state, MARKER)
        for clone in clones:
            await statefs.clone(state, clone)
        await asyncio.gather(*map(statefs.remove, (*clones, state)))

    for number in range(50):
        asyncio.run(scenario(area / f"state-{number}", [area / "one", area / "other"]))
        assert list(area.iterdir()) == [], f"round {number}"


def test_a_chain_of_two_hundred_states_can_be_cloned_at_its_end(area: Path) -> None:
    async def scenario() -> None:
        statefs, clone = OverlayStateFS(), area / "clone"
        await statefs.create(clone)
        for number in range(1, 201):
            (clone / DATA / str(number)).write_bytes(b"x")
            (clone / DATA / "last").write_text(str(number))
            state = area / f"state-{number}"
            await statefs.publish(clone, state, MARKER)
            await statefs.clone(state, clone)
        assert len(list((clone / DATA).iterdir())) == 201
        assert (clone / DATA / "last").read_text() == "200"
        assert len(list((area / "state-100" / DATA).iterdir())) == 101
        assert (area / "state-100" / DATA / "last").read_text() == "100"

    asyncio.run(scenario())


def test_a_state_shares_with_its_parent_what_was_not_changed(ext4_area: Path) -> None:
    statefs = OverlayStateFS()
    parent = publish(statefs, ext4_area / "parent", os.urandom(64 * MIB))
    asyncio.run(statefs.clone(parent, ext4_area / "clone"))
    (ext4_area / "clone" / DATA / "added").write_bytes(b"rows")
    before = _free_bytes(ext4_area)
    asyncio.run(statefs.publish(ext4_area / "clone", ext4_area / "state", MARKER))
    assert before - _free_bytes(ext4_area) < 4 * MIB
    asyncio.run(statefs.remove(parent))
    assert len((ext4_area / "state" / DATA / "file").read_bytes()) == 64 * MIB


def test_with_reflinks_the_first_write_to_a_large_file_copies_nothing(xfs_area: Path) -> None:
    statefs = OverlayStateFS()
    state = publish(statefs, xfs_area / "state", b"original" * (8 * MIB))
    asyncio.run(statefs.clone(state, xfs_area / "clone"))
    before = _free_bytes(xfs_area)
    with (xfs_area / "clone" / DATA / "file").open("r+b") as file:
        file.write(b"changed!")
    assert before - _free_bytes(xfs_area) < 4 * MIB
    with (state / DATA / "file").open("rb") as file:
        assert file.read(8) == b"original"


def test_after_a_restart_of_the_machine_a_clone_can_be_attached_again(area: Path) -> None:
    statefs, clone = OverlayStateFS(), area / "clone"
    state = publish(statefs, area / "state")
    asyncio.run(statefs.clone(state, clone))
    (clone / DATA / "added").write_bytes(b"kept")
    asyncio.run(statefs.remove(state))
    publish(statefs, area / "state", b"another one of the same name")
    restart_machine(area)
    assert list((clone / DATA).iterdir()) == []
    asyncio.run(statefs.attach(clone))
    assert (clone / DATA / "file").read_bytes() == b"original"
    assert (clone / DATA / "added").read_bytes() == b"kept"
    (clone / DATA / "file").write_bytes(b"changed")
    asyncio.run(statefs.attach(clone))
    assert (clone / DATA / "file").read_bytes() == b"changed"


def test_the_size_of_a_clone_is_that_of_all_that_it_shows(area: Path) -> None:
    statefs, clone = OverlayStateFS(), area / "clone"
    state = area / "state"
    building = area / "building"
    asyncio.run(statefs.create(building))
    for name in ("stays", "grows", "goes", "turns", "base/a/one", "base/b/two", "base/c/three"):
        path = building / DATA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(MIB))
    asyncio.run(statefs.publish(building, state, MARKER))
    asyncio.run(statefs.clone(state, clone))
    data = clone / DATA
    for change in (
        lambda: (data / "grows").write_bytes(os.urandom(3 * MIB)),
        lambda: (data / "goes").unlink(),
        lambda: (data / "turns").unlink(),
        lambda: (data / "turns").mkdir(),
        lambda: (data / "turns/new").write_bytes(os.urandom(MIB)),
        lambda: shutil.rmtree(data / "base/a"),
        lambda: (data / "base/a").mkdir(),
        lambda: (data / "base/a/other").write_bytes(os.urandom(2 * MIB)),
        lambda: shutil.copytree(data / "base/b", data / "base/d"),
        lambda: (data / "base/c/three").rename(data / "base/c/four"),
        lambda: shutil.rmtree(data / "base/b"),
        lambda: (data / "base/b").write_bytes(b"a file"),
    ):
        change()
        os.sync()
        usage = asyncio.run(statefs.usage(clone))
        shown = sum(path.stat().st_blocks * 512 for path in data.rglob("*") if path.is_file())
        difference = usage.exclusive_bytes + usage.shared_bytes - shown
        assert 0 <= difference < MIB // 4, "directories take a little"


def test_after_a_restart_of_the_machine_everything_else_works_too(area: Path) -> None:
    statefs, clone = OverlayStateFS(), area / "clone"
    state = publish(statefs, area / "state", os.urandom(4 * MIB))
    for name in ("clone", "gone"):
        asyncio.run(statefs.clone(state, area / name))
    (clone / DATA / "added").write_bytes(b"kept")
    restart_machine(area)
    asyncio.run(statefs.remove(area / "gone"))
    assert asyncio.run(statefs.usage(clone)).shared_bytes >= 4 * MIB
    asyncio.run(statefs.clone(clone, area / "copy"))
    restart_machine(area)
    asyncio.run(statefs.publish(clone, area / "second", MARKER))
    for volume in (area / "copy", area / "second"):
        assert (volume / DATA / "added").read_bytes() == b"kept"
        assert (volume / DATA / "file").stat().st_size == 4 * MIB
    for volume in (area / "copy", area / "second", state):
        asyncio.run(statefs.remove(volume))
    assert list(area.iterdir()) == []


def test_a_clone_that_is_in_use_can_be_removed(area: Path) -> None:
    statefs, clone = OverlayStateFS(), area / "clone"
    asyncio.run(statefs.clone(publish(statefs, area / "state"), clone))
    with (clone / DATA / "file").open("rb") as file:
        asyncio.run(statefs.remove(clone))
        assert file.read() == b"original"
    assert list(area.iterdir()) == [area / "state"]
    assert mounts_below(area) == []


def test_what_is_mounted_within_a_volume_is_never_touched(area: Path) -> None:
    statefs, clone, other = OverlayStateFS(), area / "clone", area / "other"
    asyncio.run(statefs.clone(publish(statefs, area / "state"), clone))
    with memory_mounted(other):
        (other / "file").write_bytes(b"theirs")
        for inner in (clone / DATA / "inner", clone / "beside"):
            inner.mkdir()
            subprocess.run(["mount", "--bind", other, inner], check=True)
        asyncio.run(statefs.remove(clone))
        assert (other / "file").read_bytes() == b"theirs"
        assert mounts_below(area) == [other]
    assert list(area.iterdir()) == [area / "state"]


def test_purge_keeps_what_clones_lie_over_until_the_last_has_gone(area: Path) -> None:
    statefs, clone = OverlayStateFS(), area / "clone"
    state = publish(statefs, area / "state")
    asyncio.run(statefs.clone(state, clone))
    asyncio.run(statefs.remove(state))
    asyncio.run(statefs.purge(area))
    assert asyncio.run(statefs.volumes(area)) == [clone]
    assert (clone / DATA / "file").read_bytes() == b"original"
    asyncio.run(statefs.remove(clone))
    assert list(area.iterdir()) == []


def test_another_backend_can_remove_what_this_one_made(area: Path) -> None:
    statefs = OverlayStateFS()
    state = publish(statefs, area / "state")
    for name in ("clone", "other"):
        asyncio.run(statefs.clone(state, area / name))
    for name in ("state", "clone", "other"):
        asyncio.run(CopyStateFS().remove(area / name))
    assert list(area.iterdir()) == []
    assert mounts_below(area) == []


@pytest.mark.parametrize("name", ["copy", "reflink", "btrfs"])
def test_states_of_other_backends_can_be_cloned_and_built_on(
    btrfs_area: Path, name: BackendName
) -> None:
    statefs, clone, state = OverlayStateFS(), btrfs_area / "clone", btrfs_area / "state"
    parent = publish(backend(name), btrfs_area / "parent")
    asyncio.run(statefs.clone(parent, clone))
    (clone / DATA / "added").write_bytes(b"rows")
    asyncio.run(statefs.publish(clone, state, MARKER))
    asyncio.run(backend(name).remove(parent))
    assert (state / DATA / "file").read_bytes() == b"original"
    assert (state / DATA / "added").read_bytes() == b"rows"
    asyncio.run(statefs.remove(state))
    assert list(btrfs_area.iterdir()) == []


@pytest.mark.parametrize("name", ["copy", "reflink"])
def test_other_backends_can_clone_its_states(btrfs_area: Path, name: BackendName) -> None:
    statefs, clone = OverlayStateFS(), btrfs_area / "clone"
    asyncio.run(statefs.clone(publish(statefs, btrfs_area / "parent"), clone))
    (clone / DATA / "added").write_bytes(b"rows")
    asyncio.run(statefs.publish(clone, btrfs_area / "state", MARKER))
    asyncio.run(backend(name).clone(btrfs_area / "state", clone))
    assert (clone / DATA / "file").read_bytes() == b"original"
    (clone / DATA / "added").write_bytes(b"changed")
    assert (btrfs_area / "state" / DATA / "added").read_bytes() == b"rows"


def test_a_btrfs_snapshot_of_its_states_is_refused_with_a_remedy(btrfs_area: Path) -> None:
    state = publish(OverlayStateFS(), btrfs_area / "state")
    with pytest.raises(StoreUnusableError, match="made by another snapshot backend"):
        asyncio.run(BtrfsStateFS().clone(state, btrfs_area / "clone"))


def test_a_file_with_as_many_names_as_it_can_have_is_copied(ext4_area: Path) -> None:
    statefs, clone = OverlayStateFS(), ext4_area / "clone"
    parent = publish(statefs, ext4_area / "parent")
    names = ext4_area / "names"
    names.mkdir()
    with suppress(OSError):
        for number in range(1 << 17):
            os.link(parent / DATA / "file", names / str(number))
    with pytest.raises(OSError, match="Too many links"):
        os.link(parent / DATA / "file", names / "another")
    asyncio.run(statefs.clone(parent, clone))
    asyncio.run(statefs.publish(clone, ext4_area / "state", MARKER))
    assert (ext4_area / "state" / DATA / "file").read_bytes() == b"original"
    assert not (ext4_area / "state" / DATA / "file").samefile(parent / DATA / "file")


def test_paths_with_the_characters_of_mount_options_are_fine(area: Path) -> None:
    odd = area / "a,b:c\\d \n=e"
    odd.mkdir()
    statefs = OverlayStateFS()
    asyncio.run(statefs.clone(publish(statefs, odd / "state"), odd / "clone"))
    assert (odd / "clone" / DATA / "file").read_bytes() == b"original"


def test_without_rights_nothing_is_mounted_and_nothing_left(area: Path) -> None:
    os.chown(area, NOBODY, NOBODY)

    async def refused() -> None:
        statefs = OverlayStateFS()
        await statefs.create(area / "building")
        await statefs.publish(area / "building", area / "state", MARKER)
        with pytest.raises(PermissionError):
            await statefs.clone(area / "state", area / "clone")
        assert await statefs.volumes(area) == [area / "state"]
        await statefs.remove(area / "state")

    done_as_nobody(refused)
    assert list(area.iterdir()) == []


def test_without_rights_everything_works_in_a_namespace(area: Path) -> None:
    os.chown(area, NOBODY, NOBODY)

    async def life_of_a_state() -> None:
        enter_namespace(area)
        statefs, clone, state = OverlayStateFS(), area / "clone", area / "state"
        await statefs.create(area / "building")
        for name in ("kept", "emptied"):
            (area / "building" / DATA / name).mkdir()
            (area / "building" / DATA / name / "file").write_bytes(b"original")
        await statefs.publish(area / "building", area / "parent", MARKER)
        await statefs.clone(area / "parent", clone)
        (clone / DATA / "kept" / "file").write_bytes(b"changed")
        (clone / DATA / "emptied" / "file").unlink()
        (clone / DATA / "emptied").rmdir()
        (clone / DATA / "emptied").mkdir()
        await statefs.publish(clone, state, MARKER)
        assert (state / DATA / "kept" / "file").read_bytes() == b"changed"
        assert list((state / DATA / "emptied").iterdir()) == []
        assert (area / "parent" / DATA / "kept" / "file").read_bytes() == b"original"
        for volume in (area / "parent", state):
            await statefs.remove(volume)

    done_as_nobody(life_of_a_state)
    assert list(area.iterdir()) == []


@pytest.mark.parametrize("name", ["overlay", "copy"])
def test_without_rights_a_volume_goes_with_directories_its_owner_may_not_enter(
    area: Path, name: BackendName
) -> None:
    """The kernel keeps such a one beside each mount, and it stays when the namespace has gone."""
    os.chown(area, NOBODY, NOBODY)

    async def made_and_removed() -> None:
        volume = area / "volume"
        await CopyStateFS().create(volume)
        (volume / "overlay" / "work" / "work").mkdir(parents=True)
        (volume / "overlay" / "work" / "work" / "file").write_bytes(b"rows")
        (volume / "overlay" / "work" / "work").chmod(0)
        await backend(name).remove(volume)

    done_as_nobody(made_and_removed)
    assert list(area.iterdir()) == []


def test_an_engine_joins_the_namespace_of_the_servers_it_finds(ext4_area: Path) -> None:
    os.chown(ext4_area, NOBODY, NOBODY)
    instances, clone = ext4_area / "instances", ext4_area / "instances" / "clone"

    async def engine_with_a_server() -> None:
        enter_namespace(ext4_area)
        statefs = OverlayStateFS()
        instances.mkdir()
        await statefs.create(ext4_area / "building")
        await statefs.publish(ext4_area / "building", ext4_area / "state", MARKER)
        await statefs.clone(ext4_area / "state", clone)
        pid = subprocesses.start_detached(
            ["sleep", "60"], log=ext4_area / "log", cwd=ext4_area, env={}
        ).pid
        (clone / DATA / "postmaster.pid").write_text(f"{pid}\n")

    async def next_engine() -> None:
        assert list((clone / DATA).iterdir()) == []
        enter_namespace(ext4_area)
        pid = int((clone / DATA / "postmaster.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        statefs = OverlayStateFS()
        for volume in (clone, ext4_area / "state"):
            await statefs.remove(volume)
        assert list(instances.iterdir()) == []

    done_as_nobody(engine_with_a_server)
    done_as_nobody(next_engine)


def test_a_pid_that_is_somebody_elses_by_now_is_not_joined(ext4_area: Path) -> None:
    upper = ext4_area / "instances" / "clone" / "overlay" / "upper"
    upper.mkdir(parents=True)
    for pid in (str(os.getpid()), "1", "0", "-1", "nonsense", str(1 << 40)):
        (upper / "postmaster.pid").write_text(pid)
        assert not namespaces.join(ext4_area)


def test_a_clone_takes_the_same_steps_whatever_the_state_holds(area: Path) -> None:
    """Nothing of the state's is copied or linked: a clone's own files are none."""
    statefs = OverlayStateFS()
    asyncio.run(statefs.clone(publish(statefs, area / "state"), area / "clone"))
    assert list((area / "clone" / "overlay" / "upper").iterdir()) == []
    assert (area / "state" / DATA / "file").stat().st_nlink == 1


def _free_bytes(path: Path) -> int:
    trees.sync_file_system(path)
    status = os.statvfs(path)
    return status.f_bfree * status.f_frsize
