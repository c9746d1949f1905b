"""Trees that a server changes while the engine copies, links, measures, keeps or removes them.

A server may swap its directories for links to others' at any moment. What then happens to its own
tree is its own affair: nothing outside is read into it, changed or waited for.
"""

import asyncio
import ctypes
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from pgstrata.statefs import trees
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.statefs.btrfs import BtrfsStateFS
from pgstrata.statefs.copy import CopyStateFS
from pgstrata.statefs.directories import DirectoryStateFS
from pgstrata.statefs.overlay import OverlayStateFS
from pgstrata.statefs.reflink import ReflinkStateFS
from pgstrata.system.planted import PlantedFileError
from tests import needs
from tests.contract.conftest import btrfs_mount, ext4_mount, xfs_mount
from tests.contract.test_statefs import unlock
from tests.filesystems import dig
from tests.forks import Ended, disturbed_at_step
from tests.hostile.test_files import Plant, device, fifo, unix_socket

__all__ = ["btrfs_mount", "ext4_mount", "xfs_mount"]

SECRET = b"a secret of root's"
MARKER = b"whole"

GROUNDS: dict[str, tuple[type[DirectoryStateFS], str]] = {
    "copy": (CopyStateFS, "tmp_path"),
    "reflink": (ReflinkStateFS, "xfs_mount"),
    "btrfs": (BtrfsStateFS, "btrfs_mount"),
    "overlay": (OverlayStateFS, "ext4_mount"),
}

_EXCHANGE = 2  # RENAME_EXCHANGE of the kernel's include/uapi/linux/fs.h


def exchange(one: Path, other: Path) -> None:
    """Swap two names in one step."""
    result = ctypes.CDLL(None, use_errno=True).renameat2(
        -100, os.fsencode(one), -100, os.fsencode(other), _EXCHANGE
    )
    if result != 0:
        raise OSError(ctypes.get_errno(), "renameat2", str(one))


class Place:
    """A directory for volumes, beside one that is none of a server's business."""

    def __init__(self, statefs: StateFS, directory: Path) -> None:
        self.statefs = statefs
        self.outside = directory / "outside"
        self.area = directory / "area"
        (self.outside / "1").mkdir(parents=True, mode=0o750)
        for file in ("table", "other", "only here"):
            (self.outside / "1" / file).write_bytes(SECRET)
            (self.outside / "1" / file).chmod(0o640)
        self._before = self._statuses()
        self.area.mkdir()
        building, self.state = self.area / "building", self.area / "state"
        asyncio.run(statefs.create(building))
        tables = building / DATA / "base" / "1"
        tables.mkdir(parents=True)
        (tables / "table").write_bytes(b"rows")
        (tables / "twin").hardlink_to(tables / "table")
        (building / DATA / "trap").symlink_to(self.outside)
        asyncio.run(statefs.publish(building, self.state, MARKER))

    def work(self, name: str) -> Path:
        """A volume in which a server runs that could swap ``base`` for ``trap``."""
        work = self.area / name
        asyncio.run(self.statefs.clone(self.state, work))
        (work / DATA / "base" / "1" / "other").write_bytes(b"more rows")
        return work

    def check(self) -> None:
        """Nothing outside has changed, and nothing of it has come into any volume."""
        assert self._statuses() == self._before
        for path in self.area.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert path.read_bytes() != SECRET, path

    def _statuses(self) -> dict[Path, tuple[int, ...]]:
        found: dict[Path, tuple[int, ...]] = {}
        for path in (self.outside, *sorted(self.outside.rglob("*"))):
            status = path.lstat()
            found[path] = (status.st_mode, status.st_uid, status.st_nlink, status.st_mtime_ns)
        return found


@contextmanager
def place_for(request: pytest.FixtureRequest, ground: str) -> Iterator[Place]:
    statefs, directory = GROUNDS[ground]
    root: Path = request.getfixturevalue(directory) / uuid.uuid4().hex
    yield Place(statefs(durable=False), root)
    trees.delete(root)


@pytest.fixture(params=GROUNDS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with place_for(request, request.param) as one:
        yield one


Use = Callable[[Place, Path], Coroutine[None, None, object]]


async def snapshot(place: Place, work: Path) -> None:
    await place.statefs.snapshot(work, work.with_name(f"{work.name}-kept"), MARKER)


async def publish(place: Place, work: Path) -> None:
    await place.statefs.publish(work, work.with_name(f"{work.name}-kept"), MARKER)


async def measure(place: Place, work: Path) -> None:
    await place.statefs.usage(work, changed_since=0.0)
    (work / DATA / "new").write_bytes(b"yet more rows")
    await place.statefs.usage(work, changed_since=0.0)


async def remove(place: Place, work: Path) -> None:
    await place.statefs.remove(work)


USES = (snapshot, publish, measure, remove)
TELLING = (("copy", snapshot), ("overlay", publish))


@pytest.mark.parametrize(
    ("ground", "use", "stride"),
    [
        *((ground, use, 5) for ground, use in TELLING),
        *(
            pytest.param(ground, use, 1, marks=pytest.mark.slow)
            for ground in GROUNDS
            for use in USES
        ),
    ],
)
def test_a_directory_swapped_for_a_link_at_any_moment_leads_nowhere(
    ground: str, use: Use, stride: int, request: pytest.FixtureRequest
) -> None:
    """Before each step that is taken, or every few of them."""
    with place_for(request, ground) as place:
        number, ended = 0, Ended.DONE
        while ended is Ended.DONE:
            work = place.work(str(number))
            # A server needs no path to its own directory.
            data = os.open(work / DATA, os.O_RDONLY)
            ended = disturbed_at_step(number, partial(swap, data), partial(use, place, work))
            os.close(data)
            place.check()
            number += stride
        assert number > stride


def swap(data: int) -> None:
    with suppress(OSError):  # it may be gone
        exchange(Path(f"/proc/self/fd/{data}/base"), Path(f"/proc/self/fd/{data}/trap"))


@contextmanager
def swapping(data: Path) -> Iterator[None]:
    """A process of the server's that swaps ``base`` and ``trap`` all the time."""
    text = (
        "import ctypes; call = ctypes.CDLL(None).renameat2\n"
        "while True: call(-100, b'base', -100, b'trap', 2)"
    )
    racer = subprocess.Popen([sys.executable, "-I", "-c", text], cwd=data)
    try:
        yield
    finally:
        racer.kill()
        racer.wait()


def test_directories_swapped_all_the_time_lead_no_copy_astray(tmp_path: Path) -> None:
    place = Place(CopyStateFS(durable=False), tmp_path)
    work = place.work("work")
    copies = 0
    with swapping(work / DATA):
        for number in range(200):
            with suppress(OSError, PlantedFileError):
                asyncio.run(place.statefs.clone(work, place.area / f"copy-{number}"))
                copies += 1
    place.check()
    assert copies


@pytest.mark.parametrize("plant", [fifo, unix_socket, pytest.param(device, marks=needs.root)])
def test_what_is_no_data_is_neither_copied_nor_waited_for(plant: Plant, place: Place) -> None:
    work = place.work("work")
    plant(work / DATA / "base" / "planted", place.outside)
    asyncio.run(place.statefs.usage(work, changed_since=0.0))
    with pytest.raises(PlantedFileError, match="planted"):
        asyncio.run(place.statefs.snapshot(work, place.area / "kept", MARKER))
    assert asyncio.run(place.statefs.marker(place.area / "kept")) is None


@needs.root
def test_attributes_that_a_server_gave_its_directories_lead_nowhere(
    request: pytest.FixtureRequest,
) -> None:
    """Those with which overlay mounted by a user would say where a directory was moved from."""
    with place_for(request, "overlay") as place:
        work = place.work("work")
        for target in (b"/../../../outside", b"../../../outside"):
            os.setxattr(work / DATA / "base", "user.overlay.redirect", target)
            asyncio.run(snapshot(place, work))
            place.check()
            kept = work.with_name("work-kept")
            assert (kept / DATA / "base" / "1" / "table").read_bytes() == b"rows"
            asyncio.run(place.statefs.remove(kept))


def test_a_hard_link_to_what_is_outside_leaves_it_as_it_is(place: Place) -> None:
    """Whoever may make such a link: some systems let a server link what it cannot read."""
    work, file = place.work("work"), place.outside / "1" / "other"
    before = file.stat()
    try:
        (work / DATA / "base" / "planted").hardlink_to(file)
    except OSError:
        # Not into a mount or another subvolume. Below it the name is what the server's would be.
        pytest.skip("no link can lead out of it")
    asyncio.run(place.statefs.snapshot(work, place.area / "kept", MARKER))
    asyncio.run(place.statefs.clone(place.area / "kept", place.area / "clone"))
    asyncio.run(place.statefs.remove(work))
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert (after.st_mtime_ns, file.read_bytes()) == (before.st_mtime_ns, SECRET)
    for volume in ("kept", "clone"):
        copy = (place.area / volume / DATA / "base" / "planted").stat()
        assert (copy.st_mode, copy.st_uid) == (before.st_mode, before.st_uid)


def test_a_program_that_runs_as_its_owner_is_not_kept(place: Place) -> None:
    work = place.work("work")
    program = work / DATA / "base" / "program"
    program.write_bytes(b"")
    program.chmod(0o4755)
    with pytest.raises(PlantedFileError, match="base/program is a program"):
        asyncio.run(place.statefs.snapshot(work, place.area / "kept", MARKER))


def poison(file: Path) -> None:
    """Change a file, and put back all of what can be put back."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"evil")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_a_link(table: Path) -> None:
    table.unlink()
    table.symlink_to("twin")


def replaced_by_a_fifo(table: Path) -> None:
    table.unlink()
    os.mkfifo(table)


ALTERATIONS: dict[str, Callable[[Path], object]] = {
    "size": lambda table: table.write_bytes(b"many more rows"),
    "time": lambda table: os.utime(table, ns=(1, 1)),
    "mode": lambda table: table.chmod(0o777),
    "name": lambda table: table.rename(table.with_name("chair")),
    "link": replaced_by_a_link,
    "fifo": replaced_by_a_fifo,
    "directory": lambda table: table.with_name("added").mkdir(),
}
if needs.IS_ROOT:
    ALTERATIONS["owner"] = lambda table: os.chown(table, 12, 34)


def test_a_state_that_somebody_got_at_is_found_out(place: Place) -> None:
    for number, (what, alter) in enumerate(ALTERATIONS.items()):
        state = place.area / f"state-{number}"
        asyncio.run(place.statefs.publish(place.work(str(number)), state, MARKER))
        assert asyncio.run(place.statefs.altered(state)) is None
        unlock(state)
        alter(state / DATA / "base" / "1" / "other")
        assert asyncio.run(place.statefs.altered(state)), what


def test_poison_that_looks_like_what_it_replaced_is_found_by_reading(place: Place) -> None:
    asyncio.run(place.statefs.learn(place.state))
    unlock(place.state)
    poison(place.state / DATA / "base" / "1" / "table")
    assert asyncio.run(place.statefs.altered(place.state, deep=True))


def test_poison_is_found_without_reading_where_the_kernel_tells(tmp_path: Path) -> None:
    """With overlay it does not: states share files, and sharing looks the same."""
    place = Place(CopyStateFS(durable=False), tmp_path)
    kept = place.area / "kept"
    asyncio.run(place.statefs.publish(place.work("work"), kept, MARKER))
    table, digest = kept / DATA / "base" / "1" / "other", (kept / "digest").stat()
    while table.stat().st_ctime_ns <= digest.st_ctime_ns:  # the kernel's clock ticks
        poison(table)
    found = asyncio.run(place.statefs.altered(kept))
    assert found == "its file base/1/other was changed after it was made"


def test_directories_within_each_other_without_end_are_refused(place: Place) -> None:
    work = place.work("work")
    dig(work / DATA, 2000)
    with pytest.raises(PlantedFileError, match="directory within"):
        asyncio.run(place.statefs.snapshot(work, place.area / "kept", MARKER))
    asyncio.run(place.statefs.remove(work))
    assert not work.exists()
