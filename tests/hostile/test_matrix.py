"""Every attack, from every place that an attacker's code may run in, at every level.

Prints what was tried and what got through.
"""

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import pytest

from pgstrata.domain.instance import Server
from pgstrata.engine.store_directory import make_area
from pgstrata.runtime.cells import Cells, Places
from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.runtime.layout import layout_of
from pgstrata.runtime.ports import Ports
from pgstrata.runtime.users import engine_user
from pgstrata.settings import SandboxLevel, SandboxSettings
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.statefs.detect import BackendName, backend
from pgstrata.system.cell import levels
from pgstrata.system.cell.plan import Cell
from pgstrata.system.cell.spawning import Spawner
from tests import needs
from tests.clusters import NativeRig, rig_below
from tests.hostile.cells import ATTACKS, argv, identity, outcome_in

pytestmark = pytest.mark.slow

Place = Literal["instance", "building server", "psql", "Java"]

BACKENDS: dict[BackendName, str] = {
    "copy": "reachable_dir",
    "overlay": "ext4_mount",
    "btrfs": "btrfs_mount",
}
"""With the fixture of a place where each works."""

MORE = ATTACKS | {
    "read a state": """
open(there["state"] + "/PG_VERSION").read()
""",
    "change a state": """
open(there["state"] + "/planted", "w")
""",
    "read the engine's token": """
open(there["store"] + "/engine.json").read()
""",
}

HARMLESS: dict[Place, set[str]] = {
    "instance": set(),
    # In a network of its own, with nothing else in it.
    "building server": {"listen on a port of its own choice", "send a datagram"},
    "psql": {"read what every user may read"},
    "Java": {"read what every user may read", "listen on a port of its own choice"},
}
"""What each may do, and what it is for."""


class Store(NamedTuple):
    """A store with a state, and two instances of it."""

    statefs: StateFS
    root: Path

    def volume(self, name: str) -> Path:
        return self.root / name / DATA


@pytest.fixture(scope="module", params=BACKENDS)
def store(request: pytest.FixtureRequest) -> Store:
    place: Path = request.getfixturevalue(BACKENDS[request.param])
    return Store(backend(request.param), place / f"matrix-{request.param}")


@pytest.fixture(scope="module")
def native(store: Store) -> Iterator[NativeRig]:
    with rig_below(store.root, "15") as native:
        if native.native.sandbox.level != "basic":
            needs.missing(f"there are no cells here: {native.native.sandbox.missing}")
        asyncio.run(fill(store, native))
        yield native
        asyncio.run(empty(store))


async def fill(store: Store, native: NativeRig) -> None:
    for area, private in (("building", False), ("instances", False), ("states", True)):
        make_area(store.root / area, private=private)
    building, state = store.root / "building/one", store.root / "states/one"
    await store.statefs.create(building)
    await native.runtime.initialise(native.image, building / DATA)
    await store.statefs.publish(building, state, b"whole")
    for name in ("attacker", "neighbour"):
        await store.statefs.clone(state, store.root / "instances" / name)
    (store.root / "engine.json").write_text("a token")
    (store.root / "engine.json").chmod(0o600)


async def empty(store: Store) -> None:
    for area in ("instances", "states", "building"):
        for volume in await store.statefs.volumes(store.root / area):
            await store.statefs.remove(volume)


@pytest.fixture(scope="module")
def own(store: Store, native: NativeRig) -> Path:
    return store.volume("instances/attacker")


@pytest.fixture(scope="module")
def neighbour(store: Store, native: NativeRig) -> Iterator[Server]:
    data_dir = store.volume("instances/neighbour")
    server = asyncio.run(native.runtime.start(native.image, data_dir))
    yield server
    asyncio.run(native.runtime.stop(server, clean=False))


def cell_at(
    cells: Cells, native: NativeRig, place: Place, program: tuple[str, ...], own: Path
) -> Cell | None:
    if place in ("psql", "Java"):
        return cells.tool(
            program,
            dict(MINIMAL_ENV),
            work_dir=Path("/"),
            hidden=(own.parents[2], native.native._access.path),
            sockets=own if place == "psql" else None,
            trusted=False,
            network=False,
            connect=() if place == "psql" else (1, 2),
        )
    installations = asyncio.run(native.runtime.installations())
    bin_dir = next(one.bin_dir for one in installations if one.major == 15)
    return cells.server(
        program,
        MINIMAL_ENV,
        layout=asyncio.run(layout_of(bin_dir)),
        major=15,
        places=Places(own, own, own),
        # At strict, clients are let in there.
        port=Ports().pick(),
        building=place == "building server",
    )


def attacked(
    native: NativeRig, level: SandboxLevel, place: Place, there: dict[str, Any], own: Path
) -> dict[str, str]:
    """What becomes of each attack."""
    spawner = Spawner(Path("/"))
    user = native.native.server_user or engine_user()
    cells = Cells(
        spawner, SandboxSettings(level=level), server_user=user, engine_user=engine_user()
    )
    # A server knows its own files by other paths.
    its_own = own if place in ("psql", "Java") else cells.seen(Places(own, own, own)).data_dir
    program = argv(there | {"own": str(its_own)}, MORE)
    cell = cell_at(cells, native, place, program, own)
    with tempfile.TemporaryFile() as said:
        if cell is None:
            who = {} if place in ("psql", "Java") else identity(native)
            subprocess.run(program, check=True, cwd="/", stdout=said, **who)
        else:
            levels.wait(spawner.start(cell, stdin=None, stdout=said.fileno(), stderr=None))
        spawner.close()
        said.seek(0)
        return outcome_in(said.read().decode())


def test_nothing_gets_through_where_there_are_cells(
    native: NativeRig,
    store: Store,
    there: dict[str, Any],
    own: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = there | {"state": str(store.volume("states/one")), "store": str(store.root)}
    user = "root" if needs.IS_ROOT else "ordinary"
    through: dict[tuple[str, Place], set[str]] = {}
    for level in ("strict", "basic", "partial", "off"):
        for place in get_args(Place):
            outcome = attacked(native, level, place, there, own)
            assert outcome.keys() == MORE.keys()
            got = {name for name, what in outcome.items() if what == "succeeded"}
            through[level, place] = got - (
                HARMLESS[place] if level in ("strict", "basic") else set()
            )
    with capsys.disabled():
        print()
        for (level, place), got in through.items():
            where = f"{store.statefs.name:<8}{user:<9}{level:<8}{place:<16}"
            print(f"{where}{len(MORE)} tried, {len(got)} through")
    for level in ("strict", "basic"):
        assert {place: through[level, place] for place in get_args(Place)} == {
            place: set() for place in get_args(Place)
        }
    # Without cells, most of them do what they say.
    assert len(through["off", "instance"]) > len(through["partial", "instance"]) > 0
