"""The command line: reads the options before the command, runs the command, reports errors."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from io import TextIOWrapper
from itertools import dropwhile, pairwise
from pathlib import Path

from pgstrata import __version__
from pgstrata.cli import command_table, for_eval
from pgstrata.cli.command import (
    INTERRUPTED,
    Command,
    Context,
    Detached,
    Output,
    Signalled,
    help_text,
    name_of,
)
from pgstrata.cli.near import command_hint, misplaced, option_hint
from pgstrata.cli.options import HELP, Given, help_before, one_of, parse
from pgstrata.cli.overview import OPTIONS, group_help, options_anywhere, overview
from pgstrata.cli.report import abandon, report, report_detached
from pgstrata.config.load import load
from pgstrata.errors import InvalidArgumentError, PgstrataError
from pgstrata.system import environment

USAGE = 2

_output: Callable[[str], Output] = one_of("human", "json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. Never raises, never shows a traceback.

    Without ``arguments`` it takes the process's own, and may change the process.
    """
    if arguments is None:
        _prepare_process()
        arguments = sys.argv[1:]
    words = arguments
    as_json = _wants_json(words)
    try:
        exit_code = _run(words)
        sys.stdout.flush()
        return exit_code
    except PgstrataError as error:
        report(error, as_json=as_json)
        _stop_eval(words, as_json=as_json)
        return error.exit_code
    except Detached as left:
        report_detached(left.job_id, as_json=as_json)
        _stop_eval(words, as_json=as_json)
        return left.exit_code
    except Signalled as ended:
        _stop_eval(words, as_json=as_json)
        return ended.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        _stop_eval(words, as_json=as_json)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed our output. The interpreter must not try to flush it at exit.
        abandon(sys.stdout)
        return 0


def _prepare_process() -> None:
    """Make this process independent of the environment it was started in."""
    if sys.getfilesystemencoding() != "utf-8":
        # The engine must decode paths in the same way.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606
    _open_what_is_closed()
    environment.forget_others()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A character that cannot be encoded must not be a reason to fail.
            stream.reconfigure(errors="backslashreplace")


def _open_what_is_closed() -> None:
    """Have input, output and errors: what else is opened would be taken for one that is closed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, number)
            if opened != number:
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))


def _run(words: Sequence[str]) -> int:
    for word in words:
        if any("\ud800" <= character <= "\udfff" for character in word):
            raise InvalidArgumentError(
                f"{word!a} is not UTF-8", remedy="give the file or the directory another name"
            )
    given = parse(words, OPTIONS, pass_on=True)
    if given.has("--version"):
        print(f"pgstrata {__version__}")
        return 0
    if given.words[:1] == ("help",):
        given = given._replace(words=(*given.words[1:], "--help"))
    if given.has("--help") or given.words in ((), ("--help",)):
        helped = given.has("--help") or given.words != ()
        print(overview(), file=sys.stdout if helped else sys.stderr)
        return 0 if helped else USAGE
    if given.words[0].startswith("-"):
        raise InvalidArgumentError(
            f"unknown option {given.words[0]} before the command",
            remedy=option_hint(given.words[0], OPTIONS),
        )
    if given.words[0] in command_table.GROUPS and given.words[1:] in (("--help",), ("-h",)):
        print(group_help(given.words[0]))
        return 0
    return _run_command(given)


def _run_command(given: Given) -> int:
    command, rest = _find_command(given.words)
    shared = options_anywhere(command)
    helping = help_before(rest) if command.passes_on else HELP
    options = (*shared, *command.options, helping)
    parsed = parse(rest, options, pass_on=command.passes_on, own_words=command.own_words)
    more, own = parsed.part(shared)
    if own.has("--help"):
        print(help_text(command))
        return 0
    if command.wordless and own.words:
        raise InvalidArgumentError(
            f'{name_of(command)} takes no "{own.words[0]}"',
            remedy=f"write `pgstrata {command.usage}`",
        )
    if "" in own.words and not (command.passes_on or command.empty_words):
        # A variable that was not set, perhaps: an id or a name is never empty.
        raise InvalidArgumentError(
            f"an argument of `{name_of(command)}` is empty",
            remedy=f"write `pgstrata {command.usage}`",
        )
    given = given._replace(options=(*given.options, *more.options))
    try:
        with ExitStack() as resources:
            return command.run(_context(given, own, command, resources), own)
    except InvalidArgumentError as error:
        explained = misplaced(command, options, own, error) if command.passes_on else None
        if explained is None:
            raise
        raise explained from error


def _find_command(words: Sequence[str]) -> tuple[Command, Sequence[str]]:
    """Find the command that the first words name. Returns it and the remaining words."""
    name, rest = words[0], words[1:]
    if name in command_table.GROUPS and rest and not rest[0].startswith("-"):
        name, rest = f"{name} {rest[0]}", rest[1:]
    if command := command_table.load(name):
        return command, rest
    known = [*command_table.overview()]
    if name in command_table.GROUPS:
        raise InvalidArgumentError(f"`{name}` needs a subcommand", remedy=command_hint(name, known))
    raise InvalidArgumentError(f'unknown command "{name}"', remedy=command_hint(name, known))


def _context(given: Given, own: Given, command: Command, resources: ExitStack) -> Context:
    flags = {
        option: value
        for option in ("endpoint", "timeout", "store")
        if (value := given.last(f"--{option}")) is not None
    }
    if any(option.name == "--store" for option in command.options) and own.last("--store"):
        flags["store"] = str(own.last("--store"))
    work_dir = Path.cwd()
    return Context(
        configuration=load(work_dir, os.environ, given.last("--profile"), flags),
        output=given.read("--output", _output) or "human",
        verbose=given.has("--verbose"),
        work_dir=work_dir,
        resources=resources,
    )


def _stop_eval(words: Sequence[str], *, as_json: bool) -> None:
    with suppress(InvalidArgumentError):
        words = parse(words, OPTIONS, pass_on=True).words
    if words and words[0].startswith("-"):
        # It is an option before the command that is wrong.
        words = list(dropwhile(lambda word: not for_eval.concerns(word), words))
    for_eval.stop(words, as_json=as_json)


def _wants_json(words: Sequence[str]) -> bool:
    """Return whether errors go to stdout as JSON, even if there are errors in the options."""
    ours = words[: words.index("--")] if "--" in words else words
    tool = next((n for n, word in enumerate(ours) if word.startswith("run:")), len(ours))
    return "--output=json" in ours[:tool] or ("--output", "json") in pairwise(ours[:tool])
