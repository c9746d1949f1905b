"""Sources in memory, as for files sent from elsewhere; tools get them in a directory."""

import hashlib
import os
import posixpath
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePath, PurePosixPath
from typing import BinaryIO, NamedTuple, TypeVar

from pgstrata.domain.identity import digest
from pgstrata.domain.plan import Input
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.sources.base import Listing, LocalSources, Seen, changed, local_path
from pgstrata.kinds.sources.local import LocalTree

T = TypeVar("T")


class _Blob(NamedTuple):
    content: bytes
    digest: str
    version: int
    """The number of the change to the tree that it came with."""


class MemorySources:
    """A tree of files in memory, which its owner may change at any time."""

    local_root: Path | None = None
    revision: str | None = None

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self._lock = threading.Lock()
        self._blobs: dict[PurePath, _Blob] = {}
        self._version = 0
        for name, content in (files or {}).items():
            self.write(name, content)

    def write(self, name: str, content: bytes) -> None:
        """Put a file at an absolute path."""
        with self._lock:
            self._version += 1
            sha = hashlib.sha256(content).hexdigest()
            self._blobs[_normal(PurePosixPath(name))] = _Blob(content, sha, self._version)

    def remove(self, name: str) -> None:
        """Remove a file. Raises ``KeyError`` if there is none."""
        with self._lock:
            self._version += 1
            del self._blobs[_normal(PurePosixPath(name))]

    def look(self, path: PurePath) -> Seen:
        return self._looked(path)[0]

    def read(self, path: PurePath, make: Callable[[BinaryIO], T]) -> tuple[Seen, T]:
        seen, blob = self._looked(path)
        if blob is None:
            raise FileNotFoundError(str(path))
        # A real file, since its reader may need a descriptor.
        with tempfile.TemporaryFile() as file:
            file.write(blob.content)
            file.seek(0)
            return seen, make(file)

    def list(self, path: PurePath) -> Listing | None:
        above = _normal(path)
        with self._lock:
            below = [one.relative_to(above) for one in self._blobs if above in one.parents]
            version = self._version
        if not below:
            return None
        names = tuple(sorted({one.parts[0] for one in below}))
        seen = Seen(Input(name=str(path), digest=digest(names)), (str(above), version))
        return Listing(seen, names)

    def is_directory(self, path: PurePath) -> bool:
        return self.list(path) is not None

    def real(self, path: PurePath) -> PurePath:
        return _normal(path)

    def first_touched(self, seen: Sequence[Seen]) -> Seen | None:
        return next((one for one in seen if self._now(one.input).stamp != one.stamp), None)

    async def check_unchanged(self, inputs: Sequence[Input]) -> None:
        for one in inputs:
            if self._now(one).input != one:
                raise changed(one)

    @asynccontextmanager
    async def hold(self, inputs: Sequence[Input]) -> AsyncIterator[LocalSources]:
        await self.check_unchanged(inputs)
        seen = [self._now(one) for one in inputs]
        with tempfile.TemporaryDirectory(prefix="pgstrata-sources-") as directory:
            self._materialise(Path(directory), inputs)
            try:
                yield LocalTree(Path(directory))
            except Exception:
                self._check_untouched(seen)
                raise
            self._check_untouched(seen)

    def _materialise(self, root: Path, inputs: Sequence[Input]) -> None:
        wanted = {_normal(PurePosixPath(one.name)) for one in inputs}
        with self._lock:
            blobs = dict(self._blobs)
        for path, blob in blobs.items():
            file = local_path(root, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            if path in wanted:
                file.write_bytes(blob.content)

    def _check_untouched(self, seen: Sequence[Seen]) -> None:
        if touched := self.first_touched(seen):
            raise changed(touched.input)

    def _looked(self, path: PurePath) -> tuple[Seen, _Blob | None]:
        normal = _normal(path)
        with self._lock:
            blob = self._blobs.get(normal)
        if blob is not None:
            found = Input(name=str(path), digest=blob.digest, size=len(blob.content))
            return Seen(found, (str(normal), blob.version)), blob
        if self.is_directory(path):
            raise InvalidArgumentError(
                f"{path} is not a regular file", remedy="name a file that can be read twice"
            )
        return Seen(Input(name=str(path), digest=None), (str(normal), None)), None

    def _now(self, known: Input) -> Seen:
        path = PurePosixPath(known.name)
        listing = self.list(path)
        return self.look(path) if listing is None else listing.seen


def _normal(path: PurePath) -> PurePath:
    return PurePosixPath("/", posixpath.normpath(os.fspath(path)).lstrip("/"))
