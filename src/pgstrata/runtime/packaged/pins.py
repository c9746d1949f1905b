"""The packages that ``pgstrata postgres install`` can install, with their hashes.

``pins.json`` beside this file is written by ``tools/pin_postgres.py``.
"""

import platform
import sys
from functools import cache
from importlib import resources

import msgspec

from pgstrata.domain.model import Model
from pgstrata.errors import InvalidArgumentError
from pgstrata.fetching.download import Artifact

_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


class ServerPin(Model, frozen=True, kw_only=True):
    """A server's package in the npm registry."""

    version: str
    """PostgreSQL's."""
    package: str
    package_version: str
    archive: Artifact


class ClientPins(Model, frozen=True, kw_only=True):
    """The wheels with psql and similar programs, in enough releases to support every server."""

    version: str
    """The wheels' own."""
    project: str
    programs: dict[int, str]
    """The directory in a wheel of each major version's programs, which support servers up to it."""
    wheels: dict[str, Artifact]
    """By platform."""


class Pins(Model, frozen=True, kw_only=True):
    """Everything that is pinned."""

    servers: dict[str, dict[int, ServerPin]]
    """By platform and major version."""
    clients: ClientPins
    extensions: dict[int, tuple[str, ...]]
    """What each major version can ``CREATE EXTENSION``, on every platform."""

    def server(self, platform_name: str, major: int) -> ServerPin:
        """A major version's server for a platform. Raises ``InvalidArgumentError``."""
        there = self.servers[platform_name]
        if major not in there:
            raise InvalidArgumentError(
                f"there is no package of PostgreSQL {major} for {platform_name}",
                remedy=f"available: {', '.join(map(str, sorted(there)))}",
            )
        return there[major]

    def programs_for(self, major: int) -> str:
        """The directory in a wheel of the oldest programs that support a major version.

        An older pg_dump refuses the server, and the output of a newer one, like pg_restore's, may
        have settings that the server does not know.
        """
        return self.clients.programs[min(own for own in self.clients.programs if own >= major)]


@cache
def pins() -> Pins:
    """All pins."""
    text = resources.files(__package__).joinpath("pins.json").read_bytes()
    return msgspec.json.decode(text, type=Pins)


def available() -> dict[int, ServerPin]:
    """The servers for this machine, by major version."""
    here = _platform()
    return pins().servers[here] if here else {}


def extensions_by_major() -> dict[int, tuple[str, ...]]:
    """The extensions of every major version available for this machine."""
    return {major: pins().extensions[major] for major in available()}


def platform_name() -> str:
    """The packages' name for this platform. Raises ``InvalidArgumentError`` if it has none."""
    here = _platform()
    if here is not None:
        return here
    raise InvalidArgumentError(
        f"there are no packages of PostgreSQL for {platform.system()} on {platform.machine()} "
        f"with the C library {' '.join(platform.libc_ver()).strip() or 'it has'}",
        remedy="install PostgreSQL and its contrib modules with your system's package manager; "
        "pgstrata finds it on PATH",
    )


def _platform() -> str | None:
    name = f"{sys.platform}-{_MACHINES.get(platform.machine().lower())}"
    runs = sys.platform != "linux" or platform.libc_ver()[0] == "glibc"
    return name if runs and name in pins().servers else None
