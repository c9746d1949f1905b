"""Makes directory trees from others, without copying their files where possible.

Every call blocks. Trees are given by open directories, as in ``walking``.
"""

import errno
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import PurePath
from typing import NamedTuple

from pgstrata.statefs.copying import copy_entry, copy_metadata
from pgstrata.statefs.merging import Directory, Entry
from pgstrata.system import planted

_NOT_LINKED = frozenset(
    {
        errno.EMLINK,  # a file on ext4 can have at most 65,000 links
        errno.EXDEV,  # another subvolume, made by another backend
    }
)


def link_tree(directory: Directory, target: int) -> None:
    """Make an empty directory the same tree, whose files are shared by hard links."""
    for entry in directory.entries():
        if entry.is_directory:
            os.mkdir(entry.name, 0o700, dir_fd=target)
            with (
                directory.enter(entry) as below,
                planted.open_directory(entry.name, target) as child,
            ):
                link_tree(below, child)
        else:
            _link(entry, target)
    copy_metadata(directory.descriptor, target)


Stamp = tuple[int, int, int, int]
"""What tells whether a file was written to: its inode, size and times."""


def stamp_of(status: os.stat_result) -> Stamp:
    """A file's stamp, which does not tell of writes within a tick of the kernel's clock."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Copied(NamedTuple):
    """A copy that was made earlier of the same tree."""

    root: int
    """The open directory with it."""
    stamps: Mapping[str, Stamp]
    """Of the files that it has copies of, by their paths."""


class LiveCopy:
    """A copy of a tree that others go on writing to, once it is made.

    Files of the lower layer, which nobody writes to, are shared. Those of the upper one are copied,
    unless they are as they were when an earlier copy was made: that one's are shared.
    """

    def __init__(self, target: int, earlier: Copied | None) -> None:
        """``target``: an open, empty directory."""
        self._target = target
        self._earlier = earlier
        self._copied: dict[int, str] = {}
        """The path of each file with several links that was copied, by its inode."""
        self.stamps: dict[str, Stamp] = {}
        """Of all files that are not in the lower layer."""

    def fill(self, directory: Directory) -> None:
        """Copy everything."""
        self._fill(directory, self._target, "")

    def _fill(self, directory: Directory, target: int, prefix: str) -> None:
        for entry in directory.entries():
            path = prefix + entry.name
            if entry.is_directory:
                os.mkdir(entry.name, 0o700, dir_fd=target)
                with (
                    directory.enter(entry) as below,
                    planted.open_directory(entry.name, target) as child,
                ):
                    self._fill(below, child, f"{path}/")
            elif directory.is_in_upper(entry):
                self._copy(entry, target, path)
            else:
                _link(entry, target)
        copy_metadata(directory.descriptor, target)

    def _copy(self, entry: Entry, target: int, path: str) -> None:
        status = entry.status()
        self.stamps[path] = stamp_of(status)
        if self._is_copied(path):
            assert self._earlier is not None
            with suppress(OSError):  # it may have too many links, or be gone
                os.link(
                    path,
                    entry.name,
                    src_dir_fd=self._earlier.root,
                    dst_dir_fd=target,
                    follow_symlinks=False,
                )
                return
        first = self._copied.setdefault(status.st_ino, path) if status.st_nlink > 1 else path
        if first == path:
            copy_entry(entry.name, entry.parent, entry.name, target)
        else:
            os.link(first, entry.name, src_dir_fd=self._target, dst_dir_fd=target)

    def _is_copied(self, path: str) -> bool:
        return self._earlier is not None and self._earlier.stamps.get(path) == self.stamps[path]


def unshare(root: int, names: Sequence[str]) -> None:
    """Give the names of one file their own copy of it, which no other tree shares."""
    with ExitStack() as opened:
        places = []
        for name in names:
            path = PurePath(name)
            directory = opened.enter_context(planted.open_below(root, str(path.parent)))
            places.append((directory, path.name, os.fstat(directory)))
        draft = f".{secrets.token_hex(8)}"
        first, original, _ = places[0]
        copy_entry(original, first, draft, first)
        os.rename(draft, original, src_dir_fd=first, dst_dir_fd=first)
        for directory, name, _ in places[1:]:
            os.link(original, draft, src_dir_fd=first, dst_dir_fd=directory, follow_symlinks=False)
            os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        for directory, _, status in places:
            os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def _link(entry: Entry, target: int) -> None:
    try:
        os.link(
            entry.name,
            entry.name,
            src_dir_fd=entry.parent,
            dst_dir_fd=target,
            follow_symlinks=False,
        )
    except OSError as error:
        if error.errno not in _NOT_LINKED:
            raise
        copy_entry(entry.name, entry.parent, entry.name, target)
