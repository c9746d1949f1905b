"""A store on a btrfs of its own, as root uses it."""

import subprocess
from collections.abc import Iterator

import pytest

from tests import needs
from tests.acceptance.conftest import Terminal
from tests.filesystems import reachable_place


@pytest.fixture
def own() -> Iterator[Terminal]:
    """A shell whose store can be mounted."""
    if not needs.IS_ROOT:
        needs.missing_root("only root can mount")
    with reachable_place() as home:
        terminal = Terminal(home)
        terminal.work.mkdir()
        yield terminal
        terminal.tear_down()
        subprocess.run(["umount", "--quiet", terminal.store], check=False)


def test_a_store_is_made_used_mounted_again_after_a_boot_and_removed(own: Terminal) -> None:
    created = own("store", "create", own.store, "--size", "2G", exit_code=None)
    if "not installed" in created.stderr:
        needs.missing(created.stderr)
    assert f"PGSTRATA_STORE={own.store}" in created.stdout
    status = own.json("status")
    assert status["snapshots"]["backend"] == "btrfs"
    assert "advice" not in status["snapshots"]
    assert status["store"]["image"] == f"{own.store}.btrfs"
    assert status["store"]["image_held_bytes"] < status["store"]["image_bytes"] == 2_000_000_000
    assert "a btrfs in" in own("status").stdout
    assert "engine stop" in own("store", "rm", own.store, "--force", exit_code=4).stderr
    assert own.json("store", "resize", own.store, "--size", "3GB")["size_bytes"] == 3_000_000_000
    own("config", "set", "pool.max", "3")
    own("engine", "stop")
    subprocess.run(["umount", own.store], check=True)
    assert list(own.store.iterdir()) == []
    assert "3" in own("config", "get", "pool.max").stdout
    assert own.json("status")["snapshots"]["backend"] == "btrfs"
    own("engine", "stop")
    own("store", "rm", own.store, "--force")
    assert [each.name for each in own.home.iterdir()] == ["work"]


def test_who_has_no_btrfs_is_told_of_one(own: Terminal) -> None:
    own.environment["PGSTRATA_SNAPSHOT_BACKEND"] = "copy"
    assert "pgstrata store create" in own("status").stdout
