"""Liquibase's way to files, which notes every one it takes, and every one it finds missing.

Liquibase looks files up through one object; this is that object, called from Java. It finds what
Liquibase's own would find, and reads each file before Java does, so that what is read is known.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pgstrata.domain.plan import InputFile
from pgstrata.kinds.files import Files, describe, missing
from pgstrata.kinds.liquibase import jvm

_CHUNK = 1024 * 1024


def digest(file: BinaryIO) -> str:
    """Hex SHA-256 of a file's content."""
    total = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        total.update(chunk)
    return total.hexdigest()


class Recorder:
    """A ``ResourceAccessor`` over directories and archives that keeps what was asked of it."""

    def __init__(self, java: jvm.Java, roots: Sequence[Path], files: Files[str]) -> None:
        self._roots = tuple(roots)
        self._files = files
        self._inner = _accessor(java, roots)
        self.seen: dict[Path, InputFile] = {}
        """Every place that was looked at, as it was when that was done first."""
        self.contents: dict[Path, str] = {}
        """The digest of each file among those."""
        self.taken: dict[Path, None] = {}
        """The files that were taken since this was last emptied, in their order."""
        self._noting: Callable[[], dict[Path, None]] = lambda: self.taken
        self._found: dict[str, Any] | None = None
        for root in self._roots:
            if not root.is_dir():
                self._look(root)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While this lasts, a path is where it was first found: ``seen`` tells if that is wrong."""
        self._found = {}
        try:
            yield
        finally:
            self._found = None

    @contextmanager
    def noting(self, taken: Callable[[], dict[Path, None]]) -> Iterator[None]:
        """Note files where that says, each as it is taken, instead of in ``taken``."""
        before, self._noting = self._noting, taken
        try:
            yield
        finally:
            self._noting = before

    def take(self, path: str) -> None:
        """Take the files at a path, as Java finds them in the roots."""
        relative = _relative(path)
        for root in self._roots:
            if root.is_dir():
                self._look(root / relative)

    def take_at(self, place: Path) -> None:
        """Take the file at a place, if there is one."""
        self._look(Path(os.path.normpath(place)))

    def getAll(self, path: str) -> Any:  # noqa: N802 - Java's name
        """Called by Java: the files at a path."""
        self.take(path)
        if self._found is None:
            return self._inner.getAll(path)
        if path not in self._found:
            self._found[path] = self._inner.getAll(path)
        return self._found[path]

    def search(self, path: str, how: Any) -> Any:
        """Called by Java: the files below a directory."""
        for root in self._roots:
            self._walk(root / _relative(path))
        return self._inner.search(path, how)

    def describeLocations(self) -> Any:  # noqa: N802 - Java's name
        """Called by Java: where files are looked for, for people."""
        return self._inner.describeLocations()

    def close(self) -> None:
        """Called by Java."""

    def toString(self) -> str:  # noqa: N802 - Java's name
        """Called by Java."""
        return ", ".join(map(str, self._roots))

    def hashCode(self) -> int:  # noqa: N802 - Java's name
        """Called by Java."""
        return id(self) & 0x7FFFFFFF

    def equals(self, _other: Any) -> bool:
        """Called by Java."""
        return False

    class Java:
        """What this is to Java."""

        implements = ("liquibase.resource.ResourceAccessor",)

    def _walk(self, directory: Path) -> None:
        for place, _directories, names in os.walk(directory, followlinks=True):
            here = Path(place)
            self.seen.setdefault(here, describe(here, here.stat()))
            for name in names:
                # A listing depends on which files there are; what is in them is read later.
                self.seen.setdefault(here / name, describe(here / name, (here / name).stat()))
        if directory not in self.seen:
            self.seen[directory] = missing(directory)

    def _look(self, place: Path) -> None:
        try:
            if place.is_dir():
                self.seen.setdefault(place, describe(place, place.stat()))
                return
            file, content = self._files.read(place)
        except FileNotFoundError:
            self.seen.setdefault(place, missing(place))
        else:
            # Java may have read what was there before: a change in between must show.
            self.seen.setdefault(place, file)
            self.contents[place] = content
            self._noting()[place] = None


def _relative(path: str) -> str:
    """A path as Liquibase takes it: without scheme and leading slashes, dots resolved."""
    plain = path.replace("\\", "/").removeprefix("classpath*:").removeprefix("classpath:")
    return os.path.normpath(plain.lstrip("/") or ".")


def _accessor(java: jvm.Java, roots: Sequence[Path]) -> Any:
    found = java.list()
    for root in roots:
        kind = "DirectoryResourceAccessor" if root.is_dir() else "ZipResourceAccessor"
        found.add(java(f"liquibase.resource.{kind}")(java("java.io.File")(str(root))))
    return java("liquibase.resource.CompositeResourceAccessor")(found)
