"""What a clone costs by each backend: time and disk, of a small state and of a large one.

Beside them what there is without us: `cp`, and ``CREATE DATABASE … TEMPLATE`` with both strategies.
Each file system is an image of its own, so that what is missing there afterwards was taken by us.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psycopg

from bench.engine import postgres_home
from bench.report import Row
from pgstrata.cache.disk_full import disk_of
from pgstrata.runtime.native import NativeRuntime
from pgstrata.settings import THROW_AWAY_SETTINGS
from pgstrata.statefs import trees
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.statefs.detect import BackendName, backend
from pgstrata.system import subprocesses
from tests.filesystems import CannotMountError, FileSystem, loop_mounted

GIB = 1 << 30
MIB = 1 << 20
IMAGE_BYTES = 12 * GIB

SIZES = {"10 MB": 10 * MIB, "1 GB": GIB}
SMALL, LARGE = SIZES

CASES: tuple[tuple[BackendName, FileSystem], ...] = (
    ("btrfs", "btrfs"),
    ("overlay", "btrfs"),
    ("overlay", "xfs"),
    ("overlay", "ext4"),
    ("reflink", "btrfs"),
    ("reflink", "xfs"),
    ("copy", "ext4"),
)
CONSTANT: tuple[BackendName, ...] = ("btrfs", "overlay")
"""Backends whose clone must not grow with what is cloned."""

ROUNDS = 20
COPYING_ROUNDS = 2
IDLE_SECONDS = 2.0

Timed = Callable[[str], Awaitable[float]]
"""Does something to what is of this size; milliseconds it took."""


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="pgstrata-bench-cloning-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        try:
            return asyncio.run(_measure(directory))
        except CannotMountError as error:
            print(f"clones are not measured: {error}")
            return []


async def _measure(directory: Path) -> list[Row]:
    runtime = NativeRuntime(
        store=directory,
        run_dir=directory / "run",
        server_user=None,
        server_settings=THROW_AWAY_SETTINGS,
        postgres_home=postgres_home(),
    )
    image_id = (await runtime.resolve("postgres")).image_id
    bench = Bench(runtime, image_id, directory / "clusters")
    await bench.make_clusters()
    rows = []
    for name, kind in CASES:
        # A new one each time: btrfs gives room back long after something was deleted.
        with loop_mounted(kind, IMAGE_BYTES, directory) as mount:
            mount.chmod(0o711)
            rows += await bench.backend(name, kind, mount)
    with loop_mounted("ext4", IMAGE_BYTES, directory) as mount:
        mount.chmod(0o711)
        rows += [await bench.cp(mount), *await bench.templates(mount)]
    await runtime.close()
    return rows


class Bench:
    """Two clusters that differ in one table, and what is done to them."""

    def __init__(self, runtime: NativeRuntime, image_id: str, clusters: Path) -> None:
        self._runtime = runtime
        self._image_id = image_id
        self._clusters = clusters

    async def make_clusters(self) -> None:
        self._clusters.mkdir(0o711)
        for size, size_bytes in SIZES.items():
            data = self._clusters / size / DATA
            data.parent.mkdir(0o711)
            data.mkdir(0o700)
            await self._runtime.initialise(self._image_id, data)
            server = await self._runtime.start(self._image_id, data)
            _fill(server.endpoint.dsn, size_bytes)
            await self._runtime.stop(server)

    async def backend(self, name: BackendName, kind: FileSystem, mount: Path) -> list[Row]:
        statefs, area = backend(name), mount / name
        area.mkdir(0o711)
        for size in SIZES:
            await self._publish(statefs, area, size)

        async def clone(size: str) -> float:
            started = time.perf_counter()
            await statefs.clone(area / size, area / "clone")
            took = (time.perf_counter() - started) * 1000
            await statefs.remove(area / "clone")
            return took

        shares = name != "copy"
        times = await _times(clone, ROUNDS if shares else COPYING_ROUNDS)
        held, idle, written = await self._disk(statefs, area)
        title = f"{name} on {kind}"
        return [
            _row(f"clone of a 1 GB state: {title}", times, 1.3 if name in CONSTANT else None),
            Row(what="    disk held by the clone", value=held / MIB, unit="MB"),
            Row(what="    and with an idle server on it", value=idle / MIB, unit="MB"),
            Row(
                what="    beyond the files that server has written to",
                value=max(0, idle - written) / MIB,
                unit="MB",
                limit=2 if shares else None,
            ),
        ]

    async def cp(self, mount: Path) -> Row:
        async def copy(size: str) -> float:
            started = time.perf_counter()
            await subprocesses.run(["cp", "-a", self._clusters / size, mount / "copy"])
            took = (time.perf_counter() - started) * 1000
            shutil.rmtree(mount / "copy")
            return took

        return _row("cp -a of a 1 GB cluster: ext4", await _times(copy, COPYING_ROUNDS))

    async def templates(self, mount: Path) -> list[Row]:
        """Times of both strategies: each in a server of its own for each size."""
        rows = []
        for strategy in ("wal_log", "file_copy"):

            async def create(size: str, strategy: str = strategy) -> float:
                with self._copied(mount, size) as data:
                    server = await self._runtime.start(self._image_id, data)
                    try:
                        return _create_database(server.endpoint.dsn, strategy)
                    finally:
                        await self._runtime.stop(server, clean=False)

            times = await _times(create, COPYING_ROUNDS)
            rows.append(_row(f"CREATE DATABASE … TEMPLATE of 1 GB, {strategy}: ext4", times))
        return rows

    async def _publish(self, statefs: StateFS, area: Path, size: str) -> None:
        building = area / "building"
        await statefs.create(building)
        # The directory itself stays: to btrfs it is a subvolume.
        await subprocesses.run(["cp", "-a", f"{self._clusters / size / DATA}/.", building / DATA])
        await statefs.publish(building, area / size, b"whole")

    async def _disk(self, statefs: StateFS, area: Path) -> tuple[int, int, int]:
        """Bytes that a clone of the large state holds: as it is, and with an idle server.

        And those of the files that this server has written to.
        """
        before = _free(area)
        await statefs.clone(area / LARGE, area / "clone")
        cloned = _free(area)
        server = await self._runtime.start(self._image_id, area / "clone" / DATA)
        await asyncio.sleep(IDLE_SECONDS)
        idle = _free(area)
        written = _written(area / LARGE / DATA, area / "clone" / DATA)
        await self._runtime.stop(server, clean=False)
        await statefs.remove(area / "clone")
        return before - cloned, before - idle, written

    @contextmanager
    def _copied(self, mount: Path, size: str) -> Iterator[Path]:
        place = mount / "server"
        subprocess.run(["cp", "-a", self._clusters / size, place], check=True)
        try:
            yield place / DATA
        finally:
            shutil.rmtree(place)


async def _times(timed: Timed, rounds: int) -> dict[str, Sequence[float]]:
    """Milliseconds for each size, taken in turns."""
    times: dict[str, list[float]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size, taken in times.items():
            taken.append(await timed(size))
    return dict(times)


def _row(what: str, times: dict[str, Sequence[float]], limit: float | None = None) -> Row:
    return Row(
        what=what,
        value=median(times[LARGE]),
        against="the same of 10 MB",
        base=median(times[SMALL]),
        limit=limit,
    )


def _fill(dsn: str, size_bytes: int) -> None:
    """One table of this size, a page for each row."""
    # In one transaction, or the log of it would lie in the cluster as well.
    with psycopg.connect(dsn) as connection:
        connection.execute("create table filler (content text)")
        connection.execute("alter table filler alter content set storage plain")
        connection.execute(
            "insert into filler select repeat('x', 8000) from generate_series(1, %s)",
            (size_bytes // 8192,),
        )


def _create_database(dsn: str, strategy: str) -> float:
    with psycopg.connect(dsn, autocommit=True, dbname="template1") as connection:
        started = time.perf_counter()
        connection.execute(f"create database copy template postgres strategy {strategy}".encode())
        return (time.perf_counter() - started) * 1000


def _written(source: Path, clone: Path) -> int:
    """Bytes of the files in a clone that are new, or were written to since it was made."""
    total = 0
    for directory, _, names in os.walk(clone):
        for name in names:
            path = Path(directory) / name
            original = source / path.relative_to(clone)
            status = path.stat()
            if not original.exists() or original.stat().st_mtime_ns != status.st_mtime_ns:
                total += status.st_blocks * 512
    return total


def _free(path: Path) -> int:
    trees.sync_file_system(path)
    return disk_of(path).free_bytes
