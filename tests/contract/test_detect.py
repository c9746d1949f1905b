"""Choosing a backend on real file systems."""

import asyncio
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path
from typing import get_args

import pytest

from pgstrata.errors import BackendUnavailableError, StoreUnusableError
from pgstrata.statefs import trees
from pgstrata.statefs.detect import BackendName, Trial, choose, detect, remember, settle
from tests.filesystems import CannotMountError, FileSystem, give_up, loop_mounted
from tests.forks import NOBODY, done_as_nobody


@pytest.fixture
def stores(request: pytest.FixtureRequest) -> Iterator["Stores"]:
    made = Stores(request)
    yield made
    for store in made.all:
        trees.delete(store)


class Stores:
    """Makes empty stores on the file systems asked for."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self.all: list[Path] = []

    def on(self, kind: FileSystem) -> Path:
        store: Path = self._request.getfixturevalue(f"{kind}_mount") / uuid.uuid4().hex
        store.mkdir()
        self.all.append(store)
        return store


@pytest.mark.parametrize(
    ("kind", "name"), [("btrfs", "btrfs"), ("xfs", "overlay"), ("ext4", "overlay")]
)
def test_auto_takes_the_fastest_that_shares_data_and_leaves_nothing(
    stores: Stores, kind: FileSystem, name: BackendName
) -> None:
    store = stores.on(kind)
    detection = asyncio.run(detect(store))
    assert detection.name == name
    assert detection.why.splitlines()[-1].startswith(f"{name} is used: ")
    assert list(store.iterdir()) == []


def test_it_is_told_what_was_tried_and_what_came_of_it(stores: Stores) -> None:
    *tried, choice = asyncio.run(detect(stores.on("ext4"))).why.splitlines()
    assert [line.partition(":")[0] for line in tried] == ["btrfs", "overlay", "reflink"]
    assert "not possible on this file system" in tried[0]
    assert re.search(r"takes [0-9.]+ ms and shares its data", tried[1])
    assert "not possible on this file system" in tried[2]
    assert choice == "overlay is used: no other backend can share data here"


def test_a_store_keeps_the_backend_its_states_were_made_with(stores: Stores) -> None:
    store = stores.on("btrfs")
    remember(store, "copy")
    detection = asyncio.run(detect(store))
    assert detection.name == "copy"
    assert "the states of this store were made with it" in detection.why


def test_a_store_whose_backend_works_no_more_gets_another_and_tells_why(stores: Stores) -> None:
    store = stores.on("ext4")
    remember(store, "btrfs")
    detection = asyncio.run(detect(store))
    assert detection.name == "overlay"
    assert detection.why.startswith("btrfs: not possible on this file system")


def test_a_backend_asked_for_by_name_wins_over_the_one_remembered(stores: Stores) -> None:
    store = stores.on("ext4")
    remember(store, "overlay")
    assert asyncio.run(detect(store, "copy")).name == "copy"


def test_an_unreadable_memory_is_none(stores: Stores) -> None:
    store = stores.on("ext4")
    remember(store, "copy")
    (store / "snapshot-backend").write_bytes(b"\xffnonsense")
    assert asyncio.run(detect(store)).name == "overlay"


def trial(name: BackendName, milliseconds: float, *, shares_data: bool = True) -> Trial:
    return Trial(name=name, shares_data=shares_data, seconds=milliseconds / 1000)


@pytest.mark.parametrize(
    ("looks", "taken"),
    [([3.0], "btrfs"), ([900, 900, 3], "btrfs"), ([900] * 9, "overlay"), ([50, 900], "overlay")],
)
def test_only_a_backend_that_is_slow_each_time_is_passed_by_for_a_faster_one(
    looks: list[float], taken: str
) -> None:
    timings = chain(looks, repeat(looks[-1]))

    async def again(name: BackendName) -> Trial:
        return trial(name, next(timings))

    working = [trial("btrfs", 900), trial("overlay", 2), trial("reflink", 3)]
    assert asyncio.run(settle(working, again))[0].name == taken


@pytest.mark.parametrize(
    ("working", "taken", "reason"),
    [
        ([trial("copy", 9, shares_data=False)], "copy", "no backend can share"),
        ([trial("reflink", 90), trial("copy", 1, shares_data=False)], "reflink", "no other"),
        (
            [trial("btrfs", 3), trial("overlay", 1), trial("reflink", 2)],
            "btrfs",
            "no other backend that",
        ),
        (
            [trial("btrfs", 30), trial("overlay", 2), trial("reflink", 5)],
            "overlay",
            "clearly faster",
        ),
        ([trial("btrfs", 9), trial("overlay", 2), trial("reflink", 0.1)], "reflink", "clearly"),
    ],
)
def test_sharing_comes_first_then_speed_then_the_order(
    working: list[Trial], taken: BackendName, reason: str
) -> None:
    best, why = choose(working)
    assert best.name == taken
    assert reason in why


@pytest.mark.parametrize("name", get_args(BackendName))
def test_a_backend_that_works_can_be_asked_for(stores: Stores, name: BackendName) -> None:
    assert asyncio.run(detect(stores.on("btrfs"), name)).name == name


@pytest.mark.parametrize(("kind", "name"), [("xfs", "btrfs"), ("ext4", "reflink")])
def test_a_backend_asked_for_that_does_not_work_is_an_error(
    stores: Stores, kind: FileSystem, name: BackendName
) -> None:
    store = stores.on(kind)
    with pytest.raises(BackendUnavailableError, match=f"{name} does not work") as raised:
        asyncio.run(detect(store, name))
    assert str(store) in raised.value.message
    assert raised.value.remedy is not None
    assert "auto" in raised.value.remedy
    assert list(store.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "name"), [("btrfs", "btrfs"), ("xfs", "reflink"), ("ext4", "copy")]
)
def test_without_rights_it_is_the_fastest_that_needs_none(
    stores: Stores, kind: FileSystem, name: BackendName
) -> None:
    store = stores.on(kind)
    os.chown(store, NOBODY, NOBODY)

    async def chosen() -> None:
        detection = await detect(store)
        assert detection.name == name
        if name != "btrfs":
            assert "overlay: not possible to this user (Operation not permitted)" in detection.why

    done_as_nobody(chosen)
    assert list(store.iterdir()) == []


def test_a_store_that_cannot_be_written_is_an_error_not_a_slower_backend(stores: Stores) -> None:
    store = stores.on("ext4")

    async def refused() -> None:
        with pytest.raises(StoreUnusableError, match="Permission denied"):
            await detect(store)

    done_as_nobody(refused)


def test_a_full_store_is_an_error_not_a_slower_backend(tmp_path: Path) -> None:
    try:
        with loop_mounted("ext4", 8 << 20, tmp_path) as store:
            with suppress(OSError), (store / "ballast").open("wb", buffering=0) as ballast:
                while True:
                    ballast.write(bytes(4096))
            with pytest.raises(StoreUnusableError, match="cannot be used: No space left"):
                asyncio.run(detect(store))
            assert {path.name for path in store.iterdir()} == {"ballast", "lost+found"}
    except CannotMountError as error:
        give_up(error)
