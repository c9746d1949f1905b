"""What a cell is to be like: data that the engine decides on and the spawner carries out."""

import marshal
from typing import NamedTuple

from pgstrata.system.cell import kernel


class Files(NamedTuple):
    """What a program may do with files where Landlock is to keep it. All paths are the cell's."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    tcp: bool = False
    """Whether it is kept from TCP ports but these."""
    connect: tuple[int, ...] = ()
    """TCP ports that it may connect to."""
    listen: tuple[int, ...] = ()
    """TCP ports that it may listen on."""


class Cell(NamedTuple):
    """A program, and what it is kept from."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    ids: tuple[int, int] | None = None
    """The user and group it runs as, without any other group; None for our own."""
    namespaces: int = 0
    """Which it gets of its own (``kernel.NEW_…``)."""
    shown: tuple[tuple[str, str], ...] = ()
    """With mounts of its own: what it sees of the system, read-only, each with its path there."""
    told: tuple[tuple[str, str], ...] = ()
    """With a root of its own: the same, of what is this cell's alone."""
    own: tuple[tuple[str, str], ...] = ()
    """The same, to write to."""
    hidden: tuple[str, ...] | None = None
    """If given, it has the system's root instead of one of its own, with these directories replaced
    by empty ones; ``shown`` and ``own`` can be below them."""
    read_only: bool = False
    """With the system's root: whether it can write to nothing but ``own``."""
    capabilities: tuple[int, ...] | None = None
    """The only ones it may have, if it runs as root; None for all."""
    kept: str | None = None
    """With a root of its own: a directory, perhaps yet to be made, in one of ``own``. A directory
    that the program is about to use at any path (``placing``) is made there, if it is missing.
    The ``filter`` says when to ask."""
    processes: bool = True
    """With a root of its own: whether it sees ``/proc``, which tells where its files are."""
    texts: tuple[tuple[str, str], ...] = ()
    """Small files that it sees: path and content."""
    files: Files | None = None
    """Rules for Landlock; None for none."""
    filter: bytes | None = None
    """The filter of its system calls (``seccomp.program``); None for none."""
    let_in: int | None = None
    """With a network of its own: a TCP port of our loopback interface. Whoever connects to it is
    led to the same port of the cell's, by a process beside the program."""
    let_in_filter: bytes | None = None
    """The filter of that one's system calls."""
    most_processes: int | None = None
    """How many processes and threads there may be, which takes a user namespace; None for any."""
    temporary: int | None = None
    """How many bytes files outside of its own may hold, in memory; None for half of the memory."""
    one_of_many: bool = False
    """Whether others with the same root of their own are likely to follow: the spawner then makes
    the next one ready in advance."""
    init: bool = False
    """Whether the program gets a parent inside, which passes SIGTERM on to all processes of the
    cell. Without, the program itself is the first process of its PID namespace, and has to be able
    to."""

    @property
    def is_first(self) -> bool:
        """Whether the program is the first process of a PID namespace: what it calls 1."""
        return bool(self.namespaces & kernel.NEW_PIDS) and not self.init


def encode(cell: Cell) -> bytes:
    """A cell for the spawner, which has neither this module nor JSON: that would be memory."""
    fields = cell._asdict()
    fields["files"] = None if cell.files is None else cell.files._asdict()
    return marshal.dumps(fields)
