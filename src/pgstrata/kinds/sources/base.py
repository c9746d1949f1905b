"""The sources port: the tree of files that a request's paths refer to, wherever it is.

A recipe reads through it, and its steps name the files read by digest (``Input``). Where a step
runs, the same port gives the tool a directory with exactly those contents. Paths are absolute and
POSIX; in a machine's own tree they are the machine's.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from pgstrata.domain.plan import Input
from pgstrata.errors import InputChangedError, InvalidArgumentError

T = TypeVar("T")


class Seen(NamedTuple):
    """A file or directory as it was when it was looked at."""

    input: Input
    stamp: Hashable
    """The adapter's own, and meaningless to other processes: equal only for the same file,
    untouched since, not even changed and changed back."""


class Listing(NamedTuple):
    """A directory as it was when it was listed."""

    seen: Seen
    """Its digest is that of the names."""
    names: tuple[str, ...]
    """Sorted."""


class Sources(Protocol):
    """A tree of files to read from. Its synchronous methods may block: call them in threads."""

    @property
    def local_root(self) -> Path | None:
        """The directory on this machine below which programs find every file at its path (``/`` for
        the machine's own tree); None if files can be read only through this port.
        """

    @property
    def revision(self) -> str | None:
        """The git revision that it is, as it was asked for; None for any other tree."""

    def look(self, path: PurePath) -> Seen:
        """The file at a path, or that there is none.

        Cheap for a file that was looked at before. Raises ``InvalidArgumentError`` if it is not a
        regular file, cannot be read, is locked, or keeps changing.
        """

    def read(self, path: PurePath, make: Callable[[BinaryIO], T]) -> tuple[Seen, T]:
        """The file at a path, and the result of ``make`` for exactly the content of its digest.

        ``make`` gets an open file with a descriptor, and may be called again if the file changes
        meanwhile. Raises ``FileNotFoundError`` if there is none, otherwise like ``look``.
        """

    def list(self, path: PurePath) -> Listing | None:
        """The content of a directory; None if the path is not a directory."""

    def is_directory(self, path: PurePath) -> bool:
        """Whether there is a directory at a path."""

    def real(self, path: PurePath) -> PurePath:
        """The path with symbolic links and then ``..`` resolved: one path for each file."""

    def first_touched(self, seen: Sequence[Seen]) -> Seen | None:
        """The first of these whose stamp differs: it was changed or replaced meanwhile."""

    async def check_unchanged(self, inputs: Sequence[Input]) -> None:
        """Raise ``InputChangedError`` for the first input whose content has changed."""

    def hold(self, inputs: Sequence[Input]) -> AbstractAsyncContextManager["LocalSources"]:
        """A tree on this machine in which a tool finds these contents until the end of the block.

        It has all directories, and at least the files among the inputs; inputs that are recorded as
        missing are missing there. Raises ``InputChangedError`` at its start for an input whose
        content has changed. One that is touched meanwhile is reported at the end, in place of any
        error raised inside: a tool that read a half-written file reports nonsense.
        """


class LocalSources(Sources, Protocol):
    """Sources in a directory of this machine."""

    @property
    def local_root(self) -> Path:
        """As in ``Sources``, and never None."""


def in_place(sources: Sources) -> bool:
    """Whether programs find every file at its original path."""
    return sources.local_root == Path("/")


def local_path(root: Path, path: PurePath) -> Path:
    """Where programs find the file at a path, in a tree with this ``local_root``."""
    return root / str(path).lstrip("/")


def missing(sources: Sources, path: PurePath) -> InvalidArgumentError:
    """The error to raise for a file that is needed and not there."""
    if sources.revision is None:
        return InvalidArgumentError(
            f"{path} does not exist", remedy="correct the path, or create the file"
        )
    return InvalidArgumentError(
        f"{path} does not exist in revision {sources.revision}",
        remedy="correct the path, or name a revision that has the file: it must be committed",
    )


def changed(known: Input, details: str | None = None) -> InputChangedError:
    """The error to raise for an input that has changed."""
    return InputChangedError(
        f"{known.name} changed while its step was prepared",
        remedy="prepare again",
        details=details,
    )
