"""Downloads over a registry that breaks off, refuses and lies."""

import base64
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.errors import DiskFullError, ProgramError
from pgstrata.fetching.download import Artifact, fetch
from tests.filesystems import CannotMountError, give_up, memory_mounted, reachable_place
from tests.registries import Registry, serving

CONTENT = os.urandom(1_000_001)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as registry:
        registry.files["/a.tgz"] = CONTENT
        yield registry


def artifact(content: bytes = CONTENT, algorithm: str = "sha512") -> Artifact:
    digest = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
    return Artifact(name="a.tgz", integrity=f"{algorithm}-{digest}", size=len(content))


def ranges(registry: Registry) -> list[str | None]:
    return [wanted for _path, wanted, _login in registry.requests]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_what_is_fetched_is_whole_and_its_progress_told(
    registry: Registry, tmp_path: Path, algorithm: str
) -> None:
    told: list[tuple[int, int]] = []
    got = fetch(
        artifact(algorithm=algorithm),
        f"{registry.url}/a.tgz",
        tmp_path,
        progress=lambda got, size: told.append((got, size)),
    )
    assert got.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_what_is_there_already_is_not_fetched_again(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(CONTENT)
    fetch(artifact(), f"{registry.url}/a.tgz", tmp_path)
    assert registry.requests == []


def test_a_download_goes_on_where_an_earlier_one_was(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.tgz.part").write_bytes(CONTENT[:300_000])
    got = fetch(artifact(), f"{registry.url}/a.tgz", tmp_path)
    assert got.read_bytes() == CONTENT
    assert ranges(registry) == ["bytes=300000-"]


def test_what_came_whole_before_is_only_checked(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.tgz.part").write_bytes(CONTENT)
    assert fetch(artifact(), f"{registry.url}/a.tgz", tmp_path).read_bytes() == CONTENT
    assert registry.requests == []


def test_a_registry_that_knows_no_ranges_is_read_from_the_beginning(
    registry: Registry, tmp_path: Path
) -> None:
    registry.ranges = False
    (tmp_path / "a.tgz.part").write_bytes(CONTENT[:300_000])
    assert fetch(artifact(), f"{registry.url}/a.tgz", tmp_path).read_bytes() == CONTENT


def test_a_connection_that_breaks_is_made_again_as_long_as_that_gets_on(
    registry: Registry, tmp_path: Path
) -> None:
    registry.breaks = 5
    assert fetch(artifact(), f"{registry.url}/a.tgz", tmp_path, pauses=(0, 0)).exists()
    assert ranges(registry)[:2] == [None, f"bytes={len(CONTENT) // 2}-"]
    assert len(registry.requests) == 6


def test_a_registry_that_is_busy_is_asked_again(registry: Registry, tmp_path: Path) -> None:
    registry.statuses = [503, 429]
    assert fetch(artifact(), f"{registry.url}/a.tgz", tmp_path, pauses=(0, 0)).exists()


def test_one_that_stays_so_is_named_and_what_came_is_kept(
    registry: Registry, tmp_path: Path
) -> None:
    registry.breaks, registry.statuses = 1, []
    (tmp_path / "a.tgz.part").write_bytes(CONTENT[:7])
    registry.statuses = [503] * 3
    with pytest.raises(ProgramError, match="503") as refused:
        fetch(artifact(), f"{registry.url}/a.tgz", tmp_path, pauses=(0, 0))
    assert "--from" in (refused.value.remedy or "")
    assert (tmp_path / "a.tgz.part").read_bytes() == CONTENT[:7]


def test_what_is_not_there_is_not_asked_for_again(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="404"):
        fetch(artifact(), f"{registry.url}/b.tgz", tmp_path, pauses=(0, 0))
    assert len(registry.requests) == 1


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"127\.0\.0\.1:1/a\.tgz"):
        fetch(artifact(), "http://127.0.0.1:1/a.tgz", tmp_path, pauses=())


@pytest.mark.parametrize(
    "served",
    [
        bytes(len(CONTENT)),  # of the same size
        CONTENT + b"more",
        CONTENT[:-1],
        b"<html>Please log in to this network</html>",
    ],
    ids=["other", "longer", "shorter", "page"],
)
def test_what_is_not_the_original_is_deleted_and_told(
    registry: Registry, tmp_path: Path, served: bytes
) -> None:
    registry.files["/a.tgz"] = served
    with pytest.raises(ProgramError, match=r"not the expected a\.tgz: its hash differs"):
        fetch(artifact(), f"{registry.url}/a.tgz", tmp_path, pauses=())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("begun", [b"x" * 300_000, b"x" * len(CONTENT), b"x" * 2_000_000])
def test_a_beginning_that_was_wrong_is_deleted_and_the_next_try_is_whole(
    registry: Registry, tmp_path: Path, begun: bytes
) -> None:
    (tmp_path / "a.tgz.part").write_bytes(begun)
    with pytest.raises(ProgramError, match="its hash differs") as refused:
        fetch(artifact(), f"{registry.url}/a.tgz", tmp_path, pauses=())
    assert "run it again" in (refused.value.remedy or "")
    assert fetch(artifact(), f"{registry.url}/a.tgz", tmp_path, pauses=()).read_bytes() == CONTENT


def test_a_login_in_the_url_is_sent_and_never_shown(registry: Registry, tmp_path: Path) -> None:
    url = registry.url.replace("//", "//me:s%40cret@")
    fetch(artifact(), f"{url}/a.tgz", tmp_path)
    wanted = base64.b64encode(b"me:s@cret").decode()
    assert [login for _path, _range, login in registry.requests] == [f"Basic {wanted}"]
    with pytest.raises(ProgramError) as refused:
        fetch(artifact(b"else"), f"{url}/a.tgz", tmp_path, pauses=())
    assert "cret" not in str(refused.value)


def test_a_full_disk_is_told_and_what_came_is_kept(registry: Registry) -> None:
    with reachable_place() as place:
        try:
            with memory_mounted(place / "small") as small:
                subprocess.run(["mount", "-o", "remount,size=512k", small], check=True)
                with pytest.raises(DiskFullError, match=f"no space left in {small}"):
                    fetch(artifact(), f"{registry.url}/a.tgz", small, pauses=())
                assert (small / "a.tgz.part").stat().st_size > 100_000
                subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)
                got = fetch(artifact(), f"{registry.url}/a.tgz", small, pauses=())
                assert got.read_bytes() == CONTENT
                assert ranges(registry)[-1] is not None
        except CannotMountError as error:
            give_up(error)
