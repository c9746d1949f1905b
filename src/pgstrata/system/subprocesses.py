"""The only module that starts programs.

A program gets an argument list (never a shell) and its own process group, and both its pipes are
drained. Whether the caller leaves by an error, a cancellation or the program's end, the whole group
is gone afterwards: SIGTERM, a grace period, SIGKILL. Servers outlive this process, and are started
by ``start_detached``.

Each program has a mark that leads to children that leave the group (``orphans``).
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import IO, TypedDict

from pgstrata.domain.model import Model
from pgstrata.errors import ProgramError, ToolMissingError
from pgstrata.system import arguments, faults, orphans, processes
from pgstrata.system.cancellation import finish
from pgstrata.system.cell import spawning
from pgstrata.system.cell.plan import Cell
from pgstrata.system.cell.spawning import Spawner, Started
from pgstrata.system.computing import compute
from pgstrata.system.orphans import GRACE_SECONDS
from pgstrata.system.output import TAIL_LINES, Lines, OnLine, OutputSink, Stream

_CHUNK_BYTES = 64 * 1024
_NOT_A_PROGRAM = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC})


class Ended(Model, frozen=True, kw_only=True):
    """How a program ended."""

    exit_code: int
    """As a shell reports it: 128 + n if signal n ended it."""
    stdout: str
    stderr: str


def describe(argv: Sequence[str | Path]) -> str:
    """A command as typed in a shell."""
    return shlex.join(str(word) for word in argv)


async def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    stdin: bytes | None = None,
    check: bool = True,
) -> Ended:
    """Run a program to its end and return its output.

    ``user`` runs it as another user, with that user's groups, which only root can do. Raises
    ``ProgramError`` if it cannot be started and, with ``check``, if its exit code is not 0; that
    error shows the command, how it ended and the tail of stderr.
    """
    written: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}

    async def keep(stream: Stream, piece: bytes) -> None:
        written[stream] += piece

    exit_code = await stream(argv, on_output=keep, cwd=cwd, env=env, user=user, stdin=stdin)
    stdout, stderr = (
        written[each].decode("utf-8", "replace").removesuffix("\n") for each in ("stdout", "stderr")
    )
    if check and exit_code != 0:
        raise ProgramError(
            f"`{describe(argv)}` ended with exit code {exit_code}",
            details="\n".join(stderr.split("\n")[-TAIL_LINES:]) or None,
        )
    return Ended(exit_code=exit_code, stdout=stdout, stderr=stderr)


def run_into(
    argv: Sequence[str | Path], *, stdout: IO[bytes], stdin: bytes, env: Mapping[str, str]
) -> None:
    """Run a short program to its end in this thread, with its output in a file.

    Raises ``ProgramError`` if it cannot be started, or its exit code is not 0.
    """
    try:
        with faults.step("program.spawn"):
            ended = subprocess.run(
                argv, input=stdin, stdout=stdout, stderr=subprocess.PIPE, env=env, check=False
            )
    except OSError as error:
        raise ProgramError(
            f"`{argv[0]}` cannot be started: {error.strerror}", remedy=f"install {argv[0]}"
        ) from error
    if ended.returncode != 0:
        raise ProgramError(
            f"`{describe(argv)}` ended with exit code {ended.returncode}",
            details=ended.stderr.decode("utf-8", "replace").strip() or None,
        )


async def stream(
    argv: Sequence[str | Path],
    *,
    on_output: OutputSink,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    stdin: bytes | Path | None = None,
    thorough: bool = False,
) -> int:
    """Run a program, pass on its output as it comes, and return its exit code.

    A slow ``on_output`` slows the program down; nothing is buffered without limit, and no output
    of the program is lost. An error in ``on_output`` ends the program and is raised. Children that
    left its group are ended if it does not end by itself; with ``thorough`` in any case. Raises
    ``ProgramError`` if the program cannot be started.
    """
    mark = orphans.new_mark()
    async with _input_file(stdin) as source:
        with faults.step("program.spawn"):
            process = _start(
                argv,
                stdin=source,
                output=subprocess.PIPE,
                cwd=cwd,
                env=(os.environ if env is None else dict(env)) | {orphans.MARK: mark},
                user=user,
            )
    async with _owned(process, mark) as program:
        outlets = [
            _Outlet(pipe, name, on_output)
            for name, pipe in _outputs(process).items()
            if pipe is not None
        ]
        try:
            async with asyncio.TaskGroup() as group:
                pumps = [
                    group.create_task(outlet.pump(), name=f"output of {argv[0]}")
                    for outlet in outlets
                ]
                await program.ended.wait()
                at_end = await _let_drain(pumps, outlets, process.pid)
        except ExceptionGroup as errors:
            # Only the listener can fail, and its first failure is what matters.
            raise errors.exceptions[0] from None
        program.nothing_left = at_end and not thorough
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


async def stream_in_cell(
    spawner: Spawner, cell: Cell, *, on_output: OutputSink, stdin: bytes | Path | None = None
) -> int:
    """The same for a program in a PID namespace of its own: the kernel ends its children with it.

    Raises ``ProgramError`` if the program cannot be started.
    """
    marked = cell._replace(env=cell.env | {orphans.MARK: orphans.new_mark()})
    async with AsyncExitStack() as stack:
        async with _input_file(stdin) as source:
            with faults.step("program.spawn"):
                started, outputs = _start_in_cell(spawner, marked, source, stack)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(started.pidfd, ended.set)
        stack.callback(loop.remove_reader, started.pidfd)
        try:
            async with asyncio.TaskGroup() as group:
                for name, pipe in outputs.items():
                    outlet = _Outlet(pipe, name, on_output)
                    group.create_task(outlet.pump(), name=f"output of {cell.argv[0]}")
                await ended.wait()
        except ExceptionGroup as errors:
            # Only the listener can fail, and its first failure is what matters.
            raise errors.exceptions[0] from None
        finally:
            await finish(_end_cell(started.pidfd, ended))
        return await _exit_code(started, cell.argv)


def _start_in_cell(
    spawner: Spawner, cell: Cell, stdin: IO[bytes] | int, stack: AsyncExitStack
) -> tuple[Started, dict[Stream, IO[bytes]]]:
    """Start a program, and get the pipes that its output comes through."""
    arguments.check(cell.argv, cell.env)
    names: tuple[Stream, Stream] = ("stdout", "stderr")
    with ExitStack() as ends:
        outputs: dict[Stream, IO[bytes]] = {}
        its: list[int] = []
        for name in names:
            ours, end = os.pipe2(os.O_CLOEXEC)
            ends.callback(os.close, end)
            its.append(end)
            outputs[name] = stack.enter_context(os.fdopen(ours, "rb", buffering=0))
        source = None if isinstance(stdin, int) else stdin.fileno()
        started = spawner.start(cell, stdin=source, stdout=its[0], stderr=its[1])
    stack.callback(os.close, started.pidfd)
    stack.callback(os.close, started.report)
    return started, outputs


async def _end_cell(pidfd: int, ended: asyncio.Event) -> None:
    """End a program in a cell, if it has not ended by itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if ended.is_set():
            break
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await ended.wait()
    await ended.wait()


async def _exit_code(started: Started, argv: Sequence[str]) -> int:
    report = b""
    while True:
        await processes.wait_readable(started.report)
        piece = os.read(started.report, _CHUNK_BYTES)
        if not piece:
            break
        report += piece
    how = spawning.ended(report)
    if how.failure is None:
        return how.exit_code
    message = f"cannot start `{describe(argv)}`: {how.failure}"
    if how.failure.startswith(f"cannot start {argv[0]}:"):
        raise ToolMissingError(message, remedy=f"check {argv[0]}")
    raise ProgramError(message)


async def _let_drain(
    pumps: Sequence[asyncio.Task[None]], outlets: Sequence["_Outlet"], group: int
) -> bool:
    """Pass on all output of a program that ended, but do not wait for others that hold its pipes.

    Returns whether there were no others.
    """
    _done, open_pumps = await asyncio.wait(pumps, timeout=GRACE_SECONDS)
    if not open_pumps:
        return True
    _signal_group(group, signal.SIGKILL)
    # The listener may be slow, and the rest of the program's output is in the pipes by now.
    for outlet in outlets:
        outlet.finish()
    await asyncio.wait(open_pumps)
    return False


def start_detached(
    argv: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str],
    user: str | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a program that outlives this process, in its own session, with its output in ``log``.

    The caller reaps it if it ends while this process runs. Raises ``ProgramError``.
    """
    with log.open("ab") as output:
        return _start(
            argv,
            stdin=subprocess.DEVNULL,
            output=output,
            cwd=cwd,
            env=orphans.unmarked(env),
            user=user,
        )


def _start(
    argv: Sequence[str | Path],
    *,
    stdin: IO[bytes] | int,
    output: IO[bytes] | int,
    cwd: Path | None,
    env: Mapping[str, str],
    user: str | None,
) -> "subprocess.Popen[bytes]":
    # Not asyncio's own subprocesses: in some versions of Python, waiting for one continues while
    # any process, such as a grandchild, holds one of its pipes.
    command, identity = _as_user(argv, user)
    arguments.check(command, env)
    try:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
            **identity,
        )
    except OSError as error:
        message = f"cannot start `{describe(argv)}`: {error.strerror}"
        if error.errno in _NOT_A_PROGRAM:
            raise ToolMissingError(message, remedy=f"check {argv[0]}") from error
        raise ProgramError(message) from error


@asynccontextmanager
async def _input_file(stdin: bytes | Path | None) -> AsyncIterator[IO[bytes] | int]:
    """Standard input: an unnamed file, which a program need not read to its end, or a given one."""
    if stdin is None:
        yield subprocess.DEVNULL
        return
    if isinstance(stdin, Path):
        with stdin.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        await compute(len(stdin) // _CHUNK_BYTES, partial(file.write, stdin))
        file.seek(0)
        yield file


class _Program:
    """A running program, and how it ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.nothing_left = False
        """Whether it ended by itself, and no children outside its group need be looked for."""


@asynccontextmanager
async def _owned(process: "subprocess.Popen[bytes]", mark: str) -> AsyncIterator[_Program]:
    """A running program; at the end of the context it has ended with all its children."""
    loop, program = asyncio.get_running_loop(), _Program()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, program.ended.set)
    try:
        yield program
    finally:
        try:
            await finish(_end(process, program, mark))
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            for pipe in _outputs(process).values():
                if pipe is not None:
                    pipe.close()


def _outputs(process: "subprocess.Popen[bytes]") -> dict[Stream, IO[bytes] | None]:
    return {"stdout": process.stdout, "stderr": process.stderr}


class _Outlet:
    """One of a program's outputs, read at its listener's pace."""

    def __init__(self, pipe: IO[bytes], name: Stream, on_output: OutputSink) -> None:
        self._pipe = pipe.fileno()
        self._name = name
        self._on_output = on_output
        self._remaining: int | None = None
        """How many bytes are left to read; None for all that come."""
        self._wakeup = asyncio.Event()
        os.set_blocking(self._pipe, False)

    def finish(self) -> None:
        """Read what is in the pipe now, and nothing that comes later."""
        self._remaining = _unread_bytes(self._pipe)
        self._wakeup.set()

    async def pump(self) -> None:
        """Pass on output until the pipe's end."""
        while chunk := await self._read():
            await self._on_output(self._name, chunk)

    async def _read(self) -> bytes:
        """The next bytes; none at the end."""
        while self._remaining != 0:
            # However much a program writes, other tasks run in between.
            await asyncio.sleep(0)
            try:
                chunk = os.read(self._pipe, min(_CHUNK_BYTES, self._remaining or _CHUNK_BYTES))
            except BlockingIOError:
                await self._readable()
                continue
            if self._remaining is not None:
                self._remaining -= len(chunk)
            return chunk
        return b""

    async def _readable(self) -> None:
        """Wait until there is something to read, or ``finish`` was called."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pipe, self._wakeup.set)
        try:
            await self._wakeup.wait()
        finally:
            loop.remove_reader(self._pipe)
        self._wakeup.clear()


async def _pump_lines(pipe: IO[bytes], name: Stream, on_line: OnLine) -> None:
    lines = Lines(on_line)
    await _Outlet(pipe, name, lines.feed).pump()
    await lines.finish()


def _unread_bytes(pipe: int) -> int:
    """How many bytes were written to a pipe and not read yet."""
    answer = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, byteorder=sys.byteorder)


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _as_user(argv: Sequence[str | Path], user: str | None) -> tuple[list[str], _Identity]:
    """The command and Popen's arguments that run it as a user, without any other group."""
    words = [str(word) for word in argv]
    if user is None:
        return words, {}
    prefix, identity = _switch_to(user)
    return [*prefix, *words], identity


@cache
def _switch_to(user: str) -> tuple[list[str], _Identity]:
    """Words to put before a command to run it as a user, or Popen's arguments instead."""
    entry = pwd.getpwnam(user)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return [], {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    # Popen changes the user only after a full fork, which for a process of our size costs more than
    # starting this small program with vfork.
    uid, gid = entry.pw_uid, entry.pw_gid
    return [setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--"], {}


async def _end(process: "subprocess.Popen[bytes]", program: _Program, mark: str) -> None:
    """End the rest of the program's group and the children that left it, and wait for them."""
    by_itself = program.ended.is_set()
    async with asyncio.TaskGroup() as group:
        if not program.nothing_left:
            ending = group.create_task(
                orphans.end_orphans(process.pid, mark), name=f"orphans of {process.pid}"
            )
        if not by_itself:
            _signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_SECONDS):
                    await program.ended.wait()
        _signal_group(process.pid, signal.SIGKILL)
        await program.ended.wait()
    if not program.nothing_left and (ending.result() or not by_itself):
        # Processes that were ended may have started others in their last moments.
        await orphans.end_orphans(process.pid, mark)
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    # The program was started as leader of its own session, so its pid is the group's id; no other
    # group can get that id while a member is left.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


class Companion:
    """A program that serves this process, and ends with it at the latest.

    Its standard input is a pipe that is never written to, and is closed when this process ends for
    any reason; the program must then end, too.
    """

    def __init__(self, program: _Program, kill: Callable[[], None]) -> None:
        """``kill``: kills it with its children."""
        self._program = program
        self.kill = kill

    @property
    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return not self._program.ended.is_set()

    async def wait(self) -> None:
        """Wait for its end."""
        await self._program.ended.wait()


@asynccontextmanager
async def companion(
    argv: Sequence[str | Path], *, on_line: OnLine, cwd: Path, env: Mapping[str, str]
) -> AsyncIterator[Companion]:
    """Keep a program running until the end of the context, passing on each line of its output.

    Raises ``ProgramError`` if the program cannot be started.
    """
    mark = orphans.new_mark()
    process = _start(
        argv,
        stdin=subprocess.PIPE,
        output=subprocess.PIPE,
        cwd=cwd,
        env=dict(env) | {orphans.MARK: mark},
        user=None,
    )
    assert process.stdin is not None
    with process.stdin:
        async with _owned(process, mark) as program:
            pipes = {name: pipe for name, pipe in _outputs(process).items() if pipe is not None}
            async with _heard(pipes, on_line):
                yield Companion(program, partial(_signal_group, process.pid, signal.SIGKILL))


@asynccontextmanager
async def companion_in_cell(
    spawner: Spawner, cell: Cell, *, on_line: OnLine
) -> AsyncIterator[Companion]:
    """The same for a program in a PID namespace of its own. Why one does not start is its output.

    Raises ``ProgramError`` if no process can be made.
    """
    marked = cell._replace(env=cell.env | {orphans.MARK: orphans.new_mark()})
    async with AsyncExitStack() as stack:
        source, ours = os.pipe2(os.O_CLOEXEC)
        stack.callback(os.close, ours)
        with os.fdopen(source, "rb", buffering=0) as stdin, faults.step("program.spawn"):
            started, outputs = _start_in_cell(spawner, marked, stdin, stack)
        program = _Program()
        loop = asyncio.get_running_loop()
        loop.add_reader(started.pidfd, program.ended.set)
        stack.callback(loop.remove_reader, started.pidfd)
        try:
            async with _heard(outputs, on_line):
                yield Companion(program, partial(_kill, started.pidfd))
        finally:
            await finish(_end_cell(started.pidfd, program.ended))


def _kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


@asynccontextmanager
async def _heard(pipes: Mapping[Stream, IO[bytes]], on_line: OnLine) -> AsyncIterator[None]:
    """Pass on each line that comes until the end of the block."""
    pumps = [
        asyncio.create_task(_pump_lines(pipe, name, on_line), name="output of a companion")
        for name, pipe in pipes.items()
    ]
    try:
        yield
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
