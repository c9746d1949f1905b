"""The tree that an overlay mount shows, read from its two layers without mounting them.

The kernel's Documentation/filesystems/overlayfs.rst says how the upper layer marks files of the
lower one as removed, replaced or renamed. The lower layer is a plain tree. Every call blocks.
"""

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pgstrata.statefs import namespaces
from pgstrata.system import planted, walking
from pgstrata.system.planted import PlantedFileError

_NO_ATTRIBUTE = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM})

Names = tuple[str, ...]
"""The names of one file, relative to the root of its tree."""


class Entry(NamedTuple):
    """One name in a merged directory."""

    name: str
    parent: int
    """The open directory that it is in: of the upper layer, if that has it."""
    is_directory: bool

    def status(self) -> os.stat_result:
        """What it stands for now. Raises ``FileNotFoundError``."""
        return os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)


class _Tree(NamedTuple):
    """What is the same for all directories of a tree."""

    lower_root: int
    attributes: str
    """The prefix of overlay's own attributes."""


class Directory:
    """An open directory as the mount shows it: in the upper layer, in the lower one, or in both."""

    def __init__(self, tree: _Tree, *, upper: int | None, lower: int | None, depth: int) -> None:
        walking.check_depth(depth)
        self._tree = tree
        self._upper = upper
        self._lower = lower
        self._depth = depth

    @property
    def descriptor(self) -> int:
        """The directory whose owner, mode and times the mount shows."""
        descriptor = self._lower if self._upper is None else self._upper
        assert descriptor is not None
        return descriptor

    def is_in_upper(self, entry: Entry) -> bool:
        """Whether an entry of this directory is in the upper layer, which the mount writes to."""
        return entry.parent == self._upper

    def entries(self) -> Iterator[Entry]:
        """All its entries, in no particular order."""
        hidden: set[str] = set()
        for layer in (self._upper, self._lower):
            if layer is None:
                continue
            for found in walking.listing(layer):
                if found.name in hidden:
                    continue
                if layer == self._upper:
                    hidden.add(found.name)
                    if _is_whiteout(found):
                        continue
                is_directory = found.is_dir(follow_symlinks=False)
                yield Entry(found.name, layer, is_directory)

    def growth(self) -> int:
        """Bytes that it takes beyond the directory of the lower layer that it is merged with.

        A file with several links counts with each. Files that vanish meanwhile do not count.
        """
        assert self._upper is not None
        size = walking.allocated(os.fstat(self._upper))
        if self._lower is not None:
            size -= walking.allocated(os.fstat(self._lower))
        for found in walking.listing(self._upper):
            with suppress(FileNotFoundError):
                if found.is_dir(follow_symlinks=False):
                    size += self._growth_of_directory(found.name)
                else:
                    own = (
                        0
                        if _is_whiteout(found)
                        else walking.allocated(found.stat(follow_symlinks=False))
                    )
                    size += own - self._taken_below(found.name)
        return size

    def _growth_of_directory(self, name: str) -> int:
        with ExitStack() as opened:
            child = opened.enter_context(planted.open_directory(name, self._upper))
            below = self._lower_of(child, name, opened)
            size = self._child(upper=child, lower=below).growth()
            if below is not None and self._is_below(name, below):
                return size
            moved = 0 if below is None else _taken_by(below)
            return size + moved - self._taken_below(name)

    def _is_below(self, name: str, directory: int) -> bool:
        """Whether a directory is the one of this name in the lower layer."""
        if self._lower is None:
            return False
        try:
            status = os.stat(name, dir_fd=self._lower, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(status, os.fstat(directory))

    def _taken_below(self, name: str) -> int:
        """Bytes that something in the lower layer takes, with all that is in it."""
        if self._lower is None:
            return 0
        try:
            status = os.stat(name, dir_fd=self._lower, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                return walking.allocated(status)
            with planted.open_directory(name, self._lower) as directory:
                return _taken_by(directory)
        except FileNotFoundError:
            return 0

    @contextmanager
    def enter(self, entry: Entry) -> Iterator["Directory"]:
        """Open a directory of this one's entries. Raises ``FileNotFoundError``.

        ``PlantedFileError`` if it is none any more.
        """
        with ExitStack() as opened:
            child = opened.enter_context(planted.open_directory(entry.name, entry.parent))
            if entry.parent == self._upper:
                below = self._lower_of(child, entry.name, opened)
                yield self._child(upper=child, lower=below)
            else:
                yield self._child(upper=None, lower=child)

    def _child(self, *, upper: int | None, lower: int | None) -> "Directory":
        return Directory(self._tree, upper=upper, lower=lower, depth=self._depth + 1)

    def _lower_of(self, directory: int, name: str, opened: ExitStack) -> int | None:
        """The directory of the lower layer that one of the upper layer is merged with."""
        if self._attribute(directory, "opaque") == b"y":
            return None
        start, moved_from = self._lower, self._attribute(directory, "redirect")
        if moved_from is not None:
            name = os.fsdecode(moved_from)
            if name.startswith("/"):
                start = self._tree.lower_root
        if start is None:
            return None
        with suppress(FileNotFoundError, PlantedFileError):
            return opened.enter_context(planted.open_below(start, name.lstrip("/")))
        return None

    def _attribute(self, directory: int, name: str) -> bytes | None:
        try:
            return os.getxattr(directory, self._tree.attributes + name)
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTE:
                raise
            return None


@contextmanager
def merged(*, upper: Path, lower: Path) -> Iterator[Directory]:
    """The root of the tree that ``upper`` mounted over ``lower`` shows."""
    # A server can give its files user's attributes, and only the kernel gives them root's. So for
    # root those of a user mean nothing.
    attributes = "trusted.overlay." if namespaces.is_first() else "user.overlay."
    with planted.open_directory(upper) as above, planted.open_directory(lower) as below:
        yield Directory(_Tree(below, attributes), upper=above, lower=below, depth=0)


@contextmanager
def plain(path: Path) -> Iterator[Directory]:
    """The root of a tree that is not an overlay."""
    with planted.open_directory(path) as directory:
        yield Directory(_Tree(directory, ""), upper=None, lower=directory, depth=0)


def hard_links(path: Path) -> list[Names]:
    """The files with several links in a tree that is not an overlay, each as its names."""
    names = defaultdict(list)
    for found in walking.everything_in(path):
        status = found.status
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            names[status.st_dev, status.st_ino].append(found.path)
    return [tuple(sorted(each)) for each in names.values() if len(each) > 1]


def allocated_bytes(directory: Directory) -> int:
    """Bytes that a tree takes on disk, shared ones included, a file with several links once.

    Files that vanish meanwhile do not count.
    """
    return _allocated_below(directory, set())


def _allocated_below(directory: Directory, seen: set[tuple[int, int]]) -> int:
    size = walking.allocated(os.fstat(directory.descriptor))
    for entry in directory.entries():
        with suppress(FileNotFoundError):
            if entry.is_directory:
                with directory.enter(entry) as below:
                    size += _allocated_below(below, seen)
                continue
            status = entry.status()
            identity = (status.st_dev, status.st_ino)
            if status.st_nlink == 1 or identity not in seen:
                size += walking.allocated(status)
                seen.add(identity)
    return size


def _taken_by(directory: int) -> int:
    everything = (walking.allocated(found.status) for found in walking.below(directory))
    return walking.allocated(os.fstat(directory)) + sum(everything)


def _is_whiteout(entry: "os.DirEntry[str]") -> bool:
    if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
        return False
    status = entry.stat(follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
