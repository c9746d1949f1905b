"""Files whose pages are overwritten in place, even on a copy-on-write file system.

SQLite maps its index of the write-ahead log into memory. On btrfs each page that is written then
needs new space, and if a full disk has none, the kernel kills the program (SIGBUS).
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

# FS_IOC_GETFLAGS and FS_IOC_SETFLAGS of the kernel's include/uapi/linux/fs.h: their numbers encode
# the size of a long, but what is passed is an int.
_FLAGS = struct.Struct("=I4x")
_GET_FLAGS = 0x80086601
_SET_FLAGS = 0x40086602
_NO_COPY_ON_WRITE = 0x00800000  # FS_NOCOW_FL

_UNKNOWN = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM})


def make_in_place(path: Path) -> None:
    """Make an empty private file without copy-on-write, unless the file exists.

    On a file system without that attribute it is an ordinary file. Blocks.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        flags = bytearray(_FLAGS.size)
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        (value,) = _FLAGS.unpack(flags)
        if not value & _NO_COPY_ON_WRITE:
            fcntl.ioctl(descriptor, _SET_FLAGS, _FLAGS.pack(value | _NO_COPY_ON_WRITE))
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    finally:
        os.close(descriptor)
