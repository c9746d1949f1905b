"""Overlay mounts through the kernel's own interface. Every call blocks and raises ``OSError``."""

import errno
import os
from contextlib import ExitStack
from pathlib import Path

from pgstrata.statefs import namespaces
from pgstrata.system import faults
from pgstrata.system.libc import LIBC, check

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8

_OPTIONS = (
    # Nothing in a layer may depend on another one's inodes or file handles, so that a store can be
    # moved or copied.
    *("index=off", "metacopy=off", "nfs_export=off", "xino=off"),
    # Without it, a file that is copied up is synced while the server waits. Volumes are synced when
    # they are published; all others are meant to be thrown away.
    "volatile",
)

_NOT_MOUNTED = frozenset({errno.EINVAL, errno.ENOENT, errno.ENOTDIR})
_NOT_PERMITTED = errno.EPERM


def mount_overlay(*, lower: int | Path, upper: Path, work: Path, target: Path) -> None:
    """Mount ``upper`` over ``lower``, a directory or a descriptor of one, on ``target``.

    The directories may be renamed afterwards; they remain part of the mount.
    """
    with ExitStack() as opened:
        layers = {"upperdir": upper, "workdir": work, "lowerdir": lower}
        options = [f"{key}={_short(layer, opened)}" for key, layer in layers.items()]
        options += [*_OPTIONS, *_options_of_user()]
        data = ",".join(options).encode()
        with faults.step("statefs.mount"):
            check(LIBC.mount(b"overlay", os.fsencode(target), b"overlay", 0, data), target)


def unmount(target: Path) -> None:
    """Unmount everything that is mounted on ``target`` itself, even if it is in use.

    Without permission, mounts stay as they are.
    """
    while True:
        try:
            _unmount_one(target)
        except OSError as error:
            if error.errno in _NOT_MOUNTED or error.errno == _NOT_PERMITTED:
                return
            raise


def is_mounted(target: Path) -> bool:
    """Whether something is mounted on a directory, which must be on its parent's file system.

    Raises ``FileNotFoundError``.
    """
    return target.lstat().st_dev != target.parent.lstat().st_dev


def _unmount_one(target: Path) -> None:
    path = os.fsencode(target)
    try:
        with faults.step("statefs.unmount"):
            check(LIBC.umount2(path, _UMOUNT_NOFOLLOW), target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        # Processes that use it keep their open files, but find nothing new.
        check(LIBC.umount2(path, _UMOUNT_NOFOLLOW | _MNT_DETACH), target)


def _short(layer: int | Path, opened: ExitStack) -> str:
    """A short name for a layer, without characters that are special to the kernel.

    All options together must fit into one page.
    """
    if isinstance(layer, Path):
        layer = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, layer)
    return f"/proc/self/fd/{layer}"


def _options_of_user() -> tuple[str, ...]:
    # Only the machine's root may write the attributes that mark a renamed directory.
    return ("redirect_dir=on",) if namespaces.is_first() else ("userxattr",)
