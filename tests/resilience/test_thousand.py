"""A thousand kills and power cuts, drawn from all moments of all that an engine does.

What a client was told of is there afterwards, nothing is left over, and the store works. The kills
of ``test_kills`` are one for each moment; these are many, on stores that live through one after the
other. ``PGSTRATA_TEST_THOUSAND`` is another number of them.
"""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

import pytest

from pgstrata.system import faults
from tests.filesystems import (
    GIB,
    CannotMountError,
    FileSystem,
    give_up,
    make_image,
    mounted,
    reachable_place,
)
from tests.resilience.engine import Engine, GoneError, Json
from tests.resilience.kills import SCENARIOS, Build, Case, Kill
from tests.resilience.stores import (
    check_it_works,
    check_nothing_is_left,
    prepared,
    remove_instances,
    started,
    store_in,
)
from tests.resilience.test_kills import cases, chain, survive

NUMBER: Final = int(os.environ.get("PGSTRATA_TEST_THOUSAND", "1000"))

KILLS: Final = {"btrfs": 0.4, "overlay": 0.25, "copy": 0.25}
CUTS: Final = {"btrfs": 0.06, "overlay": 0.02, "copy": 0.02}
"""Their shares of that number."""

DISKS: Final[Mapping[str, FileSystem]] = {"btrfs": "btrfs", "overlay": "ext4", "copy": "ext4"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(6 * 3600)]


@pytest.mark.parametrize("backend", KILLS)
def test_nothing_is_lost_or_left_over_by_kills(
    backend: str, request: pytest.FixtureRequest, tally: Callable[[str], None]
) -> None:
    directory = request.getfixturevalue("btrfs_dir" if backend == "btrfs" else "reachable_dir")
    with chain(directory, backend) as one:
        every = list(cases({scenario: one.trace(scenario) for scenario in SCENARIOS}))
    todo: list[Case] = Random(backend).choices(every, k=round(KILLS[backend] * NUMBER))
    survived, failures = survive(directory, backend, todo)
    tally(
        f"{backend}: {len(todo)} kills, {survived} survived, "
        f"{len(todo) - survived - len(failures)} never came about, {len(failures)} went wrong"
    )
    assert not failures, "\n\n".join(failures)


@pytest.mark.parametrize("backend", CUTS)
def test_nothing_is_lost_or_left_over_by_power_cuts(
    backend: str, tally: Callable[[str], None]
) -> None:
    try:
        with reachable_place() as directory:
            cuts = Cuts(directory, backend)
            every = list(cases({Build: cuts.trace()}))
            todo = Random(backend).choices(every, k=round(CUTS[backend] * NUMBER))
            told = sum(cuts.survive(case.kill) for case in todo)
    except CannotMountError as error:
        give_up(error)
    tally(
        f"{backend}: {len(todo)} power cuts, all survived; clients had been told of the end of "
        f"{told} jobs before, and none was lost"
    )


class Cuts:
    """A disk with a store on it, of which each cut has a copy."""

    def __init__(self, directory: Path, backend: str) -> None:
        self._directory = directory
        self._backend = backend
        self._gate = directory / "gate"
        self._first = directory / "first.img"
        make_image(DISKS[backend], self._first, GIB)
        with self._disk(self._first) as engine:
            prepared(started(engine), "-c", "select 'the base'")
            remove_instances(engine)
            engine.stop()

    def trace(self) -> list[str]:
        """The points that a job's engine comes by."""
        file = self._directory / "trace"
        with self._disk(self._copy(self._first, "traced.img")) as engine:
            started(engine, {faults.TRACE: str(file), faults.WHILE: str(self._gate)})
            self._gate.touch()
            prepared(engine)
            self._gate.unlink()
        return file.read_text().split()

    def survive(self, kill: Kill) -> int:
        """Cut the power at a moment, and look at what the next engine makes of the disk.

        Return of how many jobs a client had been told the end: of one at least, right before.
        """
        told: dict[str, Json | None] = {}
        image = self._copy(self._first, "now.img")
        with self._disk(image) as engine:
            rule = f"{kill.point}=kill@{kill.time}"
            started(engine, {faults.FAULTS: rule, faults.WHILE: str(self._gate)})
            _ask(engine, told, "create table before as select 1 as n")
            self._gate.touch()
            with suppress(GoneError):
                _ask(engine, told, "create table t as select 1 as n")
            cut = self._copy(image, "cut.img")
            self._gate.unlink()
        with self._disk(cut) as engine:
            self._check(started(engine), told)
            engine.stop()
        return sum(job is not None for job in told.values())

    def _check(self, engine: Engine, told: Mapping[str, Json | None]) -> None:
        made = set()
        for job_id, before in told.items():
            job = engine.ended(job_id)
            assert job["status"] == "succeeded", job
            assert before is None or job["result"] == before["result"]
            made.add(job["result"]["instance_id"])
        there = {one["instance_id"] for one in engine.ask("GET", "/v1/instances")}
        assert made <= there
        # Of a request whose answer was lost there may be one that nobody was told of.
        assert len(there - made) <= 2 - len(told)
        remove_instances(engine)
        check_nothing_is_left(engine)
        check_it_works(engine)

    @contextmanager
    def _disk(self, image: Path) -> Iterator[Engine]:
        with mounted(image, self._directory / "disk") as disk:
            disk.chmod(0o711)
            with store_in(disk, self._backend) as engine:
                yield engine

    def _copy(self, image: Path, name: str) -> Path:
        copy = self._directory / name
        with suppress(FileNotFoundError):
            copy.unlink()
        subprocess.run(["cp", "--sparse=always", image, copy], check=True)
        return copy


def _ask(engine: Engine, told: dict[str, Json | None], script: str) -> None:
    """Ask for a prepare, and note what is told of it as soon as it is. Raises ``GoneError``."""
    job_id = engine.submit("-c", script)
    told[job_id] = None
    told[job_id] = engine.ended(job_id)
