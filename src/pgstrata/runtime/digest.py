"""An image's digest: the content of an installation and of what it uses, whatever its directory.

Two installations with the same digest make the same cluster and run it in the same way. So it
covers the programs, what initdb copies from, every library that is loaded, extensions, time zones
and locales.
"""

import hashlib
import platform
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from pgstrata.domain import identity
from pgstrata.runtime.layout import Layout, file_stamp
from pgstrata.runtime.surroundings import LOADER_CACHE
from pgstrata.system import watching
from pgstrata.system.watching import Watch

Stamp = list[tuple[str, int, int, int, int]]
"""Every file's path, inode, size and times."""

_PARTS = (
    (re.compile(r"bin/"), "PostgreSQL's programs"),
    (re.compile(r"tzdata/|share/timezone/"), "tzdata"),
    (re.compile(r"share/extension/|lib/"), "extensions"),
    (re.compile(r"share/"), "PostgreSQL's files"),
    (re.compile(r"locales/"), "locales"),
    (re.compile(r"(?:libraries|bundled)/libicu"), "ICU"),
    (re.compile(r"(?:libraries|bundled)/lib(?:ssl|crypto)\b|openssl"), "OpenSSL"),
    (re.compile(r"(?:libraries|bundled)/libx(?:ml2|slt)\b"), "libxml2"),
    (re.compile(r"libraries/(?:lib(?:c|m)\.so|ld-)"), "the C library"),
    (re.compile(""), "libraries"),
)
"""What people call the files whose names begin like this; the first that fits."""


def digest(version: str, layout: Layout) -> str:
    """Hex SHA-256 over all ``parts``."""
    return digest_of(parts(version, layout))


def digest_of(these: Mapping[str, str]) -> str:
    """The digest of an installation with these ``parts``."""
    return identity.digest(["image", these])


def parts(version: str, layout: Layout) -> dict[str, str]:
    """What an installation consists of, named for people, each with the digest of its content."""
    files: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for file in layout.files():
        files[_part(file.name)].append((file.name, _hash_of(file.path)))
    return {
        "PostgreSQL's version": identity.digest(version),
        "the machine's architecture": identity.digest(platform.machine()),
        "the C library's version": identity.digest(c_library()),
        **{name: identity.digest(sorted(some)) for name, some in files.items()},
    }


def stamp(layout: Layout) -> Stamp:
    """A value that is quick to get, and differs if any of the files may have changed."""
    found = [(file.path, *file_stamp(file.status)) for file in layout.files()]
    if LOADER_CACHE.exists():
        found.append((str(LOADER_CACHE), *file_stamp(LOADER_CACHE.stat())))
    return sorted(found)


def watch(layout: Layout) -> Watch:
    """Watch everything that counts, and where more of it could be added."""
    begun = watching.watch()
    begun.follow(LOADER_CACHE, content=True)
    for directory in layout.directories():
        begun.follow(Path(directory))
        begun.directory(Path(directory))
    for file in layout.files():
        if file.alone:
            begun.follow(Path(file.path), content=True)
    return begun


def c_library() -> str:
    """The C library and its version, which determine how text sorts."""
    return " ".join(platform.libc_ver()).strip() or f"{platform.system()} {platform.release()}"


def _part(name: str) -> str:
    return next(part for beginning, part in _PARTS if beginning.match(name))


def _hash_of(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
