"""An image's digest: what an installation consists of, wherever it lies.

Two installations with the same digest make the same cluster and run it alike. So it covers what
is executed and what initdb copies from, and what sorts text: the C library.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from pgstrata import subprocesses
from pgstrata.domain.image import Installation
from pgstrata.domain.model import Model
from pgstrata.errors import ProgramError
from pgstrata.runtime.installations import MINIMAL_ENV, file_stamp

_PROGRAMS = ("postgres", "initdb", "psql")


class Layout(Model, frozen=True, kw_only=True):
    """Where an installation's parts are."""

    bin_dir: Path
    share_dir: Path
    library_dir: Path
    """Of loadable modules (``pkglibdir``)."""

    def files(self) -> dict[str, Path]:
        """Every file that counts, by a name that does not depend on where it lies."""
        found = {f"bin/{name}": self.bin_dir / name for name in _PROGRAMS}
        found |= {f"share/{name}": path for name, path in _below(self.share_dir)}
        found |= {
            f"lib/{name}": path
            for name, path in _below(self.library_dir)
            if path.suffix in (".so", ".dylib")
        }
        return found


async def layout_of(installation: Installation) -> Layout:
    """Ask an installation where its parts are. Raises ``ProgramError`` when they are not there."""
    bin_dir = installation.bin_dir
    asked = [await _ask(bin_dir, "--sharedir"), await _ask(bin_dir, "--pkglibdir")]
    for directory in asked:
        if not directory.is_dir():
            raise ProgramError(
                f"{bin_dir / 'pg_config'} names {directory}, which is not there",
                remedy=f"install PostgreSQL {installation.version} again",
            )
    return Layout(bin_dir=bin_dir, share_dir=asked[0], library_dir=asked[1])


def digest(version: str, layout: Layout) -> str:
    """Hex SHA-256 over an installation's content, version, architecture and C library."""
    facts = {
        "version": version,
        "machine": platform.machine(),
        "c_library": c_library(),
        "files": sorted((name, _hash_of(path)) for name, path in layout.files().items()),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def stamp(layout: Layout) -> str:
    """Something quick that differs when any of the files may have changed."""
    seen = hashlib.sha256()
    for path in layout.files().values():
        seen.update(repr((str(path), *file_stamp(path))).encode())
    return seen.hexdigest()


def c_library() -> str:
    """The C library and its version: text sorts as it says."""
    return " ".join(platform.libc_ver()).strip() or f"{platform.system()} {platform.release()}"


async def _ask(bin_dir: Path, option: str) -> Path:
    ended = await subprocesses.run((bin_dir / "pg_config", option), env=MINIMAL_ENV)
    return Path(ended.stdout.strip())


def _below(root: Path) -> Iterator[tuple[str, Path]]:
    for directory, subdirectories, names in os.walk(root):
        subdirectories.sort()
        for name in names:
            path = Path(directory, name)
            if path.is_file():
                yield str(path.relative_to(root)), path


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
