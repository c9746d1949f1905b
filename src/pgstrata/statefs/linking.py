"""Makes directory trees from others, without copying their files where possible.

Every call blocks.
"""

import errno
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pgstrata.statefs import extents
from pgstrata.statefs.merging import PREFIXES, Directory

_NOT_LINKED = frozenset(
    {
        errno.EMLINK,  # a file on ext4 can have at most 65,000 links
        errno.EXDEV,  # another subvolume, made by another backend
    }
)


def link_tree(directory: Directory, target: Path) -> None:
    """Make ``target`` the same tree, with its own directories, and files shared by hard links."""
    target.mkdir(0o700)
    for entry in directory.entries():
        child = target / entry.name
        if entry.directory is None:
            _link(entry.path, child)
        else:
            link_tree(entry.directory, child)
    copy_metadata(directory.path, target)


def unshare(root: Path, names: Sequence[str]) -> None:
    """Give the names of one file their own copy of it, which no other tree shares."""
    paths = [root / name for name in names]
    directories = [(path.parent, path.parent.stat()) for path in paths]
    draft = paths[0].with_name(f".{secrets.token_hex(8)}")
    _copy(str(paths[0]), draft)
    draft.replace(paths[0])
    for path in paths[1:]:
        draft.hardlink_to(paths[0])
        draft.replace(path)
    for directory, status in directories:
        os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def copy_metadata(source: str | Path, target: Path) -> None:
    """Give ``target`` the owner, the mode, the times and the attributes of ``source``."""
    status = os.lstat(source)
    own = os.lstat(target)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        target.chmod(stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        if not name.startswith(PREFIXES):
            value = os.getxattr(source, name, follow_symlinks=False)
            with suppress(PermissionError):
                os.setxattr(target, name, value, follow_symlinks=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _link(source: str, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NOT_LINKED:
            raise
        _copy(source, target)


def _copy(source: str, target: Path) -> None:
    mode = os.lstat(source).st_mode
    if stat.S_ISLNK(mode):
        target.symlink_to(Path(source).readlink())
    elif stat.S_ISREG(mode):
        with Path(source).open("rb") as original, target.open("xb") as copy:
            _copy_content(original.fileno(), copy.fileno())
    else:
        os.mknod(target, mode)
    copy_metadata(source, target)


def _copy_content(source: int, target: int) -> None:
    try:
        extents.share_blocks(source, target)
    except OSError:
        _copy_data(source, target)


def _copy_data(source: int, target: int) -> None:
    """Copy everything except holes."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    begin = _data_after(source, 0)
    while begin is not None:
        end = os.lseek(source, begin, os.SEEK_HOLE)
        while begin < end:
            copied = os.copy_file_range(source, target, end - begin, begin, begin)
            begin += copied
        begin = _data_after(source, end)


def _data_after(file: int, offset: int) -> int | None:
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None
