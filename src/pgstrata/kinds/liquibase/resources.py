"""Liquibase's way to files, which notes every one it takes, and every one it finds missing.

Liquibase looks files up through one object; this is that object, called from Java. It finds what
Liquibase's own would find, and looks at each file in the sources before Java does, so that what is
read is known. Java itself reads below the sources' ``local_root``.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from pgstrata.kinds.liquibase import jvm
from pgstrata.kinds.sources.base import Seen, Sources, local_path


class Recorder:
    """A ``ResourceAccessor`` over directories and archives that keeps what was asked of it."""

    def __init__(
        self, java: jvm.Java, roots: Sequence[PurePath], sources: Sources, local_root: Path
    ) -> None:
        self._roots = tuple(roots)
        self._sources = sources
        self._inner = _accessor(java, [local_path(local_root, root) for root in roots])
        self.seen: dict[PurePath, Seen] = {}
        """Every place that was looked at, as it was when that was done first."""
        self.contents: dict[PurePath, str] = {}
        """The digest of each file among those."""
        self.taken: dict[PurePath, None] = {}
        """The files that were taken since this was last emptied, in their order."""
        self._noting: Callable[[], dict[PurePath, None]] = lambda: self.taken
        self._found: dict[str, Any] | None = None
        for root in self._roots:
            if not self._sources.is_directory(root):
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
    def noting(self, taken: Callable[[], dict[PurePath, None]]) -> Iterator[None]:
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
            if self._sources.is_directory(root):
                self._look(root / relative)

    def take_at(self, place: PurePath) -> None:
        """Take the file at a place, if there is one."""
        self._look(PurePosixPath(os.path.normpath(place)))

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

    def _walk(self, directory: PurePath) -> None:
        listing = self._sources.list(directory)
        if listing is None:
            self.seen.setdefault(directory, self._sources.look(directory))
            return
        # A listing depends on which files there are; what is in them is read later.
        self.seen.setdefault(directory, listing.seen)
        for name in listing.names:
            if self._sources.is_directory(directory / name):
                self._walk(directory / name)

    def _look(self, place: PurePath) -> None:
        if self._sources.is_directory(place):
            listing = self._sources.list(place)
            if listing is not None:
                self.seen.setdefault(place, listing.seen)
                return
        seen = self._sources.look(place)
        # Java may have read what was there before: a change in between must show.
        self.seen.setdefault(place, seen)
        if seen.input.digest is not None:
            self.contents[place] = seen.input.digest
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
