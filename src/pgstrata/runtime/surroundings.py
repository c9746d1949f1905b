"""What a PostgreSQL uses of the machine besides its own files, and what its results depend on.

That is every library that its programs and modules load, with OpenSSL's own modules and
configuration, time zones, and locales.
"""

import asyncio
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.runtime.layout import Layout, Outside
from pgstrata.system import subprocesses

LOADER_CACHE = Path("/etc/ld.so.cache")
"""Where the system's loader finds libraries; a change may mean others."""

_LOCALES = Path("/usr/lib/locale")
_TIME_ZONES = Path("/usr/share/zoneinfo")
_OPENSSL_SETTINGS = tuple(map(Path, ("/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf")))

_LOADED = re.compile(r"^\t(?:(\S+) => )?(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_SYSTEM_TIME_ZONES = "--with-system-tzdata="
_NAMEABLE = re.compile(r"[^:\s]+")


async def with_surroundings(layout: Layout) -> Layout:
    """The layout with everything outside that counts. Raises ``ProgramError``."""
    libraries = {one for one in await _libraries(layout) if not _is_bundled(one.path, layout)}
    outside = {*libraries, *_of_openssl(libraries), Outside("locales", _LOCALES)}
    if not (layout.share_dir / "timezone").is_dir():
        outside.add(Outside("tzdata", await _time_zones(layout)))
    return replace(
        layout,
        outside=tuple(sorted(one for one in outside if one.path.exists())),
        linked=tuple(sorted(set(layout.links()))),
    )


async def _libraries(layout: Layout) -> set[Outside]:
    """Every library that the server, its modules, initdb and psql load, by the loader itself.

    As in a server, a library that several modules need is the one that was found first.
    """
    # Relative to its directory, a module's path has no character that the variable cannot hold.
    modules = (file.name.removeprefix("lib/") for file in layout.modules())
    preloaded = ":".join(f"./{name}" for name in sorted(modules) if _NAMEABLE.fullmatch(name))
    server, *others = await asyncio.gather(
        _loaded(layout, "postgres", {"LD_PRELOAD": preloaded}),
        *(_loaded(layout, program, {}) for program in ("initdb", "psql")),
    )
    return server.union(*others)


async def _loaded(layout: Layout, program: str, env: Mapping[str, str]) -> set[Outside]:
    ended = await subprocesses.run(
        # A program whose loader does not know the variable runs, and should end.
        (layout.bin_dir / program, "--version"),
        cwd=layout.library_dir,
        env={**MINIMAL_ENV, **env, "LD_TRACE_LOADED_OBJECTS": "1"},
        check=False,
    )
    return {
        Outside(f"libraries/{name or Path(path).name}", Path(path))
        for name, path in _LOADED.findall(ended.stdout)
    }


def _is_bundled(library: Path, layout: Layout) -> bool:
    bundled = layout.bundled_dir
    return bundled is not None and library.resolve().parent == bundled.resolve()


def _of_openssl(libraries: Iterable[Outside]) -> Iterator[Outside]:
    """What OpenSSL loads if it is asked to, and where it is asked: pgcrypto obeys that."""
    for name, path in libraries:
        if name.startswith("libraries/libcrypto.so"):
            yield Outside("openssl/modules", path.parent / "ossl-modules")
            for settings in _OPENSSL_SETTINGS:
                yield Outside(f"openssl{settings}", settings)


async def _time_zones(layout: Layout) -> Path:
    """The system's time zones, which a server without its own was built to use."""
    pg_config = layout.bin_dir / "pg_config"
    if pg_config.is_file():
        ended = await subprocesses.run((pg_config, "--configure"), env=MINIMAL_ENV, check=False)
        # Each option is quoted as for a shell.
        for option in shlex.split(ended.stdout):
            if option.startswith(_SYSTEM_TIME_ZONES):
                return Path(option.removeprefix(_SYSTEM_TIME_ZONES))
    return _TIME_ZONES
