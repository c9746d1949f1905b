"""Blocks that files share: how many of a file's bytes are shared, and how to share all of them.

``struct fiemap`` and ``struct fiemap_extent`` are those of the kernel's
``include/uapi/linux/fiemap.h``. Every call blocks.
"""

import errno
import fcntl
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

from pgstrata.statefs import trees
from pgstrata.statefs.base import Usage
from pgstrata.system import planted, walking
from pgstrata.system.libc import ioctl
from pgstrata.system.planted import PlantedFileError
from pgstrata.system.walking import Found

LOOKING_SECONDS = 2.0
"""How long a volume is examined before the rest of it counts as exclusive."""

_FICLONE = 0x40049409  # _IOW(0x94, 9, int) in the kernel's include/uapi/linux/fs.h
_FIEMAP = 0xC020660B  # FS_IOC_FIEMAP, _IOWR('f', 11, struct fiemap)
_HEAD = struct.Struct("=QQIIII")  # start, length, flags, mapped extents, extent count, reserved
_EXTENT = struct.Struct("=QQQ16xI12x")  # logical, physical, length, flags
_EXTENTS_AT_ONCE = 512
_TO_THE_END = (1 << 64) - 1
_SYNC = 0x0001
_LAST = 0x0001
_SHARED = 0x2000

_UNKNOWN = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


def can_share(directory: Path) -> bool:
    """Whether files in a directory can share blocks, found out by doing it."""
    with TemporaryFile(dir=directory) as one, TemporaryFile(dir=directory) as other:
        one.write(bytes(4096))
        one.flush()
        try:
            share_blocks(one.fileno(), other.fileno())
        except OSError:
            return False
    return True


def usage(volume: Path, changed_since: float | None = None) -> Usage:
    """The exclusive and shared bytes of a volume. Raises ``FileNotFoundError``.

    Files whose inode did not change since ``changed_since`` (seconds since the epoch) count as
    shared without being examined, which takes a hundredth of the time if only a few changed.
    """
    return measure(trees.everything_in(volume), changed_since)


def measure(files: Iterable[Found], changed_since: float | None) -> Usage:
    """The bytes of these files; otherwise like ``usage``."""
    deadline = time.monotonic() + LOOKING_SECONDS
    everything = shared = 0
    for found in files:
        status = found.status
        held = walking.allocated(status)
        everything += held
        if not held or not stat.S_ISREG(status.st_mode):
            continue
        if changed_since is not None and status.st_ctime < changed_since:
            shared += held
        elif time.monotonic() < deadline:
            shared += min(shared_bytes(found.name, found.parent), held)
    return Usage(exclusive_bytes=everything - shared, shared_bytes=shared)


def shared_bytes(name: str, directory: int) -> int:
    """How many bytes of a file are shared with others; none if the file system does not say.

    None, either, if it is no longer the file in the open ``directory`` that it was.
    """
    try:
        with planted.open_file(name, directory) as (descriptor, _):
            return sum(length for length, flags in _extents(descriptor) if flags & _SHARED)
    except (FileNotFoundError, PlantedFileError):
        return 0
    except OSError as error:
        if error.errno in _UNKNOWN:
            return 0
        raise


def share_blocks(source: int, target: int) -> None:
    """Make an open file share all blocks of another. Raises the kernel's ``OSError``."""
    fcntl.ioctl(target, _FICLONE, source)


def _extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Length and flags of a file's extents, in order.

    To the file system, blocks that were overwritten but not written out yet are still shared, so
    the file is written out first. It is about to be made durable anyway.
    """
    start = 0
    while True:
        answer = bytearray(_HEAD.size + _EXTENTS_AT_ONCE * _EXTENT.size)
        _HEAD.pack_into(answer, 0, start, _TO_THE_END - start, _SYNC, 0, _EXTENTS_AT_ONCE, 0)
        ioctl(descriptor, _FIEMAP, answer)
        count = _HEAD.unpack_from(answer)[3]
        for number in range(count):
            logical, _, length, flags = _EXTENT.unpack_from(
                answer, _HEAD.size + number * _EXTENT.size
            )
            yield length, flags
            start = logical + length
            if flags & _LAST:
                return
        if count == 0:
            return
