"""A command's declared inputs: files, whole directories, and what patterns match."""

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pgstrata.domain.plan import Input
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.sources.base import Listing, Sources

PASSED_OVER = frozenset({"__pycache__", ".git", ".hg", ".svn"})
"""Directories that are no part of the ones they are in: caches, and the history of versions."""

_MAGIC = re.compile(r"[*?[]")
_MOST = 100_000


class Entry(NamedTuple):
    """A file or directory that a command depends on."""

    name: str
    """Its path from the command's directory."""
    content: str
    """The digest of a file's content; what it is for anything else."""
    executable: bool = False


class Inputs:
    """Collects inputs; a tree on this machine is needed, since permissions count."""

    def __init__(self, sources: Sources, work_dir: Path) -> None:
        self._sources = sources
        self._work_dir = work_dir
        self._entries: dict[str, Entry] = {}
        self._read: dict[str, Input] = {}
        self.shown: dict[Path, None] = {}
        """What a command has to see to read them."""
        self.hidden: dict[Path, None] = {}
        """What it must not see of that."""

    @property
    def entries(self) -> Sequence[Entry]:
        """What was collected, by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    @property
    def read(self) -> tuple[Input, ...]:
        """Everything that was read, or looked for in vain."""
        return tuple(self._read.values())

    def add(self, pattern: str) -> None:
        """Add a path, or what a pattern matches. Raises ``InvalidArgumentError``."""
        path = Path(os.path.normpath(pattern))
        if path.exists() or path.is_symlink() or not _MAGIC.search(str(path)):
            self._add(path, ())
            self.show(path)
            return
        matches = [*self._matches(Path(path.anchor), path.parts[1:])]
        if not matches:
            raise InvalidArgumentError(
                f"--input {self._named(path)} matches nothing",
                remedy=f"correct the pattern, which is looked for in {self._work_dir}",
            )
        for match in matches:
            self._add(match, ())
            self.show(match)

    def show(self, path: Path) -> None:
        """Have a path seen, and what it leads to."""
        while path not in self.shown:
            self.shown[path] = None
            if not path.is_symlink():
                break
            self.shown[path.resolve()] = None
            path = Path(os.path.normpath(path.parent / path.readlink()))

    def note(self, known: Input) -> None:
        """Add something that was read, whose content counts otherwise."""
        self._read[known.name] = known

    def _add(self, path: Path, above: tuple[Path, ...]) -> None:
        if len(self._read) > _MOST:
            raise InvalidArgumentError(
                f"the inputs are more than {_MOST} files",
                remedy="name what the command reads, not all that is beside it",
            )
        name = self._named(path)
        if path.is_symlink():
            self.show(path)
        if (listing := self._sources.list(path)) is not None:
            real = path.resolve()
            loops = real in above
            self._entries[name] = Entry(name, "directory" if not loops else "loop")
            if not loops:
                self._add_all(path, listing, (*above, real))
            return
        found = self._sources.look(path).input
        self.note(found)
        if found.digest is not None:
            self._entries[name] = Entry(name, found.digest, is_executable(path))
        elif above:
            self._entries[name] = Entry(name, "missing")
        else:
            raise InvalidArgumentError(
                f"there is no {path}, which --input names", remedy="correct its path"
            )

    def _add_all(self, path: Path, listing: Listing, above: tuple[Path, ...]) -> None:
        self.note(listing.seen.input)
        for name in listing.names:
            if name in PASSED_OVER and (path / name).is_dir():
                self.hidden[path / name] = None
            else:
                self._add(path / name, above)

    def _matches(self, directory: Path, parts: tuple[str, ...]) -> Iterator[Path]:
        """What is below a directory and matches the parts of a pattern."""
        if not parts:
            yield directory
            return
        part, rest = parts[0], parts[1:]
        if not _MAGIC.search(part):
            if (directory / part).exists():
                yield from self._matches(directory / part, rest)
            return
        if (listing := self._sources.list(directory)) is None:
            return
        self.note(listing.seen.input)
        if part == "**" and rest:
            yield from self._matches(directory, rest)
        for name in listing.names:
            path = directory / name
            if name.startswith(".") > part.startswith(".") or name in PASSED_OVER:
                continue
            if part == "**":
                if path.is_dir() and not path.is_symlink():
                    yield from self._matches(path, parts)
                elif not rest:
                    yield path
            elif fnmatch.fnmatchcase(name, part):
                yield from self._matches(path, rest)

    def _named(self, path: Path) -> str:
        return os.path.relpath(path, self._work_dir)


def is_executable(path: Path) -> bool:
    """Whether anybody may run a file."""
    return bool(path.stat().st_mode & 0o111)
