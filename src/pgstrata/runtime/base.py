"""The runtime port: where PostgreSQL comes from, and where its servers and tools run."""

import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from pgstrata.domain.image import Installation, ResolvedImage
from pgstrata.domain.initdb import Initdb
from pgstrata.domain.instance import Address, Server
from pgstrata.domain.model import Model
from pgstrata.system.output import Lines, OnLine, OutputSink, Stream
from pgstrata.system.subprocesses import Companion


class View(Model, frozen=True, kw_only=True):
    """What a tool sees of directories that it is otherwise kept from, where there are cells."""

    hidden: tuple[Path, ...]
    shown: tuple[Path, ...]
    root: Path = Path("/")
    """A tree from which what is shown comes, as far as it is there, at the machine's paths."""

    def at(self, path: Path) -> Path:
        """Where on the machine the content is that is shown at a path."""
        inside = self.root / str(path).lstrip("/")
        return inside if os.path.lexists(inside) else path


class ToolCommand(Model, frozen=True, kw_only=True):
    """A tool to run against a server, such as psql. The runtime finds and connects it."""

    tool: str
    args: tuple[str, ...]
    work_dir: Path
    stdin: str | None = None
    """What the tool reads from standard input; nothing if None."""
    stdin_path: Path | None = None
    """A file on the runtime's machine that it reads in place of ``stdin``."""
    trusted: bool = False
    """Whether it is the user's own program, or may run such: it can do what the engine's user can,
    but for the engine's store."""
    network: bool | None = None
    """Whether it may connect to others than its server; None for whether it is ``trusted``. If
    given, it may connect to its server by TCP, too."""
    view: View | None = None
    """If given, it also has a home and ``/tmp`` of its own, where there are cells."""
    path: str | None = None
    """Where it looks for programs, after PostgreSQL's own; None for the system's."""
    reads: tuple[Path, ...] | None = None
    """If given, the only files and directories that it can read beside its own and the system's,
    where there is a cell that keeps it from others."""
    inputs: tuple[Path, ...] = ()
    """Files that it is about to read, which may be where others see each other's memory."""
    env: dict[str, str] = {}
    """Variables added to the connection's (``PGHOST``, …) and a minimal environment."""


class ToolExit(Model, frozen=True, kw_only=True):
    """How a tool ended."""

    exit_code: int
    """As a shell reports it: 128 + n if signal n ended the tool."""
    stderr_tail: str
    """The last lines it wrote to standard error, at most a few kilobytes."""


class Harm(Model, frozen=True, kw_only=True):
    """What ended a server or one of its processes."""

    what: str
    """For people: ``the server process with pid 7 was ended by signal 9 (SIGKILL)``."""
    from_outside: bool
    """Whether somebody else did it, and not the process's own work."""


class Witness(Protocol):
    """Has watched a server since some moment."""

    async def harm(self, said: str) -> Harm | None:
        """What ended the server or a process of it since then; None if nothing did.

        ``said``: what a client says, which may have noticed before the server's own log tells.
        """

    @property
    def memory(self) -> str:
        """That the kernel ended processes for want of memory since then, to be appended to what
        happened; empty if it did not."""


LineSink = Callable[[str], Awaitable[None]]
"""Receives one line of a tool's output, without its newline."""


class Failed(str):
    """A line about something that failed in a step that goes on after it."""

    __slots__ = ()


class Passed(str):
    """No line, but that a step is done, and what follows belongs to the next."""

    __slots__ = ()


async def run_by_lines(
    runtime: "Runtime", server: Server, command: ToolCommand, line: LineSink
) -> ToolExit:
    """``Runtime.run``, with the lines of both streams passed on as text, in the order they end."""

    async def pass_on(_stream: Stream, text: str) -> None:
        await line(text)

    lines = Lines(pass_on)
    ended = await runtime.run(server, command, lines.feed)
    await lines.finish()
    return ended


class Companions(Protocol):
    """Keeps programs running that a kind uses again and again."""

    def companion(
        self,
        argv: Sequence[str],
        *,
        on_line: OnLine,
        cwd: Path,
        env: Mapping[str, str],
        ports: tuple[int, ...],
        trusted: bool,
    ) -> AbstractAsyncContextManager[Companion]:
        """A program that runs until the end of the block at the latest, with its output by lines.

        It can write to nothing, and connect to these TCP ports alone, as far as the system can
        keep it from more; one that is ``trusted``, see ``ToolCommand``. Its standard input ends
        with this process. Raises ``ProgramError`` if it cannot be started.
        """


class Runtime(Protocol):
    """Initialises clusters, starts and stops servers, runs tools against them."""

    @property
    def remark(self) -> str | None:
        """What everybody who has steps run should know about this runtime, if anything."""

    @property
    def confines(self) -> bool:
        """Whether a server reaches no files but its own and those of every machine, and no other
        program, so that what it is told cannot depend on anything else."""

    async def installations(self) -> tuple[Installation, ...]:
        """Every PostgreSQL installation, usable or not, newest first."""

    async def resolve(self, image_id: str) -> ResolvedImage:
        """The PostgreSQL that an image stands for: ``postgres`` (the best), ``postgres:16`` (the
        best of that major), ``postgres:16.4`` or ``postgres@sha256:…`` (exactly that one). The best
        is the newest of those that lack the fewest extensions of ``domain.image.EXPECTED``.

        Raises ``InvalidArgumentError`` if the name is invalid or no installation matches; the error
        lists those there are.
        """

    async def programs(self, image_id: str) -> Path:
        """The directory of psql and the other programs of a resolved image.

        Raises ``ServerError`` if it is not installed any more.
        """

    def unchanged(self, image_id: str) -> AbstractAsyncContextManager[None]:
        """Rely on the PostgreSQL that an image stands for until the end of the block.

        Raises ``ServerError`` if it is not installed any more, and ``InputChangedError`` at the
        end, in place of any other error, if anything of it was touched, even if that was undone:
        what was made meanwhile may not be what the image would make.
        """

    async def initialise(
        self, image_id: str, data_dir: Path, options: Initdb | None = None
    ) -> None:
        """Make a cluster in the existing, empty ``data_dir``, and give that to the servers' user.

        Its superuser is ``postgres``, without a password. Raises ``InvalidArgumentError`` for
        ``options`` that this PostgreSQL or this machine cannot fulfil, ``ServerError``, and
        ``InputChangedError`` as ``unchanged`` does.
        """

    async def start(
        self,
        image_id: str,
        data_dir: Path,
        *,
        building: bool = False,
        address: Address | None = None,
        avoid: Collection[int] = (),
        settings: Mapping[str, str] = MappingProxyType({}),
        fixed: Mapping[str, str] = MappingProxyType({}),
        waits: bool = False,
    ) -> Server:
        """Start a server and return once it answers queries. It outlives this process.

        Its superuser gets a new password, with which clients on this machine may log in, whatever
        scripts did to that role and to its database; it listens on a port that is free and none of
        those to ``avoid``. With an ``address`` it gets that one's password and port, which it waits
        for if it is taken; raises ``ConflictError`` if it stays so. If it is ``building`` a state,
        nobody but the engine and its tools may, and what has to be changed for that is taken back
        when it stops. ``settings`` of PostgreSQL's come before those that all servers are started
        with, and ``fixed`` ones before all others, also those of ``ALTER SYSTEM``. One that
        ``waits`` for its first client has in each database what that would wait for, and no
        statistics of what happened before. Raises ``ServerError`` with the server's own log lines
        if it does not start. If that happens, or this is cancelled, nothing is left running.
        """

    async def stop(self, server: Server, *, clean: bool = True) -> None:
        """Stop a server and return once it is gone. It may be gone already.

        ``clean``: disconnect its clients and shut down so that the next start needs no recovery.
        Otherwise stop immediately, for data that will be thrown away.
        """

    def freeze(self, server: Server) -> AbstractAsyncContextManager[None]:
        """Freeze the server and all its children until the end of the block.

        Everything it wrote is then on disk or in the system's cache, in whole pages. Raises
        ``ServerError`` if it is gone.
        """

    async def pause(self, server: Server) -> None:
        """Freeze a server until it is resumed or stopped. Raises ``ServerError`` if it is gone."""

    async def resume(self, server: Server) -> None:
        """Have a server go on that is frozen. Does nothing to any other."""

    def has_others(self, server: Server) -> bool:
        """Whether a server may have processes beside those that every server has.

        Where it has none, nobody is connected, and it need not be asked, which costs it as much as
        half of its start.
        """

    async def alive(self, server: Server) -> bool:
        """Whether exactly this server is running, even if the clock was set, and has its data."""

    def has_data(self, server: Server) -> bool:
        """Whether the data directory of a server is there, be it running or not."""

    def is_of_this_boot(self, server: Server) -> bool:
        """Whether a server was started since the machine was booted, as far as is known.

        Then all that it wrote is still there, though servers do not wait until it is on disk.
        """

    async def owner_of(self, data_dir: Path) -> Server | None:
        """The server that runs on a data directory, found by its pid file, or None.

        For cleaning up after a kill: the process counts as ours only if it is PostgreSQL and works
        in this data directory. Only the handle of the result is reliable.
        """

    async def clear_orphans(self, keep: Collection[Server]) -> None:
        """End what an earlier engine of this store left running, and return once it is gone.

        That is every server in a data directory of the store, even without a pid file, and every
        tool with its children. Those in the data directories of ``keep`` stay, and so does
        everything that does not belong to the store. Sockets of all other servers are removed.
        To be called when an engine starts, before it starts anything.
        """

    async def run(self, server: Server, command: ToolCommand, output: OutputSink) -> ToolExit:
        """Run a tool against a server, passing on its output as it comes, each stream in its order.

        If cancelled, it ends the tool with all its children before it returns. Raises
        ``ProgramError`` if the tool cannot be started.
        """

    def witness(self, server: Server) -> Witness:
        """Watch from now on what ends a server or a process of it."""

    def stopped_for(self, server: Server) -> str | None:
        """Why this runtime stopped a server on its own, for people; None if it did not."""

    async def remedy_for(self, server: Server, said: str) -> str | None:
        """What to do if a tool failed because the server lacks an extension, or a directory.

        ``said`` is the tool's error output; None if it is about something else.
        """
