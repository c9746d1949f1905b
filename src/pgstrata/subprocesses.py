"""The one place where programs start.

A program gets an argument list (never a shell), a process group of its own, and both its pipes are
drained. However the caller leaves, by an error, a cancellation or the program's end, the whole
group is gone afterwards: SIGTERM, a grace, SIGKILL. Servers, which shall outlive this process, are
started by ``start_detached``.
"""

import asyncio
import contextlib
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import IO, Literal, TypedDict

from pgstrata.cancellation import to_the_end
from pgstrata.domain.model import Model
from pgstrata.errors import ProgramError

GRACE_SECONDS = 1.0
"""How long a program may take to end after SIGTERM before it is killed."""

TAIL_LINES = 40
_CHUNK_BYTES = 64 * 1024

Stream = Literal["stdout", "stderr"]
OnLine = Callable[[Stream, str], Awaitable[None]]


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
    lines: dict[Stream, list[str]] = {"stdout": [], "stderr": []}

    async def keep(stream: Stream, line: str) -> None:
        lines[stream].append(line)

    exit_code = await stream(argv, on_line=keep, cwd=cwd, env=env, user=user, stdin=stdin)
    ended = Ended(
        exit_code=exit_code,
        stdout="\n".join(lines["stdout"]),
        stderr="\n".join(lines["stderr"]),
    )
    if check and exit_code != 0:
        raise ProgramError(
            f"`{describe(argv)}` ended with exit code {exit_code}",
            details="\n".join(deque(lines["stderr"], TAIL_LINES)) or None,
        )
    return ended


async def stream(
    argv: Sequence[str | Path],
    *,
    on_line: OnLine,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    stdin: bytes | None = None,
) -> int:
    """Run a program, pass on each line of its output as it comes, and return its exit code.

    Lines of any length come whole, without their newline, undecodable bytes replaced. A slow
    ``on_line`` slows the program down; nothing piles up. An error in ``on_line`` ends the program
    and is raised. Raises ``ProgramError`` when the program cannot be started.
    """
    with _given(stdin) as source:
        process = _start(argv, stdin=source, output=subprocess.PIPE, cwd=cwd, env=env, user=user)
    async with _owned(process) as ended, _reading(process) as outputs:
        try:
            async with asyncio.TaskGroup() as group:
                pumps = [
                    group.create_task(_pump(reader, name, on_line), name=f"{name} of {argv[0]}")
                    for name, reader in outputs.items()
                ]
                await ended.wait()
                await _let_drain(pumps, process.pid)
        except ExceptionGroup as errors:
            # Only the listener can fail, and the first time it does is what matters.
            raise errors.exceptions[0] from None
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


async def _let_drain(pumps: Sequence[asyncio.Task[None]], group: int) -> None:
    """Let what a program wrote come through, but wait for nobody else who holds its pipes."""
    _done, open_pumps = await asyncio.wait(pumps, timeout=GRACE_SECONDS)
    if open_pumps:
        _signal_group(group, signal.SIGKILL)
        _done, open_pumps = await asyncio.wait(open_pumps, timeout=GRACE_SECONDS)
    for pump in open_pumps:
        pump.cancel()


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
        return _start(argv, stdin=subprocess.DEVNULL, output=output, cwd=cwd, env=env, user=user)


def _start(
    argv: Sequence[str | Path],
    *,
    stdin: IO[bytes] | int,
    output: IO[bytes] | int,
    cwd: Path | None,
    env: Mapping[str, str] | None,
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
            env=None if env is None else dict(env),
            start_new_session=True,
            **identity,
        )
    except OSError as error:
        raise ProgramError(f"cannot start `{describe(argv)}`: {error.strerror}") from error


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


@asynccontextmanager
async def _owned(process: "subprocess.Popen[bytes]") -> AsyncIterator[asyncio.Event]:
    """An event for the program's end; at the end of the context it is over with all its group."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        yield ended
    finally:
        try:
            await to_the_end(_end(process, ended))
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


@asynccontextmanager
async def _reading(
    process: "subprocess.Popen[bytes]",
) -> AsyncIterator[dict[Stream, asyncio.StreamReader]]:
    """The program's two outputs, to be read at the reader's pace."""
    loop = asyncio.get_running_loop()
    pipes: dict[Stream, IO[bytes] | None] = {"stdout": process.stdout, "stderr": process.stderr}
    readers: dict[Stream, asyncio.StreamReader] = {}
    with ExitStack() as transports:
        for name, pipe in pipes.items():
            reader = readers[name] = asyncio.StreamReader()
            transport, _ = await loop.connect_read_pipe(
                partial(asyncio.StreamReaderProtocol, reader), pipe
            )
            transports.callback(transport.close)
        yield readers


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


async def _end(process: "subprocess.Popen[bytes]", ended: asyncio.Event) -> None:
    """End what is left of the program's group and wait for the program."""
    if not ended.is_set():
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await ended.wait()
    _signal_group(process.pid, signal.SIGKILL)
    await ended.wait()
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    # The leader was started as leader of its own session, so its pid is the group's number; no
    # other group can take that number while a member is left.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


async def _pump(reader: asyncio.StreamReader, name: Stream, on_line: OnLine) -> None:
    rest = bytearray()
    while chunk := await reader.read(_CHUNK_BYTES):
        rest += chunk
        if b"\n" not in chunk:
            continue
        *whole, tail = rest.split(b"\n")
        rest = bytearray(tail)
        for line in whole:
            await on_line(name, line.decode("utf-8", "replace"))
    if rest:
        await on_line(name, rest.decode("utf-8", "replace"))
