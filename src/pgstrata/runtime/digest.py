"""An image's digest: the content of an installation, whatever its directory.

Two installations with the same digest make the same cluster and run it in the same way. So it
covers the programs, what initdb copies from, and what sorts text: the C library, and any library
that the installation bundles.
"""

import hashlib
import json
import platform
from pathlib import Path

from pgstrata.runtime.layout import Layout, file_stamp

Stamp = list[tuple[str, int, int, int, int]]
"""Every file's path, inode, size and times."""


def digest(version: str, layout: Layout) -> str:
    """Hex SHA-256 over an installation's content, version, architecture and C library."""
    facts = {
        "version": version,
        "machine": platform.machine(),
        "c_library": c_library(),
        "files": sorted((file.name, _hash_of(file.path)) for file in layout.files()),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def stamp(layout: Layout) -> Stamp:
    """A value that is quick to get, and differs if any of the files may have changed."""
    return sorted((file.path, *file_stamp(file.status)) for file in layout.files())


def c_library() -> str:
    """The C library and its version, which determine how text sorts."""
    return " ".join(platform.libc_ver()).strip() or f"{platform.system()} {platform.release()}"


def _hash_of(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
