"""Copies trees that others may be changing, file by file.

``cp`` goes by paths, which lead elsewhere as soon as a directory is swapped for a symbolic link.
Every call blocks, and may be stopped from another thread.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from pgstrata.statefs import extents
from pgstrata.system import planted, walking

OVERLAY_ATTRIBUTES = ("trusted.overlay.", "user.overlay.")
"""The prefixes of the attributes that are overlay's own: root's, and other users'."""

Sharing = Literal["always", "if possible", "never"]
"""Whether a copy shares its blocks with the original."""

Check = Callable[[], None]
"""Called again and again; raises when copying is to stop."""

_AT_ONCE = 64 << 20
"""How many bytes are copied between two checks."""


class TreeCopy:
    """The copy of one tree, in which hard links are links to each other again."""

    def __init__(self, target: int, sharing: Sharing, check: Check) -> None:
        """``target``: an open, empty directory that nobody else may enter yet."""
        self._target = target
        self._sharing: Sharing = sharing
        self._check = check
        self._linked: dict[tuple[int, int], str] = {}

    def fill(self, source: int) -> None:
        """Copy everything in the open directory ``source``, and what is known of it itself."""
        self._fill(source, self._target, "", 0)

    def _fill(self, source: int, target: int, prefix: str, depth: int) -> None:
        walking.check_depth(depth)
        for entry in walking.listing(source):
            self._check()
            with suppress(FileNotFoundError):
                if not entry.is_dir(follow_symlinks=False):
                    self._copy(entry, source, target, prefix + entry.name)
                    continue
                with planted.open_directory(entry.name, source) as child:
                    os.mkdir(entry.name, 0o700, dir_fd=target)
                    with planted.open_directory(entry.name, target) as copy:
                        self._fill(child, copy, f"{prefix}{entry.name}/", depth + 1)
        copy_metadata(source, target)

    def _copy(self, entry: "os.DirEntry[str]", source: int, target: int, path: str) -> None:
        status = entry.stat(follow_symlinks=False)
        if status.st_nlink > 1:
            first = self._linked.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                os.link(first, entry.name, src_dir_fd=self._target, dst_dir_fd=target)
                return
        copy_entry(entry.name, source, entry.name, target, self._sharing, self._check)


def copy_entry(
    name: str,
    source: int,
    copy: str,
    target: int,
    sharing: Sharing = "if possible",
    check: Check = lambda: None,
) -> None:
    """Copy a file or a link from one open directory to another, where it is called ``copy``.

    Raises ``PlantedFileError`` for anything else, which PostgreSQL never has in a cluster.
    """
    mode = os.stat(name, dir_fd=source, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=source), copy, dir_fd=target)
        _copy_link_metadata(name, source, copy, target)
    else:
        with planted.open_file(name, source) as (original, status):
            descriptor = os.open(copy, _NEW, 0o600, dir_fd=target)
            try:
                _copy_content(original, descriptor, status, sharing, check)
                copy_metadata(original, descriptor)
            finally:
                os.close(descriptor)


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_metadata(source: int, target: int) -> None:
    """Give an open file or directory the owner, mode, times and attributes of another."""
    status, own = os.fstat(source), os.fstat(target)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if not name.startswith(OVERLAY_ATTRIBUTES):
            with suppress(PermissionError):
                os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_link_metadata(name: str, source: int, copy: str, target: int) -> None:
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    own = os.stat(copy, dir_fd=target, follow_symlinks=False)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.chown(copy, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(copy, ns=times, dir_fd=target, follow_symlinks=False)


def _copy_content(
    source: int, target: int, status: os.stat_result, sharing: Sharing, check: Check
) -> None:
    if not status.st_size:
        return
    if sharing != "never":
        try:
            extents.share_blocks(source, target)
        except OSError:
            if sharing == "always":
                raise
        else:
            return
    if walking.allocated(status) < status.st_size:
        _copy_all_but_holes(source, target, status.st_size, check)
    else:
        _copy_range(source, target, 0, status.st_size, check)


def _copy_all_but_holes(source: int, target: int, size: int, check: Check) -> None:
    os.ftruncate(target, size)
    begin = _data_after(source, 0)
    while begin is not None and begin < size:
        end = min(os.lseek(source, begin, os.SEEK_HOLE), size)
        _copy_range(source, target, begin, end, check)
        begin = _data_after(source, end)


def _copy_range(source: int, target: int, begin: int, end: int, check: Check) -> None:
    """Copy bytes, up to the end of a file that is shorter by now. The kernel shares no blocks."""
    os.lseek(target, begin, os.SEEK_SET)
    while begin < end:
        copied = os.sendfile(target, source, begin, min(end - begin, _AT_ONCE))
        if not copied:
            return
        begin += copied
        check()


def _data_after(file: int, offset: int) -> int | None:
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None
