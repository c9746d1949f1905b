"""Chooses a store's snapshot backend by trying: the only module that knows the backends by name.

Each is taken through a state's life on a small tree, and timed. A store keeps the backend its
states were made with, so that one slow moment does not change it.
"""

import errno
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from msgspec.structs import replace

from pgstrata.domain.model import Model
from pgstrata.errors import (
    BackendUnavailableError,
    InvalidArgumentError,
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
"""Every backend, in order of preference; a later one is used only if it is clearly faster."""

_NEEDS: dict[BackendName, str] = {
    "btrfs": "put the store on a btrfs file system",
    "overlay": "put the store on ext4, XFS or btrfs, and run the engine as root or where every "
    "user may create user namespaces",
    "reflink": "put the store on XFS, btrfs or another file system with reflinks",
    "copy": "put the store on another file system",
}

_UNSUPPORTED = frozenset(
    {
        errno.ENOTTY,  # the file system does not know the request
        errno.EOPNOTSUPP,
        errno.EINVAL,  # FICLONE's, if files cannot share blocks
        errno.EXDEV,
        errno.ENOSYS,
        errno.EPERM,  # not root, or a sandbox that denies the request to every user
    }
)
"""The errnos that mean that a backend cannot work here; any other is a problem of the store."""


_RECORD = "snapshot-backend"
"""The store's file that says which backend its states were made with."""

_SMALL_FILES = 32
_SMALL_BYTES = 8 << 10
_LARGE_BYTES = 1 << 20
_CLONES = 2
"""How often a clone is timed; the faster one counts."""
_SECOND_LOOKS = 5
"""How often the preferred backend is tried again before a faster one replaces it."""
_CLEARLY_FASTER = 10
"""How many times faster a backend must be than an earlier one to replace it: what the probe does
not show is worth some milliseconds. A btrfs snapshot costs the same whatever its size, and the
server may stay up; overlay needs a hard link for each file it publishes, and stops and starts the
server at each step."""


class Detection(Model, frozen=True, kw_only=True):
    """The backend that a store gets, and why."""

    name: BackendName
    why: str
    """A line with the result for each backend that was tried, and one for the choice."""


class Trial(Model, frozen=True, kw_only=True):
    """The result of trying a backend."""

    name: BackendName
    shares_data: bool
    defect: str | None = None
    """Why it does not work; None if it does."""
    seconds: float = 0.0
    """The time from cloning to the end of the first writes."""

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.defect is not None:
            return f"{self.name}: {self.defect}"
        data = "shares its data" if self.shares_data else "copies all data"
        return f"{self.name}: cloning the probe takes {self.seconds * 1000:.1f} ms and {data}"


def backend(name: BackendName) -> StateFS:
    """The backend with this name."""
    return _BACKENDS[name]()


async def detect(store: Path, wanted: str = AUTO) -> Detection:
    """Choose the backend for the directory ``store`` by trying backends there.

    ``auto`` keeps the store's backend if it works, and otherwise takes the fastest of those that
    share data; any other ``wanted`` is that backend or none. Raises ``InvalidArgumentError`` for an
    unknown name, ``BackendUnavailableError`` if the backend asked for does not work here,
    ``StoreUnusableError`` if none does.
    """
    if wanted != AUTO:
        return await _by_name(store, wanted)
    recorded = _recorded(store)
    tried = [] if recorded is None else [await _try(recorded, store)]
    if tried and tried[0].defect is None:
        return _detection(tried, tried[0], "the states of this store were made with it")
    for name in _BACKENDS:
        # One that copies is never used if one that shares works, so it need not be timed.
        if name != recorded and (_BACKENDS[name].shares_data or not _working(tried)):
            tried.append(await _try(name, store))
    working = _working(tried)
    if not working:
        raise StoreUnusableError(
            f"no snapshot backend works in {store}: {'; '.join(trial.summary for trial in tried)}",
            remedy="put the store on another file system",
        )
    return _detection(tried, *await settle(working, partial(_try, store=store)))


def enter_namespace(store: Path, wanted: str = AUTO) -> str:
    """Let a process that is not root mount, if the ``wanted`` backend may need that.

    To be called while the process has only one thread. If the system does not allow it, nothing
    changes, and trying the backend will fail. Blocks. Returns how it may mount now, for people.
    """
    if not namespaces.needed():
        return "none: this root lacks CAP_SYS_ADMIN" if lacking("CAP_SYS_ADMIN") else "by root"
    mounting = OverlayStateFS.name
    try:
        if namespaces.join(store):
            return "in the user namespace of the running servers"
        if wanted != mounting and (wanted != AUTO or _recorded(store) not in (None, mounting)):
            return "none: the snapshot backend needs none"
        namespaces.make()
    except OSError as error:
        return f"none: this user may not create user namespaces ({error.strerror})"
    return "in the engine's own user namespace"


def remember(store: Path, name: BackendName) -> None:
    """Record the backend that a store's states are made with from now on. Blocks."""
    if _recorded(store) != name:
        draft = store / f".{_RECORD}.{os.getpid()}"
        draft.write_text(f"{name}\n")
        draft.replace(store / _RECORD)


def choose(working: Sequence[Trial]) -> tuple[Trial, str]:
    """Which of the working backends, in their order, to use, and why."""
    sharing = [trial for trial in working if trial.shares_data]
    best, *others = sharing or working
    for other in others:
        if other.seconds * _CLEARLY_FASTER < best.seconds:
            best = other
    if not sharing:
        return best, "no backend can share data here"
    if len(sharing) == 1:
        return best, "no other backend can share data here"
    if best is sharing[0]:
        return best, "no other backend that shares data is clearly faster"
    return best, "it shares data and is clearly faster"


async def settle(
    working: Sequence[Trial], again: Callable[[BackendName], Awaitable[Trial]]
) -> tuple[Trial, str]:
    """The same, once the preferred one was tried again wherever another seems clearly faster.

    On a busy machine any one may be slow for a moment; one that is slow each time is passed by.
    """
    for _ in range(_SECOND_LOOKS):
        chosen, _why = choose(working)
        slow = next((trial for trial in working if trial.shares_data), chosen)
        if chosen is slow:
            break
        look = await again(slow.name)
        faster = replace(slow, seconds=min(slow.seconds, look.seconds))
        working = [faster if trial is slow else trial for trial in working]
    return choose(working)


def _working(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.defect is None]


def _detection(tried: Sequence[Trial], chosen: Trial, reason: str) -> Detection:
    lines = [*(trial.summary for trial in tried), f"{chosen.name} is used: {reason}"]
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
        return None  # if something is wrong with the store, trying will report it


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
        raise StoreUnusableError(
            f"the store {store} cannot be used: {error.strerror}",
            remedy="make sure the directory exists, is writable and has free space, or choose "
            "another",
        ) from error
    return replace(trial, defect=defect, seconds=seconds)


def _unsupported(number: int) -> str:
    where = "to this user" if number == errno.EPERM else "on this file system"
    return f"not possible {where} ({os.strerror(number)})"


async def _life(statefs: StateFS, scratch: Path) -> tuple[str | None, float]:
    """Take a backend through a state's life.

    Returns its defect, if any, and the seconds that a clone took.
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
    """Make a few files like those of a cluster, one of them large."""
    (data / "large").write_bytes(b"o" * _LARGE_BYTES)
    for number in range(_SMALL_FILES):
        (data / f"small-{number}").write_bytes(b"o" * _SMALL_BYTES)


def _write_first(data: Path) -> None:
    """Write a byte to each of a few files, like the first writes of a server."""
    for name in ("large", "small-0", "small-1", "small-2"):
        with (data / name).open("r+b") as file:
            file.write(b"c")


def _head(data: Path) -> bytes:
    with (data / "large").open("rb") as file:
        return file.read(1)
