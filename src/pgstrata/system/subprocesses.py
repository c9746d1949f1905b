"""The one place where programs start.

A program gets an argument list (never a shell), a process group of its own, and both its pipes are
drained. However the caller leaves, by an error, a cancellation or the program's end, the whole
group is gone afterwards: SIGTERM, a grace, SIGKILL. Servers, which shall outlive this process, are
started by ``start_detached``.

Each program carries a mark, by which its children are found if they leave the group (``orphans``).
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
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TypedDict

from pgstrata.domain.model import Model
from pgstrata.errors import ProgramError, ToolMissingError
from pgstrata.system import faults, orphans
from pgstrata.system.cancellation import finish
from pgstrata.system.orphans import GRACE_SECONDS
from pgstrata.system.output import TAIL_LINES, Lines, OnLine, OutputSink, Stream

_CHUNK_BYTES = 64 * 1024
_NOT_A_PROGRAM = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC})


class Ended(Model, frozen=True, kw_only=True):
    """How a program ended."""

    exit_code: int
    """128 + n when signal n ended it, as a shell says it."""
    stdout: str
    stderr: str


def describe(argv: Sequence[str | Path]) -> str:
    """A command as one would type it."""
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
    """Run a program to its end and return what it wrote.

    ``user`` runs it as another user, with that user's groups, which only root can. Raises
    ``ProgramError`` when it cannot be started and, with ``check``, when its exit code is not 0;
    that error shows the command, how it ended and the tail of stderr.
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


async def stream(
    argv: Sequence[str | Path],
    *,
    on_output: OutputSink,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    stdin: bytes | None = None,
    thorough: bool = False,
) -> int:
    """Run a program, pass on its output as it comes, and return its exit code.

    A slow ``on_output`` slows the program down; nothing piles up, and nothing that the program
    wrote is lost. An error in ``on_output`` ends the program and is raised. Children that left its
    group are ended when it does not end by itself; with ``thorough`` in any case. Raises
    ``ProgramError`` when the program cannot be started.
    """
    mark = orphans.new_mark()
    with _given(stdin) as source, faults.step("program.spawn"):
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
            # Only the listener can fail, and the first time it does is what matters.
            raise errors.exceptions[0] from None
        program.alone = at_end and not thorough
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


async def _let_drain(
    pumps: Sequence[asyncio.Task[None]], outlets: Sequence["_Outlet"], group: int
) -> bool:
    """Let all that a program wrote come through, but wait for nobody else who holds its pipes.

    Whether nobody else did.
    """
    _done, open_pumps = await asyncio.wait(pumps, timeout=GRACE_SECONDS)
    if not open_pumps:
        return True
    _signal_group(group, signal.SIGKILL)
    # The listener may be slow, and all that the program wrote is in the pipes by now.
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
    """Start a program that outlives this process, in a session of its own, its output in ``log``.

    The caller reaps it when it ends while this process lives. Raises ``ProgramError``.
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
    # Not asyncio's own subprocesses: waiting for one of those goes on, in some versions of Python,
    # while anybody, a grandchild for instance, holds one of its pipes.
    command, identity = _as_user(argv, user)
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
            raise ToolMissingError(message, remedy=f"see what is wrong with {argv[0]}") from error
        raise ProgramError(message) from error


@contextmanager
def _given(stdin: bytes | None) -> Iterator[IO[bytes] | int]:
    """Standard input: a file without a name, which a program may read or leave as it likes."""
    if stdin is None:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        yield file


class _Program:
    """A program that runs, and what is known of its end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.alone = False
        """Whether it ended by itself and nobody need be looked for who left its group."""


@asynccontextmanager
async def _owned(process: "subprocess.Popen[bytes]", mark: str) -> AsyncIterator[_Program]:
    """A program for as long as it runs; at the end of the context it is over with all its own."""
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
        self._owed: int | None = None
        """How many bytes are still to be read; None for all that come."""
        self._news = asyncio.Event()
        os.set_blocking(self._pipe, False)

    def finish(self) -> None:
        """Read what is in the pipe by now, and nothing that comes later."""
        self._owed = _waiting_in(self._pipe)
        self._news.set()

    async def pump(self) -> None:
        """Pass on what comes, to the pipe's end."""
        while chunk := await self._read():
            await self._on_output(self._name, chunk)

    async def _read(self) -> bytes:
        """The next bytes; none at the end."""
        while self._owed != 0:
            # However much a program writes, others have their turn.
            await asyncio.sleep(0)
            try:
                chunk = os.read(self._pipe, min(_CHUNK_BYTES, self._owed or _CHUNK_BYTES))
            except BlockingIOError:
                await self._readable()
                continue
            if self._owed is not None:
                self._owed -= len(chunk)
            return chunk
        return b""

    async def _readable(self) -> None:
        """Wait until there is something to read, or ``finish`` was called."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pipe, self._news.set)
        try:
            await self._news.wait()
        finally:
            loop.remove_reader(self._pipe)
        self._news.clear()


async def _pump_lines(pipe: IO[bytes], name: Stream, on_line: OnLine) -> None:
    lines = Lines(on_line)
    await _Outlet(pipe, name, lines.feed).pump()
    await lines.finish()


def _waiting_in(pipe: int) -> int:
    """How many bytes were written to a pipe and not read yet."""
    answer = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, byteorder=sys.byteorder)


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _as_user(argv: Sequence[str | Path], user: str | None) -> tuple[list[str], _Identity]:
    """The command and Popen's arguments that run it as a user, with none of our own groups."""
    words = [str(word) for word in argv]
    if user is None:
        return words, {}
    become, identity = _becoming(user)
    return [*become, *words], identity


@cache
def _becoming(user: str) -> tuple[list[str], _Identity]:
    """Words to put before a command so that it runs as a user, or what to tell Popen instead."""
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return [], {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
    # Popen changes identity only after a full fork, which for a process of our size costs more
    # than starting this small program with vfork does.
    listed = ",".join(str(group) for group in groups)
    uid, gid = entry.pw_uid, entry.pw_gid
    return [setpriv, f"--reuid={uid}", f"--regid={gid}", f"--groups={listed}", "--"], {}


async def _end(process: "subprocess.Popen[bytes]", program: _Program, mark: str) -> None:
    """End what is left of the program's group, and those who left it, and wait for them."""
    by_itself = program.ended.is_set()
    async with asyncio.TaskGroup() as group:
        if not program.alone:
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
    if not program.alone and (ending.result() or not by_itself):
        # Those who were ended may have started others in their last moments.
        await orphans.end_orphans(process.pid, mark)
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    # The leader was started as leader of its own session, so its pid is the group's number; no
    # other group can take that number while a member is left.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


class Companion:
    """A program that serves this process, and lives no longer than its owner wants.

    Its standard input is a pipe that nobody writes to and that ends with this process, however
    that ends: the program is to end when it does.
    """

    def __init__(self, pid: int, program: _Program) -> None:
        self.pid = pid
        self._program = program

    @property
    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return not self._program.ended.is_set()

    def kill(self) -> None:
        """End it at once, with its children."""
        _signal_group(self.pid, signal.SIGKILL)

    async def wait(self) -> None:
        """Wait for its end."""
        await self._program.ended.wait()


@asynccontextmanager
async def companion(
    argv: Sequence[str | Path], *, on_line: OnLine, cwd: Path, env: Mapping[str, str]
) -> AsyncIterator[Companion]:
    """Keep a program running, passing on each line of its output; it is over at the end.

    Raises ``ProgramError`` when the program cannot be started.
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
            pumps = [
                asyncio.create_task(_pump_lines(pipe, name, on_line), name=f"output of {argv[0]}")
                for name, pipe in _outputs(process).items()
                if pipe is not None
            ]
            try:
                yield Companion(process.pid, program)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
