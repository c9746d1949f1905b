"""The statefs port's contract, on every adapter and on every file system it is made for."""

import asyncio
import errno
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from pgstrata.statefs import extents, subvolumes, trees
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.statefs.copying import TreeCopy
from pgstrata.statefs.detect import BackendName, backend
from pgstrata.statefs.digests import DIGEST
from pgstrata.statefs.layers import LAYER, LEFTOVER_PREFIX
from pgstrata.statefs.layers import MARKER as MARKER_FILE
from pgstrata.statefs.memory import MemoryStateFS
from pgstrata.system import planted
from pgstrata.system.memory_disk import MemoryDisk

MIB = 1 << 20
MARKER = b"whole"


class Ground(Protocol):
    """A backend under test, an empty area for its volumes, and a way to look at the files."""

    statefs: StateFS
    area: Path

    def write(self, path: Path, content: bytes) -> None: ...
    def read(self, path: Path) -> bytes | None: ...
    def remove(self, path: Path) -> None: ...
    def listing(self, directory: Path) -> list[str]: ...


class FilesGround:
    """A backend that works on files."""

    def __init__(self, name: BackendName, area: Path) -> None:
        self.statefs = backend(name)
        self.area = area

    def write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def read(self, path: Path) -> bytes | None:
        return path.read_bytes() if path.is_file() else None

    def remove(self, path: Path) -> None:
        path.unlink()

    def listing(self, directory: Path) -> list[str]:
        return sorted(path.name for path in directory.iterdir())


class MemoryGround:
    """The backend in memory."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.statefs: StateFS = MemoryStateFS(self.disk)
        self.area = Path("/area")

    def write(self, path: Path, content: bytes) -> None:
        self.disk.write(path, content)

    def read(self, path: Path) -> bytes | None:
        return self.disk.read(path)

    def remove(self, path: Path) -> None:
        self.disk.remove_tree(path)

    def listing(self, directory: Path) -> list[str]:
        return [child.name for child in self.disk.children(directory)]


FILE_BACKENDS: dict[str, tuple[BackendName, str]] = {
    "copy": ("copy", "tmp_path"),
    "reflink-xfs": ("reflink", "xfs_mount"),
    "reflink-btrfs": ("reflink", "btrfs_mount"),
    "btrfs": ("btrfs", "btrfs_mount"),
    "overlay-ext4": ("overlay", "ext4_mount"),
    "overlay-xfs": ("overlay", "xfs_mount"),
    "overlay-btrfs": ("overlay", "btrfs_mount"),
    "overlay-tmpfs": ("overlay", "tmpfs_mount"),
}


ODD = ", : \\ \" ' # % = $ * ö ("
"""What means something to a shell, to mount options or to a list of paths."""


def _files_ground(request: pytest.FixtureRequest, case: str) -> Iterator[FilesGround]:
    name, directory = FILE_BACKENDS[case]
    area: Path = request.getfixturevalue(directory) / f"{uuid.uuid4().hex}{ODD}"
    area.mkdir()
    yield FilesGround(name, area)
    trees.delete(area)


@pytest.fixture(params=["memory", *FILE_BACKENDS])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    if request.param == "memory":
        yield MemoryGround()
    else:
        yield from _files_ground(request, request.param)


@pytest.fixture(params=FILE_BACKENDS)
def files(request: pytest.FixtureRequest) -> Iterator[FilesGround]:
    yield from _files_ground(request, request.param)


def make(ground: Ground, name: str, content: bytes = b"original") -> Path:
    """A volume with one file in its data directory."""
    volume = ground.area / name
    asyncio.run(ground.statefs.create(volume))
    ground.write(volume / DATA / "file", content)
    return volume


def publish(ground: Ground, name: str, content: bytes = b"original") -> Path:
    """A published volume with one file in its data directory."""
    volume = ground.area / name
    building = make(ground, f"{name}-building", content)
    asyncio.run(ground.statefs.publish(building, volume, MARKER))
    return volume


@pytest.fixture(params=["at rest", "published"])
def sort(request: pytest.FixtureRequest) -> str:
    """What is cloned: a volume that was only made, or one that was published."""
    assert isinstance(request.param, str)
    return request.param


def settled(ground: Ground, volume: Path, sort: str) -> Path:
    """The volume to clone, once a test has put into its data what it wants there."""
    if sort == "at rest":
        return volume
    state = volume.with_name(f"{volume.name}-published")
    asyncio.run(ground.statefs.publish(volume, state, MARKER))
    return state


def clone(ground: Ground, source: Path, name: str) -> Path:
    volume = ground.area / name
    asyncio.run(ground.statefs.clone(source, volume))
    return volume


async def cancelled_after(turns: int, work: Coroutine[None, None, None]) -> bool:
    """Let the event loop turn so many times, then cancel; whether that came before the end."""
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    assert outcome is None or isinstance(outcome, asyncio.CancelledError)
    return outcome is not None


TURNS = (0, *(2**power for power in range(13)))


# create


def test_a_new_volume_has_an_empty_data_directory_and_no_marker(ground: Ground) -> None:
    volume = ground.area / "new"
    asyncio.run(ground.statefs.create(volume))
    assert ground.listing(volume) == [DATA]
    assert ground.listing(volume / DATA) == []
    assert asyncio.run(ground.statefs.marker(volume)) is None


def test_an_existing_volume_is_not_created_again(ground: Ground) -> None:
    volume = make(ground, "there")
    with pytest.raises(FileExistsError):
        asyncio.run(ground.statefs.create(volume))
    assert ground.read(volume / DATA / "file") == b"original"
    assert ground.listing(ground.area) == ["there"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_data_directory_can_be_reached_but_not_listed_by_others(
    files: FilesGround, umask: int
) -> None:
    old_umask = os.umask(umask)
    try:
        volume = make(files, "new")
    finally:
        os.umask(old_umask)
    assert volume.stat().st_mode & 0o7777 == 0o711
    assert (volume / DATA).stat().st_mode & 0o7777 == 0o700


# clone


def test_a_clone_has_its_sources_contents(ground: Ground, sort: str) -> None:
    source = make(ground, "source")
    ground.write(source / DATA / "base" / "1" / "table", b"rows")
    volume = clone(ground, settled(ground, source, sort), "clone")
    assert ground.read(volume / DATA / "file") == b"original"
    assert ground.read(volume / DATA / "base" / "1" / "table") == b"rows"


def test_a_clone_never_sees_its_parents_later_writes(ground: Ground) -> None:
    source = make(ground, "source")
    volume = clone(ground, source, "clone")
    ground.write(source / DATA / "file", b"changed")
    ground.write(source / DATA / "added", b"new")
    assert ground.listing(volume / DATA) == ["file"]
    assert ground.read(volume / DATA / "file") == b"original"


def test_a_parent_never_sees_its_clones_writes(ground: Ground, sort: str) -> None:
    source = settled(ground, make(ground, "source"), sort)
    volume, other = clone(ground, source, "clone"), clone(ground, source, "other")
    ground.write(volume / DATA / "file", b"changed")
    ground.write(volume / DATA / "added", b"new")
    for untouched in (source, other):
        assert ground.read(untouched / DATA / "file") == b"original"
        assert ground.listing(untouched / DATA) == ["file"]


def test_a_clone_of_a_clone_has_what_was_written_there(ground: Ground) -> None:
    first = clone(ground, publish(ground, "state"), "first")
    ground.write(first / DATA / "added", b"new")
    second = clone(ground, first, "second")
    ground.write(first / DATA / "added", b"changed")
    assert ground.read(second / DATA / "file") == b"original"
    assert ground.read(second / DATA / "added") == b"new"


def test_a_clone_of_a_published_state_is_writable_and_not_whole(ground: Ground) -> None:
    state = publish(ground, "state")
    volume = clone(ground, state, "clone")
    ground.write(volume / DATA / "file", b"changed")
    assert ground.read(volume / DATA / "file") == b"changed"
    assert MARKER_FILE not in ground.listing(volume)
    assert asyncio.run(ground.statefs.marker(volume)) is None


def test_a_clone_outlives_its_source(ground: Ground) -> None:
    state = publish(ground, "state")
    volume = clone(ground, state, "clone")
    asyncio.run(ground.statefs.remove(state))
    assert ground.read(volume / DATA / "file") == b"original"


def test_a_missing_source_cannot_be_cloned(ground: Ground) -> None:
    with pytest.raises(FileNotFoundError):
        clone(ground, ground.area / "missing", "clone")
    assert ground.listing(ground.area) == []


def test_a_source_without_a_data_directory_cannot_be_cloned(ground: Ground) -> None:
    ground.write(ground.area / "odd" / "marker", MARKER)
    with pytest.raises(FileNotFoundError):
        clone(ground, ground.area / "odd", "clone")
    assert ground.listing(ground.area) == ["odd"]


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("files", ["copy", "reflink-xfs", "reflink-btrfs"], indirect=True)
def test_a_source_that_is_removed_while_it_is_copied_is_missing(
    files: FilesGround, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = publish(files, "source")
    fill = TreeCopy.fill

    def overtaken(copying: TreeCopy, original: int) -> None:
        if hidden:
            asyncio.run(files.statefs.remove(source))
        else:
            # On a full disk there is no room for a hidden name.
            files.remove(source / MARKER_FILE)
            files.remove(source / DATA / "file")
        fill(copying, original)

    monkeypatch.setattr(TreeCopy, "fill", overtaken)
    with pytest.raises(FileNotFoundError):
        clone(files, source, "clone")
    assert files.listing(files.area) == ([] if hidden else ["source"])


def test_an_existing_volume_is_not_cloned_onto(ground: Ground) -> None:
    source = make(ground, "source")
    make(ground, "there", b"untouched")
    with pytest.raises(FileExistsError):
        clone(ground, source, "there")
    assert ground.read(ground.area / "there" / DATA / "file") == b"untouched"
    assert ground.listing(ground.area) == ["source", "there"]


def test_of_two_clones_to_one_volume_one_fails_and_one_is_whole(ground: Ground) -> None:
    source = make(ground, "source")
    volume = ground.area / "clone"

    async def race() -> list[BaseException | None]:
        clones = (ground.statefs.clone(source, volume) for _ in range(2))
        return await asyncio.gather(*clones, return_exceptions=True)

    outcomes = asyncio.run(race())
    assert [type(outcome) for outcome in outcomes if outcome] == [FileExistsError]
    assert ground.read(volume / DATA / "file") == b"original"
    assert ground.listing(ground.area) == ["clone", "source"]


def test_a_cancelled_clone_leaves_nothing(ground: Ground) -> None:
    source = make(ground, "source")
    volume = ground.area / "clone"

    async def scenario() -> None:
        for turns in TURNS:
            if await cancelled_after(turns, ground.statefs.clone(source, volume)):
                assert ground.listing(ground.area) == ["source"]
            else:
                assert ground.read(volume / DATA / "file") == b"original"
                await ground.statefs.remove(volume)

    asyncio.run(scenario())


def test_modes_owners_and_times_are_kept(files: FilesGround, sort: str) -> None:
    source = make(files, "source")
    for number, path in enumerate((source / DATA / "file", source / DATA)):
        if os.geteuid() == 0:
            os.chown(path, 1234 + number, 4321 + number)
        path.chmod(0o740 + number)
        os.utime(path, ns=(1_000_000_001 + number, 2_000_000_002 + number))
    source = settled(files, source, sort)
    volume = clone(files, source, "clone")
    for name in ("file", "."):
        kept, given = (source / DATA / name).stat(), (volume / DATA / name).stat()
        assert given.st_mode == kept.st_mode
        assert (given.st_uid, given.st_gid) == (kept.st_uid, kept.st_gid)
        assert given.st_mtime_ns == kept.st_mtime_ns


def test_symbolic_links_stay_links_wherever_they_point(files: FilesGround, sort: str) -> None:
    source = make(files, "source")
    (source / DATA / "link").symlink_to("nowhere")
    volume = clone(files, settled(files, source, sort), "clone")
    assert (volume / DATA / "link").readlink() == Path("nowhere")


def test_hard_links_stay_links_to_one_file_of_the_clone(files: FilesGround, sort: str) -> None:
    source = make(files, "source")
    (source / DATA / "below").mkdir()
    (source / DATA / "below" / "other").hardlink_to(source / DATA / "file")
    source = settled(files, source, sort)
    volume = clone(files, source, "clone")
    file, other = volume / DATA / "file", volume / DATA / "below" / "other"
    assert other.samefile(file)
    assert file.stat().st_nlink == 2
    with file.open("r+b") as written:
        written.write(b"changed!")
    assert other.read_bytes() == b"changed!"
    assert (source / DATA / "below" / "other").read_bytes() == b"original"


def test_holes_stay_holes(files: FilesGround, sort: str) -> None:
    source = make(files, "source")
    with (source / DATA / "sparse").open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(32 * MIB)
        file.write(b"x" * 4096)
    volume = clone(files, settled(files, source, sort), "clone")
    with (volume / DATA / "sparse").open("r+b") as file:
        file.write(b"y")
    status = (volume / DATA / "sparse").stat()
    assert status.st_size == 64 * MIB
    assert status.st_blocks * 512 < 2 * MIB  # the kernel copies a file up in pieces of one


def test_large_files_are_whole_in_a_clone_and_after_a_write(files: FilesGround, sort: str) -> None:
    source = make(files, "source")
    content = os.urandom(MIB) * 40
    (source / DATA / "large").write_bytes(content)
    volume = clone(files, settled(files, source, sort), "clone")
    with (volume / DATA / "large").open("r+b") as file:
        file.seek(20 * MIB)
        file.write(b"changed")
    changed = content[: 20 * MIB] + b"changed" + content[20 * MIB + 7 :]
    assert (volume / DATA / "large").read_bytes() == changed


# publish and marker


def test_a_published_volume_has_its_marker_and_data_and_the_building_is_gone(
    ground: Ground,
) -> None:
    building = make(ground, "building")
    state = ground.area / "state"
    asyncio.run(ground.statefs.publish(building, state, MARKER))
    assert asyncio.run(ground.statefs.marker(state)) == MARKER
    assert ground.read(state / DATA / "file") == b"original"
    assert ground.listing(ground.area) == ["state"]


def test_a_volume_appears_whole_or_not_at_all(ground: Ground) -> None:
    building, state = make(ground, "building"), ground.area / "state"

    async def watch(publishing: asyncio.Task[None]) -> None:
        while not publishing.done():
            if state in await ground.statefs.volumes(ground.area):
                assert await ground.statefs.marker(state) == MARKER
                assert ground.read(state / DATA / "file") == b"original"

    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            publishing = tasks.create_task(ground.statefs.publish(building, state, MARKER))
            tasks.create_task(watch(publishing))

    asyncio.run(scenario())
    assert asyncio.run(ground.statefs.marker(state)) == MARKER


def test_nothing_is_published_onto_an_existing_volume(ground: Ground) -> None:
    state = publish(ground, "state")
    building = make(ground, "building", b"late")
    with pytest.raises(FileExistsError):
        asyncio.run(ground.statefs.publish(building, state, b"other"))
    assert ground.read(state / DATA / "file") == b"original"
    assert asyncio.run(ground.statefs.marker(state)) == MARKER
    assert ground.read(building / DATA / "file") == b"late"
    assert asyncio.run(ground.statefs.marker(building)) is None


def test_nothing_is_published_onto_an_empty_directory(files: FilesGround) -> None:
    building = make(files, "building")
    (files.area / "state").mkdir()
    with pytest.raises(FileExistsError):
        asyncio.run(files.statefs.publish(building, files.area / "state", MARKER))
    assert files.listing(files.area) == ["building", "state"]


def test_a_missing_building_cannot_be_published(ground: Ground) -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(ground.statefs.publish(ground.area / "missing", ground.area / "state", MARKER))
    assert ground.listing(ground.area) == []


def test_a_cancelled_publish_is_done_or_can_be_done_again(ground: Ground) -> None:
    async def scenario() -> None:
        for turns in TURNS:
            building, state = ground.area / f"{turns}-building", ground.area / f"{turns}"
            await ground.statefs.create(building)
            if await cancelled_after(turns, ground.statefs.publish(building, state, MARKER)) and (
                await ground.statefs.marker(state) is None
            ):
                await ground.statefs.publish(building, state, MARKER)
            assert await ground.statefs.marker(state) == MARKER
            assert building not in await ground.statefs.volumes(ground.area)

    asyncio.run(scenario())


def test_a_snapshot_is_published_and_what_it_was_taken_of_goes_on(ground: Ground) -> None:
    work = clone(ground, publish(ground, "parent"), "work")
    for number in range(3):
        ground.write(work / DATA / "file", b"after step %d" % number)
        asyncio.run(ground.statefs.snapshot(work, ground.area / f"state-{number}", MARKER))
    ground.write(work / DATA / "file", b"later")
    for number in range(3):
        state = ground.area / f"state-{number}"
        assert asyncio.run(ground.statefs.marker(state)) == MARKER
        assert ground.read(state / DATA / "file") == b"after step %d" % number
    assert ground.read(work / DATA / "file") == b"later"
    assert asyncio.run(ground.statefs.marker(work)) is None


def test_no_snapshot_takes_the_volume_of_another(ground: Ground) -> None:
    work = clone(ground, publish(ground, "parent"), "work")
    taken = publish(ground, "taken", b"taken")
    with pytest.raises(FileExistsError):
        asyncio.run(ground.statefs.snapshot(work, taken, MARKER))
    assert ground.read(taken / DATA / "file") == b"taken"
    assert ground.read(work / DATA / "file") == b"original"


def test_published_data_keeps_its_modes_and_owners(files: FilesGround) -> None:
    building = make(files, "building")
    if os.geteuid() == 0:
        os.chown(building / DATA, 1234, 4321)
    before = (building / DATA).stat()
    asyncio.run(files.statefs.publish(building, files.area / "state", MARKER))
    after = (files.area / "state" / DATA).stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert (files.area / "state").stat().st_mode & 0o7777 == 0o711


def test_a_published_volume_holds_nothing_but_its_data_and_its_marker(files: FilesGround) -> None:
    building = make(files, "building")
    (building / "server.log").write_text("what a server said while it was built")
    asyncio.run(files.statefs.publish(building, files.area / "state", MARKER))
    names = {entry.name for entry in (files.area / "state").iterdir()}
    assert names <= {DATA, MARKER_FILE, LAYER, DIGEST}


def test_a_state_holds_what_was_done_to_the_clone_it_was_made_from(files: FilesGround) -> None:
    data = make(files, "building") / DATA
    for name in ("kept", "gone", "emptied", "renamed", "replaced"):
        files.write(data / name / "file", name.encode())
        files.write(data / name / "below" / "file", name.encode())
    first = settled(files, data.parent, "published")
    data = clone(files, first, "clone") / DATA
    (data / "kept" / "file").unlink()
    shutil.rmtree(data / "gone")
    shutil.rmtree(data / "emptied")
    (data / "emptied").mkdir()
    move(data / "renamed", data / "kept" / "moved")
    (data / "kept" / "moved" / "added").write_bytes(b"added")
    move(data / "kept" / "moved" / "below", data / "kept" / "moved" / "beneath")
    shutil.rmtree(data / "replaced")
    (data / "replaced").write_bytes(b"a file now")
    before = tree(data)
    second = files.area / "second"
    asyncio.run(files.statefs.publish(data.parent, second, MARKER))
    asyncio.run(files.statefs.remove(first))
    assert tree(second / DATA) == before
    assert tree(clone(files, second, "other") / DATA) == before
    assert before["kept/moved/beneath/file"] == b"renamed"
    assert before["replaced"] == b"a file now"
    assert "gone" not in before


def move(source: Path, target: Path) -> None:
    """Rename a directory as `mv` does it: where the file system will not, by copying."""
    shutil.move(source, target)


def tree(directory: Path) -> dict[str, bytes | None]:
    """Everything below a directory: the contents of files, None for directories."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def test_a_missing_volume_has_no_marker(ground: Ground) -> None:
    assert asyncio.run(ground.statefs.marker(ground.area / "missing")) is None


def test_a_file_in_the_volume_of_a_place_has_no_marker(ground: Ground) -> None:
    ground.write(ground.area / "file", b"not a volume")
    assert asyncio.run(ground.statefs.marker(ground.area / "file")) is None


# altered and learn


def altered(ground: Ground, volume: Path, *, deep: bool = False) -> str | None:
    return asyncio.run(ground.statefs.altered(volume, deep=deep))


def test_a_volume_that_is_only_cloned_and_built_on_is_not_altered(ground: Ground) -> None:
    state = publish(ground, "state")
    for name in ("one", "other"):
        work = clone(ground, state, f"{name}-work")
        ground.write(work / DATA / "more", b"rows")
        asyncio.run(ground.statefs.snapshot(work, ground.area / name, MARKER))
        asyncio.run(ground.statefs.remove(work))
    asyncio.run(ground.statefs.remove(ground.area / "one"))
    for volume in (state, ground.area / "other"):
        assert not asyncio.run(ground.statefs.is_learnt(volume))
        assert asyncio.run(ground.statefs.learn(volume))
        assert not asyncio.run(ground.statefs.learn(volume))
        assert asyncio.run(ground.statefs.is_learnt(volume))
        for deep in (False, True):
            assert altered(ground, volume, deep=deep) is None


def test_a_file_added_or_removed_alters_a_volume(ground: Ground) -> None:
    for number, change in enumerate((_write_new, _remove_one)):
        state = publish(ground, f"state-{number}")
        unlock(state)
        change(ground, state / DATA, number)
        assert "changed" in (altered(ground, state) or "")


def test_other_content_is_found_once_the_first_was_read(ground: Ground) -> None:
    state = publish(ground, "state", b"original")
    assert asyncio.run(ground.statefs.learn(state))
    unlock(state)
    ground.write(state / DATA / "file", b"poisoned")
    assert altered(ground, state, deep=True)


def test_a_volume_made_anew_is_not_compared_with_what_it_was(ground: Ground) -> None:
    state = publish(ground, "state")
    asyncio.run(ground.statefs.learn(state))
    asyncio.run(ground.statefs.remove(state))
    state = publish(ground, "state", b"something else")
    assert altered(ground, state, deep=True) is None


def test_a_copied_store_has_altered_volumes_as_little_as_the_original(files: FilesGround) -> None:
    state = publish(files, "state")
    asyncio.run(files.statefs.learn(state))
    unlock(state)
    subprocess.run(["cp", "--archive", state, files.area / "copy"], check=True)
    assert altered(files, files.area / "copy", deep=True) is None


def test_of_what_an_earlier_version_published_nothing_is_known(files: FilesGround) -> None:
    state = publish(files, "state")
    (state / "digest").unlink()
    assert not asyncio.run(files.statefs.learn(state))
    assert altered(files, state, deep=True) is None


def unlock(state: Path) -> None:
    """Let a published volume be written to, where the file system keeps it read-only."""
    if state.exists() and subvolumes.may_be_subvolume((state / DATA).stat()):
        with planted.open_directory(state / DATA) as data:
            subvolumes.make_writable(data)


# volumes, remove and purge


def test_volumes_are_listed_by_name_and_hidden_ones_are_not(ground: Ground) -> None:
    made = [make(ground, name) for name in ("b", "a", "c")]
    ground.write(ground.area / ".hidden" / DATA / "file", b"")
    ground.write(ground.area / f"{LEFTOVER_PREFIX}x" / DATA / "file", b"")
    assert asyncio.run(ground.statefs.volumes(ground.area)) == sorted(made)


def test_a_file_in_an_area_is_no_volume(ground: Ground) -> None:
    ground.write(ground.area / "note", b"")
    assert asyncio.run(ground.statefs.volumes(ground.area)) == []


def test_a_missing_area_holds_no_volumes_and_nothing_to_purge(ground: Ground) -> None:
    missing = ground.area / "missing"
    assert asyncio.run(ground.statefs.volumes(missing)) == []
    asyncio.run(ground.statefs.purge(missing))


def test_a_removed_volume_leaves_nothing_and_twice_is_fine(ground: Ground) -> None:
    volume = make(ground, "volume")
    ground.write(volume / DATA / "base" / "1" / "table", b"rows")
    asyncio.run(ground.statefs.remove(volume))
    assert ground.listing(ground.area) == []
    asyncio.run(ground.statefs.remove(volume))


def test_a_published_state_can_be_removed(ground: Ground) -> None:
    state = publish(ground, "state")
    asyncio.run(ground.statefs.remove(state))
    assert asyncio.run(ground.statefs.marker(state)) is None
    assert ground.listing(ground.area) == []


def test_what_is_removed_in_any_order_leaves_nothing(ground: Ground) -> None:
    state = publish(ground, "state")
    first, second = clone(ground, state, "first"), clone(ground, state, "second")
    asyncio.run(ground.statefs.remove(state))
    state = publish(ground, "state", b"made anew")
    third = clone(ground, state, "third")
    for volume in (first, state):
        asyncio.run(ground.statefs.remove(volume))
        asyncio.run(ground.statefs.purge(ground.area))
    assert ground.read(second / DATA / "file") == b"original"
    assert ground.read(third / DATA / "file") == b"made anew"
    for volume in (second, third):
        asyncio.run(ground.statefs.remove(volume))
    assert ground.listing(ground.area) == []


def test_attaching_what_is_there_changes_nothing(ground: Ground) -> None:
    state = publish(ground, "state")
    volume = clone(ground, state, "clone")
    ground.write(volume / DATA / "file", b"changed")
    for attached in (state, volume):
        asyncio.run(ground.statefs.attach(attached))
    assert ground.read(volume / DATA / "file") == b"changed"
    assert ground.read(state / DATA / "file") == b"original"


def test_removing_a_volume_spares_what_its_links_point_at(files: FilesGround) -> None:
    volume, other = make(files, "volume"), make(files, "other")
    (volume / DATA / "link").symlink_to(other / DATA)
    asyncio.run(files.statefs.remove(volume))
    assert files.read(other / DATA / "file") == b"original"


def test_purge_deletes_leftovers_and_nothing_else(ground: Ground) -> None:
    state = publish(ground, "state")
    ground.write(ground.area / f"{LEFTOVER_PREFIX}killed" / DATA / "base" / "file", b"half")
    ground.write(ground.area / ".other" / "file", b"not ours")
    asyncio.run(ground.statefs.purge(ground.area))
    assert ground.listing(ground.area) == [".other", "state"]
    assert ground.read(state / DATA / "file") == b"original"


def test_what_is_hidden_is_gone_at_once_and_deleted_when_that_is_asked_for(
    ground: Ground,
) -> None:
    volume = publish(ground, "state", b"content")
    hidden = asyncio.run(ground.statefs.hide(volume))
    assert hidden is not None
    assert asyncio.run(ground.statefs.marker(volume)) is None
    assert asyncio.run(ground.statefs.volumes(ground.area)) == []
    assert ground.read(hidden / DATA / "file") == b"content"
    for _ in range(2):
        asyncio.run(ground.statefs.delete(hidden))
        assert ground.listing(ground.area) == []


def test_what_was_hidden_and_never_deleted_is_purged(ground: Ground) -> None:
    asyncio.run(ground.statefs.hide(publish(ground, "state")))
    assert asyncio.run(ground.statefs.hide(ground.area / "state")) is None
    asyncio.run(ground.statefs.purge(ground.area))
    assert ground.listing(ground.area) == []


# usage


def test_usage_counts_what_is_allocated(ground: Ground) -> None:
    volume = make(ground, "volume", os.urandom(4 * MIB))
    usage = asyncio.run(ground.statefs.usage(volume))
    assert 4 * MIB <= usage.exclusive_bytes < 6 * MIB
    assert usage.shared_bytes == 0


def test_usage_counts_all_bytes_of_a_clone(ground: Ground) -> None:
    volume = clone(ground, make(ground, "source", os.urandom(4 * MIB)), "clone")
    usage = asyncio.run(ground.statefs.usage(volume))
    assert usage.exclusive_bytes + usage.shared_bytes >= 4 * MIB


@pytest.mark.parametrize("case", ["reflink-xfs", "reflink-btrfs", "btrfs"])
def test_what_a_clone_shares_is_told_apart_from_what_was_written_to_it(
    case: str, request: pytest.FixtureRequest
) -> None:
    for ground in _files_ground(request, case):
        source = publish(ground, "source", os.urandom(4 * MIB))
        volume = clone(ground, source, "clone")
        whole = asyncio.run(ground.statefs.usage(volume))
        assert whole.shared_bytes >= 4 * MIB
        assert whole.exclusive_bytes < MIB // 4
        with (volume / DATA / "file").open("r+b") as file:
            file.write(os.urandom(MIB))
        ground.write(volume / DATA / "new", os.urandom(2 * MIB))
        written = asyncio.run(ground.statefs.usage(volume))
        # XFS allocates more than is written, to have it in one piece.
        assert 3 * MIB <= written.exclusive_bytes < 5 * MIB
        assert 3 * MIB <= written.shared_bytes < 3.5 * MIB


def test_over_a_mount_what_was_written_is_held_alone_and_what_lies_below_is_shared(
    request: pytest.FixtureRequest,
) -> None:
    for ground in _files_ground(request, "overlay-ext4"):
        first = publish(ground, "first", os.urandom(4 * MIB))
        assert asyncio.run(ground.statefs.usage(first)).exclusive_bytes >= 4 * MIB
        building = clone(ground, first, "building")
        ground.write(building / DATA / "new", os.urandom(2 * MIB))
        second = ground.area / "second"
        for volume in (building, second):
            if volume == second:
                asyncio.run(ground.statefs.publish(building, second, MARKER))
            usage = asyncio.run(ground.statefs.usage(volume))
            assert 2 * MIB <= usage.exclusive_bytes < 2.5 * MIB
            assert 4 * MIB <= usage.shared_bytes < 4.5 * MIB


def test_a_file_of_very_many_extents_is_told_apart(xfs_mount: Path) -> None:
    file = xfs_mount / uuid.uuid4().hex
    blocks = 1500
    with file.open("wb") as out:
        for number in range(blocks):
            out.seek(number * 8192)
            out.write(os.urandom(4096))
    copy = file.with_suffix(".copy")
    subprocess.run(["cp", "--reflink=always", file, copy], check=True)
    with copy.open("r+b") as out:
        out.write(os.urandom(4096))
    with planted.open_directory(xfs_mount) as directory:
        assert extents.shared_bytes(copy.name, directory) == (blocks - 1) * 4096
    for each in (file, copy):
        each.unlink()


def test_usage_counts_a_hard_linked_file_once_and_holes_never(files: FilesGround) -> None:
    volume = make(files, "volume", os.urandom(4 * MIB))
    (volume / DATA / "other").hardlink_to(volume / DATA / "file")
    with (volume / DATA / "sparse").open("wb") as file:
        file.truncate(64 * MIB)
    assert asyncio.run(files.statefs.usage(volume)).exclusive_bytes < 6 * MIB


def test_what_did_not_change_since_a_clone_need_not_be_looked_at(ground: Ground) -> None:
    first = publish(ground, "first", os.urandom(4 * MIB))
    building = clone(ground, first, "building")
    before = time.time() - 0.02
    ground.write(building / DATA / "new", os.urandom(2 * MIB))
    whole = asyncio.run(ground.statefs.usage(building))
    assert asyncio.run(ground.statefs.usage(building, changed_since=before)) == whole


def test_a_volume_that_is_written_to_further_is_measured_by_what_changed(ground: Ground) -> None:
    """After each snapshot, whether few files changed or so many that nobody could keep count."""
    first = publish(ground, "first", os.urandom(4 * MIB))
    building = clone(ground, first, "building")
    for number, change in enumerate(
        (_write_new, _write_into, _write_much, _remove_one, _add_directory, _write_new)
    ):
        before = time.time() - 0.02
        change(ground, building / DATA, number)
        whole = asyncio.run(ground.statefs.usage(building))
        assert asyncio.run(ground.statefs.usage(building, changed_since=before)) == whole
        volume = ground.area / f"snapshot-{number}"
        asyncio.run(ground.statefs.snapshot(building, volume, MARKER))


def test_a_volume_that_took_anothers_name_is_measured_as_what_it_is(ground: Ground) -> None:
    first = publish(ground, "first", os.urandom(4 * MIB))
    second = publish(ground, "second", os.urandom(8 * MIB))
    for source in (first, second, first):
        building = clone(ground, source, "building")
        before = time.time() - 0.02
        ground.write(building / DATA / "new", os.urandom(MIB))
        whole = asyncio.run(ground.statefs.usage(building))
        assert asyncio.run(ground.statefs.usage(building, changed_since=before)) == whole
        asyncio.run(ground.statefs.remove(building))


def _write_new(ground: Ground, data: Path, number: int) -> None:
    ground.write(data / f"new-{number}", os.urandom(2 * MIB))


def _write_into(ground: Ground, data: Path, _number: int) -> None:
    ground.write(data / "file", os.urandom(3 * MIB))


def _write_much(ground: Ground, data: Path, _number: int) -> None:
    for _ in range(10_000):
        ground.write(data / "one", b"1")
        ground.write(data / "two", b"2")
    ground.remove(data / "one")
    ground.remove(data / "two")


def _remove_one(ground: Ground, data: Path, _number: int) -> None:
    ground.remove(data / "file")


def _add_directory(ground: Ground, data: Path, _number: int) -> None:
    ground.write(data / "more" / "file", os.urandom(MIB))


def test_a_missing_volume_has_no_usage(ground: Ground) -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(ground.statefs.usage(ground.area / "missing"))


@pytest.mark.parametrize("case", [case for case in FILE_BACKENDS if case != "copy"])
def test_a_clone_holds_no_bytes_of_its_own(case: str, request: pytest.FixtureRequest) -> None:
    for ground in _files_ground(request, case):
        source = publish(ground, "source", os.urandom(64 * MIB))
        before = _free_bytes(ground.area)
        clone(ground, source, "clone")
        assert before - _free_bytes(ground.area) < 8 * MIB


def _free_bytes(path: Path) -> int:
    trees.sync_file_system(path)
    status = os.statvfs(path)
    return status.f_bfree * status.f_frsize


def test_a_reflink_clone_never_becomes_a_full_copy(ext4_mount: Path) -> None:
    ground = FilesGround("reflink", ext4_mount)
    source = make(ground, "source")
    with pytest.raises(OSError, match="not supported") as raised:
        clone(ground, source, "clone")
    assert raised.value.errno == errno.EOPNOTSUPP
    assert asyncio.run(ground.statefs.volumes(ext4_mount / "clone")) == []
    asyncio.run(ground.statefs.remove(source))
    assert ground.listing(ext4_mount) == ["lost+found"]
