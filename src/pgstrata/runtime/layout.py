"""Where the parts of an installation are, and what can be learned from them."""

import mmap
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pgstrata.domain.image import EXPECTED, ICU
from pgstrata.domain.model import Model
from pgstrata.errors import ProgramError
from pgstrata.runtime.environment import MINIMAL_ENV
from pgstrata.system import subprocesses

_PROGRAMS = ("postgres", "initdb", "psql")

_SUBDIR = "postgresql"
"""PostgreSQL's subdirectory of ``lib`` and ``share``, if other software uses these, too."""

_SHARED_ROOTS = (Path("/usr"), Path("/usr/local"))
"""Where libraries belong to the system, and only those that are loaded count."""

_LIBRARY = re.compile(r"\.(?:so|dylib)(?:\.|$)")

_CONTROL = ".control"

_ICU_FUNCTION = b"ucol_open"
"""A function that every server with ICU calls; its name may have a version suffix."""

FileStamp = tuple[int, int, int, int]


def file_stamp(seen: os.stat_result) -> FileStamp:
    """Inode, size and times of a file: different whenever its content may have changed."""
    return (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


class File(NamedTuple):
    """A file of an installation."""

    name: str
    """Does not depend on the installation's directory."""
    path: str
    status: os.stat_result
    alone: bool = True
    """Whether other files in its directory are no part of the installation."""


class Outside(NamedTuple):
    """A file or directory elsewhere that an installation uses."""

    name: str
    path: Path


class Layout(Model, frozen=True, kw_only=True):
    """Where an installation's parts are."""

    bin_dir: Path
    share_dir: Path
    library_dir: Path
    """Of loadable modules (``pkglibdir``)."""
    bundled_dir: Path | None = None
    """Of the libraries that it bundles, such as ICU, which sorts text."""
    outside: tuple[Outside, ...] = ()
    """What else it uses (``surroundings``)."""
    linked: tuple[Path, ...] = ()
    """Where links in its directories lead."""

    @property
    def extension_dir(self) -> Path:
        """The directory of the extensions' control files."""
        return self.share_dir / "extension"

    def files(self) -> Iterator[File]:
        """Every file that can affect a cluster or its behaviour."""
        for name in _PROGRAMS:
            path = self.bin_dir / name
            yield File(f"bin/{name}", str(path), path.stat())
        yield from _files_below("share", self.share_dir)
        yield from self.modules()
        if self.bundled_dir is not None:
            for path in self.bundled_dir.iterdir():
                if path.is_file() and _LIBRARY.search(path.name):
                    yield File(f"bundled/{path.name}", str(path), path.stat(), alone=False)
        for name, path in self.outside:
            if path.is_dir():
                yield from _files_below(name, path)
            else:
                with suppress(FileNotFoundError):
                    yield File(name, str(path), path.stat())

    def modules(self) -> Iterator[File]:
        """What a server may load."""
        for file in _files_below("lib", self.library_dir):
            if file.path.endswith((".so", ".dylib")):
                yield file

    def directories(self) -> Iterator[str]:
        """Every directory in which each file counts, or would count."""
        trees = (self.share_dir, self.library_dir, *(path for _, path in self.outside))
        for root in trees:
            if root.is_dir():
                yield str(root)
                yield from (path for _, path, is_dir, _ in _entries_below("", root) if is_dir)
        if self.bundled_dir is not None:
            yield str(self.bundled_dir)

    def links(self) -> Iterator[Path]:
        """Where links in its directories lead, each a step only, if there is something."""
        for root in (self.share_dir, self.library_dir):
            for _, path, _, is_link in _entries_below("", root):
                if is_link:
                    link = Path(path)
                    target = Path(os.path.normpath(link.parent.resolve() / link.readlink()))
                    if target.exists():
                        yield target

    def extensions(self) -> tuple[str, ...]:
        """What ``CREATE EXTENSION`` can create, in alphabetical order."""
        try:
            names = os.listdir(self.extension_dir)  # noqa: PTH208 - hundreds, once a second
        except FileNotFoundError:
            return ()
        return tuple(
            sorted(name.removesuffix(_CONTROL) for name in names if name.endswith(_CONTROL))
        )

    def lacks(self) -> tuple[str, ...]:
        """Which of the usual extensions (``EXPECTED``) are missing."""
        there = {*self.extensions(), *((ICU,) if self._has_icu() else ())}
        return tuple(name for name in EXPECTED if name not in there)

    def _has_icu(self) -> bool:
        with (
            (self.bin_dir / "postgres").open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as program,
        ):
            return program.find(_ICU_FUNCTION) >= 0


async def layout_of(bin_dir: Path) -> Layout:
    """Where an installation's parts are, by its pg_config, or where the server looks for them.

    Raises ``ProgramError`` if they are missing.
    """
    if not (bin_dir / "pg_config").is_file():
        return _relocated(bin_dir)
    directories = [await _pg_config(bin_dir, option) for option in ("--sharedir", "--pkglibdir")]
    for directory in directories:
        if not directory.is_dir():
            raise ProgramError(
                f"{bin_dir / 'pg_config'} names {directory}, which does not exist",
                remedy="install that PostgreSQL again",
            )
    return Layout(bin_dir=bin_dir, share_dir=directories[0], library_dir=directories[1])


def _relocated(bin_dir: Path) -> Layout:
    """A moved server finds its files relative to its programs, as they were when it was built.

    Raises ``ProgramError``.
    """
    library_dir = _beside(bin_dir, "lib", "plpgsql.*")
    bundled = library_dir.parent if library_dir.name == _SUBDIR else library_dir
    return Layout(
        bin_dir=bin_dir,
        share_dir=_beside(bin_dir, "share", "postgres.bki"),
        library_dir=library_dir,
        bundled_dir=None if bin_dir.parent in _SHARED_ROOTS else bundled,
    )


def _beside(bin_dir: Path, name: str, known_file: str) -> Path:
    root = bin_dir.parent / name
    for directory in (root / _SUBDIR, root):
        if next(directory.glob(known_file), None) is not None:
            return directory
    raise ProgramError(
        f"there is no pg_config in {bin_dir}, and no {known_file} in {root / _SUBDIR} or {root}",
        remedy="install that PostgreSQL again, with pg_config",
    )


async def _pg_config(bin_dir: Path, option: str) -> Path:
    ended = await subprocesses.run((bin_dir / "pg_config", option), env=MINIMAL_ENV)
    return Path(ended.stdout.strip())


def _files_below(prefix: str, root: Path) -> Iterator[File]:
    for name, path, is_dir, is_link in _entries_below(prefix, root):
        if not is_dir:
            with suppress(FileNotFoundError):  # a link to a file that is not installed
                yield File(name, path, os.stat(path), alone=is_link)  # noqa: PTH116


def _entries_below(prefix: str, root: Path) -> Iterator[tuple[str, str, bool, bool]]:
    """The name and path of everything below a directory, whether it is a directory, and a link.

    Links to directories are followed, except back to one that they are in.
    """
    # Thousands of files in a few milliseconds: without a Path for each of them.
    waiting: list[tuple[str, str, tuple[tuple[int, int], ...]]]
    waiting = [(prefix, str(root), (_identity(str(root)),))]
    while waiting:
        name, directory, above = waiting.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                inner, is_link = f"{name}/{entry.name}", entry.is_symlink()
                is_dir = entry.is_dir()
                if is_dir and (own := _identity(entry.path)) in above:
                    continue
                yield inner, entry.path, is_dir, is_link
                if is_dir:
                    waiting.append((inner, entry.path, (*above, own)))


def _identity(directory: str) -> tuple[int, int]:
    status = os.stat(directory)  # noqa: PTH116
    return status.st_dev, status.st_ino
