"""Choosing a backend: what goes wrong before any file system is asked."""

import asyncio
from pathlib import Path

import pytest

from pgstrata.errors import InvalidArgumentError, StoreUnusableError
from pgstrata.statefs.detect import backend, detect


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="zfs") as raised:
        asyncio.run(detect(tmp_path, "zfs"))
    assert raised.value.remedy == "use one of: auto, btrfs, overlay, reflink, copy"


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusableError, match="missing") as raised:
        asyncio.run(detect(tmp_path / "missing"))
    assert raised.value.remedy


def test_each_backend_knows_its_name() -> None:
    assert backend("btrfs").name == "btrfs"
    assert backend("overlay").name == "overlay"
    assert backend("reflink").name == "reflink"
    assert backend("copy").name == "copy"
