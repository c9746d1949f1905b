"""The runtime port: where PostgreSQL comes from, and where its servers and tools run."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from pgstrata.domain.image import Installation, ResolvedImage
from pgstrata.domain.instance import Server
from pgstrata.domain.model import Model
from pgstrata.system.output import Lines, OutputSink, Stream


class ToolCommand(Model, frozen=True, kw_only=True):
    """A tool to run against a server, such as psql. The runtime finds it and connects it."""

    tool: str
    args: tuple[str, ...]
    work_dir: Path
    stdin: str | None = None
    """What the tool reads from standard input; nothing when None."""
    env: dict[str, str] = {}
    """Variables beside the connection's (``PGHOST``, …) and a minimal environment."""


class ToolExit(Model, frozen=True, kw_only=True):
    """How a tool ended."""

    exit_code: int
    """As the shell would say it: 128 + n for a tool that signal n ended."""
    stderr_tail: str
    """The last lines it wrote to standard error, at most a few kilobytes."""


LineSink = Callable[[str], Awaitable[None]]
"""Takes one line of a tool's output, without its newline."""


async def run_by_lines(
    runtime: "Runtime", server: Server, command: ToolCommand, line: LineSink
) -> ToolExit:
    """``Runtime.run`` with both streams' lines passed on as text, in the order they ended."""

    async def pass_on(_stream: Stream, text: str) -> None:
        await line(text)

    lines = Lines(pass_on)
    ended = await runtime.run(server, command, lines.feed)
    await lines.finish()
    return ended


class Runtime(Protocol):
    """Initialises clusters, starts and stops servers, runs tools against them."""

    async def installations(self) -> tuple[Installation, ...]:
        """Every PostgreSQL there is, usable or not, newest first."""

    async def resolve(self, image_id: str) -> ResolvedImage:
        """The PostgreSQL that an image stands for: ``postgres`` (the best), ``postgres:16`` (the
        best of that major), ``postgres:16.4`` or ``postgres@sha256:…`` (exactly that one). The best
        is the newest of those that have most of what people expect (``domain.image.EXPECTED``).

        Raises ``InvalidArgumentError`` when it means nothing or nothing here matches; the error
        says what there is.
        """

    async def initialise(self, image_id: str, data_dir: Path) -> None:
        """Make a cluster in the existing, empty ``data_dir``, which becomes the server user's.

        Its superuser is ``postgres`` with the store's password (SCRAM). Raises ``ServerError``.
        """

    async def start(self, image_id: str, data_dir: Path) -> Server:
        """Start a server and return once it answers queries. It outlives this process.

        Raises ``ServerError`` with the server's own log lines when it does not come up; nothing
        is left running then, nor when this is cancelled.
        """

    async def stop(self, server: Server, *, clean: bool = True) -> None:
        """Stop a server and return once it is gone. A server that is gone already is fine.

        ``clean``: disconnect its clients and shut down so that the next start needs no recovery.
        Otherwise at once, for data that will be thrown away.
        """

    def freeze(self, server: Server) -> AbstractAsyncContextManager[None]:
        """Freeze the server and all its children until the end of the block.

        What it writes is on disk, or in the system's cache, whole page by whole page. Raises
        ``ServerError`` when it is gone.
        """

    async def alive(self, server: Server) -> bool:
        """Whether exactly this server is running, however clocks were set."""

    async def owner_of(self, data_dir: Path) -> Server | None:
        """The server that runs on a data directory, found by its pid file, or None.

        For clearing up after a kill: the process is only taken for ours when it is a PostgreSQL's
        and works in this data directory. Only the handle of the answer is dependable.
        """

    async def clear_orphans(self, keep: Collection[Server]) -> None:
        """End what an earlier engine of this store left running, and return once it is gone.

        That is every server in a data directory of the store, also one that has no pid file (yet,
        or any more), and every tool with its children. Those in the data directories of ``keep``
        stay; so does everything that is not the store's. Sockets of servers that are gone are
        cleared away. For the start of an engine: nothing may have been started here before.
        """

    async def run(self, server: Server, command: ToolCommand, output: OutputSink) -> ToolExit:
        """Run a tool against a server, passing on its output as it comes, each stream in its order.

        Cancelled, it ends the tool with all its children before it returns. Raises
        ``ProgramError`` when the tool cannot be started.
        """

    async def remedy_for(self, server: Server, said: str) -> str | None:
        """What to do when a tool failed for want of an extension that a server does not have.

        ``said`` is what the tool complained of; None when that is something else.
        """
