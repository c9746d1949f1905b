"""The psql kind: every ``-f`` and ``-c`` is a step, named by the content of everything it reads."""

import asyncio
import secrets
import shlex
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePath

from pgstrata.domain.identity import Content, digest, step_digest
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import (
    InvalidArgumentError,
    UncacheableError,
)
from pgstrata.kinds.base import fields_of
from pgstrata.kinds.psql.arguments import (
    Command,
    File,
    PsqlArguments,
    Restoring,
    Source,
    Stdin,
    parse,
    source_words,
)
from pgstrata.kinds.psql.fields import PsqlFields
from pgstrata.kinds.psql.inputs import Dump, Expansion, Inputs, Located, abridge
from pgstrata.kinds.psql.options import Use
from pgstrata.kinds.psql.running import RESTORE, psql_flags
from pgstrata.kinds.psql.scanner import scan, scan_command
from pgstrata.kinds.psql.script import Binding, Problem, is_inert
from pgstrata.kinds.sources.base import Seen, Sources, missing
from pgstrata.kinds.sql import forbidden
from pgstrata.kinds.sql.reader import StringText
from pgstrata.kinds.work_dir import work_dir_of

NAME = "psql"
_MOST_LINES = 1000
"""The most problems that are reported."""


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

    @property
    def can_continue(self) -> bool:
        """Whether its steps can go on after errors (``kinds.base.check_on_error``)."""
        return True

    def normalize(self, request: PrepareRequest) -> str:
        return _arguments(request).normalized()

    async def steps(self, request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
        arguments = _arguments(request)
        return await asyncio.to_thread(self._steps, request, arguments, sources)

    def _steps(
        self, request: PrepareRequest, arguments: PsqlArguments, sources: Sources
    ) -> tuple[Step, ...]:
        work_dir = work_dir_of(request, sources)
        common_parts = _common_parts(arguments, request)
        dumps, goes_on = 0, request.on_error == "continue"
        steps: list[Step] = []
        refused: list[InvalidArgumentError] = []
        for source in arguments.sources:
            try:
                located = _made_absolute(source, work_dir, request)
                if isinstance(located, File) and (
                    dump := self._inputs.dump(sources, Path(located.path), goes_on=goes_on)
                ):
                    dumps += 1
                    steps.append(
                        _restoring_step(
                            source, located, dump, sources, work_dir, arguments, request
                        )
                    )
                    continue
                expansion = self._expand(sources, located, work_dir, arguments, request)
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
        if arguments.restore and not dumps:
            raise InvalidArgumentError(
                f"{arguments.restore[0].word} is an option of pg_restore, and no -f names a dump",
                remedy="leave it out, or name a dump of pg_dump's (-Fc, -Ft, -Fd)",
            )
        return tuple(steps)

    def _expand(
        self,
        sources: Sources,
        source: Source,
        work_dir: Path,
        arguments: PsqlArguments,
        request: PrepareRequest,
    ) -> Expansion:
        goes_on = request.on_error == "continue"
        bindings = tuple(_bindings(arguments))
        match source:
            case File(path):
                found = self._inputs.expand_file(
                    sources, Path(path), work_dir, bindings, goes_on=goes_on
                )
            case Stdin():
                text = StringText(request.stdin or "")
                scanned = abridge(scan(text, goes_on=goes_on), text)
                found = self._inputs.expand(
                    sources, scanned, "<stdin>", work_dir, bindings, goes_on=goes_on
                )
            case Command(words):
                sql = words.encode("utf-8", "surrogateescape")
                scanned = abridge(scan_command(sql), sql)
                found = self._inputs.expand(
                    sources, scanned, "-c", work_dir, bindings, goes_on=goes_on
                )
        return found._replace(problems=(*_variable_problems(arguments), *found.problems))


# A request is normalized first and made into steps then, and the same requests come again.
_parsed = lru_cache(maxsize=16)(parse)


def _arguments(request: PrepareRequest) -> PsqlArguments:
    words = fields_of(request, PsqlFields).psql_args
    if not words and request.start_from is not None:
        return PsqlArguments(sources=(), variables={})  # an instance of that very state
    arguments = _parsed(words)
    if arguments.single_transaction and request.on_error == "continue":
        raise InvalidArgumentError(
            "in a single transaction (-1) nothing goes on after an error",
            remedy="leave out -1, or --on-error=continue",
        )
    if arguments.needs_stdin and request.stdin is None:
        raise InvalidArgumentError(
            "`-f -` reads standard input, and the request has none",
            remedy="send the script as `stdin`, or name its file",
        )
    if arguments.needs_stdin and (not request.stdin or request.stdin.isspace()):
        # A dump that was broken off would make an empty database, and nobody would notice.
        raise InvalidArgumentError(
            "standard input is empty", remedy="send the script as `stdin`, or name its file"
        )
    if request.stdin and not arguments.needs_stdin:
        raise InvalidArgumentError(
            "the request has standard input that no argument reads",
            remedy="add `-f -` where it should run, or leave it out",
        )
    return arguments


def _made_absolute(source: Source, work_dir: Path, request: PrepareRequest) -> Source:
    """The source, with the path of a file in full."""
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
    if request.on_error == "continue":
        content["on_error"] = "continue"
    if expansion.problems:
        # What cannot be known is never the same again.
        content["nonce"] = secrets.token_hex(16)
    return Step(
        kind=NAME,
        digest=step_digest(NAME, content),
        args=_args(located, arguments, request),
        title=shlex.join(source_words(source)),
        work_dir=work_dir,
        stdin=request.stdin if isinstance(source, Stdin) else None,
        inputs=tuple(seen.input for seen in expansion.files),
        uncacheable=bool(expansion.problems),
        env=_env(request),
        on_error=request.on_error,
        parts=_parts(source, expansion, request.stdin) | common_parts,
    )


def _restoring_step(
    source: Source,
    located: File,
    dump: Dump,
    sources: Sources,
    work_dir: Path,
    arguments: PsqlArguments,
    request: PrepareRequest,
) -> Step:
    """The step that restores a dump. Variables and other options of psql do not concern it."""
    if arguments.single_transaction and any(o.use is Use.RESTORE_JOBS for o in arguments.restore):
        raise InvalidArgumentError(
            "several jobs (-j) cannot share a single transaction (-1)",
            remedy="leave out one of them",
        )
    options: list[Content] = []
    words, files = [], list(dump.files)
    parts = {located.path: dump.digest}
    for option in arguments.restore:
        word = option.word
        if option.use is Use.RESTORE_FILE:
            seen = _option_file(option, sources, work_dir)
            files.append(seen)
            word = option._replace(value=seen.input.name).word
            options.append([option.name, seen.input.digest])
            parts[seen.input.name] = seen.input.digest or ""
        elif option.use is Use.RESTORE:
            options.append([option.name, option.value])
            parts[f"--{option.name}"] = digest([option.name, option.value])
        words.append(word)
    if arguments.single_transaction:
        words.append("--single-transaction")
        parts["-1"] = digest(["-1", True])
    content: dict[str, Content] = {
        "source": "dump",
        "content": dump.digest,
        "options": options,
        "single_transaction": arguments.single_transaction,
    }
    if request.on_error == "continue":
        content["on_error"] = "continue"
        parts |= _ON_ERROR
    return Step(
        kind=NAME,
        digest=step_digest(NAME, content),
        args=(RESTORE, *words, located.path),
        title=shlex.join(source_words(source)),
        work_dir=work_dir,
        inputs=tuple(seen.input for seen in files),
        parts=parts,
        on_error=request.on_error,
    )


def _option_file(option: Restoring, sources: Sources, work_dir: Path) -> Seen:
    seen = sources.look(work_dir / (option.value or ""))
    if seen.input.digest is None:
        raise missing(sources, PurePath(seen.input.name))
    return seen


_ON_ERROR = {"--on-error": digest(["--on-error", "continue"])}


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


def _common_parts(arguments: PsqlArguments, request: PrepareRequest) -> dict[str, str]:
    """The parts that all steps have in common. Their names matter, so the digests cover them."""
    variables = {**arguments.variables, **arguments.flag_variables}
    flags: dict[str, Content] = {f"variable {name}": value for name, value in variables.items()}
    if arguments.single_transaction:
        flags["-1"] = True
    own = _ON_ERROR if request.on_error == "continue" else {}
    return {name: digest([name, value]) for name, value in flags.items()} | own


def _args(source: Source, arguments: PsqlArguments, request: PrepareRequest) -> tuple[str, ...]:
    return (
        *psql_flags(request.on_error),
        *arguments.variable_words(),
        *(word for flag in arguments.output_flags for word in flag),
        *(("-1",) if arguments.single_transaction else ()),
        # These must be last: ``command`` relies on it.
        *source_words(source),
    )
