"""Room kept in reserve, so that a full store can be emptied: what frees room needs some itself.

It is a file that is given up where an engine could not start, or could not remove anything. What
runs out first on btrfs is the room for metadata, which no file's content takes: there the file has
large attributes as well. Where only so many files can be, empty ones are kept beside it. Every call
blocks.
"""

import logging
import math
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from pgstrata.errors import DiskFullError
from pgstrata.system import faults
from pgstrata.system.descriptors import opened
from pgstrata.system.libc import LIBC, check, file_system

_log = logging.getLogger(__name__)

NAME = "reserve"
FILES = "reserve-files"
_DRAFT = ".reserve"
_DRAFT_FILES = ".reserve-files"

_BYTES = 4 << 20
_BTRFS = 0x9123683E  # BTRFS_SUPER_MAGIC of the kernel's include/uapi/linux/magic.h
_ATTRIBUTES, _ATTRIBUTE_BYTES = 256, 16_000
"""Each fills a node of its trees."""

_FILES = 512
"""An engine that starts makes up to a few hundred, to see what the disk can do."""

_PLENTY_BYTES, _PLENTY_FILES = 16 * _BYTES, 16 * _FILES
"""With less room than that, none is set aside while an engine works."""

_FULL_BYTES = 2 * _BYTES
"""With less room than that, an engine may not be able to start."""

_TRIED_BYTES = 1 << 20


class Reserve:
    """The reserve of one store."""

    def __init__(self, root: Path) -> None:
        """``root``: the store's directory."""
        self._root = root
        self._file = root / NAME
        self._files = root / FILES
        self._draft = root / _DRAFT
        self._draft_files = root / _DRAFT_FILES

    def keep(self, *, whatever_is_left: bool = False) -> None:
        """Set the room aside, unless it is, or there is little.

        ``whatever_is_left``: for the next engine, as much as there is.
        """
        try:
            free_bytes, free_files = _free_in(self._root)
            if whatever_is_left or (free_bytes >= _PLENTY_BYTES and free_files >= _PLENTY_FILES):
                if not self._files.exists() and free_files < math.inf:
                    self._make_files()
                if not self._file.exists():
                    self._make(min(_BYTES, free_bytes // 2))
        except OSError as error:
            with suppress(OSError):
                self._draft.unlink()
            _log.warning("no room can be kept in reserve: %s", error)

    def _make_files(self) -> None:
        with faults.step("reserve.keep"):
            self._draft_files.mkdir(0o700, exist_ok=True)
            with suppress(OSError):  # as many as there is room for
                for number in range(_FILES):
                    (self._draft_files / str(number)).touch(0o600)
            self._draft_files.rename(self._files)

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
        if not (self._file.exists() or self._files.exists()):
            return False
        try:
            with faults.step("reserve.give_up"):
                self._file.unlink(missing_ok=True)
                shutil.rmtree(self._files, ignore_errors=True)
            with opened(self._root, os.O_DIRECTORY) as directory:
                check(LIBC.syncfs(directory), self._root)
        except OSError as error:
            _log.warning("the room kept in reserve cannot be given up: %s", error)
            return False
        return True

    @property
    def is_needed(self) -> bool:
        """Whether there is too little room for an engine to start."""
        return is_full(self._root)


def is_full(directory: Path) -> bool:
    """Whether there is next to no room for files in a directory, for whatever reason."""
    free_bytes, free_files = _free_in(directory)
    if free_bytes < _FULL_BYTES or free_files < _FILES:
        return True
    try:
        # What a quota leaves is not told.
        with tempfile.TemporaryFile(dir=directory) as file:
            os.posix_fallocate(file.fileno(), 0, _TRIED_BYTES)
    except OSError as error:
        return error.errno in DiskFullError.ERRNOS
    return False


def _free_in(directory: Path) -> tuple[int, float]:
    """The bytes and the files that there is room for; files may be as many as bytes allow."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize, disk.f_favail if disk.f_files else math.inf
