"""The exec kind: any command is a step, named by its words and by what it was said to depend on."""

import asyncio
import os
import re
import secrets
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from pgstrata.domain.identity import Content, digest, step_digest
from pgstrata.domain.instance import Endpoint, Server
from pgstrata.domain.model import Model
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import (
    PREPARE_AGAIN,
    InputChangedError,
    InvalidArgumentError,
    StepFailedError,
    StepInterruptedError,
)
from pgstrata.kinds.base import fields_of
from pgstrata.kinds.exec import programs
from pgstrata.kinds.exec.fields import ExecFields
from pgstrata.kinds.exec.inputs import Entry, Inputs, is_executable
from pgstrata.kinds.sources.base import LocalSources, Sources, local_path
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.kinds.sources.memo import Memo
from pgstrata.kinds.work_dir import work_dir_of
from pgstrata.runtime.base import LineSink, Runtime, ToolCommand, View, run_by_lines
from pgstrata.system import arguments
from pgstrata.system.output import Tail
from pgstrata.system.processes import SIGNALLED, signal_name
from pgstrata.system.work_tree import work_tree

NAME = "exec"
_FROM_OUTSIDE = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGQUIT, signal.SIGTERM}
)
"""The signals that others send, and a program gets from nothing that it does."""

_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_READ_ONLY = re.compile(r"read-only file system|EROFS", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"name resolution|could not resolve|\bEAI_AGAIN\b|\bENOTFOUND\b|\bUnknownHostException|"
    r"network is unreachable|connect.*(?:permission denied|\bEACCES\b|couldn't connect)",
    re.IGNORECASE | re.DOTALL,
)
_UNSEEN = re.compile(
    r"no such file|ENOENT|not found|cannot (?:find|open)|can't (?:find|open)|ModuleNotFound",
    re.IGNORECASE,
)


class _Call(Model, frozen=True, kw_only=True):
    """What the runner learns of a request."""

    words: tuple[str, ...]
    """The arguments of the program, which is the step's tool."""
    path: str | None
    network: bool
    sealed: bool
    """Whether it is to see and to change nothing but what it was said to depend on."""
    shown: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    executable: tuple[str, ...] = ()
    """Which of the inputs are."""


class ExecRecipe:
    """Makes a command and its inputs a step."""

    reads_directories = True
    """Permissions count, which only files have."""

    def __init__(self) -> None:
        self._programs = Memo(programs.content, 256)
        self._machine = LocalTree()

    @property
    def name(self) -> str:
        return NAME

    def normalize(self, request: PrepareRequest) -> str:
        fields = _fields(request)
        options = [
            *(f"--input={path}" for path in fields.exec_inputs),
            *(f"--read={path}" for path in fields.exec_read),
            # Values may be secret.
            *(f"--env={name}" for name in sorted(fields.exec_env)),
            *(("--network",) if fields.exec_network else ()),
        ]
        return shlex.join((*options, "--", *fields.exec_command))

    async def steps(self, request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
        fields = _fields(request)
        if request.ref is not None and not fields.exec_inputs:
            raise InvalidArgumentError(
                "--ref reads from a revision what --input names, and nothing is named",
                remedy="name what the command reads, or leave out --ref",
            )
        if sources.local_root is None:
            raise InvalidArgumentError(
                f"{fields.exec_command[0]} is not on the machine of the sources",
                remedy="prepare where the command is",
            )
        try:
            step = await asyncio.to_thread(self._step, request, fields, sources, sources.local_root)
        except OSError as error:
            raise InvalidArgumentError(
                f"{error.filename} cannot be read: {error.strerror}",
                remedy="correct its path, or let the user that the engine runs as read it",
            ) from error
        return (step,)

    def _step(
        self, request: PrepareRequest, fields: ExecFields, sources: Sources, root: Path
    ) -> Step:
        work_dir = work_dir_of(request, sources)
        program = _program(fields, work_dir, root)
        declared = _declared(fields, sources, root, work_dir)
        own = local_path(root, program).exists()
        seen, content = self._programs.read(sources if own else self._machine, program)
        if own:
            declared.note(seen.input)
        named = _Named(fields, declared.entries, content or "", work_dir)
        sealed = bool(fields.exec_inputs)
        call = _Call(
            words=fields.exec_command[1:],
            path=fields.exec_path,
            network=fields.exec_network,
            sealed=sealed,
        )
        if sealed:
            found = local_path(root, program) if own else program
            seen_from = local_path(root, work_dir) if own else work_dir
            with_program = programs.comes_with(found, seen_from, fields.exec_path)
            shown = (*declared.shown, *(_outside(root, one) for one in with_program))
            # None of the files that there are now are those of a revision.
            kept_from = (work_dir,) if request.ref is None else (work_tree(work_dir), work_dir)
            call = msgspec.structs.replace(
                call,
                shown=tuple(dict.fromkeys(map(str, shown))),
                hidden=tuple(map(str, (*kept_from, *declared.hidden))),
                executable=tuple(
                    os.path.normpath(work_dir / one.name)
                    for one in declared.entries
                    if one.executable
                ),
            )
        return Step(
            kind=NAME,
            # What may depend on anything is never the same again.
            digest=step_digest(NAME, named.content if sealed else secrets.token_hex(32)),
            args=(msgspec.json.encode(call).decode(),),
            title=_title(fields.exec_command),
            work_dir=work_dir,
            inputs=declared.read if sealed else (),
            uncacheable=not sealed,
            parts=named.parts,
            env=fields.exec_env,
            tool=str(program),
        )


class ExecRunner:
    """Runs a command in the cell of a tool."""

    async def execute(
        self,
        step: Step,
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
    ) -> None:
        call = msgspec.json.decode(step.args[0], type=_Call)
        if call.sealed:
            await asyncio.to_thread(_check_modes, step, call, sources.local_root)
        last = Tail()

        async def hear(text: str) -> None:
            last.feed(f"{text}\n".encode())
            await line(text)

        ended = await run_by_lines(
            runtime, server, _command(step, call, server.endpoint, sources.local_root), hear
        )
        if ended.exit_code != 0:
            said = last.text.strip() or ended.stderr_tail
            raise _failure(step, call, ended.exit_code, said)


class _Named(NamedTuple):
    """What a state is named by."""

    fields: ExecFields
    entries: Sequence[Entry]
    program: str
    work_dir: Path

    @property
    def content(self) -> Content:
        return {
            "command": self.fields.exec_command,
            "program": self.program,
            "inputs": [[*entry] for entry in self.entries],
            "read": sorted(self._names_of_read()),
            "env": self.fields.exec_env,
            "network": self.fields.exec_network,
        }

    @property
    def parts(self) -> dict[str, str]:
        own = {
            "the command": digest(self.fields.exec_command),
            f"the program {Path(self.fields.exec_command[0]).name}": self.program,
            "--read": digest(sorted(self._names_of_read())),
            "--network": digest(self.fields.exec_network),
        }
        variables = {f"--env {name}": digest(text) for name, text in self.fields.exec_env.items()}
        return own | variables | {one.name: digest([*one[1:]]) for one in self.entries}

    def _names_of_read(self) -> list[str]:
        return [os.path.relpath(path, self.work_dir) for path in _paths(self.fields.exec_read)]


def _fields(request: PrepareRequest) -> ExecFields:
    """The request's fields, as far as they can be checked without any file."""
    fields = fields_of(request, ExecFields)
    if not fields.exec_command or not fields.exec_command[0]:
        raise InvalidArgumentError(
            "there is no command to run", remedy="name a program and its arguments"
        )
    paths = (*fields.exec_inputs, *fields.exec_read)
    texts = (*fields.exec_command, *paths, *fields.exec_env, *fields.exec_env.values())
    if any("\0" in text for text in (*texts, fields.exec_path or "")):
        raise InvalidArgumentError(
            "the request contains the character NUL, which no program can be given",
            remedy="leave it out",
        )
    arguments.check(fields.exec_command, fields.exec_env)
    for name in fields.exec_env:
        if not _VARIABLE.fullmatch(name):
            raise InvalidArgumentError(
                f'"{name}" is not the name of a variable',
                remedy="write NAME=VALUE, with a name of letters, digits and _ that begins with no "
                "digit: shells drop any other",
            )
        if name in _connection(None):
            raise InvalidArgumentError(
                f"{name} tells the command where its server is, which only pgstrata knows",
                remedy="leave it out; a script can make other variables of it",
            )
    for path in paths:
        if not path.startswith("/"):
            raise InvalidArgumentError(
                f"{path} is not an absolute path", remedy="send the path in full"
            )
    if request.stdin:
        raise InvalidArgumentError(
            "the request has standard input, and a command gets none",
            remedy="put it into a file and name that as an input",
        )
    return fields


def _program(fields: ExecFields, work_dir: Path, root: Path) -> Path:
    """The program of a command: with a slash the revision's, if it has it."""
    word = fields.exec_command[0]
    path = Path(os.path.normpath(work_dir / word))
    if root != Path("/") and "/" in word and os.path.lexists(inside := local_path(root, path)):
        programs.check(inside)
        return path
    return programs.find(word, work_dir, fields.exec_path)


def _outside(root: Path, path: Path) -> Path:
    """The path that stands for one below a root."""
    below = root != Path("/") and path.is_relative_to(root)
    return Path("/", path.relative_to(root)) if below else path


def _declared(fields: ExecFields, sources: Sources, root: Path, work_dir: Path) -> Inputs:
    """All inputs. What is wrong with any of them is told at once."""
    inputs, wrong = Inputs(sources, root, work_dir), list[InvalidArgumentError]()
    for pattern in fields.exec_inputs:
        try:
            inputs.add(pattern)
        except InvalidArgumentError as error:
            wrong.append(error)
    for path in _paths(fields.exec_read):
        inputs.show(path)
        # What a revision does not have is the machine's, as installed packages are.
        if not (local_path(root, path).exists() or path.exists()):
            wrong.append(
                InvalidArgumentError(
                    f"there is no {path}, which --read names", remedy="correct its path"
                )
            )
    if wrong:
        details = "\n".join(error.message for error in wrong) if len(wrong) > 1 else None
        raise InvalidArgumentError(wrong[0].message, remedy=wrong[0].remedy, details=details)
    return inputs


def _paths(given: tuple[str, ...]) -> list[Path]:
    return [Path(os.path.normpath(path)) for path in given]


def _check_modes(step: Step, call: _Call, root: Path) -> None:
    """Raise ``InputChangedError`` if a file may be run now and could not be, or the reverse.

    Their contents are checked; from now on, any change is noticed.
    """
    executable = {*call.executable}
    for one in step.inputs:
        path = local_path(root, Path(one.name))
        if one.name == step.tool or not path.is_file():
            continue
        if is_executable(path) != (one.name in executable):
            raise InputChangedError(
                f"the mode of {one.name} changed while its step was prepared",
                remedy="prepare again",
            )


def _command(step: Step, call: _Call, endpoint: Endpoint, root: Path) -> ToolCommand:
    return ToolCommand(
        tool=str(step.tool),
        args=call.words,
        work_dir=step.work_dir,
        trusted=not call.sealed,
        network=call.network,
        view=View(
            hidden=tuple(map(Path, call.hidden)), shown=tuple(map(Path, call.shown)), root=root
        )
        if call.sealed
        else None,
        path=call.path,
        # Where there is no cell, Python would write beside its modules.
        env={"PYTHONDONTWRITEBYTECODE": "1"} | step.env | _connection(endpoint),
    )


def _connection(endpoint: Endpoint | None) -> dict[str, str]:
    """The variables that lead to a server, as tools read them; without one, only their names.

    By TCP, since a URL has no room for a directory.
    """
    host, port, user, password, database, url, jdbc = (
        ("",) * 7
        if endpoint is None
        else (
            *(endpoint.host, str(endpoint.port), endpoint.user, endpoint.password),
            *(endpoint.database, endpoint.dsn, endpoint.jdbc_url),
        )
    )
    return {
        "PGHOST": host,
        "PGPORT": port,
        "PGUSER": user,
        "PGPASSWORD": password,
        "PGDATABASE": database,
        # Some clients insist on TLS otherwise, which over loopback there is none of.
        "PGSSLMODE": "disable",
        "DATABASE_URL": url,
        "JDBC_DATABASE_URL": jdbc,
        "JDBC_DATABASE_USERNAME": user,
        "JDBC_DATABASE_PASSWORD": password,
        "FLYWAY_URL": jdbc,
        "FLYWAY_USER": user,
        "FLYWAY_PASSWORD": password,
    }


def _failure(
    step: Step, call: _Call, exit_code: int, said: str
) -> StepFailedError | StepInterruptedError:
    by = ""
    if (number := exit_code - SIGNALLED) in _FROM_OUTSIDE:
        return StepInterruptedError(
            f"`{step.title}` was ended by {signal_name(number)}",
            remedy=PREPARE_AGAIN,
            details=said or None,
        )
    if number in {*signal.Signals}:
        by = f" ({signal.Signals(number).name})"
    return StepFailedError(
        f"`{step.title}` ended with exit code {exit_code}{by}",
        remedy=_remedy(step, call, said),
        details=said or None,
    )


def _remedy(step: Step, call: _Call, said: str) -> str:
    if call.sealed and _READ_ONLY.search(said):
        return (
            "with --input it may write to its directory and to /tmp, where it is thrown away, but "
            "not to inputs: a cached state repeats none of it; without, it may, and runs every time"
        )
    if not call.network and _UNREACHABLE.search(said):
        return "it can connect to nothing but its server; allow more with --network"
    if call.sealed and _UNSEEN.search(said):
        return f"of {step.work_dir} it sees what --input and --read name: add what it lacks"
    return "correct it and prepare again"


def _title(words: tuple[str, ...]) -> str:
    return " ".join(shlex.join(words).split())
