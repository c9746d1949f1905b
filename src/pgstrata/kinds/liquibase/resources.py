"""Liquibase's access to files, which records every file that is read or found missing.

Liquibase looks files up through one object; this is that object, called from Java. It finds the
same files as Liquibase's own, and looks at each one in the sources before Java does, so that what
is read is known. Java itself reads below the sources' ``local_root``.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from pgstrata.kinds.liquibase import jvm
from pgstrata.kinds.sources.base import Seen, Sources, local_path
from pgstrata.system.watching import Watch


class Recorder:
    """A ``ResourceAccessor`` over directories and archives that records what it is asked for."""

    def __init__(
        self,
        java: jvm.Java,
        roots: Sequence[PurePath],
        sources: Sources,
        local_root: Path,
        watch: Watch,
    ) -> None:
        """``watch`` follows every path that is looked at."""
        self._roots = tuple(roots)
        self._sources = sources
        self._local_root = local_root
        self._watch = watch
        self._inner = _accessor(java, [local_path(local_root, root) for root in roots])
        self.seen: dict[PurePath, Seen] = {}
        """Every path that was looked at, as it was the first time."""
        self.contents: dict[PurePath, str] = {}
        """The digest of each file among those."""
        self.taken: dict[PurePath, None] = {}
        """The files that were read since this was last cleared, in order."""
        self._noting: Callable[[], dict[PurePath, None]] = lambda: self.taken
        self._found: dict[str, Any] | None = None
        for root in self._roots:
            if not self._sources.is_directory(root):
                self._look(root)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Remember where each path is found until the end of the block; ``seen`` shows changes."""
        self._found = {}
        try:
            yield
        finally:
            self._found = None

    @contextmanager
    def noting(self, taken: Callable[[], dict[PurePath, None]]) -> Iterator[None]:
        """Record files in the result of ``taken``, evaluated for each, instead of in ``taken``."""
        before, self._noting = self._noting, taken
        try:
            yield
        finally:
            self._noting = before

    def take(self, path: str) -> None:
        """Record the files at a path, as Java finds them in the roots."""
        relative = _relative(path)
        for root in self._roots:
            if self._sources.is_directory(root):
                self._look(root / relative)

    def take_at(self, path: PurePath) -> None:
        """Record the file at a full path, if there is one."""
        self._look(PurePosixPath(os.path.normpath(path)))

    def getAll(self, path: str) -> Any:  # noqa: N802 - Java's name
        """Called by Java: the files at a path."""
        path = on_class_path(path)
        self.take(path)
        if self._found is None:
            return self._inner.getAll(path)
        if path not in self._found:
            self._found[path] = self._inner.getAll(path)
        return self._found[path]

    def search(self, path: str, how: Any) -> Any:
        """Called by Java: the files below a directory."""
        path = on_class_path(path)
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
        """The Java interface of this class."""

        implements = ("liquibase.resource.ResourceAccessor",)

    def _walk(self, directory: PurePath) -> None:
        self._watch.follow(local_path(self._local_root, directory))
        listing = self._sources.list(directory)
        if listing is None:
            self.seen.setdefault(directory, self._sources.look(directory))
            return
        # A listing depends on the names of files; their content is read later.
        self.seen.setdefault(directory, listing.seen)
        for name in listing.names:
            if self._sources.is_directory(directory / name):
                self._walk(directory / name)

    def _look(self, path: PurePath) -> None:
        self._watch.follow(local_path(self._local_root, path))
        if self._sources.is_directory(path):
            listing = self._sources.list(path)
            if listing is not None:
                self.seen.setdefault(path, listing.seen)
                return
        seen = self._sources.look(path)
        # Java may have read the earlier content: a change in between must show.
        self.seen.setdefault(path, seen)
        if seen.input.digest is not None:
            self.contents[path] = seen.input.digest
            self._noting()[path] = None


def on_class_path(path: str) -> str:
    """A path without ``classpath:``, as Spring resolves it: our class path is the search path."""
    found = re.match(r"classpath\*?:/*", path)
    return path if found is None else path[found.end() :]


def _relative(path: str) -> str:
    """A path as Liquibase reads it: without scheme and leading slashes, dots resolved."""
    plain = on_class_path(path.replace("\\", "/"))
    return os.path.normpath(plain.lstrip("/") or ".")


def _accessor(java: jvm.Java, roots: Sequence[Path]) -> Any:
    found = java.list()
    for root in roots:
        kind = "DirectoryResourceAccessor" if root.is_dir() else "ZipResourceAccessor"
        found.add(java(f"liquibase.resource.{kind}")(java("java.io.File")(str(root))))
    return java("liquibase.resource.CompositeResourceAccessor")(found)
