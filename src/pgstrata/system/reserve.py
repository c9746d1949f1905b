"""Room kept in reserve, so that a full store can be emptied: what frees room needs some itself.

It is a file that is given up where an engine could not start, or could not remove anything. What
runs out first on btrfs is the room for metadata, which no file's content takes: there the file has
large attributes as well. Every call blocks.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from pgstrata.system import faults
from pgstrata.system.descriptors import opened
from pgstrata.system.libc import LIBC, check, file_system

_log = logging.getLogger(__name__)

NAME = "reserve"
_DRAFT = ".reserve"

_BYTES = 4 << 20
_BTRFS = 0x9123683E  # BTRFS_SUPER_MAGIC of the kernel's include/uapi/linux/magic.h
_ATTRIBUTES, _ATTRIBUTE_BYTES = 256, 16_000
"""Each fills a node of its trees."""

_PLENTY_BYTES = 16 * _BYTES
"""With less room than that, none is set aside while an engine works."""

_FULL_BYTES = 2 * _BYTES
"""With less room than that, an engine may not be able to start."""


class Reserve:
    """The reserve of one store."""

    def __init__(self, root: Path) -> None:
        """``root``: the store's directory."""
        self._file = root / NAME
        self._draft = root / _DRAFT

    def keep(self, *, whatever_is_left: bool = False) -> None:
        """Set the room aside, unless it is, or there is little.

        ``whatever_is_left``: for the next engine, as much as there is.
        """
        try:
            free = self._free_bytes
            if not self._file.exists() and (whatever_is_left or free >= _PLENTY_BYTES):
                self._make(min(_BYTES, free // 2))
        except OSError as error:
            with suppress(OSError):
                self._draft.unlink()
            _log.warning("no room can be kept in reserve: %s", error)

    def _make(self, size: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with faults.step("reserve.keep"):
            descriptor = os.open(self._draft, flags, 0o600)
            try:
                if size:
                    os.posix_fallocate(descriptor, 0, size)
                if file_system(descriptor) == _BTRFS:
                    with suppress(OSError):  # as many as there is room for
                        for number in range(_ATTRIBUTES):
                            os.setxattr(descriptor, f"user.{number}", bytes(_ATTRIBUTE_BYTES))
            finally:
                os.close(descriptor)
            self._draft.rename(self._file)

    def give_up(self) -> bool:
        """Give the room up, and return once it can be used. False if there is none to give."""
        try:
            with faults.step("reserve.give_up"):
                self._file.unlink()
            with opened(self._file.parent, os.O_DIRECTORY) as directory:
                check(LIBC.syncfs(directory), self._file.parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            _log.warning("the room kept in reserve cannot be given up: %s", error)
            return False
        return True

    @property
    def is_needed(self) -> bool:
        """Whether there is too little room for an engine to start."""
        return self._free_bytes < _FULL_BYTES

    @property
    def _free_bytes(self) -> int:
        disk = os.statvfs(self._file.parent)
        return disk.f_bavail * disk.f_frsize
