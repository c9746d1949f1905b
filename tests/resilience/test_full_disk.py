"""Disks that are full before a step or in it, and steps that are told so.

A job waits for room. If it needs more than there can be, it ends with an error that names the disk,
nothing is left behind, and the same request succeeds once there is room. However full a disk is,
what lies on it can be removed.
"""

import itertools
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest

from pgstrata.errors import split_details
from pgstrata.system import faults
from tests.filesystems import (
    CannotMountError,
    FileSystem,
    exhaust,
    give_up,
    loop_mounted,
    new_mount,
)
from tests.resilience.engine import Engine, Json, RefusedError
from tests.resilience.kills import rows_of
from tests.resilience.stores import (
    check_it_works,
    check_nothing_is_left,
    prepared,
    remove_instances,
    started,
    store_in,
)

DISK_BYTES = 400 << 20
MOST_FILES = 20_000

BIG = "create table t as select 7 as n from generate_series(1, 5000000)"
SPARE_BYTES = 120 << 20
"""Enough for servers on clones and for btrfs's own tables, not enough for the big table."""

PARALLEL = 4
"""How many jobs run at once."""

NO_ROOM_BYTES = 4 << 20
"""Enough to store a job, not enough to begin a step."""

TOLD = {
    "disk_full": "the disk of the store {store} is full"
    "|the database {store}/pgstrata.db cannot grow, the disk is full",
    "cache_full_unreclaimable": r"[0-9.]+ [kM]?B of the disk are free, and .* are reserved",
}
"""The errors of a full disk; which one depends on what wanted room first."""


@pytest.mark.parametrize("kind", ["ext4", "btrfs"])
def test_a_disk_that_gets_full_is_told_of_and_the_same_request_succeeds_once_there_is_room(
    kind: FileSystem, reachable_dir: Path
) -> None:
    try:
        with loop_mounted(kind, DISK_BYTES, reachable_dir) as disk:
            disk.chmod(0o711)
            with store_in(disk) as engine:
                started(engine)
                prepared(engine, "-c", "select 'the base'")
                remove_instances(engine)
                check_nothing_is_left(engine)
                ballast = disk / "ballast"
                within(engine, ballast)
                # btrfs gives room back when it likes: there, no moment can be chosen.
                if kind == "ext4":
                    before(engine, ballast)
                check_it_works(engine)
                engine.stop()
    except CannotMountError as error:
        give_up(error)


def before(engine: Engine, ballast: Path) -> None:
    """Full before the step."""
    fill(ballast, NO_ROOM_BYTES)
    jobs = [
        engine.submit("-c", f"create table t as select {number} as n")
        for number in range(PARALLEL + 1)
    ]
    for job_id in jobs:
        waits_for_room(engine, job_id)
    ballast.unlink()
    for number, job_id in enumerate(jobs):
        job = engine.ended(job_id)
        assert job["status"] == "succeeded", job
        assert rows_of(job) == [number]
        assert sum(map(is_waiting, engine.events(job_id))) == 1
    remove_instances(engine)
    check_nothing_is_left(engine)


def is_waiting(event: Json) -> bool:
    said: str = event.get("message", "")
    return said.endswith("the job waits for room")


def waits_for_room(engine: Engine, job_id: str) -> None:
    assert any(map(is_waiting, engine.events(job_id))), engine.job(job_id)


def within(engine: Engine, ballast: Path) -> None:
    """Full because of what the step writes."""
    recipe = ("-c", "create table s as select 2 as n", "-c", BIG)
    fill(ballast, SPARE_BYTES)
    check_told(engine, failed(engine, *recipe))
    ballast.unlink()


def failed(engine: Engine, *words: str) -> Json:
    """The error that a request ends with: when it is made, or as its job's."""
    try:
        job = prepared(engine, *words)
    except RefusedError as refusal:
        body: Json = refusal.body
        return body
    assert job["status"] == "failed", job
    error: Json = job["error"]
    return error


def check_told(engine: Engine, error: Json) -> None:
    assert re.search(TOLD[error["code"]].format(store=engine.store), error["message"]), error
    assert split_details(error["details"])[0]
    check_nothing_is_left(engine)


def check_succeeds(engine: Engine, content: list[int], *words: str) -> None:
    job = prepared(engine, *words)
    assert job["status"] == "succeeded", job
    assert rows_of(job) == content
    remove_instances(engine)
    check_nothing_is_left(engine)


def fill(ballast: Path, spare: int = 0) -> None:
    """Take all the room there is, but for so many bytes."""
    with ballast.open("wb") as file:
        chunk = DISK_BYTES
        while chunk >= 4096:
            room = os.statvfs(ballast.parent)
            left = room.f_bavail * room.f_frsize - spare
            size = os.fstat(file.fileno()).st_size
            if chunk <= left or not spare:
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), size, chunk)
                    continue
            chunk //= 2


@pytest.mark.parametrize(
    "kind",
    [
        "btrfs",
        pytest.param("tmpfs", marks=pytest.mark.slow),
        pytest.param("ext4", marks=pytest.mark.slow),
    ],
)
def test_an_engine_starts_on_a_full_disk_and_all_that_it_has_can_be_removed(
    kind: FileSystem | Literal["tmpfs"],
) -> None:
    with new_mount(kind, DISK_BYTES) as disk:
        check_it_can_be_emptied(disk, cram)


def test_an_engine_starts_on_a_disk_that_can_have_no_more_files_and_it_can_be_emptied() -> None:
    with new_mount("tmpfs", DISK_BYTES, files=MOST_FILES) as disk:
        check_it_can_be_emptied(disk, exhaust)


def check_it_can_be_emptied(disk: Path, fill_up: Callable[[Path], Path]) -> None:
    with store_in(disk) as engine:
        assert prepared(started(engine))["status"] == "succeeded"
        [first, second] = sorted(
            engine.ask("GET", "/v1/states"), key=lambda one: one["parent_state_id"] is not None
        )
        engine.ask("PUT", f"/v1/states/{second['state_id']}/pin")
        engine.stop()
        ballast = fill_up(disk)
        for _ in range(2):
            started(engine)
            engine.stop()
        assert any("is full: remove something" in line for line in engine.said)
        started(engine)
        remove_instances(engine)
        engine.ask("DELETE", f"/v1/states/{second['state_id']}/pin")
        engine.ask("DELETE", f"/v1/states/{first['state_id']}?recurse=true")
        assert engine.ask("GET", "/v1/states") == []
        (shutil.rmtree if ballast.is_dir() else os.unlink)(ballast)
        check_it_works(engine)


def cram(disk: Path) -> Path:
    """Take the very last byte, and the room for names and metadata as well. Returns by what."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        size = 16 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
        os.fsync(file.fileno())
    with suppress(OSError):
        for number in itertools.count():
            (disk / f"small{number}").write_bytes(bytes(1500))
    return ballast


# Steps that are told so

POINTS = {
    "copy": (
        "server.log.before",
        "statefs.copy.before",
        "statefs.copy.after",
        "store.add_state.after",
    ),
    "btrfs": (
        "server.log.before",
        "statefs.marker.write.before",
        "statefs.snapshot.before",
        "store.add_instance.after",
        "store.add_state.after",
    ),
}


@pytest.mark.parametrize("backend", ["copy", pytest.param("btrfs", marks=pytest.mark.slow)])
def test_a_step_that_never_finds_room_fails_its_job_and_the_same_request_then_succeeds(
    backend: str, request: pytest.FixtureRequest
) -> None:
    directory = request.getfixturevalue("btrfs_dir" if backend == "btrfs" else "reachable_dir")
    with store_in(directory, backend) as engine:
        check_it_works(started(engine))
        gate = engine.store.parent / "gate"
        # A step that others have had built would be found.
        for number, point in enumerate(POINTS[backend], start=100):
            engine.kill()
            started(engine, {faults.FAULTS: f"{point}=ENOSPC@1+", faults.WHILE: str(gate)})
            recipe = ("-c", f"create table t as select {number} as n")
            gate.touch()
            error = failed(engine, *recipe)
            gate.unlink()
            check_told(engine, error)
            check_succeeds(engine, [number], *recipe)
        engine.stop()
