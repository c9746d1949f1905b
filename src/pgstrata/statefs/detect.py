"""Choosing the snapshot backend of a store, by trying: the one module that knows them by name.

Each is taken through a state's life on a small tree, and the time is taken. A store keeps the
backend its states were made with, so that one slow moment does not change it.
"""

import errno
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from msgspec.structs import replace

from pgstrata.domain.model import Model
from pgstrata.errors import (
    BackendUnavailableError,
    InvalidArgumentError,
    ProgramError,
    StoreUnusableError,
)
from pgstrata.statefs import namespaces, trees
from pgstrata.statefs.base import DATA, StateFS
from pgstrata.statefs.btrfs import BtrfsStateFS
from pgstrata.statefs.copy import CopyStateFS
from pgstrata.statefs.directories import DirectoryStateFS
from pgstrata.statefs.layers import LEFTOVER_PREFIX
from pgstrata.statefs.overlay import OverlayStateFS
from pgstrata.statefs.reflink import ReflinkStateFS
from pgstrata.statefs.threads import in_thread
from pgstrata.system.capabilities import lacking

BackendName = Literal["btrfs", "overlay", "reflink", "copy"]
AUTO = "auto"

_BACKENDS: dict[BackendName, type[DirectoryStateFS]] = {
    "btrfs": BtrfsStateFS,
    "overlay": OverlayStateFS,
    "reflink": ReflinkStateFS,
    "copy": CopyStateFS,
}
"""Every backend; one must be clearly faster to be taken in place of an earlier one."""

_NEEDS: dict[BackendName, str] = {
    "btrfs": "put the store on a btrfs file system",
    "overlay": "put the store on ext4, XFS or btrfs, and run the engine as root or where everybody "
    "may make user namespaces",
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
        errno.EPERM,  # not root, or a sandbox that lets the request through to no one
    }
)
"""The errnos that mean that a backend cannot work here; any other is trouble with the store."""


_RECORD = "snapshot-backend"
"""The store's file that says which backend its states were made with."""

_SMALL_FILES = 32
_SMALL_BYTES = 8 << 10
_LARGE_BYTES = 1 << 20
_CLONES = 2
"""How often a clone is timed; the faster one counts."""
_CLEARLY = 10
"""How many times faster a backend must be to be taken in place of an earlier one: what the probe
does not show is worth some milliseconds. A btrfs snapshot costs the same whatever it holds and may
be taken of a server that stays up; what overlay publishes costs a hard link for each file, and each
step a stop and a start."""


class Detection(Model, frozen=True, kw_only=True):
    """The backend that a store gets, and why."""

    name: BackendName
    why: str
    """One line for each backend that was tried, saying what came of it, and one for the choice."""


class Trial(Model, frozen=True, kw_only=True):
    """What came of trying a backend."""

    name: BackendName
    shares_data: bool
    defect: str | None = None
    """Why it does not work; None when it does."""
    seconds: float = 0.0
    """What a clone takes until something was written to it."""

    @property
    def told(self) -> str:
        """For people, in a line."""
        if self.defect is not None:
            return f"{self.name}: {self.defect}"
        data = "shares its data" if self.shares_data else "copies all data"
        return f"{self.name}: cloning the probe takes {self.seconds * 1000:.1f} ms and {data}"


def backend(name: BackendName) -> StateFS:
    """The backend of this name."""
    return _BACKENDS[name]()


async def detect(store: Path, wanted: str = AUTO) -> Detection:
    """Choose the backend for the directory ``store`` by doing there what a backend does.

    ``auto`` keeps the store's own if it works, and otherwise takes the fastest of those that share
    their data; any other ``wanted`` is that one or none. Raises ``InvalidArgumentError`` for a name
    that is not known, ``BackendUnavailableError`` when the backend asked for does not work here,
    ``StoreUnusableError`` when nothing can be kept here.
    """
    if wanted != AUTO:
        return await _by_name(store, wanted)
    recorded = _recorded(store)
    tried = [] if recorded is None else [await _try(recorded, store)]
    if tried and tried[0].defect is None:
        return _detection(tried, tried[0], "the states of this store were made with it")
    for name in _BACKENDS:
        # One that copies is never taken where one that shares works, so its time tells nothing.
        if name != recorded and (_BACKENDS[name].shares_data or not _working(tried)):
            tried.append(await _try(name, store))
    working = _working(tried)
    if not working:
        raise StoreUnusableError(
            f"no snapshot backend works in {store}: {'; '.join(trial.told for trial in tried)}",
            remedy="put the store on another file system",
        )
    return _detection(tried, *choose(working))


def enter_namespace(store: Path, wanted: str = AUTO) -> str:
    """Let a process that is not root mount, if the backend that is ``wanted`` may need that.

    To be called while it has one thread only. Where the system does not allow it, nothing changes:
    trying the backend will tell. Blocks. Returns what holds then, for people.
    """
    if not namespaces.needed():
        return "none: this root lacks CAP_SYS_ADMIN" if lacking("CAP_SYS_ADMIN") else "by root"
    mounting = OverlayStateFS.name
    try:
        if namespaces.join(store):
            return "in the user namespace of the servers that run"
        if wanted != mounting and (wanted != AUTO or _recorded(store) not in (None, mounting)):
            return "none: the snapshot backend needs none"
        namespaces.make()
    except OSError as error:
        return f"none: this user may not make user namespaces ({error.strerror})"
    return "in a user namespace of the engine's own"


def remember(store: Path, name: BackendName) -> None:
    """Note which backend the states of a store are made with from now on. Blocks."""
    if _recorded(store) != name:
        draft = store / f".{_RECORD}.{os.getpid()}"
        draft.write_text(f"{name}\n")
        draft.replace(store / _RECORD)


def choose(working: Sequence[Trial]) -> tuple[Trial, str]:
    """Which of the backends that work to take, in their order, and why."""
    sharing = [trial for trial in working if trial.shares_data]
    best, *others = sharing or working
    for other in others:
        if other.seconds * _CLEARLY < best.seconds:
            best = other
    if not sharing:
        return best, "nothing here shares its data"
    if len(sharing) == 1:
        return best, "nothing else here shares its data"
    if best is sharing[0]:
        return best, "of those that share their data, none is clearly faster"
    return best, "it shares its data and is clearly faster"


def _working(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.defect is None]


def _detection(tried: Sequence[Trial], chosen: Trial, reason: str) -> Detection:
    lines = [*(trial.told for trial in tried), f"{chosen.name} is used: {reason}"]
    return Detection(name=chosen.name, why="\n".join(lines))


async def _by_name(store: Path, wanted: str) -> Detection:
    name = _known(wanted)
    if name is None:
        raise InvalidArgumentError(
            f"there is no snapshot backend {wanted!r}",
            remedy=f"use one of: {', '.join((AUTO, *get_args(BackendName)))}",
        )
    trial = await _try(name, store)
    if trial.defect is not None:
        raise BackendUnavailableError(
            f"the snapshot backend {name} does not work in {store}: {trial.defect}",
            remedy=f"{_NEEDS[name]}, or set the snapshot backend to {AUTO}",
        )
    return _detection([trial], trial, "it was requested by name")


def _known(text: str) -> BackendName | None:
    return next((name for name in _BACKENDS if name == text), None)


def _recorded(store: Path) -> BackendName | None:
    try:
        return _known((store / _RECORD).read_text(errors="replace").strip())
    except OSError:
        return None  # whatever is wrong with the store, trying will tell


async def _try(name: BackendName, store: Path) -> Trial:
    """Try a backend in a store. Leaves nothing behind."""
    statefs = _BACKENDS[name](durable=False)
    trial = Trial(name=name, shares_data=statefs.shares_data)
    scratch = store / f"{LEFTOVER_PREFIX}probe-{secrets.token_hex(8)}"
    try:
        await in_thread(scratch.mkdir)
        try:
            defect, seconds = await _life(statefs, scratch)
        finally:
            await in_thread(trees.delete, scratch)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return replace(trial, defect=_unsupported(error.errno))
        raise _unusable(store, str(error.strerror), None) from error
    except ProgramError as error:
        raise _unusable(store, error.message, error.details) from error
    return replace(trial, defect=defect, seconds=seconds)


def _unsupported(number: int) -> str:
    where = "to this user" if number == errno.EPERM else "on this file system"
    return f"not possible {where} ({os.strerror(number)})"


def _unusable(store: Path, reason: str, details: str | None) -> StoreUnusableError:
    return StoreUnusableError(
        f"the store {store} cannot be used: {reason}",
        remedy="make sure the directory exists, is writable and has free space, or choose another",
        details=details,
    )


async def _life(statefs: StateFS, scratch: Path) -> tuple[str | None, float]:
    """Take a backend through a state's life.

    What is wrong with the outcome, if anything, and the seconds that a clone took.
    """
    original, parent, state = (scratch / name for name in ("original", "parent", "state"))
    await statefs.create(original)
    await in_thread(_fill, original / DATA)
    await statefs.publish(original, parent, b"marker")
    clones = [scratch / f"clone-{number}" for number in range(_CLONES)]
    seconds = min([await _timed_clone(statefs, parent, clone) for clone in clones])
    await statefs.publish(clones[0], state, b"marker")
    heads = [await in_thread(_head, volume / DATA) for volume in (parent, state)]
    if heads != [b"o", b"c"]:
        return "a clone and its source are not independent of each other", seconds
    if await statefs.marker(state) != b"marker":
        return "a published state is incomplete", seconds
    for volume in (parent, state, *clones):
        await statefs.remove(volume)
    left = await statefs.volumes(scratch)
    return (f"{left[0].name} cannot be removed" if left else None), seconds


async def _timed_clone(statefs: StateFS, source: Path, volume: Path) -> float:
    started = time.perf_counter()
    await statefs.clone(source, volume)
    await in_thread(_write_first, volume / DATA)
    return time.perf_counter() - started


def _fill(data: Path) -> None:
    """Make a few of the files that a cluster has, one of them large."""
    (data / "large").write_bytes(b"o" * _LARGE_BYTES)
    for number in range(_SMALL_FILES):
        (data / f"small-{number}").write_bytes(b"o" * _SMALL_BYTES)


def _write_first(data: Path) -> None:
    """Write as little as can be to a few files, as a server does first."""
    for name in ("large", "small-0", "small-1", "small-2"):
        with (data / name).open("r+b") as file:
            file.write(b"c")


def _head(data: Path) -> bytes:
    with (data / "large").open("rb") as file:
        return file.read(1)
