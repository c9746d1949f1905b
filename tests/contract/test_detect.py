"""Choosing a backend on real file systems."""

import asyncio
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pgstrata.errors import BackendUnavailableError, StoreUnusableError
from pgstrata.statefs import trees
from pgstrata.statefs.detect import BackendName, detect
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
    ("kind", "name"), [("btrfs", "btrfs"), ("xfs", "reflink"), ("ext4", "copy")]
)
def test_auto_takes_the_fastest_that_works_and_leaves_nothing(
    stores: Stores, kind: FileSystem, name: BackendName
) -> None:
    store = stores.on(kind)
    detection = asyncio.run(detect(store))
    assert detection.name == name
    assert detection.why.splitlines()[-1] == f"{name}: works"
    assert list(store.iterdir()) == []


def test_it_is_told_what_was_tried_and_what_came_of_it(stores: Stores) -> None:
    lines = asyncio.run(detect(stores.on("ext4"))).why.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["btrfs", "reflink", "copy"]
    assert "not possible on this file system" in lines[0]
    assert "not possible on this file system" in lines[1]


@pytest.mark.parametrize("name", ["btrfs", "reflink", "copy"])
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


@pytest.mark.parametrize("kind", ["btrfs", "xfs", "ext4"])
def test_without_rights_the_choice_is_the_same(stores: Stores, kind: FileSystem) -> None:
    store = stores.on(kind)
    expected = asyncio.run(detect(store)).name
    os.chown(store, NOBODY, NOBODY)

    async def same() -> None:
        assert (await detect(store)).name == expected

    done_as_nobody(same)
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
