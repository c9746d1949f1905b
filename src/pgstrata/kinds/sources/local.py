"""Sources on this machine: its own tree, or a directory that represents one."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePath
from typing import BinaryIO, TypeVar

from pgstrata.domain.identity import digest
from pgstrata.domain.plan import Input
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.sources.base import Listing, LocalSources, Seen, changed, local_path
from pgstrata.kinds.sources.files import (
    ABSENT,
    Files,
    read_once,
    refuse_kernel_files,
    stamp_at,
    stamp_of,
)
from pgstrata.system import watching
from pgstrata.system.descriptors import opened
from pgstrata.system.watching import Watch

T = TypeVar("T")

ROOT = Path("/")
_ATTEMPTS = 5
_FEW = 16
_UNNAMEABLE = "\0"


class LocalTree:
    """A directory of this machine; by default the root, so that paths are the machine's own.

    It remembers the digests of the last ``memo_size`` files by their stamps, so that looking at one
    again does not read it.
    """

    revision: str | None = None

    def __init__(self, root: Path = ROOT, memo_size: int = 16384) -> None:
        self._root = root
        self._digests = Files(sha256, memo_size)

    @property
    def local_root(self) -> Path:
        return self._root

    def look(self, path: PurePath) -> Seen:
        if _UNNAMEABLE in str(path):
            return _absent(path)
        try:
            stamp, sha = self._digests.read(self._at(path))
        except FileNotFoundError:
            return _absent(path)
        return Seen(Input(name=str(path), digest=sha, size=stamp.size), stamp)

    def read(self, path: PurePath, make: Callable[[BinaryIO], T]) -> tuple[Seen, T]:
        for _ in range(_ATTEMPTS):
            seen = self.look(path)
            if seen.input.digest is None:
                raise FileNotFoundError(str(path))
            stamp, made = read_once(self._at(path), make)
            if stamp == seen.stamp:
                return seen, made
        raise InvalidArgumentError(
            f"{path} does not stop changing", remedy="prepare again once it is written"
        )

    def list(self, path: PurePath) -> Listing | None:
        if _UNNAMEABLE in str(path):
            return None
        directory = self._at(path)
        try:
            with opened(directory, os.O_DIRECTORY) as descriptor:
                refuse_kernel_files(descriptor, path)
                stamp = stamp_of(os.fstat(descriptor))
                names = tuple(sorted(os.listdir(descriptor)))  # noqa: PTH208 - of what was opened
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InvalidArgumentError(
                f"{path} cannot be listed: {error.strerror}",
                remedy="let the user that the engine runs as read it",
            ) from error
        return Listing(Seen(Input(name=str(path), digest=digest(names)), stamp), names)

    def is_directory(self, path: PurePath) -> bool:
        try:
            return self._at(path).is_dir()
        except OSError:
            # Access is denied, or its name is too long.
            return False

    def real(self, path: PurePath) -> PurePath:
        return self._at(path).resolve()

    def first_touched(self, seen: Sequence[Seen]) -> Seen | None:
        return next(
            (one for one in seen if stamp_at(self._at(PurePath(one.input.name))) != one.stamp), None
        )

    async def check_unchanged(self, inputs: Sequence[Input]) -> None:
        await asyncio.to_thread(self._verify, inputs)

    @asynccontextmanager
    async def hold(self, inputs: Sequence[Input]) -> AsyncIterator[LocalSources]:
        with watching.watch() as watch:
            # Off the event loop: files that are no longer remembered are read again.
            seen = await asyncio.to_thread(self._follow, inputs, watch)
            keeping_up = asyncio.create_task(watching.keep_up(), name="keep up with inotify")
            try:
                yield self
            except Exception:
                await self._check_untouched(seen, watch)
                raise
            finally:
                keeping_up.cancel()
            await self._check_untouched(seen, watch)

    def _follow(self, inputs: Sequence[Input], watch: Watch) -> tuple[Seen, ...]:
        for one in inputs:
            watch.follow(self._at(PurePath(one.name)))
        return self._verify(inputs)

    def _verify(self, inputs: Sequence[Input]) -> tuple[Seen, ...]:
        return tuple(map(self._verified, inputs))

    def _verified(self, known: Input) -> Seen:
        path = PurePath(known.name)
        try:
            listing = self.list(path)
            seen = self.look(path) if listing is None else listing.seen
        except InvalidArgumentError as error:
            raise changed(known, error.message) from error
        if seen.input != known:
            raise changed(known)
        return seen

    async def _check_untouched(self, seen: Sequence[Seen], watch: Watch) -> None:
        # Checking a few takes less time than handing it to a thread.
        few = len(seen) <= _FEW
        touched = (
            self.first_touched(seen) if few else await asyncio.to_thread(self.first_touched, seen)
        )
        if touched is not None:
            raise changed(touched.input)
        if (name := watch.disturbed()) is not None:
            raise changed(
                next(one.input for one in seen if self._leads_through(one.input, name, watch)),
                f"{name}, on the way to it, was replaced, moved or removed, if only for a moment",
            )

    def _leads_through(self, known: Input, name: Path, watch: Watch) -> bool:
        return watch.leads_through(self._at(PurePath(known.name)), name)

    def _at(self, path: PurePath) -> Path:
        if self._root == ROOT:
            return Path(path)
        # ``..`` at the top of a tree leads to the top.
        return local_path(self._root, PurePath(os.path.normpath(path)))


def sha256(file: BinaryIO) -> str:
    """Hex SHA-256 of a file's content."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _absent(path: PurePath) -> Seen:
    return Seen(Input(name=str(path), digest=None), ABSENT)
