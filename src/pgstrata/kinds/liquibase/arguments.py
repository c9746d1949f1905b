"""Liquibase's arguments, in any spelling, and those that are refused by name."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import cast

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.liquibase import options, search_path
from pgstrata.kinds.liquibase.recipe import Command

_NEEDS = {"update-count": "count", "update-to-tag": "tag"}


@dataclass(frozen=True)
class Arguments:
    """A call of Liquibase: a command, options by their key, and parameters."""

    command: Command
    values: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    def normalized(self) -> str:
        """The call in one spelling: the command first, without options that have no effect."""
        return shlex.join(self.words())

    def words(self) -> tuple[str, ...]:
        """The normal form as words."""
        named = {options.MEANINGFUL[key]: value for key, value in self.values.items()}
        return (
            self.command,
            *(f"{name}={value}" for name, value in sorted(named.items())),
            *(f"-D{name}={value}" for name, value in sorted(self.parameters.items())),
        )


def parse(words: Sequence[str]) -> Arguments:
    """Parse arguments. Raises ``InvalidArgumentError`` naming the first that cannot be used."""
    commands: list[Command] = []
    values: dict[str, str] = {}
    parameters: dict[str, str] = {}
    for name, value in _pairs(words):
        if name.startswith("-D"):
            parameters[_parameter(name[2:], value)] = value or ""
        elif not name.startswith("-"):
            commands.append(_command(name))
        elif (key := checked(name, value)) is not None:
            values[key] = _given(name, value)
    if len(commands) != 1:
        raise InvalidArgumentError(
            "there is no command among Liquibase's arguments"
            if not commands
            else f"there are {len(commands)} commands among Liquibase's arguments",
            remedy="give exactly one: update --changelog-file=FILE",
        )
    _check_fit(commands[0], values)
    return Arguments(commands[0], values, parameters)


def checked(name: str, value: str | None) -> str | None:
    """An option's key, None if it has no effect. Raises ``InvalidArgumentError``."""
    key = options.key(name)
    if reason := options.REFUSED.get(key):
        raise InvalidArgumentError(f"{name} is not accepted: {reason}", remedy="leave it out")
    default = options.DEFAULTS.get(key)
    if key in options.INERT or (default is not None and default == (value or "").lower()):
        return None
    if key not in options.MEANINGFUL:
        raise InvalidArgumentError(
            f"{name} is not supported",
            remedy="leave it out; supported are "
            f"{', '.join(sorted(set(options.MEANINGFUL.values())))} and -Dname=value",
        )
    return _CANONICAL[key]


_CANONICAL = {key: options.key(name) for key, name in options.MEANINGFUL.items()}


def absolute(words: Sequence[str], directory: str) -> tuple[str, ...]:
    """The same arguments, with paths that are relative to a caller's directory made absolute."""
    found = []
    for name, value in _pairs(words):
        key = options.key(name) if name.startswith("--") else ""
        if value is None or name.startswith("-D"):
            found.append(name if value is None else f"{name}={value}")
        elif key == "searchpath":
            parts = search_path.read(value)
            whole = search_path.write(str(PurePath(directory, part)) for part in parts)
            found.append(f"{name}={whole}")
        elif key == "defaultsfile":
            found.append(f"{name}={PurePath(directory, value)}")
        else:
            found.append(f"{name}={value}")
    return tuple(found)


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Each option with its value, each other word with None."""
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("-") or equals:
            yield (name, value) if equals and name.startswith("-") else (word, None)
        elif options.key(name) in options.FLAGS and (not left or left[0] not in ("true", "false")):
            yield name, "true"
        elif name == "-D" and left:
            name, _, value = left.pop(0).partition("=")
            yield f"-D{name}", value
        elif name.startswith("-D"):
            yield name, None
        else:
            yield name, left.pop(0) if left else None


def _parameter(name: str, value: str | None) -> str:
    if not name or value is None:
        raise InvalidArgumentError(f"-D{name} is not a parameter", remedy="write -Dname=value")
    return name


def _command(word: str) -> Command:
    name = options.COMMANDS.get(options.key(word))
    if name is None:
        raise InvalidArgumentError(
            f"the command {word} is not supported",
            remedy=f"use one of {', '.join(options.COMMANDS.values())}",
        )
    return cast(Command, name)


def _given(name: str, value: str | None) -> str:
    if not value:
        raise InvalidArgumentError(f"{name} has no value", remedy=f"write {name}=VALUE")
    if "\0" in value:
        raise InvalidArgumentError(f"{name} has a NUL in its value", remedy="leave it out")
    return value


def _check_fit(command: Command, values: Mapping[str, str]) -> None:
    needed = _NEEDS.get(command)
    for key in _NEEDS.values():
        if key in values and key != needed:
            raise InvalidArgumentError(
                f"--{key} has no meaning for {command}", remedy="leave it out, or use its command"
            )
    if needed and needed not in values:
        raise InvalidArgumentError(f"{command} needs --{needed}", remedy=f"add --{needed}=VALUE")
    if command == "update-count" and not re.fullmatch(r"[1-9][0-9]{0,8}", values["count"]):
        raise InvalidArgumentError(
            f"--count={values['count']} is not a number of changesets", remedy="use a whole number"
        )
