"""How well this system can keep programs in cells: found by starting one, not from versions."""

import os
import select
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal, NamedTuple

from pgstrata.errors import ProgramError
from pgstrata.system.cell import kernel, landlock, plan, seccomp
from pgstrata.system.cell.spawning import Ended, Spawner, Started, ended

Level = Literal["off", "partial", "basic", "strict"]

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"),
    *("/etc/ld.so.cache", "/etc/alternatives"),
)
"""What programs and their libraries are in, and nothing secret."""

_NAMESPACES = kernel.NEW_MOUNTS | kernel.NEW_IPC | kernel.NEW_PIDS

_SECONDS = 30.0


class Means(NamedTuple):
    """What this system has to keep a program in a cell."""

    namespaces: int = 0
    """Those that a cell may have of its own: mounts, IPC and PIDs, or none of them."""
    network: bool = False
    """Whether a cell may have a network of its own as well."""
    landlock: int = 0
    """The version of Landlock; 0 for none."""
    filter: bool = False
    """Whether system calls can be filtered."""
    asks: bool = False
    """Whether we can be asked about some of them, in a cell with mounts of its own."""
    apart: bool = False
    """Whether every server gets a network of its own, and not only those that build states."""
    missing: tuple[str, ...] = ()
    """Why something of this is missing, for people."""

    @property
    def level(self) -> Level:
        """``basic`` if nothing of it is missing that any of the attacks needs, ``strict`` if some
        of it stands behind more."""
        if self.namespaces and self.landlock >= landlock.TCP and self.filter:
            return "strict" if self.apart else "basic"
        return "partial" if self.namespaces or self.landlock or self.filter else "off"

    @property
    def is_whole(self) -> bool:
        """Whether the level is ``basic`` or better."""
        return self.level in ("basic", "strict")


def probe(spawner: Spawner, ids: tuple[int, int] | None) -> Means:
    """Find out by starting a program as the user that servers run as. Blocks for milliseconds."""
    missing = []
    namespaces, network = 0, False
    for users in _users():
        failure = _try(spawner, ids, _NAMESPACES | users)
        if failure is None:
            namespaces = _NAMESPACES | users
            failure = _try(spawner, ids, namespaces | kernel.NEW_NETWORK)
            network = failure is None
            if failure:
                missing.append(f"a network namespace: {failure}")
            break
    else:
        missing.append(f"namespaces: {failure}")
    version = kernel.landlock_version()
    if version and (failure := _try(spawner, ids, files=plan.Files(read=("/",), execute=("/",)))):
        version = 0
        missing.append(f"Landlock: {failure}")
    elif version < landlock.TCP:
        missing.append(
            "Landlock: the kernel has none"
            if version == 0
            else "Landlock: the kernel's cannot restrict TCP"
        )
    filters = seccomp.is_known()
    if not filters:
        missing.append(f"a filter of system calls: there is none for {kernel.MACHINE}")
    elif failure := _try(spawner, ids, filtered=True):
        filters = False
        missing.append(f"a filter of system calls: {failure}")
    asks = bool(namespaces) and filters
    if asks and (failure := _try(spawner, ids, namespaces, filtered=True, kept="/tmp/x")):  # noqa: S108
        asks = False
        missing.append(f"tablespaces: {failure}")
    return Means(namespaces, network, version, filters, asks, missing=tuple(missing))


def open_attacks(means: Means) -> tuple[str, ...]:
    """What a server can do to others in spite of its cell, if its users attack."""
    return tuple(_open(means))


def _open(means: Means) -> Iterator[str]:
    if not means.namespaces:
        yield "read what every user of the machine may read, where Landlock does not forbid it"
        yield "connect to Unix sockets of others, and change the modes of files of its user"
        yield "use shared memory and semaphores of its user"
        yield "list the processes of others, and see their command lines"
        yield "leave processes behind when it is stopped"
        if means.landlock < landlock.SCOPES:
            yield "signal and trace the processes of its user, neighbours among them"
    if means.landlock < landlock.TCP:
        yield "connect to TCP ports of this machine and of others"
    if means.landlock < landlock.SCOPES and not means.apart:
        yield "connect to abstract Unix sockets of others"
    if not means.landlock:
        yield "run the programs of this machine"
    if not means.filter:
        yield "use kernel interfaces that have had holes: io_uring, bpf, user namespaces"
        yield "send datagrams (UDP)"
    elif not means.apart:
        yield "send datagrams (UDP), if its PostgreSQL is 14 or older"


def _users() -> tuple[int, ...]:
    """The user namespaces to try: root can do without."""
    return (kernel.NEW_USERS, 0) if os.geteuid() == 0 else (kernel.NEW_USERS,)


def _try(
    spawner: Spawner,
    ids: tuple[int, int] | None,
    namespaces: int = 0,
    *,
    files: plan.Files | None = None,
    filtered: bool = False,
    kept: str | None = None,
) -> str | None:
    """Start a program that does nothing; why that failed, or None."""
    cell = plan.Cell(
        argv=("/bin/sh", "-c", ":"),
        env={},
        cwd="/",
        ids=ids,
        namespaces=namespaces,
        shown=tuple((path, path) for path in SYSTEM),
        files=files,
        filter=seccomp.program(datagrams=False, directories="asked" if kept else "allowed")
        if filtered
        else None,
        kept=kept,
    )
    try:
        how = wait(spawner.start(cell, stdin=None, stdout=None, stderr=None))
    except ProgramError as error:
        return error.message
    return how.failure or (
        f"a program ends with exit code {how.exit_code}" if how.exit_code else None
    )


def wait(started: Started) -> Ended:
    """Wait for the end of a program that ends at once. Blocks."""
    report = b""
    try:
        while select.select([started.report], (), (), _SECONDS)[0]:
            piece = os.read(started.report, 4096)
            if not piece:
                break
            report += piece
    finally:
        with suppress(OSError):
            os.close(started.report)
        os.close(started.pidfd)
    return ended(report)
