"""Runs a step: a script or command with psql, a dump with pg_restore."""

import asyncio
import re
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
)
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple

from msgspec.structs import replace

from pgstrata.domain.instance import Server
from pgstrata.domain.plan import OnError, Step
from pgstrata.errors import (
    PREPARE_AGAIN,
    StepFailedError,
    StepInterruptedError,
    ToolMissingError,
    UncacheableError,
)
from pgstrata.kinds.psql.failures import Failures
from pgstrata.kinds.psql.inputs import home
from pgstrata.kinds.psql.scanner import scan
from pgstrata.kinds.sources.base import LocalSources, local_path
from pgstrata.kinds.sql import reader
from pgstrata.kinds.unpacking import (
    COPY_AGAIN,
    large_files_dir,
    named,
    packing_of,
    room_for,
    unpacked,
)
from pgstrata.runtime.base import LineSink, Runtime, ToolCommand, ToolExit
from pgstrata.system.cancellation import finish
from pgstrata.system.output import Lines, OutputSink, Stream
from pgstrata.system.processes import CRASHES, SIGNALLED, signal_name

RESTORE = "pg_restore"
"""The first argument of a step with a dump."""
FILE_OPTIONS = ("--use-list=", "--filter=")

_FAILURE = re.compile(
    r"^(?:psql:.*?: )?(?:ERROR|FATAL|PANIC|error|fatal):|^pg_restore: (?:error:|\[archiver)",
    re.MULTILINE,
)
_STDIN = "psql:<stdin>:"
_ENTRY = re.compile(
    r"pg_restore: (?P<what>(?:creating|processing data for|executing(?! SELECT)|processing BLOBS"
    r"|restoring BLOBS).*)"
)
_CHATTER = re.compile(
    r"pg_restore: (?:connecting to|executing SELECT|implied data-only|processing item"
    r"|launching item|finished item|entering main|finished main|restoring large object"
    r"|restored [0-9]+ large)"
)
_LOST = "connection to server was lost"
_TRY_HELP = 'Try "pg_restore --help"'
_OF_THE_SERVER = re.compile(r"could not execute query|COPY failed|(?:ERROR|FATAL):")
_IGNORED = "errors ignored on restore"
_NOT_FOR_A_LIST = ("--jobs=", "--create", "--clean", "--if-exists", "--single-transaction")


class PsqlRunner:
    """Runs each step in its own psql or pg_restore."""

    async def execute(
        self,
        step: Step,
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
    ) -> None:
        call = _Call(step, sources.local_root, server, runtime, line, Failures())
        async with AsyncExitStack() as stack:
            if step.args[0] == RESTORE:
                ended = await _restore(call, stack)
            else:
                ended = await _run_psql(call, stack)
        goes_on = step.on_error == "continue"
        if ended.exit_code != 0 and not (goes_on and _went_on(step, ended)):
            raise failure(step, ended)
        if goes_on and (error := call.failures.of_the_machine) is not None:
            raise StepFailedError(
                error,
                remedy="see to that and prepare again: it was not the step's fault, so that its "
                "state would be kept without what it could not do",
                details=ended.stderr_tail or None,
            )
        if goes_on and call.failures.count:
            await line(f"{call.failures.count} failed, and the step went on (--on-error=continue):")
            for failed in call.failures.lines():
                await line(failed)


class _Call(NamedTuple):
    """One step to run against one server."""

    step: Step
    root: Path
    server: Server
    runtime: Runtime
    line: LineSink
    failures: Failures


async def _run_psql(call: _Call, stack: AsyncExitStack) -> ToolExit:
    *_, option, source = call.step.args
    told = command(call.step, call.root)
    if option == "-f" and source != "-":
        path = local_path(call.root, PurePath(source))
        with path.open("rb") as file:
            if packing := packing_of(file):
                with named(source):
                    plain = await stack.enter_async_context(
                        _in_thread(lambda going_on: unpacked(file, packing, going_on))
                    )
                told = _from_file(told, plain)
    return await _run(call, told, name=source)


def _from_file(told: ToolCommand, file: BinaryIO) -> ToolCommand:
    """psql's command with its script on standard input: an open file, which has no name."""
    path = Path(f"/proc/self/fd/{file.fileno()}")
    return replace(told, args=(*told.args[:-1], "-"), stdin_path=path)


async def _run(call: _Call, told: ToolCommand, *, name: str = "-") -> ToolExit:
    """Run a tool and pass on its lines; ``name``: what psql should call its standard input."""

    async def pass_on(stream: Stream, text: str) -> None:
        if told.stdin_path is not None and text.startswith(_STDIN):
            text = f"psql:{name}:{text.removeprefix(_STDIN)}"
        if stream == "stderr":
            call.failures.take(text)
        await call.line(text)

    lines = Lines(pass_on)
    ended = await call.runtime.run(call.server, told, lines.feed)
    await lines.finish()
    if told.stdin_path is None:
        return ended
    tail = "\n".join(
        f"psql:{name}:{line.removeprefix(_STDIN)}" if line.startswith(_STDIN) else line
        for line in ended.stderr_tail.split("\n")
    )
    return replace(ended, stderr_tail=tail)


async def _restore(call: _Call, stack: AsyncExitStack) -> ToolExit:
    options = tuple(_moved(word, call.root) for word in call.step.args[1:-1])
    dump = str(local_path(call.root, PurePath(call.step.args[-1])))
    if not call.runtime.confines:
        return await _restore_checked(call, stack, options, dump)
    total = await _count_entries(call, options, dump)
    done = 0

    async def show(text: str) -> None:
        nonlocal done
        if (entry := _ENTRY.match(text)) is not None:
            done += 1
            await call.line(f"[{min(done, total)}/{total}] {entry['what']}")
        elif _CHATTER.match(text) is None:
            await call.line(text)

    stop = () if call.step.on_error == "continue" else ("--exit-on-error",)
    # A database's name with an equals sign would be taken for a connection string.
    name = call.server.endpoint.database.replace("\\", r"\\").replace("'", r"\'")
    args = (f"--dbname=dbname='{name}'", "--verbose", *stop, *options, dump)
    return await _run(call._replace(line=show), _tool(call, args))


async def _restore_checked(
    call: _Call, stack: AsyncExitStack, options: tuple[str, ...], dump: str
) -> ToolExit:
    """Have pg_restore write a script, check that like any other, and run what was checked."""
    script = stack.enter_context(tempfile.TemporaryFile(dir=large_files_dir()))  # noqa: SIM115
    words = [word for word in options if not word.startswith("--jobs=")]
    single = "--single-transaction" in words
    args = (*(word for word in words if word != "--single-transaction"), "--file=-", dump)

    async def keep(stream: Stream, piece: bytes) -> None:
        if stream == "stdout":
            with room_for(f"the script of {call.step.args[-1]}"):
                await asyncio.to_thread(script.write, piece)

    ended = await _called(call, _tool(call, args), keep)
    if ended.exit_code != 0:
        return ended
    with room_for(f"the script of {call.step.args[-1]}"):
        await asyncio.to_thread(script.flush)
    goes_on = call.step.on_error == "continue"
    found = await asyncio.to_thread(
        lambda: scan(reader.FileText(script.fileno()), goes_on=goes_on).problems
    )
    if found:
        lines = [f"{call.step.args[-1]}: {problem.what}" for problem in found]
        raise UncacheableError(
            lines[0],
            remedy="restore it where servers have cells of level basic (`pgstrata status`) without "
            "sandbox.network and sandbox.readPaths, or make a script of it and change that: "
            f"pg_restore -f - {call.step.args[-1]}",
            details="\n".join(lines) if len(lines) > 1 else None,
        )
    told = command(replace(call.step, args=(*psql_flags(call.step.on_error), "-f", "-")), call.root)
    if single:
        told = replace(told, args=("-1", *told.args))
    return await _run(call, _from_file(told, script), name=call.step.args[-1])


async def _count_entries(call: _Call, options: tuple[str, ...], dump: str) -> int:
    """How many entries of a dump's table of contents are restored.

    Raises ``StepFailedError`` if this pg_restore cannot read the dump.
    """
    listed: list[int] = []

    async def count(stream: Stream, text: str) -> None:
        if stream == "stdout" and text and not text.startswith(";"):
            listed.append(1)

    lines = Lines(count)
    words = tuple(word for word in options if not word.startswith(_NOT_FOR_A_LIST))
    ended = await _called(call, _tool(call, ("--list", *words, dump)), lines.feed)
    await lines.finish()
    if ended.exit_code != 0:
        raise failure(call.step, ended)
    return len(listed)


async def _called(call: _Call, told: ToolCommand, output: OutputSink) -> ToolExit:
    try:
        return await call.runtime.run(call.server, told, output)
    except ToolMissingError as error:
        raise ToolMissingError(
            "the PostgreSQL of this image has no pg_restore, which restores dumps",
            remedy="install its client programs, or use one of `pgstrata postgres install`",
            details=error.message,
        ) from error


def _tool(call: _Call, args: tuple[str, ...]) -> ToolCommand:
    # A forged dump in directory format may name files that are elsewhere.
    reads = _inputs(call.step, call.root)
    return ToolCommand(
        tool=RESTORE,
        args=args,
        work_dir=local_path(call.root, call.step.work_dir),
        reads=reads,
        inputs=reads,
    )


def _inputs(step: Step, root: Path) -> tuple[Path, ...]:
    """Where the files are that a step reads."""
    return tuple(local_path(root, PurePath(one.name)) for one in step.inputs)


def _moved(word: str, root: Path) -> str:
    """An option of pg_restore, with the path in it where the file is now."""
    for option in FILE_OPTIONS:
        if word.startswith(option):
            return f"{option}{local_path(root, PurePath(word.removeprefix(option)))}"
    return word


@asynccontextmanager
async def _in_thread(
    opening: Callable[[Callable[[], bool]], AbstractContextManager[BinaryIO]],
) -> AsyncIterator[BinaryIO]:
    """Enter a context in a thread, which is told when nobody waits any more."""
    stopped = threading.Event()
    with ExitStack() as stack:
        work = asyncio.ensure_future(
            asyncio.to_thread(stack.enter_context, opening(lambda: not stopped.is_set()))
        )
        try:
            yield await asyncio.shield(work)
        finally:
            stopped.set()
            await finish(asyncio.wait((work,)))
            work.exception()  # the block's own error takes precedence


def command(step: Step, root: Path) -> ToolCommand:
    """The psql command that runs a step, whose files are below ``root``."""
    *flags, option, source = step.args
    if option == "-f" and source != "-":
        source = str(local_path(root, PurePath(source)))
    return ToolCommand(
        tool="psql",
        args=(*flags, option, source),
        work_dir=local_path(root, step.work_dir),
        stdin=step.stdin,
        trusted=step.uncacheable,
        inputs=_inputs(step, root),
        env={
            # Some releases of psql take ~ from HOME, others from the password file.
            "HOME": home(),
            # The scanner assumes it; a database, a role or a server may have another setting.
            "PGOPTIONS": "-c standard_conforming_strings=on",
            **step.env,
        },
    )


def psql_flags(on_error: OnError) -> tuple[str, ...]:
    """psql's first options. One that goes on says which statement failed."""
    if on_error == "continue":
        return ("-X", "-v", "ON_ERROR_STOP=0", "-b")
    return ("-X", "-v", "ON_ERROR_STOP=1")


def _went_on(step: Step, ended: ToolExit) -> bool:
    """Whether a tool told to go on did so, though its exit code tells of errors."""
    return ended.exit_code == 1 and (_IGNORED in ended.stderr_tail or step.args[-2] == "-c")


def failure(step: Step, ended: ToolExit) -> StepFailedError | StepInterruptedError:
    """The error to report if a step's tool ended with an exit code other than 0."""
    if (number := ended.exit_code - SIGNALLED) > 0:
        tool = RESTORE if step.args[0] == RESTORE else "psql"
        what = f"{tool} was ended by {signal_name(number)}"
        said = ended.stderr_tail or None
        if number in CRASHES:
            return StepFailedError(what, remedy="see what it said before", details=said)
        return StepInterruptedError(what, remedy=PREPARE_AGAIN, details=said)
    line = _failure_line(step, ended)
    remedy = f"correct `{_one_line(step.title)}` and prepare again"
    if step.args[0] == RESTORE and "unsupported version" in line:
        remedy = "a newer pg_dump wrote it: use a newer --image, whose pg_restore can read it"
    elif step.args[0] == RESTORE and _TRY_HELP in ended.stderr_tail:
        remedy = "correct the options for pg_restore"
    elif step.args[0] == RESTORE and _OF_THE_SERVER.search(line):
        remedy = (
            "restore it with options (--no-owner, …), or go on after errors (--on-error=continue)"
        )
    elif step.args[0] == RESTORE:
        remedy = f"{COPY_AGAIN}, and what its options select"
    said = ended.stderr_tail
    if step.args[0] == RESTORE:
        said = "\n".join(each for each in said.split("\n") if not _CHATTER.match(each)).rstrip()
    return StepFailedError(line, remedy=remedy, details=said or None)


def _failure_line(step: Step, ended: ToolExit) -> str:
    lines = [line for line in ended.stderr_tail.splitlines() if line.strip()]
    told = [line.strip() for line in lines if _FAILURE.match(line)]
    if len(told) > 1 and told[-1].endswith(_LOST):
        del told[-1]  # the one before says why
    if told:
        # A tool that went on ended with the last one.
        return told[-1 if step.on_error == "continue" else 0]
    tool = RESTORE if step.args[0] == RESTORE else "psql"
    return lines[-1].strip() if lines else f"{tool} ended with exit code {ended.exit_code}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79] + "…"
