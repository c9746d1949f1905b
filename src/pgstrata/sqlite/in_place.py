"""Files whose pages are written where they are, on a file system that would copy them.

SQLite maps its index of the write-ahead log into memory. On btrfs each page that is written needs
new room then, and where a full disk has none the kernel kills the program (SIGBUS).
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

# FS_IOC_GETFLAGS and FS_IOC_SETFLAGS of the kernel's include/uapi/linux/fs.h: their numbers speak
# of a long, what is passed is an int.
_FLAGS = struct.Struct("=I4x")
_GET_FLAGS = 0x80086601
_SET_FLAGS = 0x40086602
_NO_COPY_ON_WRITE = 0x00800000  # FS_NOCOW_FL

_UNKNOWN = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM})


def make_in_place(path: Path) -> None:
    """Make an empty file, ours alone, that is never copied on write; one there is left as it is.

    Where the file system does not know of that, it is a file like any other. Blocks.
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
