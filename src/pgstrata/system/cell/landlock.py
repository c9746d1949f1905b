"""Landlock: what a program may do with files, TCP and processes, whoever it runs as."""

import os
import struct

from pgstrata.system.cell import kernel

# include/uapi/linux/landlock.h: LANDLOCK_ACCESS_FS_…, by the version that introduced them.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_FIRST, _REFER, _TRUNCATE, _IOCTL_DEVICE = (1 << 13) - 1, 1 << 13, 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_BIND, _CONNECT = 1 << 0, 1 << 1  # LANDLOCK_ACCESS_NET_…
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1  # LANDLOCK_SCOPE_…

_BENEATH, _PORT = 1, 2  # LANDLOCK_RULE_…

FILES, TCP, SCOPES = 1, 4, 6
"""Which version of the interface introduced what."""


class Rules:
    """A set of rules in the making. Whatever it does not allow is forbidden."""

    def __init__(self, *, tcp: bool) -> None:
        """``tcp``: whether they are about TCP, too. Raises ``OSError`` without Landlock."""
        version = kernel.landlock_version()
        self._files = _FIRST
        for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE)):
            self._files |= right if version >= since else 0
        self._tcp = _BIND | _CONNECT if tcp and version >= TCP else 0
        scopes = _ABSTRACT_SOCKETS | _SIGNALS if version >= SCOPES else 0
        size = 8 if version < TCP else 16 if version < SCOPES else 24
        self._rules = kernel.landlock_create(
            struct.pack("QQQ", self._files, self._tcp, scopes)[:size]
        )

    def read(self, paths: tuple[str, ...]) -> None:
        """Allow reading files and directories; what is missing is passed over."""
        self._allow(paths, _READ_FILE | _READ_DIR)

    def execute(self, paths: tuple[str, ...]) -> None:
        """Allow running programs."""
        self._allow(paths, _EXECUTE | _READ_FILE | _READ_DIR)

    def write(self, paths: tuple[str, ...]) -> None:
        """Allow everything with files but running them."""
        self._allow(paths, self._files & ~_EXECUTE)

    def ports(self, *, connect: tuple[int, ...], listen: tuple[int, ...]) -> None:
        """Allow TCP to and on these ports, where the kernel can tell."""
        if self._tcp:
            for right, ports in ((_CONNECT, connect), (_BIND, listen)):
                for port in ports:
                    kernel.landlock_add(self._rules, _PORT, struct.pack("QQ", right, port))

    def obey(self) -> None:
        """Be bound by the rules from now on. Needs ``kernel.no_new_privileges``."""
        kernel.landlock_restrict(self._rules)
        os.close(self._rules)

    def _allow(self, paths: tuple[str, ...], rights: int) -> None:
        for path in paths:
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                allowed = rights if kernel.is_directory(descriptor) else rights & _ON_FILES
                rule = struct.pack("=Qi", allowed & self._files, descriptor)
                kernel.landlock_add(self._rules, _BENEATH, rule)
            finally:
                os.close(descriptor)
