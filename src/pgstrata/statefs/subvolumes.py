"""Btrfs subvolumes through the kernel's own interface.

Request numbers and structures are those of the kernel's ``include/uapi/linux/btrfs.h``
(``struct btrfs_ioctl_vol_args``, ``struct btrfs_ioctl_vol_args_v2``), encoded as in
``include/uapi/asm-generic/ioctl.h``. Every call blocks, and raises ``OSError`` with the kernel's
errno: ``ENOTTY`` on another file system, ``EINVAL`` for a source that is not a subvolume.
"""

import os
import struct
from pathlib import Path

from pgstrata.system.descriptors import opened
from pgstrata.system.libc import ioctl

_MAGIC = 0x94
_READ, _WRITE = 2, 1


def _request(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | _MAGIC << 8 | number


_VOL_ARGS = struct.Struct("=q4088s")  # fd, name
_VOL_ARGS_V2 = struct.Struct("=qQQ32x4040s")  # fd, transid, flags, unused, name
_FLAGS = struct.Struct("=Q")

_SUBVOL_CREATE = _request(_WRITE, 14, _VOL_ARGS.size)
_SNAP_DESTROY = _request(_WRITE, 15, _VOL_ARGS.size)
_START_SYNC = _request(_READ, 24, 8)
_SNAP_CREATE_V2 = _request(_WRITE, 23, _VOL_ARGS_V2.size)
_SUBVOL_GETFLAGS = _request(_READ, 25, _FLAGS.size)
_SUBVOL_SETFLAGS = _request(_WRITE, 26, _FLAGS.size)

_SUBVOL_RDONLY = 1 << 1
_ROOT_INODE = 256  # BTRFS_FIRST_FREE_OBJECTID: the inode number of every subvolume's root


def create(path: Path) -> None:
    """Make an empty subvolume with mode 0777 minus the umask."""
    with opened(path.parent, os.O_DIRECTORY) as parent:
        _ioctl(parent, _SUBVOL_CREATE, _VOL_ARGS.pack(0, _name(path)), path)


def snapshot(source: Path, path: Path, *, read_only: bool) -> None:
    """Make ``path`` a snapshot of the subvolume ``source``.

    Everything written to ``source`` before is then on disk, and so is every earlier change to the
    file system's metadata: a snapshot is taken by committing a transaction.
    """
    flags = _SUBVOL_RDONLY if read_only else 0
    with opened(path.parent, os.O_DIRECTORY) as parent, opened(source, os.O_DIRECTORY) as origin:
        _ioctl(parent, _SNAP_CREATE_V2, _VOL_ARGS_V2.pack(origin, 0, flags, _name(path)), path)


def destroy(parent: int, name: str) -> None:
    """Delete the subvolume ``name`` of an open directory, with its content.

    The kernel frees its space in the background.

    Raises ``OSError``: ``ENOTEMPTY`` if it contains other subvolumes, ``EPERM`` if the file system
    is not mounted with ``user_subvol_rm_allowed`` and the caller is not root.
    """
    _ioctl(parent, _SNAP_DESTROY, _VOL_ARGS.pack(0, os.fsencode(name)), name)


def start_commit(directory: Path) -> None:
    """Start a commit, which the file system does by itself every 30 s. Does not wait."""
    with opened(directory, os.O_DIRECTORY) as descriptor:
        _ioctl(descriptor, _START_SYNC, bytes(8), directory)


def make_writable(root: int) -> None:
    """Make a read-only subvolume, given by a descriptor of it, writable again."""
    (flags,) = _FLAGS.unpack(_ioctl(root, _SUBVOL_GETFLAGS, _FLAGS.pack(0), root))
    if flags & _SUBVOL_RDONLY:
        _ioctl(root, _SUBVOL_SETFLAGS, _FLAGS.pack(flags & ~_SUBVOL_RDONLY), root)


def may_be_subvolume(status: os.stat_result) -> bool:
    """Whether a directory has the inode number of a subvolume's root.

    On another file system a plain directory can have that number too; calls then raise ``ENOTTY``.
    """
    return status.st_ino == _ROOT_INODE


def _name(path: Path) -> bytes:
    return os.fsencode(path.name)


def _ioctl(descriptor: int, request: int, argument: bytes, path: Path | str | int) -> bytes:
    buffer = bytearray(argument)
    ioctl(descriptor, request, buffer, path)
    return bytes(buffer)
