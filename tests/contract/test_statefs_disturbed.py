"""The statefs port when it is disturbed at any step: killed, cancelled, overtaken, powered off."""

import asyncio
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from pgstrata.statefs import trees
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.statefs.detect import BackendName, backend
from tests.filesystems import (
    GIB,
    CannotMountError,
    FileSystem,
    give_up,
    loop_mounted,
    mounted,
    mounts_below,
)
from tests.forks import Ended, cancelled_at_step, done_with, killed_at_step

MARKER = b"whole"
CONTENT = b"original"


@pytest.fixture(
    params=[
        ("copy", "tmp_path"),
        ("reflink", "xfs_mount"),
        ("btrfs", "btrfs_mount"),
        ("overlay", "ext4_mount"),
        ("overlay", "xfs_mount"),
    ]
)
def ground(request: pytest.FixtureRequest) -> Iterator[tuple[StateFS, Path]]:
    name, directory = request.param
    area: Path = request.getfixturevalue(directory) / "kills"
    area.mkdir()
    yield backend(name), area
    trees.delete(area)


async def make(statefs: StateFS, volume: Path) -> None:
    await statefs.create(volume)
    (volume / DATA / "file").write_bytes(CONTENT)


def whole(volume: Path) -> bool:
    return (volume / DATA / "file").read_bytes() == CONTENT


def purged(statefs: StateFS, area: Path) -> list[Path]:
    """The volumes of an area, after a purge that must leave nothing else."""
    asyncio.run(statefs.purge(area))
    volumes = asyncio.run(statefs.volumes(area))
    assert sorted(area.iterdir()) == volumes
    assert {mount.parent for mount in mounts_below(area)} <= set(volumes)
    return volumes


def test_a_clone_killed_at_any_step_is_whole_or_not_there(ground: tuple[StateFS, Path]) -> None:
    statefs, area = ground
    source, volume = area / "source", area / "clone"
    asyncio.run(make(statefs, source))
    for step in count():
        ended = killed_at_step(step, lambda: statefs.clone(source, volume))
        if volume in purged(statefs, area):
            assert whole(volume)
            asyncio.run(statefs.remove(volume))
        if ended is Ended.UNDISTURBED:
            break
    assert step > 3


def test_a_clone_of_a_state_killed_at_any_step_is_whole_or_not_there(
    ground: tuple[StateFS, Path],
) -> None:
    statefs, area = ground
    state, volume = area / "state", area / "clone"
    asyncio.run(make(statefs, area / "building"))
    asyncio.run(statefs.publish(area / "building", state, MARKER))
    for step in count():
        ended = killed_at_step(step, lambda: statefs.clone(state, volume))
        if volume in purged(statefs, area):
            assert whole(volume)
            asyncio.run(statefs.remove(volume))
        if ended is Ended.UNDISTURBED:
            break
    assert step > 3
    asyncio.run(statefs.remove(state))
    assert list(area.iterdir()) == []


def test_a_publish_of_a_changed_clone_killed_at_any_step_loses_nothing(
    ground: tuple[StateFS, Path],
) -> None:
    statefs, area = ground
    parent, building, state = area / "parent", area / "building", area / "state"
    asyncio.run(make(statefs, area / "first"))
    asyncio.run(statefs.publish(area / "first", parent, MARKER))
    for step in count():
        asyncio.run(statefs.clone(parent, building))
        (building / DATA / "added").write_bytes(CONTENT)
        ended = killed_at_step(step, lambda: statefs.publish(building, state, MARKER))
        volumes = purged(statefs, area)
        kept = state if state in volumes else building
        assert kept in volumes
        assert whole(kept)
        assert (kept / DATA / "added").read_bytes() == CONTENT
        for volume in (building, state):
            asyncio.run(statefs.remove(volume))
        if ended is Ended.UNDISTURBED:
            break
    assert step > 3
    assert list(area.iterdir()) == [parent]


def test_a_remove_of_a_clone_killed_at_any_step_spares_it_or_leaves_nothing(
    ground: tuple[StateFS, Path],
) -> None:
    statefs, area = ground
    state, volume = area / "state", area / "clone"
    for step in count():
        asyncio.run(make(statefs, area / "building"))
        asyncio.run(statefs.publish(area / "building", state, MARKER))
        asyncio.run(statefs.clone(state, volume))
        asyncio.run(statefs.remove(state))
        ended = killed_at_step(step, lambda: statefs.remove(volume))
        asyncio.run(statefs.purge(area))
        if volume in asyncio.run(statefs.volumes(area)):
            assert ended is Ended.KILLED
            assert whole(volume)
            asyncio.run(statefs.remove(volume))
        assert purged(statefs, area) == []
        if ended is Ended.UNDISTURBED:
            break
    assert step > 3


def test_a_clone_cancelled_at_any_step_leaves_nothing(ground: tuple[StateFS, Path]) -> None:
    statefs, area = ground
    source, volume = area / "source", area / "clone"
    asyncio.run(make(statefs, source))
    for step in count():
        ended = cancelled_at_step(step, lambda: statefs.clone(source, volume))
        if ended is Ended.CANCELLED:
            assert list(area.iterdir()) == [source]
        else:
            assert whole(volume)
            asyncio.run(statefs.remove(volume))
        if ended is Ended.UNDISTURBED:
            break
    assert step > 3


def test_a_clone_overtaken_by_another_process_replaces_nothing(
    ground: tuple[StateFS, Path],
) -> None:
    statefs, area = ground
    source, volume = area / "source", area / "clone"
    asyncio.run(make(statefs, source))

    async def refused() -> None:
        with pytest.raises(FileExistsError):
            await statefs.clone(source, volume)

    done_with(lambda: (volume / "theirs").mkdir(parents=True), "os.rename", refused)
    assert list(volume.iterdir()) == [volume / "theirs"]
    assert sorted(area.iterdir()) == [volume, source]


def test_a_publish_overtaken_by_another_process_can_be_done_again(
    ground: tuple[StateFS, Path],
) -> None:
    statefs, area = ground
    building, state = area / "building", area / "state"
    asyncio.run(make(statefs, building))

    async def refused() -> None:
        with pytest.raises(FileExistsError):
            await statefs.publish(building, state, MARKER)
        assert await statefs.marker(building) is None

    done_with(lambda: (state / "theirs").mkdir(parents=True), "os.rename", refused)
    assert list(state.iterdir()) == [state / "theirs"]
    assert sorted(area.iterdir()) == [building, state]
    asyncio.run(statefs.publish(building, area / "other", MARKER))
    assert whole(area / "other")


def test_a_publish_killed_at_any_step_loses_nothing(ground: tuple[StateFS, Path]) -> None:
    statefs, area = ground
    building, state = area / "building", area / "state"
    for step in count():
        asyncio.run(make(statefs, building))
        ended = killed_at_step(step, lambda: statefs.publish(building, state, MARKER))
        if state in purged(statefs, area):
            assert asyncio.run(statefs.marker(state)) == MARKER
            assert whole(state)
        else:
            assert whole(building)
        for volume in (building, state):
            asyncio.run(statefs.remove(volume))
        if ended is Ended.UNDISTURBED:
            break
    assert step > 3


def test_a_remove_killed_at_any_step_spares_the_volume_or_hides_it(
    ground: tuple[StateFS, Path],
) -> None:
    statefs, area = ground
    volume = area / "state"
    for step in count():
        asyncio.run(make(statefs, area / "building"))
        asyncio.run(statefs.publish(area / "building", volume, MARKER))
        ended = killed_at_step(step, lambda: statefs.remove(volume))
        if volume in asyncio.run(statefs.volumes(area)):
            assert ended is Ended.KILLED
            assert asyncio.run(statefs.marker(volume)) == MARKER
            assert whole(volume)
            asyncio.run(statefs.remove(volume))
        assert purged(statefs, area) == []
        if ended is Ended.UNDISTURBED:
            break
    assert step > 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("copy", "ext4"),
        ("reflink", "xfs"),
        ("btrfs", "btrfs"),
        ("overlay", "ext4"),
        ("overlay", "xfs"),
    ],
)
def test_a_published_state_survives_a_power_cut(
    name: BackendName, kind: FileSystem, tmp_path: Path
) -> None:
    try:
        with loop_mounted(kind, GIB, tmp_path) as mount_point:
            statefs = backend(name)
            asyncio.run(make(statefs, mount_point / "building"))
            asyncio.run(statefs.publish(mount_point / "building", mount_point / "parent", MARKER))
            asyncio.run(statefs.clone(mount_point / "parent", mount_point / "clone"))
            (mount_point / "clone" / DATA / "added").write_bytes(CONTENT)
            asyncio.run(statefs.publish(mount_point / "clone", mount_point / "state", MARKER))
            # The image as it is at this moment is what the disk would hold.
            images = [tmp_path / f"{kind}.img", tmp_path / "cut.img"]
            subprocess.run(["cp", "--sparse=always", *images], check=True)
        with mounted(tmp_path / "cut.img", tmp_path / "after") as mount_point:
            assert asyncio.run(statefs.marker(mount_point / "state")) == MARKER
            assert whole(mount_point / "state")
            assert (mount_point / "state" / DATA / "added").read_bytes() == CONTENT
    except CannotMountError as error:
        give_up(error)
    finally:
        (tmp_path / "cut.img").unlink(missing_ok=True)
