"""What a scan of a psql script finds, as data."""

import re
from dataclasses import dataclass
from typing import NamedTuple

_LONGEST_VALUE = 1 << 20
_INERT = re.compile(r"[\w.,+*()<>=%\s-]*", re.ASCII)
_MEANINGFUL = re.compile(r"(?P<comment>--)|(?P<parenthesis>[()])|(?P<word>\w+)", re.ASCII)
_MEANINGFUL_WORDS = frozenset(
    ("copy", "stdin", "program", "from", "to", "create", "begin", "case", "end")
)


class Text(NamedTuple):
    """A part of the script that refers to nothing: where it starts and ends, in bytes."""

    start: int
    end: int


class Include(NamedTuple):
    r"""``\i path`` or ``\ir path``: from the backslash to the end of the path."""

    start: int
    end: int
    path: str
    line: int
    relative: bool
    """Whether the path starts at the script's own directory."""
    optional: bool
    """Whether psql may never come here, so that the file need not exist."""


class DataFile(NamedTuple):
    r"""The path in ``\copy ... from path`` or ``\lo_import path``."""

    start: int
    end: int
    path: str
    line: int
    optional: bool


class ChangeDirectory(NamedTuple):
    r"""``\cd path``: where relative paths start from here on."""

    start: int
    end: int
    path: str
    line: int


Reference = Include | DataFile | ChangeDirectory
Segment = Text | Reference


class Problem(NamedTuple):
    """Why what a script does cannot be known from its inputs."""

    line: int
    what: str
    remedy: str


class Binding(NamedTuple):
    """A psql variable gets a value that may change how psql reads what follows."""

    name: str
    line: int
    prefix: bool = False
    """Whether it is every variable whose name starts so."""


class Interpolation(NamedTuple):
    """A psql variable is put into the script as it is, and read as if it had been written there."""

    name: str
    line: int


@dataclass(frozen=True)
class Script:
    """A scanned script. The segments in their order are all of it."""

    segments: tuple[Segment, ...]
    problems: tuple[Problem, ...] = ()
    bindings: tuple[Binding, ...] = ()
    interpolations: tuple[Interpolation, ...] = ()
    """At most one for each variable."""


def is_inert(value: str) -> bool:
    """Whether a variable's value is harmless where it is interpolated without quotes.

    It then neither opens a quote nor ends a statement, is no backslash command, and cannot make a
    statement a COPY.
    """
    if len(value) > _LONGEST_VALUE or not _INERT.fullmatch(value):
        return False
    depth = 0
    for found in _MEANINGFUL.finditer(value):
        match found.lastgroup:
            case "comment":
                return False
            case "word" if found[0].lower() in _MEANINGFUL_WORDS:
                return False
            case "parenthesis":
                depth += 1 if found[0] == "(" else -1
        if depth < 0:
            return False
    return depth == 0
