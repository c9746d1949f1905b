"""Refuses arguments with which a tool would connect to something else than its instance.

They are read as the tools read them: short options joined to each other and to their values, long
ones abbreviated, with their values in the same word or the next, and other words anywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.psql import options

OWN_OPTION = "--instance"
"""Our option for that, which some put after the tool's."""


_REMEDY = f"omit it; {OWN_OPTION}, before {{}}'s arguments, chooses the instance"


class Flag(NamedTuple):
    """One option of a tool."""

    value: bool
    """Whether a value follows."""
    connects: bool = False
    """Whether it says what to connect to, or as whom."""


class Flags(NamedTuple):
    """All options of a tool."""

    letters: Mapping[str, Flag]
    names: Mapping[str, Flag]


_CONNECTING = frozenset({"host", "port", "username", "dbname", "password"})

_PGBENCH = (
    *("b:builtin", "c:client", "D:define", "f:file", "F:fillfactor", "I:init-steps", "j:jobs"),
    *("L:latency-limit", "P:progress", "M:protocol", "R:rate", "s:scale", "T:time"),
    *("t:transactions", "h:host", "p:port", "U:username", "d:dbname", ":tablespace"),
    *(":index-tablespace", ":sampling-rate", ":aggregate-interval", ":log-prefix"),
    *(":random-seed", ":show-script", ":partitions", ":partition-method", ":max-tries"),
)
"""pgbench's options with a value; no other has one. ``-d`` is something else before 17."""

_PGBENCH_SWITCHES = (
    *("connect", "initialize", "log", "no-vacuum", "quiet", "report-per-command", "select-only"),
    *("report-latencies", "skip-some-updates", "vacuum-all", "unlogged-tables", "foreign-keys"),
    *("progress-timestamp", "failures-detailed", "verbose-errors", "exit-on-abort", "debug"),
    *("continue-on-error", "help", "version"),
)


def _psql() -> Flags:
    flags = [(one, Flag(one.value, not _CONNECTING.isdisjoint(one.names))) for one in _OPTIONS]
    return Flags(
        {one.letter: flag for one, flag in flags if one.letter},
        {name: flag for one, flag in flags for name in one.names},
    )


def _pgbench() -> Flags:
    letters, names = {}, {name: Flag(value=False) for name in _PGBENCH_SWITCHES}
    for text in _PGBENCH:
        letter, _, name = text.partition(":")
        names[name] = Flag(value=True, connects=name in _CONNECTING)
        if letter:
            letters[letter] = names[name]
    return Flags(letters, names)


_OPTIONS = options.OPTIONS
_TOOLS = {"psql": _psql(), "pgbench": _pgbench()}


def check(tool: str, args: Sequence[str]) -> None:
    """Raise ``InvalidArgumentError`` if the tool would connect to something else."""
    for word in _connecting(_TOOLS[tool], args):
        if word.partition("=")[0] == OWN_OPTION:
            raise InvalidArgumentError(
                f"{OWN_OPTION} is an option of run:{tool}, not of {tool}",
                remedy=f"put it before {tool}'s arguments: run:{tool} {OWN_OPTION} … -- …",
            )
        if not word.startswith("-"):
            raise InvalidArgumentError(
                f"{tool} would take {word!r} for a database or a connection, and the instance "
                "decides that",
                remedy=_REMEDY.format(tool),
            )
        raise InvalidArgumentError(
            f"{word} says where {tool} connects to, which the instance decides",
            remedy=_REMEDY.format(tool),
        )


def reads_input(args: Sequence[str]) -> bool:
    """Whether psql is to read a script from standard input: ``-f -``."""
    flags = _TOOLS["psql"]
    file = flags.names["file"]
    return any(
        value == "-" and any(flag is file for flag in meant or ())
        for _, meant, value in _options(flags, args)
    )


def _connecting(flags: Flags, args: Sequence[str]) -> Iterator[str]:
    """The words that say what to connect to."""
    for word, meant, _ in _options(flags, args):
        if meant is None or word == OWN_OPTION or any(flag.connects for flag in meant):
            yield word
        elif not meant and word.startswith("--") and _resembles_ours(word):
            raise InvalidArgumentError(
                f"unknown option {word}",
                remedy=f"did you mean {OWN_OPTION}? It stands before the tool's arguments",
            )


def _options(
    flags: Flags, args: Sequence[str]
) -> Iterator[tuple[str, list[Flag] | None, str | None]]:
    """Every option, with what it may stand for and its value; for other words, None twice."""
    words = iter(args)
    for word in words:
        if word == "--":
            yield from ((rest, None, None) for rest in words)
        elif word.startswith("--"):
            name, joined, value = word[2:].partition("=")
            meant = _meant(flags.names, name)
            follows = meant and all(flag.value for flag in meant) and not joined
            yield f"--{name}", meant, next(words, None) if follows else value
        elif word.startswith("-") and word != "-":
            for place, letter in enumerate(word[1:], 2):
                flag = flags.letters.get(letter, Flag(value=False))
                if flag.value:
                    yield f"-{letter}", [flag], word[place:] or next(words, None)
                    break
                yield f"-{letter}", [flag], None
        else:
            yield word, None, None


def _meant(names: Mapping[str, Flag], name: str) -> list[Flag]:
    """What a long option may stand for; several if the tool would call it ambiguous."""
    if name in names:
        return [names[name]]
    return [flag for known, flag in names.items() if name and known.startswith(name)]


def _resembles_ours(word: str) -> bool:
    # Only a mistake pays for importing it.
    from difflib import get_close_matches

    return bool(get_close_matches(word, [OWN_OPTION], cutoff=0.7))
