"""psql's argument list: parsed as psql does, and written in one canonical spelling.

The command line imports this too, so it needs only the standard library.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import NamedTuple, NoReturn

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.psql.options import (
    BY_LETTER,
    BY_NAME,
    RESTORE_BY_LETTER,
    RESTORE_BY_NAME,
    Option,
    Use,
)
from pgstrata.system import arguments

_VARIABLE_NAME = re.compile(r"[A-Za-z0-9_\u0080-\U0010ffff]+")
_OF_THE_SHELL = re.compile(r"/dev/(?:fd/[0-9]+|stdin)|/proc/(?:self|[0-9]+)/fd/[0-9]+")
"""What a shell makes of ``<(command)``."""
_LOOKS_LIKE_A_FILE = re.compile(r"/|\.[a-z0-9]{2,8}$", re.IGNORECASE)
_PIPED = "pipe it in: COMMAND | pgstrata prepare:psql -- -f -"
_SHOWN = 3
"""How many files a remedy names."""
_TRUE = frozenset(("1", "on", "true", "yes"))
_ONLY_RECIPES = "give psql only scripts (-f), commands (-c) and variables (-v)"
_REMEDIES = {
    Use.CONNECTION: "leave it out: pgstrata connects psql to the instance itself",
    Use.INTERACTIVE: "leave it out: psql runs without a terminal here",
    Use.LINEWISE: "leave it out and end each statement with a semicolon",
    Use.WRITES_FILE: "leave it out: a cached step writes no files",
}


class File(NamedTuple):
    """``-f path``."""

    path: str


class Stdin(NamedTuple):
    """``-f -``."""


class Command(NamedTuple):
    """``-c text``."""

    text: str


Source = File | Stdin | Command


class Restoring(NamedTuple):
    """An option of pg_restore."""

    name: str
    """Its long name."""
    value: str | None
    use: Use

    @property
    def word(self) -> str:
        """It as one argument."""
        return f"--{self.name}" if self.value is None else f"--{self.name}={self.value}"


@dataclass(frozen=True)
class PsqlArguments:
    """A parsed list of psql arguments."""

    sources: tuple[Source, ...]
    """In the order in which they run."""
    variables: Mapping[str, str | None]
    """By name; None unsets the variable."""
    single_transaction: bool = False
    output_flags: tuple[tuple[str, ...], ...] = ()
    """Flags, each with its value, that change what psql prints."""
    flag_variables: Mapping[str, str] = field(default_factory=dict)
    """Variables set by those flags, which override ``variables``."""
    restore: tuple[Restoring, ...] = ()
    """pg_restore's options, for the dumps among the sources, in their order."""

    @property
    def needs_stdin(self) -> bool:
        return Stdin() in self.sources

    def normalized(self) -> str:
        """One canonical spelling, quoted for a shell, the same for all lists that mean the same."""
        words = list(self.variable_words())
        words += ["-1"] if self.single_transaction else []
        words += [word for flag in sorted(set(self.output_flags)) for word in flag]
        words += [option.word for option in self.restore]
        words += [word for source in self.sources for word in source_words(source)]
        return shlex.join(words)

    def variable_words(self) -> Iterator[str]:
        """The variables as arguments, sorted by name."""
        for name, value in sorted(self.variables.items()):
            yield "-v"
            yield name if value is None else f"{name}={value}"


def source_words(source: Source) -> tuple[str, str]:
    """A source as psql's arguments."""
    match source:
        case File(path):
            return "-f", path
        case Stdin():
            return "-f", "-"
        case Command(text):
            return "-c", text


def parse(args: Sequence[str]) -> PsqlArguments:
    """Parse an argument list as psql does.

    Raises ``InvalidArgumentError`` for what psql would not accept, and for what has no meaning in a
    recipe: connections, terminals, output files.
    """
    for word in args:
        if (
            len(word) > arguments.LONGEST
            or len(word.encode("utf-8", "surrogateescape")) > arguments.LONGEST
        ):
            _refuse(
                f"an argument is longer than the system allows ({arguments.LONGEST} bytes)",
                "put it into a file, and name that with -f",
            )
        if "\0" in word:
            _refuse("an argument contains a NUL character", "remove it")
    reading = _Reading()
    for option, value, _index in _options(args):
        reading.take(option, value)
    read = reading.result()
    # Each step gets all of them.
    every = [*read.variable_words(), *(word for flag in read.output_flags for word in flag)]
    arguments.check(("psql", *every), {})
    return read


def absolute(args: Sequence[str], work_dir: str) -> tuple[str, ...]:
    """The same arguments with every path of a file made absolute, and otherwise unchanged.

    Raises ``InvalidArgumentError`` like ``parse``.
    """
    parse(args)
    words = list(args)
    for option, value, index in _options(args):
        if option.use not in (Use.FILE, Use.RESTORE_FILE) or value is None or value == "-":
            continue
        word = words[index]
        words[index] = word[: len(word) - len(value)] + str(PurePosixPath(work_dir, value))
    return tuple(words)


class _Given(NamedTuple):
    option: Option
    value: str | None
    last_index: int
    """The index of the word that ends the value."""


def _options(args: Sequence[str]) -> Iterator[_Given]:
    """Walk an argument list as getopt_long does, except that `--` ends nothing."""
    indexes = iter(range(len(args)))
    for index in indexes:
        word = args[index]
        if word == "--":
            # To psql names of databases follow, which no recipe has: so options must be meant.
            continue
        if word.startswith("--"):
            yield _long_option(args, index, indexes)
        elif len(word) > 1 and word.startswith("-"):
            yield from _letters(args, index, indexes)
        else:
            _refuse_positional(args[index:])


def _letters(args: Sequence[str], index: int, indexes: Iterator[int]) -> Iterator[_Given]:
    word = args[index]
    for position, letter in enumerate(word[1:], start=1):
        option = BY_LETTER.get(letter) or RESTORE_BY_LETTER.get(letter)
        if option is None:
            _refuse(f"psql has no option -{letter}", _ONLY_RECIPES)
        if option.value:
            rest = word[position + 1 :]
            if rest:
                yield _Given(option, rest, index)
            else:
                yield _next_word(option, args, indexes)
            return
        yield _Given(option, None, index)


def _long_option(args: Sequence[str], index: int, indexes: Iterator[int]) -> _Given:
    name, equals, value = args[index][2:].partition("=")
    option = _named(name)
    if option.value and not equals:
        return _next_word(option, args, indexes)
    if equals and not (option.value or option.optional_value):
        _refuse(f"option --{name} takes no value", "leave out what follows the equals sign")
    return _Given(option, value if equals else None, index)


def _named(name: str) -> Option:
    if (exact := BY_NAME.get(name) or RESTORE_BY_NAME.get(name)) is not None:
        return exact
    candidates = sorted(known for known in BY_NAME if name and known.startswith(name))
    if not candidates:
        _refuse(f"psql has no option --{name}", _ONLY_RECIPES)
    if len(candidates) > 1:
        spelled = ", ".join(f"--{known}" for known in candidates)
        _refuse(f"option --{name} is ambiguous", f"write one of {spelled}")
    return BY_NAME[candidates[0]]


def _next_word(option: Option, args: Sequence[str], indexes: Iterator[int]) -> _Given:
    index = next(indexes, None)
    if index is None:
        _refuse(f"option {option.spelling} lacks its value", "write the value after the option")
    return _Given(option, args[index], index)


@dataclass
class _Reading:
    """Collects options as they come."""

    sources: list[Source] = field(default_factory=list)
    variables: dict[str, str | None] = field(default_factory=dict)
    single_transaction: bool = False
    output_flags: list[tuple[str, ...]] = field(default_factory=list)
    flag_variables: dict[str, str] = field(default_factory=dict)
    restore: list[Restoring] = field(default_factory=list)

    def take(self, option: Option, value: str | None) -> None:
        match option.use, value:
            case Use.FILE, str(path):
                self._take_file(path)
            case Use.COMMAND, str(text):
                self.sources.append(Command(text))
            case Use.VARIABLE, str(assignment):
                self._take_variable(assignment)
            case Use.SINGLE_TRANSACTION, _:
                self.single_transaction = True
            case Use.OUTPUT, _:
                flag = (option.spelling,) if value is None else (option.spelling, value)
                self.output_flags.append(flag)
                self.flag_variables.update([option.sets] if option.sets else [])
            case (Use.IMPLIED, _) | (Use.WRITES_FILE, "/dev/null"):
                pass
            case ((Use.RESTORE | Use.RESTORE_FILE | Use.RESTORE_JOBS), _):
                self._take_restoring(option, value)
            case use, _:
                _refuse(f"option {option.spelling} cannot be used in a recipe", _REMEDIES[use])

    def _take_file(self, path: str) -> None:
        if not path:
            _refuse("option -f names no file", "write the script's path after -f")
        if _OF_THE_SHELL.fullmatch(path):
            _refuse(
                f"{path} is open in your shell, not in the engine, which reads the files",
                _PIPED,
            )
        if path == "-" and Stdin() in self.sources:
            _refuse("standard input can be read only once", "give `-f -` once")
        self.sources.append(Stdin() if path == "-" else File(path))

    def _take_restoring(self, option: Option, value: str | None) -> None:
        if option.use is Use.RESTORE_FILE and value in ("", "-"):
            _refuse(f"option {option.spelling} names no file", "write the file's path after it")
        if option.use is Use.RESTORE_JOBS and not re.fullmatch("[1-9][0-9]{0,3}", value or ""):
            _refuse(f"`{value}` is no number of jobs", "write -j N")
        self.restore.append(Restoring(option.names[0], value, option.use))

    def _take_variable(self, assignment: str) -> None:
        name, equals, value = assignment.partition("=")
        if not _VARIABLE_NAME.fullmatch(name):
            _refuse(
                f"`{assignment}` sets no variable",
                "write -v NAME=VALUE, NAME of letters, digits, _",
            )
        if name in ("SINGLELINE", "SINGLESTEP"):
            _refuse(f"variable {name} cannot be used in a recipe", "leave it out")
        if name == "ON_ERROR_STOP":
            _check_error_stop(value if equals else None)
            return
        self.variables[name] = value if equals else None

    def result(self) -> PsqlArguments:
        if not self.sources:
            _refuse("psql has nothing to run", "give at least one -f FILE or -c COMMAND")
        return PsqlArguments(
            sources=tuple(self.sources),
            variables=MappingProxyType(dict(sorted(self.variables.items()))),
            single_transaction=self.single_transaction,
            output_flags=tuple(self.output_flags),
            flag_variables=MappingProxyType(dict(self.flag_variables)),
            restore=tuple(self.restore),
        )


def _check_error_stop(value: str | None) -> None:
    if value is None or value.lower() not in _TRUE:
        _refuse(
            "ON_ERROR_STOP can only be on: a step that fails makes no state",
            "leave it out, and let statements that may fail handle it (IF EXISTS, DO blocks), or "
            "go on after them with --on-error=continue",
        )


def _refuse_positional(words: Sequence[str]) -> NoReturn:
    word = words[0]
    taken = f"psql takes `{word}` for the name of a database"
    if _OF_THE_SHELL.fullmatch(word):
        _refuse(f"{taken}, and it is open in your shell only", _PIPED)
    if word.endswith("/"):
        _refuse(taken, f"name what is in it, in its order: -f {shlex.quote(word)}…")
    if _LOOKS_LIKE_A_FILE.search(word):
        # What the shell made of a pattern, most likely.
        files = list(takewhile(_LOOKS_LIKE_A_FILE.search, words))
        shown = " ".join(f"-f {shlex.quote(file)}" for file in files[:_SHOWN])
        each = f"write -f before each of the {len(files)}: " if len(files) > 1 else "write "
        _refuse(taken, f"{each}{shown}{' …' if len(files) > _SHOWN else ''}")
    _refuse(f"`{word}` names a database or a user", _REMEDIES[Use.CONNECTION])


def _refuse(message: str, remedy: str) -> NoReturn:
    raise InvalidArgumentError(" ".join(message.split()), remedy=remedy)
