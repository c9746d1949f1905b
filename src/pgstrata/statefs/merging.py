"""The tree that an overlay mount shows, read from its two layers without mounting them.

The kernel's Documentation/filesystems/overlayfs.rst says how the upper layer marks files of the
lower one as removed, replaced or renamed. The lower layer is a plain tree. Every call blocks.
"""

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_BLOCK_BYTES = 512

PREFIXES = ("trusted.overlay.", "user.overlay.")
"""The prefixes of overlay's own attributes: root's, and other users'."""

_NO_ATTRIBUTE = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM})

Names = tuple[str, ...]
"""The names of one file, relative to the root of its tree."""


class Entry(NamedTuple):
    """One name in a merged directory."""

    name: str
    path: str
    """The path of the file or directory, in the upper layer if that has it."""
    inode: int
    directory: "Directory | None"
    """The directory with this name; None for anything else."""


class Directory:
    """A directory as the mount shows it: in the upper layer, in the lower one, or in both."""

    def __init__(self, *, upper: str | None, lower: str | None, lower_root: str) -> None:
        self._upper = upper
        self._lower = lower
        self._lower_root = lower_root

    @property
    def path(self) -> str:
        """The directory whose owner, mode and times the mount shows."""
        path = self._upper or self._lower
        assert path is not None
        return path

    def entries(self) -> Iterator[Entry]:
        """All its entries, in no particular order."""
        hidden: set[str] = set()
        for entry in _scan(self._upper):
            hidden.add(entry.name)
            if entry.is_dir(follow_symlinks=False):
                yield Entry(entry.name, entry.path, entry.inode(), self._over(entry))
            elif not _is_whiteout(entry):
                yield Entry(entry.name, entry.path, entry.inode(), None)
        for entry in _scan(self._lower):
            if entry.name not in hidden:
                yield Entry(entry.name, entry.path, entry.inode(), self._below(entry))

    def _over(self, entry: "os.DirEntry[str]") -> "Directory":
        lower = self._lower_of(entry)
        if lower is not None and not stat.S_ISDIR(_mode(lower)):
            lower = None
        return Directory(upper=entry.path, lower=lower, lower_root=self._lower_root)

    def _below(self, entry: "os.DirEntry[str]") -> "Directory | None":
        if not entry.is_dir(follow_symlinks=False):
            return None
        return Directory(upper=None, lower=entry.path, lower_root=self._lower_root)

    def _lower_of(self, entry: "os.DirEntry[str]") -> str | None:
        """The directory of the lower layer that one of the upper layer is merged with."""
        if _attribute(entry.path, "opaque") == b"y":
            return None
        moved_from = _attribute(entry.path, "redirect")
        if moved_from is not None and moved_from.startswith(b"/"):
            return self._lower_root + os.fsdecode(moved_from)
        if self._lower is None:
            return None
        name = entry.name if moved_from is None else os.fsdecode(moved_from)
        return f"{self._lower}/{name}"


def merged(*, upper: Path, lower: Path) -> Directory:
    """The root of the tree that ``upper`` mounted over ``lower`` shows."""
    return Directory(upper=str(upper), lower=str(lower), lower_root=str(lower))


def plain(path: Path) -> Directory:
    """The root of a tree that is not an overlay."""
    return Directory(upper=None, lower=str(path), lower_root=str(path))


def hard_links(directory: Directory) -> list[Names]:
    """The files with several links in a tree, each as its names."""
    by_inode: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for name, entry in _files(directory, ""):
        by_inode[entry.inode].append((name, entry.path))
    found: dict[tuple[int, int], list[str]] = defaultdict(list)
    for names in by_inode.values():
        if len(names) > 1:
            for name, path in names:
                status = os.lstat(path)
                found[status.st_dev, status.st_ino].append(name)
    return [tuple(sorted(names)) for names in found.values() if len(names) > 1]


def allocated_bytes(directory: Directory) -> int:
    """Bytes that a tree takes on disk, shared ones included, a file with several links once.

    Files that vanish meanwhile do not count. Raises ``FileNotFoundError`` if the tree is missing.
    """
    os.lstat(directory.path)
    return _BLOCK_BYTES * _blocks(directory, set())


def _blocks(directory: Directory, seen: set[tuple[int, int]]) -> int:
    blocks = 0
    with suppress(FileNotFoundError):
        blocks += os.lstat(directory.path).st_blocks
        for entry in directory.entries():
            if entry.directory is not None:
                blocks += _blocks(entry.directory, seen)
                continue
            with suppress(FileNotFoundError):
                status = os.lstat(entry.path)
                identity = (status.st_dev, status.st_ino)
                if status.st_nlink == 1 or identity not in seen:
                    blocks += status.st_blocks
                    seen.add(identity)
    return blocks


def _files(directory: Directory, prefix: str) -> Iterator[tuple[str, Entry]]:
    for entry in directory.entries():
        if entry.directory is None:
            yield prefix + entry.name, entry
        else:
            yield from _files(entry.directory, f"{prefix}{entry.name}/")


def _scan(directory: str | None) -> Iterator["os.DirEntry[str]"]:
    if directory is not None:
        with suppress(FileNotFoundError), os.scandir(directory) as entries:
            yield from entries


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _is_whiteout(entry: "os.DirEntry[str]") -> bool:
    if entry.is_file(follow_symlinks=False) or entry.is_symlink():
        return False
    status = entry.stat(follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _attribute(path: str, name: str) -> bytes | None:
    for prefix in PREFIXES:
        try:
            return os.getxattr(path, prefix + name, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTE:
                raise
    return None
