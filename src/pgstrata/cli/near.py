"""What somebody may have meant who typed something that is not there."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgstrata.cli.command import Command
    from pgstrata.cli.options import Given
    from pgstrata.errors import InvalidArgumentError
    from pgstrata.kinds.plugin import Option

_MEANT = {
    "bash": "run:exec -- bash",
    "clean": "rm --unused",
    "connect": "run:psql",
    "create": "prepare:psql",
    "delete": "rm",
    "destroy": "rm",
    "drop": "rm",
    "exec": "run:exec",
    "explain": "cache explain",
    "info": "status",
    "install": "postgres install",
    "list": "ls",
    "log": "engine logs",
    "logs": "engine logs",
    "new": "prepare:psql",
    "pgbench": "run:pgbench",
    "prune": "rm --unused",
    "ps": "ls",
    "psql": "run:psql",
    "remove": "rm",
    "serve": "engine serve",
    "shell": "run:exec -- bash",
    "start": "engine start",
    "stop": "engine stop",
    "up": "prepare:psql",
    "url": "dsn",
    "version": "--version",
}
"""Words of other tools, and what they are called here."""


_LETTERS = {"--output": "-o"}
"""What psql calls its own options whose names are ours."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one that resembles the word most, if any does."""
    # Only a mistake pays for importing it.
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.7)), None)


def command_hint(name: str, known: Sequence[str]) -> str:
    """What to type in place of a command that is not there."""
    verb, colon, kind = name.partition(":")
    members = [command for command in known if command.startswith((f"{verb}:", f"{verb} "))]
    listed = "`pgstrata --help` lists the commands"
    if members and not colon:
        return f"write one of: {', '.join(members)}"
    if members:
        meant = nearest(kind, [command.partition(":")[2] for command in members])
        there_are = f"there are {', '.join(members)}"
        return there_are if meant is None else f"did you mean `pgstrata {verb}:{meant}`? {listed}"
    meant = _MEANT.get(name) or nearest(name, known)
    inside = [command for command in known if command.startswith(name.split()[0] + " ")]
    if meant is None and inside:
        return f"there are {', '.join(inside)}"
    return listed if meant is None else f"did you mean `pgstrata {meant}`? {listed}"


def option_hint(flag: str, options: Iterable["Option"]) -> str:
    """What to type in place of an option that is not there."""
    found = nearest(flag, [known for option in options for known in option.flags])
    listed = "--help lists the options"
    return listed if found is None else f"did you mean {found}? {listed}"


def misplaced(
    command: "Command", options: Sequence["Option"], given: "Given", refused: "InvalidArgumentError"
) -> "InvalidArgumentError | None":
    """Explain a refusal of a tool's argument that is one of our options, or resembles one."""
    ours = {flag for option in options for flag in option.flags if flag.startswith("--")}
    name = command.usage.partition(" [")[0].removesuffix(" prepare:KIND")
    said = [part.strip('"') for part in refused.message.split()]
    for word in given.words:
        flag = word.partition("=")[0]
        if not flag.startswith("--") or flag in (refused.remedy or ""):
            continue
        if flag not in said and _LETTERS.get(flag) not in said:
            continue  # or whoever refused it has said what to do with it
        if flag in ours:
            first = "--" if given.separated else given.words[0]
            return type(refused)(
                f"{flag} is an option of {name}, and stands among the arguments of its tool",
                remedy=f"put it before {first}: pgstrata {name} {flag} … {first} …",
            )
        if (meant := nearest(flag, ours)) is not None:
            return type(refused)(
                f"unknown option {flag}",
                remedy=f"did you mean {meant}? `pgstrata {name} --help` lists the options",
            )
    return None
