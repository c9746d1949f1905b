"""The sources port: the tree of files that a request's paths are about, wherever it is.

A recipe reads through it, and its steps name what was read by digest (``Input``). Where a step
runs, the same port gives the tool a directory with just those contents. Paths are absolute and
POSIX; on a machine's own tree they are the machine's.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from pgstrata.domain.plan import Input
from pgstrata.errors import InputChangedError

T = TypeVar("T")


class Seen(NamedTuple):
    """Something as it was when it was looked at."""

    input: Input
    stamp: Hashable
    """The adapter's own, and not for other processes: the same only for the same file, untouched
    since, not even changed and changed back."""


class Listing(NamedTuple):
    """A directory as it was when it was listed."""

    seen: Seen
    """Its digest is over the names."""
    names: tuple[str, ...]
    """Sorted."""


class Sources(Protocol):
    """A tree of files to read from. What takes no ``await`` may block: it is for threads."""

    @property
    def local_root(self) -> Path | None:
        """The directory on this machine below which programs find every file at its path (``/`` for
        the machine's own tree); None where all must be read through this port.
        """

    def look(self, path: PurePath) -> Seen:
        """The file at a path, or that there is none.

        Cheap for a file that was looked at before. Raises ``InvalidArgumentError`` when it is not a
        regular file, cannot be read, is locked, or does not stop changing.
        """

    def read(self, path: PurePath, make: Callable[[BinaryIO], T]) -> tuple[Seen, T]:
        """The file at a path, and what ``make`` makes of the very content that its digest is of.

        ``make`` gets an open file with a descriptor, and may be called again when the file changes
        meanwhile. Raises ``FileNotFoundError`` when there is none, otherwise as ``look`` does.
        """

    def list(self, path: PurePath) -> Listing | None:
        """What is in a directory; None when the path is none."""

    def is_directory(self, path: PurePath) -> bool:
        """Whether there is a directory at a path."""

    def real(self, path: PurePath) -> PurePath:
        """The path with symbolic links followed, and then ``..`` taken out: one for one file."""

    def first_touched(self, seen: Sequence[Seen]) -> Seen | None:
        """The first of these that is not what it was or was changed meanwhile, by its stamp."""

    async def check_unchanged(self, inputs: Sequence[Input]) -> None:
        """Raise ``InputChangedError``, naming it, if one has another content by now."""

    def hold(self, inputs: Sequence[Input]) -> AbstractAsyncContextManager["LocalSources"]:
        """A tree on this machine in which, while this lasts, a tool finds just these contents.

        All directories are there, of the files at least the inputs; what is missing among the
        inputs is missing there. Raises ``InputChangedError`` at its start for an input that has
        another content by now. One that is touched meanwhile is reported at the end, in place of
        whatever was raised inside: a tool that stumbled over a half-written file reports nonsense.
        """


class LocalSources(Sources, Protocol):
    """Sources that lie in a directory of this machine."""

    @property
    def local_root(self) -> Path:
        """As ``Sources`` has it, and always there."""


def in_place(sources: Sources) -> bool:
    """Whether programs find every file at its own path."""
    return sources.local_root == Path("/")


def local_path(root: Path, path: PurePath) -> Path:
    """Where programs find what is at a path of a tree with this ``local_root``."""
    return root / str(path).lstrip("/")


def changed(known: Input, details: str | None = None) -> InputChangedError:
    """The error to raise for an input that is not what it was."""
    return InputChangedError(
        f"{known.name} changed while its step was prepared",
        remedy="prepare again",
        details=details,
    )
