"""Fetching the jars from an npm registry."""

import asyncio
import functools
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.errors import ProgramError
from pgstrata.kinds.liquibase import fetching
from pgstrata.kinds.liquibase.installation import NEEDED


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry with a package of that name, which holds something else."""
    served = tmp_path / "served"
    place = served / fetching.PACKAGE / "-"
    place.mkdir(parents=True)
    with tarfile.open(place / f"{fetching.PACKAGE}-{fetching.VERSION}.tgz", "w:gz") as package:
        for name in (*(f"{name}.jar" for name in NEEDED), "liquibase-commercial.jar"):
            member = tarfile.TarInfo(f"package/dist/liquibase/internal/lib/{name}")
            member.size = len(name)
            package.addfile(member, io.BytesIO(name.encode()))
    handler = functools.partial(_Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path: Path, registry: str) -> None:
    home = tmp_path / "home"
    with pytest.raises(ProgramError, match="not the package it should be") as refused:
        asyncio.run(fetching.from_registry(home, {"NPM_CONFIG_REGISTRY": registry}))
    assert "--from" in (refused.value.remedy or "")
    assert not home.exists()


def test_the_needed_jars_alone_are_taken(
    tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64
    import hashlib

    archive = next((tmp_path / "served").rglob("*.tgz")).read_bytes()
    monkeypatch.setattr(
        fetching, "INTEGRITY", base64.b64encode(hashlib.sha512(archive).digest()).decode()
    )
    home = tmp_path / "home"
    asyncio.run(fetching.from_registry(home, {"NPM_CONFIG_REGISTRY": registry}))
    assert {path.name for path in home.iterdir()} == {f"{name}.jar" for name in NEEDED}


def test_a_registry_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    env = {"NPM_CONFIG_REGISTRY": "http://127.0.0.1:1/"}
    with pytest.raises(ProgramError, match=r"127\.0\.0\.1:1/liquibase") as refused:
        asyncio.run(fetching.from_registry(tmp_path / "home", env))
    assert "--from" in (refused.value.remedy or "")


def test_the_registry_is_the_one_that_npm_is_set_to(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text("audit=false\nregistry=https://mirror.example/npm\n")
    env = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    assert asyncio.run(fetching.registry(env)) == "https://mirror.example/npm/"
    env["npm_config_registry"] = "https://other.example"
    assert asyncio.run(fetching.registry(env)) == "https://other.example/"
