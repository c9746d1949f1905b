"""The psql kind: every ``-f`` and ``-c`` is a step, named by the content of everything it reads."""

import asyncio
import re
import secrets
import shlex
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePath

from pgstrata.domain.identity import Content, digest, step_digest
from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import (
    InvalidArgumentError,
    StepFailedError,
    UncacheableError,
)
from pgstrata.kinds.base import fields_of
from pgstrata.kinds.psql.arguments import (
    Command,
    File,
    PsqlArguments,
    Source,
    Stdin,
    parse,
    source_words,
)
from pgstrata.kinds.psql.fields import PsqlFields
from pgstrata.kinds.psql.inputs import Expansion, Inputs, Located, abridge, home
from pgstrata.kinds.psql.scanner import scan, scan_command
from pgstrata.kinds.psql.script import Binding, Problem, is_inert
from pgstrata.kinds.sources.base import LocalSources, Sources, local_path
from pgstrata.kinds.sql import forbidden
from pgstrata.kinds.sql.reader import StringText
from pgstrata.kinds.work_dir import work_dir_of
from pgstrata.runtime.base import LineSink, Runtime, ToolCommand, ToolExit, run_by_lines

NAME = "psql"
_MOST_LINES = 1000
"""The most problems that are reported."""
_FAILURE = re.compile(r"^(?:psql:.*?: )?(?:ERROR|FATAL|PANIC|error|fatal):", re.MULTILINE)


class PsqlRecipe:
    """Makes steps of psql scripts and commands.

    It remembers the last ``memo_size`` scripts and as many data files, so that preparing the same
    again only checks each file's inode.
    """

    def __init__(self, memo_size: int = 4096) -> None:
        self._inputs = Inputs(memo_size)

    @property
    def name(self) -> str:
        return NAME

    def normalize(self, request: PrepareRequest) -> str:
        return _arguments(request).normalized()

    async def steps(self, request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
        arguments = _arguments(request)
        return await asyncio.to_thread(self._steps, request, arguments, sources)

    def _steps(
        self, request: PrepareRequest, arguments: PsqlArguments, sources: Sources
    ) -> tuple[Step, ...]:
        work_dir = work_dir_of(request, sources)
        common_parts = _common_parts(arguments)
        steps: list[Step] = []
        refused: list[InvalidArgumentError] = []
        for source in arguments.sources:
            try:
                located = _located(source, work_dir, request)
                expansion = self._expand(sources, located, work_dir, arguments, request.stdin)
                if expansion.problems and request.uncacheable == "refuse":
                    raise _uncacheable(expansion.problems)
            except InvalidArgumentError as error:
                refused.append(error)
                continue
            steps.append(
                _step(source, located, expansion, work_dir, arguments, request, common_parts)
            )
        if refused:
            raise _joined(refused)
        return tuple(steps)

    def _expand(
        self,
        sources: Sources,
        source: Source,
        work_dir: Path,
        arguments: PsqlArguments,
        stdin: str | None,
    ) -> Expansion:
        bindings = tuple(_bindings(arguments))
        match source:
            case File(path):
                found = self._inputs.expand_file(sources, Path(path), work_dir, bindings)
            case Stdin():
                text = StringText(stdin or "")
                scanned = abridge(scan(text), text)
                found = self._inputs.expand(sources, scanned, "<stdin>", work_dir, bindings)
            case Command(words):
                sql = words.encode("utf-8", "surrogateescape")
                scanned = abridge(scan_command(sql), sql)
                found = self._inputs.expand(sources, scanned, "-c", work_dir, bindings)
        return found._replace(problems=(*_variable_problems(arguments), *found.problems))


class PsqlRunner:
    """Runs each step in its own psql."""

    async def execute(
        self,
        step: Step,
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
        *,
        flush_query: str | None = None,
    ) -> str | None:
        ended = await run_by_lines(runtime, server, command(step, sources.local_root), line)
        if ended.exit_code != 0:
            raise failure(step, ended)
        return None


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
        env={
            # Some releases of psql take ~ from HOME, others from the password file.
            "HOME": home(),
            # The scanner assumes it; a database, a role or a server may have another setting.
            "PGOPTIONS": "-c standard_conforming_strings=on",
            **step.env,
        },
    )


def failure(step: Step, ended: ToolExit) -> StepFailedError:
    """The error to report if psql ended with an exit code other than 0."""
    return StepFailedError(
        _failure_line(ended),
        remedy=f"correct `{_one_line(step.title)}` and prepare again",
        details=ended.stderr_tail or None,
    )


# A request is normalized first and made into steps then, and the same requests come again.
_parsed = lru_cache(maxsize=16)(parse)


def _arguments(request: PrepareRequest) -> PsqlArguments:
    arguments = _parsed(fields_of(request, PsqlFields).psql_args)
    if arguments.needs_stdin and request.stdin is None:
        raise InvalidArgumentError(
            "`-f -` reads standard input, and the request has none",
            remedy="send the script as `stdin`, or name its file",
        )
    if request.stdin and not arguments.needs_stdin:
        raise InvalidArgumentError(
            "the request has standard input that no argument reads",
            remedy="add `-f -` where it should run, or leave it out",
        )
    return arguments


def _located(source: Source, work_dir: Path, request: PrepareRequest) -> Source:
    """The source with its path made absolute."""
    if not isinstance(source, File):
        return source
    if request.work_dir is None and not source.path.startswith("/"):
        raise InvalidArgumentError(
            f"{source.path} is a relative path, and the request has no work_dir",
            remedy="send work_dir, or the path in full",
        )
    return File(str(work_dir / source.path))


def _bindings(arguments: PsqlArguments) -> Iterator[Binding]:
    for name, value in arguments.variables.items():
        if value is not None and not is_inert(value):
            yield Binding(name, 0)


def _variable_problems(arguments: PsqlArguments) -> Iterator[Located]:
    for name, value in arguments.variables.items():
        for found in forbidden.find((value or "").encode("utf-8", "surrogateescape")):
            yield Located(f"-v {name}", Problem(1, found.what, found.remedy))


def _uncacheable(problems: Sequence[Located]) -> UncacheableError:
    lines = [f"{script}:{problem.line}: {problem.what}" for script, problem in problems]
    return UncacheableError(
        lines[0],
        remedy=f"{problems[0].problem.remedy}, or run it uncached with --uncacheable=run",
        details="\n".join(lines) if len(lines) > 1 else None,
    )


def _joined(errors: Sequence[InvalidArgumentError]) -> InvalidArgumentError:
    """One error for all steps that cannot be made: the first, with what is wrong in each."""
    first = errors[0]
    texts = ((error.details or error.message).splitlines() for error in errors)
    lines = list(dict.fromkeys(line for text in texts for line in text))[:_MOST_LINES]
    details = "\n".join(lines) if len(lines) > 1 else None
    return type(first)(first.message, remedy=first.remedy, details=details)


def _step(
    source: Source,
    located: Source,
    expansion: Expansion,
    work_dir: Path,
    arguments: PsqlArguments,
    request: PrepareRequest,
    common_parts: dict[str, str],
) -> Step:
    content: dict[str, Content] = {
        "source": "command" if isinstance(source, Command) else "script",
        "content": expansion.digest,
        "variables": {**arguments.variables, **arguments.flag_variables},
        "single_transaction": arguments.single_transaction,
    }
    if expansion.problems:
        # What cannot be known is never the same again.
        content["nonce"] = secrets.token_hex(16)
    return Step(
        kind=NAME,
        digest=step_digest(NAME, content),
        args=_args(located, arguments),
        title=shlex.join(source_words(source)),
        work_dir=work_dir,
        stdin=request.stdin if isinstance(source, Stdin) else None,
        inputs=tuple(seen.input for seen in expansion.files),
        uncacheable=bool(expansion.problems),
        env=_env(request),
        parts=_parts(source, expansion, request.stdin) | common_parts,
    )


def _env(request: PrepareRequest) -> dict[str, str]:
    # psql would read scripts in the encoding of its database, which is UTF8 by default.
    return {"PGCLIENTENCODING": "UTF8"} if "encoding" in request.initdb.own else {}


def _parts(source: Source, expansion: Expansion, stdin: str | None) -> dict[str, str]:
    """A step's own parts: each of its files by itself, a command, standard input."""
    inputs = (seen.input for seen in expansion.files)
    parts = {one.name: one.digest for one in inputs if one.digest is not None}
    match source:
        case Command(words):
            parts |= {"-c": digest(words), "-c in place of -f": digest(True)}
        case Stdin():
            parts["standard input"] = digest(stdin)
    return parts


def _common_parts(arguments: PsqlArguments) -> dict[str, str]:
    """The parts that all steps have in common. Their names matter, so the digests cover them."""
    variables = {**arguments.variables, **arguments.flag_variables}
    flags: dict[str, Content] = {f"variable {name}": value for name, value in variables.items()}
    if arguments.single_transaction:
        flags["-1"] = True
    return {name: digest([name, value]) for name, value in flags.items()}


def _args(source: Source, arguments: PsqlArguments) -> tuple[str, ...]:
    return (
        *("-X", "-v", "ON_ERROR_STOP=1"),
        *arguments.variable_words(),
        *(word for flag in arguments.output_flags for word in flag),
        *(("-1",) if arguments.single_transaction else ()),
        # These must be last: ``command`` relies on it.
        *source_words(source),
    )


def _failure_line(ended: ToolExit) -> str:
    lines = [line for line in ended.stderr_tail.splitlines() if line.strip()]
    for line in lines:
        if _FAILURE.match(line):
            return line.strip()
    return lines[-1].strip() if lines else f"psql ended with exit code {ended.exit_code}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79] + "…"
