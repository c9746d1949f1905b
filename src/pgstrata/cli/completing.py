"""What may complete the last of some words on the command line."""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pgstrata.cli import command_table
from pgstrata.cli.options import HELP, parse
from pgstrata.cli.overview import OPTIONS, options_anywhere
from pgstrata.cli.text import one_line, short
from pgstrata.errors import InvalidArgumentError, UnreachableError

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine
    from pgstrata.config.model import Configuration
    from pgstrata.kinds.plugin import Option

Candidate = tuple[str, str]
"""A word, and what it stands for; that may be empty."""

_SECONDS = 1.0
"""How long somebody who has pressed a key may wait."""


def candidates(configuration: "Configuration", words: Sequence[str]) -> list[Candidate]:
    """What the last word may become. Nothing if that is a file, or if anything goes wrong."""
    *before, current = words or ("",)
    try:
        found = list(_candidates(configuration, before, current))
    except Exception:  # noqa: BLE001 - a key that was pressed must not fill the screen with errors
        return []
    return [one for one in dict.fromkeys(found) if one[0].startswith(current)]


def _candidates(
    configuration: "Configuration", before: list[str], current: str
) -> Iterable[Candidate]:
    if valued := _awaits_value(before, OPTIONS, passes_on=True):
        return _VALUES.get(valued, _nothing)(configuration)
    name, *rest = parse(before, OPTIONS, pass_on=True).words or ("",)
    if name == "help" and not rest:
        name = ""
    if not name:
        return _flags(OPTIONS) if current.startswith("-") else _first_words()
    if name in command_table.GROUPS:
        if not rest:
            return _second_words(name)
        name, rest = f"{name} {rest[0]}", rest[1:]
    command = command_table.load(name)
    if command is None:
        return ()
    options = (*command.options, *options_anywhere(command), HELP)
    if valued := _awaits_value(rest, options, passes_on=command.passes_on):
        return _VALUES.get(valued, _nothing)(configuration)
    own = parse(rest, options, pass_on=command.passes_on, own_words=command.own_words)
    if current.startswith("-"):
        return (
            ()
            if own.separated or (command.passes_on and len(own.words) > command.own_words)
            else _flags(options)
        )
    if command.passes_on and own.words:
        return ()  # a tool's argument
    return _WORDS.get(name, _nothing)(configuration)


def _awaits_value(words: list[str], options: "Sequence[Option]", *, passes_on: bool) -> str | None:
    """The option whose value comes next, if one does."""
    try:
        parse(words, options, pass_on=passes_on)
    except InvalidArgumentError:
        last = words[-1]
        return next((one.name for one in options if last in one.flags and one.metavar), None)
    return None


def _flags(options: "Iterable[Option]") -> Iterator[Candidate]:
    return ((flag, one.about) for one in options for flag in one.flags if flag.startswith("--"))


def _first_words() -> Iterator[Candidate]:
    for name, summary in command_table.overview().items():
        first, space, _ = name.partition(" ")
        yield (first, f"{first} …") if space else (name, summary)
    yield "help", "show the options of a command"


def _second_words(group: str) -> Iterator[Candidate]:
    for name, summary in command_table.overview().items():
        first, _, second = name.partition(" ")
        if first == group and second:
            yield second, summary


def _nothing(_configuration: "Configuration") -> Iterable[Candidate]:
    return ()


def _fixed(*words: str) -> "Callable[[Configuration], Iterable[Candidate]]":
    return lambda _: ((word, "") for word in words)


def _from_engine(
    *kinds: "Callable[[Engine], Iterable[Candidate]]",
) -> "Callable[[Configuration], Iterable[Candidate]]":
    def ask(configuration: "Configuration") -> Iterable[Candidate]:
        with _bounded(), closing(_running(configuration)) as engine:
            return [one for kind in kinds for one in kind(engine)]

    return ask


def _running(configuration: "Configuration") -> "Engine":
    """The engine that runs. Raises ``UnreachableError`` if none does."""
    from pgstrata.client import discovery
    from pgstrata.client.connect import connect

    if configuration.endpoint is not None:
        return connect(configuration)
    found = discovery.find(configuration.engine_json)
    if found is None:
        raise UnreachableError("no engine runs")
    return found.engine


def _names(engine: "Engine") -> Iterator[Candidate]:
    return ((item.name, f"instance {short(item.instance_id)}") for item in engine.names())


def _instances(engine: "Engine") -> Iterator[Candidate]:
    for item in engine.instances():
        yield short(item.instance_id), f"instance {item.name or item.status}"


def _states(engine: "Engine") -> Iterator[Candidate]:
    for item in engine.states():
        yield (
            item.name or short(item.state_id),
            f"state {one_line(item.prepare_args_normalized)}",
        )


def _jobs(engine: "Engine") -> Iterator[Candidate]:
    return ((item.job_id, f"job {item.status}") for item in engine.jobs())


def _settings(_configuration: "Configuration") -> Iterator[Candidate]:
    from pgstrata.config.keys import engine_keys

    return ((key.name, key.setting.about) for key in engine_keys().values())


def _kinds(_configuration: "Configuration") -> Iterator[Candidate]:
    from pgstrata.kinds import plugins

    return ((name, "") for name in plugins.every()[0])


def _prepares(_configuration: "Configuration") -> Iterator[Candidate]:
    return (one for one in _first_words() if one[0].startswith("prepare:"))


def _aliases(*uses: str) -> "Callable[[Configuration], Iterable[Candidate]]":
    def look(_configuration: "Configuration") -> Iterator[Candidate]:
        from pgstrata.cli.aliases.files import every

        here = Path.cwd()
        return ((one.name, one.shown(here)) for one in every(here) if one.use in uses)

    return look


_INSTANCE = _from_engine(_names, _instances)
_ANY_DATABASE = _from_engine(_names, _instances, _states)

_VALUES = {
    "--output": _fixed("human", "json"),
    "--on-error": _fixed("stop", "continue"),
    "--states": _fixed("auto", "all", "tags"),
    "--uncacheable": _fixed("refuse", "run"),
    "--locale-provider": _fixed("libc", "icu", "builtin"),
    "--image": _fixed("postgres", *(f"postgres:{major}" for major in range(18, 9, -1))),
    "--kind": _kinds,
    "--instance": _INSTANCE,
    "--name": _from_engine(_names),
    "--state": _from_engine(_names, _states),
    "--from": _ANY_DATABASE,
    "--job": _from_engine(_jobs),
}
"""By an option's name."""

_MAJORS = _fixed(*map(str, range(18, 9, -1)))

_WORDS = {
    "alias check": _aliases("prep", "run"),
    "cache explain": _prepares,
    "completion": _fixed("bash", "zsh", "fish"),
    "config get": _settings,
    "config rm": _settings,
    "config set": _settings,
    "diff": _ANY_DATABASE,
    "dsn": _INSTANCE,
    "plan": _aliases("prep"),
    "pin": _from_engine(_states),
    "postgres install": _MAJORS,
    "postgres rm": _MAJORS,
    "prepare": _aliases("prep"),
    "reset": _INSTANCE,
    "rm": _from_engine(_names, _instances, _states, _jobs),
    "run": _aliases("run"),
    "snapshot": _INSTANCE,
    "start": _INSTANCE,
    "unpin": _from_engine(_states),
    "warm": _from_engine(_states),
    "watch": _from_engine(_jobs),
}
"""By a command's name."""


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise ``TimeoutError`` in the block when the time is over."""

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    with ExitStack() as undo:
        undo.callback(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, give_up))
        undo.callback(signal.setitimer, signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_REAL, _SECONDS)
        yield
