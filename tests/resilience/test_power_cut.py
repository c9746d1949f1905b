"""What a client was told of is there after a power cut.

A cut leaves what the file system has written to its disk: here an image in a file, which is copied
the moment that a job has ended, and mounted again in place of the first.
"""

import subprocess
from pathlib import Path

import pytest

from tests.filesystems import (
    GIB,
    CannotMountError,
    FileSystem,
    give_up,
    loop_mounted,
    mounted,
    reachable_place,
)
from tests.resilience.engine import Engine, Json
from tests.resilience.stores import prepared, started, store_in


@pytest.mark.parametrize(
    "kind",
    [
        "btrfs",
        pytest.param("ext4", marks=pytest.mark.slow),
        pytest.param("xfs", marks=pytest.mark.slow),
    ],
)
def test_a_job_that_has_ended_is_there_with_its_states_and_instance_after_a_power_cut(
    kind: FileSystem,
) -> None:
    with reachable_place() as directory:
        try:
            job = cut_after_a_job(kind, directory)
            with mounted(directory / "cut.img", directory / kind) as disk:
                check_all_is_there(disk, job)
        except CannotMountError as error:
            give_up(error)


def test_what_is_pinned_named_and_to_be_kept_warm_is_so_after_a_power_cut() -> None:
    with reachable_place() as directory:
        try:
            with loop_mounted("btrfs", GIB, directory) as disk, store_in(disk) as engine:
                job = prepared(started(engine))["result"]
                state = f"/v1/states/{job['state_id']}"
                changes: list[tuple[str, str, Json | None]] = [
                    ("PUT", f"{state}/pin", None),
                    ("PUT", f"{state}/warm", {"count": 1}),
                    ("PUT", "/v1/names/dev", {"instance_id": job["instance_id"]}),
                    ("DELETE", f"{state}/pin", None),
                    ("DELETE", "/v1/names/dev", None),
                ]
                after = []
                for number, change in enumerate(changes):
                    engine.ask(*change)
                    copy_image(directory / "btrfs.img", directory / f"{number}.img")
                    after.append(told_of(engine, job))
            assert len(set(after)) == len(changes)
            for number, before in enumerate(after):
                with (
                    mounted(directory / f"{number}.img", directory / "btrfs") as disk,
                    store_in(disk) as engine,
                ):
                    assert told_of(started(engine), job) == before
        except CannotMountError as error:
            give_up(error)


def told_of(engine: Engine, job: Json) -> tuple[bool, int, str | None]:
    """Whether its state is pinned, how many servers are to wait for it, its instance's name."""
    return (
        engine.ask("GET", f"/v1/states/{job['state_id']}").get("pinned", False),
        engine.ask("GET", "/v1/status")["pool"]["wanted"],
        engine.ask("GET", f"/v1/instances/{job['instance_id']}").get("name"),
    )


def copy_image(image: Path, copy: Path) -> None:
    subprocess.run(["cp", "--sparse=always", image, copy], check=True)


def cut_after_a_job(kind: FileSystem, directory: Path) -> Json:
    with loop_mounted(kind, GIB, directory) as disk, store_in(disk) as engine:
        job = prepared(started(engine))
        copy_image(directory / f"{kind}.img", directory / "cut.img")
        assert job["status"] == "succeeded", job
        return job


def check_all_is_there(disk: Path, before: Json) -> None:
    with store_in(disk) as engine:
        job = started(engine).ask("GET", f"/v1/prepare-jobs/{before['job_id']}")
        assert (job["status"], job["result"]) == ("succeeded", before["result"])
        [instance] = engine.ask("GET", "/v1/instances")
        assert instance["instance_id"] == job["result"]["instance_id"]
        again = prepared(engine)
        assert again["status"] == "succeeded", again
        cached = [task["cached"] for task in again["tasks"] if task["type"] == "state_execute"]
        assert cached == [True, True]
