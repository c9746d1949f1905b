"""A command's declared inputs: files, whole directories, and what patterns match."""

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pgstrata.domain.plan import Input
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.sources.base import Listing, Sources, local_path

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
    """Collects inputs; a tree in a directory is needed, since permissions count."""

    def __init__(self, sources: Sources, root: Path, work_dir: Path) -> None:
        self._sources = sources
        self._root = root
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
        if os.path.lexists(self._at(path)) or not _MAGIC.search(str(path)):
            self._add(path)
            self.show(path)
            return
        matches = [*self._matches(path)]
        if not matches:
            raise InvalidArgumentError(
                f"--input {self._named(path)} matches nothing",
                remedy=f"correct the pattern, which is looked for in {self._work_dir}",
            )
        for match in matches:
            self._add(match)
            self.show(match)

    def show(self, path: Path) -> None:
        """Have a path seen, and what it leads to."""
        while path not in self.shown:
            self.shown[path] = None
            if not self._at(path).is_symlink():
                break
            self.shown[self._real(path)] = None
            path = Path(os.path.normpath(path.parent / self._at(path).readlink()))

    def note(self, known: Input) -> None:
        """Add something that was read, whose content counts otherwise."""
        self._read[known.name] = known

    def _add(self, root: Path) -> None:
        waiting: list[tuple[Path, str, tuple[Path, ...]]] = [(root, self._named(root), ())]
        while waiting:
            path, name, links = waiting.pop()
            _check_number(len(self._read))
            loops = False
            if self._at(path).is_symlink():
                self.show(path)
                target, here = self._real(path), self._real(path.parent)
                loops = target in links or here.is_relative_to(target)
                links = (*links, target)
            if (listing := self._listing(path)) is None:
                self._entries[name] = self._entry(path, name, needed=path == root)
                continue
            self._entries[name] = Entry(name, "loop" if loops else "directory")
            if loops:
                continue
            self.note(listing.seen.input)
            for own in listing.names:
                if own in PASSED_OVER and self._sources.is_directory(path / own):
                    self.hidden[path / own] = None
                else:
                    below = own if name == "." else f"{name}/{own}"
                    waiting.append((path / own, below, links))

    def _entry(self, path: Path, name: str, *, needed: bool) -> Entry:
        found = self._sources.look(path).input
        self.note(found)
        if found.digest is not None:
            return Entry(name, found.digest, is_executable(self._at(path)))
        if needed:
            where = "" if self._root == Path("/") else " in that revision of the repository"
            raise InvalidArgumentError(
                f"there is no {path}{where}, which --input names", remedy="correct its path"
            )
        return Entry(name, "missing")

    def _matches(self, pattern: Path) -> Iterator[Path]:
        """What there is that matches a pattern."""
        waiting = [(Path(pattern.anchor), pattern.parts[1:])]
        # By more than one ** a directory is come to again and again.
        seen: set[tuple[Path, tuple[str, ...]]] = set()
        while waiting:
            directory, parts = waiting.pop()
            if (directory, parts) in seen:
                continue
            seen.add((directory, parts))
            _check_number(len(seen))
            if not parts:
                yield directory
                continue
            part, rest = parts[0], parts[1:]
            if not _MAGIC.search(part):
                if self._at(directory / part).exists():
                    waiting.append((directory / part, rest))
                continue
            if (listing := self._listing(directory)) is None:
                continue
            self.note(listing.seen.input)
            if part == "**" and rest:
                waiting.append((directory, rest))
            for name in listing.names:
                path = directory / name
                hidden = name.startswith(".") and not part.startswith(".")
                if hidden or name in PASSED_OVER:
                    continue
                if part == "**":
                    if self._at(path).is_symlink() or not self._sources.is_directory(path):
                        waiting += [] if rest else [(path, ())]
                    else:
                        waiting.append((path, parts))
                elif fnmatch.fnmatchcase(name, part):
                    waiting.append((path, rest))

    def _listing(self, path: Path) -> Listing | None:
        # Most are files, of which this is known sooner.
        return self._sources.list(path) if self._sources.is_directory(path) else None

    def _at(self, path: Path) -> Path:
        return local_path(self._root, path)

    def _real(self, path: Path) -> Path:
        real = Path(os.path.realpath(self._at(path)))
        return Path("/", real.relative_to(os.path.realpath(self._root)))

    def _named(self, path: Path) -> str:
        return os.path.relpath(path, self._work_dir)


def _check_number(files: int) -> None:
    if files > _MOST:
        raise InvalidArgumentError(
            f"the inputs are more than {_MOST} files",
            remedy="name what the command reads, not all that is beside it",
        )


def is_executable(path: Path) -> bool:
    """Whether anybody may run a file."""
    return bool(path.stat().st_mode & 0o111)
