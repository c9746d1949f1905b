"""An image's digest: what an installation consists of, wherever it lies.

Two installations with the same digest make the same cluster and run it alike. So it covers what
is executed and what initdb copies from, and what sorts text: the C library.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pgstrata.domain.image import Installation
from pgstrata.domain.model import Model
from pgstrata.errors import ProgramError
from pgstrata.runtime.installations import MINIMAL_ENV, file_stamp
from pgstrata.system import subprocesses

_PROGRAMS = ("postgres", "initdb", "psql")


Stamp = list[tuple[str, int, int, int, int]]
"""Every file's path, inode, size and times."""


class _File(NamedTuple):
    name: str
    path: str
    status: os.stat_result


class Layout(Model, frozen=True, kw_only=True):
    """Where an installation's parts are."""

    bin_dir: Path
    share_dir: Path
    library_dir: Path
    """Of loadable modules (``pkglibdir``)."""

    def files(self) -> Iterator[_File]:
        """Every file that counts, under a name that does not depend on where it lies."""
        for name in _PROGRAMS:
            path = self.bin_dir / name
            yield _File(f"bin/{name}", str(path), path.stat())
        yield from _below("share", self.share_dir)
        for file in _below("lib", self.library_dir):
            if file.path.endswith((".so", ".dylib")):
                yield file


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
        "files": sorted((file.name, _hash_of(file.path)) for file in layout.files()),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def stamp(layout: Layout) -> Stamp:
    """Something quick that differs when any of the files may have changed."""
    return sorted((file.path, *file_stamp(file.status)) for file in layout.files())


def c_library() -> str:
    """The C library and its version: text sorts as it says."""
    return " ".join(platform.libc_ver()).strip() or f"{platform.system()} {platform.release()}"


async def _ask(bin_dir: Path, option: str) -> Path:
    ended = await subprocesses.run((bin_dir / "pg_config", option), env=MINIMAL_ENV)
    return Path(ended.stdout.strip())


def _below(prefix: str, root: Path) -> Iterator[_File]:
    # Looked through whenever an image is resolved, a thousand files in a few milliseconds: without
    # a Path for each of them.
    waiting = [(prefix, str(root))]
    while waiting:
        name, directory = waiting.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{name}/{entry.name}", entry.path))
                else:
                    with suppress(FileNotFoundError):  # a link to what is not installed
                        yield _File(f"{name}/{entry.name}", entry.path, entry.stat())


def _hash_of(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
