"""Choosing the snapshot backend of a store, by trying: the one place that knows them by name."""

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from pgstrata.domain.model import Model
from pgstrata.errors import (
    BackendUnavailableError,
    InvalidArgumentError,
    ProgramError,
    StoreUnusableError,
)
from pgstrata.statefs import trees
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.statefs.btrfs import BtrfsStateFS
from pgstrata.statefs.copy import CopyStateFS
from pgstrata.statefs.places import LEFTOVER_PREFIX
from pgstrata.statefs.reflink import ReflinkStateFS
from pgstrata.statefs.threads import in_thread

BackendName = Literal["btrfs", "reflink", "copy"]
AUTO = "auto"

_BACKENDS: dict[BackendName, Callable[[], StateFS]] = {
    "btrfs": BtrfsStateFS,
    "reflink": ReflinkStateFS,
    "copy": CopyStateFS,
}
"""Every backend, the fastest first."""

_NEEDS: dict[BackendName, str] = {
    "btrfs": "put the store on a btrfs file system",
    "reflink": "put the store on XFS, btrfs or another file system with reflinks",
    "copy": "install GNU cp",
}

_UNSUPPORTED = frozenset(
    {
        errno.ENOTTY,  # the file system does not know the request
        errno.EOPNOTSUPP,
        errno.EINVAL,  # what FICLONE says where files cannot share blocks
        errno.EXDEV,
        errno.ENOSYS,
        errno.EPERM,  # a sandbox that lets the request through to no one
    }
)
"""The errnos that mean that a backend cannot work here; any other is trouble with the store."""


class Detection(Model, frozen=True, kw_only=True):
    """The backend that a store gets, and why."""

    name: BackendName
    why: str
    """One line for each backend that was tried, in order, saying what came of it."""


def backend(name: BackendName) -> StateFS:
    """The backend of this name."""
    return _BACKENDS[name]()


async def detect(store: Path, wanted: str = AUTO) -> Detection:
    """Choose the backend for the directory ``store`` by doing there what a backend does.

    ``auto`` takes the fastest that works, any other ``wanted`` that one or none. Raises
    ``InvalidArgumentError`` for a name that is not known, ``BackendUnavailableError`` when the
    backend asked for does not work here, ``StoreUnusableError`` when nothing can be kept here.
    """
    tried: list[str] = []
    for name in _candidates(wanted):
        reason = await _reason_against(name, store)
        if reason is None:
            return Detection(name=name, why="\n".join((*tried, f"{name}: works")))
        tried.append(f"{name}: {reason}")
        if wanted == name:
            raise BackendUnavailableError(
                f"the snapshot backend {name} does not work in {store}: {reason}",
                remedy=f"{_NEEDS[name]}, or set the snapshot backend to {AUTO}",
            )
    raise StoreUnusableError(
        f"no snapshot backend works in {store}: {'; '.join(tried)}",
        remedy="put the store on another file system",
    )


def _candidates(wanted: str) -> tuple[BackendName, ...]:
    if wanted == AUTO:
        return tuple(_BACKENDS)
    for name in _BACKENDS:
        if name == wanted:
            return (name,)
    raise InvalidArgumentError(
        f"there is no snapshot backend {wanted!r}",
        remedy=f"use one of: {', '.join((AUTO, *get_args(BackendName)))}",
    )


async def _reason_against(name: BackendName, store: Path) -> str | None:
    """Why a backend does not work in a store; None when it does. Leaves nothing behind."""
    scratch = store / f"{LEFTOVER_PREFIX}probe-{secrets.token_hex(8)}"
    try:
        await in_thread(scratch.mkdir)
        try:
            return await _defect(backend(name), scratch)
        finally:
            await in_thread(trees.delete, scratch)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return f"not possible on this file system ({os.strerror(error.errno)})"
        raise _unusable(store, str(error.strerror), None) from error
    except ProgramError as error:
        raise _unusable(store, error.message, error.details) from error


def _unusable(store: Path, reason: str, details: str | None) -> StoreUnusableError:
    return StoreUnusableError(
        f"the store {store} cannot be used: {reason}",
        remedy="see that the directory exists, is writable and has room, or choose another",
        details=details,
    )


async def _defect(statefs: StateFS, scratch: Path) -> str | None:
    """Take a backend through a state's life and say what is wrong with the outcome, if anything."""
    original, clone, state = (scratch / name for name in ("original", "clone", "state"))
    await statefs.create(original)
    await in_thread((original / DATA / "file").write_bytes, b"original")
    await statefs.clone(original, clone)
    await in_thread((clone / DATA / "file").write_bytes, b"clone")
    await statefs.publish(clone, state, b"marker")
    kept = [await in_thread((place / DATA / "file").read_bytes) for place in (original, state)]
    if kept != [b"original", b"clone"]:
        return "a clone and its source are not independent of each other"
    if await statefs.marker(state) != b"marker":
        return "a published state is not whole"
    for place in (original, state):
        await statefs.remove(place)
    left = await statefs.places(scratch)
    return f"{left[0].name} cannot be removed" if left else None
