r"""psql's backslash commands: which of them read, write or run something outside the script."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pgstrata.kinds.psql import connecting
from pgstrata.kinds.psql.copying import slash_copy
from pgstrata.kinds.psql.findings import Findings
from pgstrata.kinds.psql.results import Column
from pgstrata.kinds.psql.script import is_inert
from pgstrata.kinds.psql.words import NAME, SPACES, Word, read_word
from pgstrata.kinds.sql import forbidden
from pgstrata.kinds.sql.reader import MARGIN, WINDOW, Reader

_LONGEST = 1 << 20
"""How long a command with its arguments may be."""
_SHOWN = 40
_TRUE = (b"", b"1", b"on", b"true", b"yes")
_WHOLE_LINE = frozenset(("!", "copy", "h", "help", "ef", "ev", "sf", "sf+", "sv", "sv+"))
_INTERACTIVE = frozenset(("password", "prompt", "e", "edit", "ef", "ev"))
_SENDS = frozenset(("g", "gx", "gset", "gexec", "gdesc", "crosstabview", "watch", "r", "reset"))
_HARMLESS_ENVIRONMENT = frozenset(
    (b"PAGER", b"PSQL_PAGER", b"PSQL_WATCH_PAGER", b"LESS", b"EDITOR", b"PSQL_EDITOR", b"VISUAL")
)
_WRITE_NOTHING = "leave it out: a cached step writes no files"
_SPELL_OUT = "write the value itself in place of the variable"


class Flaw(NamedTuple):
    """A defect in the way a command is written."""

    what: str
    remedy: str


_VERTICAL_TAB = Flaw("has a vertical tab in its arguments", "write a space in its place")
_TOO_LONG = Flaw(f"is longer than {_LONGEST >> 20} MiB", "split it")


@dataclass(frozen=True)
class Command:
    """A backslash command in a script."""

    name: str
    start: int
    """Where the backslash is."""
    end: int
    """Where its last argument ends."""
    words: tuple[Word, ...]
    """Empty for a command that takes the rest of the line unparsed."""
    rest: bytes
    """The rest of the line for such a command."""
    flaw: Flaw | None
    after: int
    """Where psql continues reading."""

    @property
    def sends(self) -> bool:
        """Whether it ends the statement before it."""
        return self.name in _SENDS

    @property
    def repeats(self) -> bool:
        """Whether it sends the last statement again, if there is none since."""
        return self.sends and self.name not in ("r", "reset")

    @property
    def first(self) -> Word | None:
        """The first argument, for commands that a semicolon may follow."""
        return self.words[0].without_semicolons() if self.words else None


def read_command(reader: Reader, start: int, line_end: int) -> Command:
    """Read the command whose backslash is at ``start``."""
    for ahead in (MARGIN, WINDOW, _LONGEST):
        at = reader.look(start, ahead)
        end = min(line_end - reader.base, len(reader.window))
        command = _read(reader, at, end, line_end)
        if command is not None:
            return command
    name = _name(reader.read(start, start + _SHOWN), 0, _SHOWN)[0]
    return Command(name, start, line_end, (), b"", _TOO_LONG, line_end)


def _read(reader: Reader, at: int, end: int, line_end: int) -> Command | None:
    """Read the command at an index in the window; None if the window ends too early."""
    text, base = reader.window, reader.base
    name, position = _name(text, at, end)
    if name in _WHOLE_LINE:
        return _read_line(reader, name, base + at, base + position, line_end)
    words = []
    while (word := read_word(text, position, end)) is not None:
        words.append(word._replace(start=base + word.start, end=base + word.end))
        position = word.end
    space = SPACES.match(text, position, end)
    assert space is not None
    after = space.end()
    if after == end and base + end < line_end:
        return None
    flaw = _VERTICAL_TAB if b"\v" in text[at:position] else None
    # Two backslashes end a command; one starts the next.
    after += 2 if text.startswith(b"\\\\", after, end) else 0
    return Command(name, base + at, base + position, tuple(words), b"", flaw, base + after)


def _name(text: bytes, start: int, end: int) -> tuple[str, int]:
    """The name of the command whose backslash is at ``start``, and where it ends."""
    named = NAME.match(text, start + 1, end)
    assert named is not None
    return named[0].decode("utf-8", "replace"), named.end()


def _read_line(reader: Reader, name: str, start: int, rest: int, line_end: int) -> Command:
    if line_end - start > _LONGEST:
        return Command(name, start, line_end, (), b"", _TOO_LONG, line_end)
    text = reader.text[rest:line_end]
    flaw = _VERTICAL_TAB if b"\v" in text else None
    return Command(name, start, line_end, (), text, flaw, line_end)


def judge(command: Command, findings: Findings) -> None:
    """Record what the command refers to, and what cannot be known about it."""
    if any(word.shell for word in command.words):
        findings.problem(
            command.start, f"\\{command.name} runs a shell command in backquotes", _SPELL_OUT
        )
    if (flaw := command.flaw) is not None:
        findings.problem(command.start, f"\\{command.name} {flaw.what}", flaw.remedy)
    if flaw is _TOO_LONG:
        return
    if command.name in _INTERACTIVE:
        findings.problem(
            command.start, f"\\{command.name} needs a user at a terminal", "leave it out"
        )
    if (handler := _HANDLERS.get(command.name)) is not None:
        handler(command, findings)


def _include(command: Command, findings: Findings) -> None:
    word = command.first
    if word is None or word.unfinished:
        return
    if not word.known:
        _unknown_path(command, findings)
    elif word.value == b"-":
        findings.problem(
            command.start, f"\\{command.name} reads standard input", "give `-f -` to psql instead"
        )
    else:
        relative = command.name in ("ir", "include_relative")
        findings.include(command.start, word.end, word.value, relative=relative)


def _unknown_path(command: Command, findings: Findings) -> None:
    findings.problem(
        command.start,
        f"the path of \\{command.name} is made of variables or shell commands",
        "write the path itself",
    )


def _lo_import(command: Command, findings: Findings) -> None:
    word = command.first
    if word is None or word.unfinished:
        return
    if not word.known:
        _unknown_path(command, findings)
    else:
        findings.data_file(word.start, word.end, word.value)


def _cd(command: Command, findings: Findings) -> None:
    word = command.first
    if findings.optional:
        findings.problem(
            command.start, r"\cd may or may not be executed", r"put it before any \if and \q"
        )
    elif word is None:
        findings.change_directory(command.start, command.end, b"~")
    elif not word.known:
        _unknown_path(command, findings)
    else:
        findings.change_directory(command.start, word.end, word.value)


def _copy(command: Command, findings: Findings) -> None:
    copy = slash_copy(command.rest)
    if copy is None:
        findings.problem(
            command.start, r"\copy is not understood", r"write \copy TABLE (COLUMNS) FROM 'FILE'"
        )
    elif copy.target == "program":
        findings.problem(
            command.start, r"\copy runs a program", "write its output to a file and copy that"
        )
    elif copy.target == "file" and copy.direction == "from":
        rest = command.start + len(r"\copy")
        findings.data_file(rest + copy.start, rest + copy.end, copy.path)
    elif copy.target == "file" and copy.path != b"/dev/null":
        findings.problem(command.start, r"\copy writes a file", _WRITE_NOTHING)
    elif copy.direction == "from" and copy.target in ("pstdin", "pstdout"):
        findings.problem(
            command.start, r"\copy reads psql's standard input", r"write \copy ... from 'file'"
        )


def takes_data(command: Command) -> bool:
    r"""Whether the lines after a ``\copy`` are its data."""
    if command.name != "copy":
        return False
    copy = slash_copy(command.rest)
    return copy is not None and copy.direction == "from" and copy.target in ("stdin", "stdout")


def _shell(command: Command, findings: Findings) -> None:
    findings.problem(command.start, r"\! runs a shell command", "run it before, outside of psql")


def _getenv(command: Command, findings: Findings) -> None:
    findings.problem(
        command.start, r"\getenv reads the environment", "give the value with -v NAME=VALUE"
    )


def _setenv(command: Command, findings: Findings) -> None:
    if command.words and command.words[0].value not in _HARMLESS_ENVIRONMENT:
        findings.problem(command.start, r"\setenv may change what psql does", "leave it out")


def _writes(command: Command, findings: Findings) -> None:
    words = list(command.words)
    if command.name in ("g", "gx") and words and words[0].value.startswith(b"("):
        while words and not words.pop(0).value.endswith(b")"):
            pass
    if words and (words[0].value != b"/dev/null" or not words[0].known):
        what = "runs a program" if words[0].value.startswith(b"|") else "writes a file"
        findings.problem(command.start, f"\\{command.name} {what}", _WRITE_NOTHING)


def _lo_export(command: Command, findings: Findings) -> None:
    findings.problem(command.start, r"\lo_export writes a file", _WRITE_NOTHING)


def _set(command: Command, findings: Findings) -> None:
    if not command.words:
        return
    name, *values = command.words
    value = b"".join(word.value for word in values)
    variable = name.value.decode("utf-8", "replace")
    if not name.known:
        findings.problem(command.start, r"\set sets what a variable names", _SPELL_OUT)
    elif variable in ("SINGLELINE", "SINGLESTEP"):
        findings.problem(command.start, rf"\set {variable} changes how psql reads", "leave it out")
    elif variable == "ON_ERROR_STOP":
        if value.lower() not in _TRUE:
            _forbid_continuing(command, findings)
    elif not all(word.known for word in values) or not is_inert(value.decode("utf-8", "replace")):
        findings.bind(variable, command.start)
    for found in forbidden.find(value):
        findings.problem(command.start, found.what, found.remedy)


def _unset(command: Command, findings: Findings) -> None:
    if command.words and command.words[0].value == b"ON_ERROR_STOP":
        _forbid_continuing(command, findings)


def _forbid_continuing(command: Command, findings: Findings) -> None:
    # After a failed command psql skips the rest of its line, even open quotes, and the data of a
    # failed COPY is read as script.
    if not findings.goes_on:
        findings.problem(
            command.start,
            "with ON_ERROR_STOP off, what psql reads depends on errors",
            "leave it on; --on-error=continue runs each step to its end",
        )


def bind_results(command: Command, columns: Sequence[Column] | None, findings: Findings) -> None:
    r"""Record what a ``\gset`` sets: the columns of its query, or anything if they are unknown."""
    word = command.words[0] if command.words else None
    prefix = word.value.decode("utf-8", "replace") if word is not None and word.known else ""
    if columns is None or (word is not None and not word.known):
        findings.bind(prefix, command.start, prefix=True)
        return
    for column in columns:
        if not column.plain:
            findings.bind(prefix + column.name, command.start)


def _connect(command: Command, findings: Findings) -> None:
    if any(word.variable for word in command.words):
        findings.problem(
            command.start, f"\\{command.name} connects to the value of a variable", _SPELL_OUT
        )
        return
    target = connecting.target(command.words)
    if target is None:
        findings.problem(
            command.start,
            f"\\{command.name} may connect to another server",
            rf"write \{command.name} DATABASE [USER]",
        )
        return
    for variable, value in zip(("DBNAME", "USER"), target, strict=True):
        if value is not None and not is_inert(value.decode("utf-8", "replace")):
            findings.bind(variable, command.start)


def _encoding(command: Command, findings: Findings) -> None:
    word = command.first
    if word is None:
        return
    name = word.value.decode("utf-8", "replace")
    if not word.known or forbidden.unsafe_encoding(name):
        findings.problem(
            command.start,
            rf"client encoding {name} may hide quotes in characters",
            "convert the script to UTF-8",
        )


def _restrict(command: Command, findings: Findings) -> None:
    if (key := _key(command)) is not None:
        findings.restrict(key.start, key.end, key.value)


def _unrestrict(command: Command, findings: Findings) -> None:
    if (key := _key(command)) is not None:
        findings.unrestrict(key.start, key.end, key.value)


def _key(command: Command) -> Word | None:
    """The key that a command is given, if it is written as it is."""
    word = command.words[0] if command.words else None
    return word if word is not None and word.known and word.value.isalnum() else None


def _if(_command: Command, findings: Findings) -> None:
    findings.conditional += 1


def _endif(_command: Command, findings: Findings) -> None:
    findings.conditional = max(0, findings.conditional - 1)


def _quit(_command: Command, findings: Findings) -> None:
    findings.left = True


_HANDLERS: dict[str, Callable[[Command, Findings], None]] = {
    "i": _include,
    "include": _include,
    "ir": _include,
    "include_relative": _include,
    "lo_import": _lo_import,
    "cd": _cd,
    "copy": _copy,
    "!": _shell,
    "getenv": _getenv,
    "setenv": _setenv,
    "o": _writes,
    "out": _writes,
    "g": _writes,
    "gx": _writes,
    "w": _writes,
    "write": _writes,
    "s": _writes,
    "lo_export": _lo_export,
    "set": _set,
    "unset": _unset,
    "c": _connect,
    "connect": _connect,
    "encoding": _encoding,
    "restrict": _restrict,
    "unrestrict": _unrestrict,
    "if": _if,
    "endif": _endif,
    "q": _quit,
    "quit": _quit,
}

MATTERING = tuple(sorted({*_HANDLERS, *_INTERACTIVE, "gset"} - {"restrict", "unrestrict"}))
"""The names of commands that can do more than send or print something."""


def matters(command: Command) -> bool:
    """Whether a command does so, should psql take for one what is meant as text."""
    scratch = Findings(b"")
    judge(command, scratch)
    return command.name == "gset" or not scratch.empty
