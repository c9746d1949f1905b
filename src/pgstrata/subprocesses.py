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
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Literal, TypedDict

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
    ``on_line`` slows the program down; nothing piles up. Raises ``ProgramError`` when the program
    cannot be started.
    """
    async with _process(argv, cwd=cwd, env=env, user=user, stdin=stdin is not None) as process:
        async with asyncio.TaskGroup() as pumps:
            if stdin is not None:
                pumps.create_task(_feed(process, stdin), name=f"stdin of {argv[0]}")
            assert process.stdout is not None
            assert process.stderr is not None
            out = pumps.create_task(_pump(process.stdout, "stdout", on_line))
            err = pumps.create_task(_pump(process.stderr, "stderr", on_line))
            exit_code = await process.wait()
            # A grandchild may still hold a pipe open; what the program itself wrote is there soon.
            _done, open_pipes = await asyncio.wait((out, err), timeout=GRACE_SECONDS)
            if open_pipes:
                _signal_group(process.pid, signal.SIGKILL)
        return exit_code if exit_code >= 0 else 128 - exit_code


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
    command, identity = _as_user(argv, user)
    with log.open("ab") as output:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=dict(env),
                start_new_session=True,
                **identity,
            )
        except OSError as error:
            raise ProgramError(f"cannot start `{describe(argv)}`: {error.strerror}") from error


@asynccontextmanager
async def _process(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    user: str | None,
    stdin: bool,
) -> AsyncIterator[asyncio.subprocess.Process]:
    command, identity = _as_user(argv, user)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=None if env is None else dict(env),
            start_new_session=True,
            **identity,
        )
    except OSError as error:
        raise ProgramError(f"cannot start `{describe(argv)}`: {error.strerror}") from error
    try:
        yield process
    finally:
        await asyncio.shield(asyncio.ensure_future(_end(process)))


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


async def _end(process: asyncio.subprocess.Process) -> None:
    """End what is left of the program's group and wait for the program."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    # The leader was started as leader of its own session, so its pid is the group's number; no
    # other group can take that number while a member is left.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    # A program may end without reading all of it; its exit code tells whether that is an error.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


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
