"""The results of scanning a psql script, as data."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from pgstrata.kinds.formats import Format

_LONGEST_VALUE = 1 << 20
_INERT = re.compile(r"[\w.,+*()<>=%\s-]*", re.ASCII)
_MEANINGFUL = re.compile(r"(?P<comment>--)|(?P<parenthesis>[()])|(?P<word>\w+)", re.ASCII)
_MEANINGFUL_WORDS = frozenset(
    ("copy", "stdin", "program", "from", "to", "create", "begin", "case", "end")
)


OWN_VARIABLES = frozenset(
    (
        *("DBNAME", "USER", "HOST", "PORT", "ENCODING", "SERVER_VERSION_NAME"),
        *("SERVER_VERSION_NUM", "VERSION", "VERSION_NAME", "VERSION_NUM"),
        *("ERROR", "SQLSTATE", "ROW_COUNT", "LAST_ERROR_SQLSTATE", "LAST_ERROR_MESSAGE"),
        *("AUTOCOMMIT", "ECHO", "ECHO_HIDDEN", "FETCH_COUNT", "ON_ERROR_ROLLBACK", "QUIET"),
        *("SHOW_CONTEXT", "VERBOSITY"),
    )
)
"""Variables that psql itself sets. A query has a column with such a name only if it says so."""


class Text(NamedTuple):
    """A part of the script that refers to nothing, with its start and end in bytes."""

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
    """Whether psql may never reach it, so that the file need not exist."""


class DataFile(NamedTuple):
    r"""The path in ``\copy ... from path`` or ``\lo_import path``."""

    start: int
    end: int
    path: str
    line: int
    optional: bool


class ChangeDirectory(NamedTuple):
    r"""``\cd path``: the directory that later relative paths start from."""

    start: int
    end: int
    path: str
    line: int


class Key(NamedTuple):
    r"""The key of a ``\restrict`` or ``\unrestrict``, of which each needs the other.

    It is random, as in dumps, and only has to be the same in both.
    """

    start: int
    end: int
    number: int
    """The same for the same key."""
    line: int


Reference = Include | DataFile | ChangeDirectory | Key
Segment = Text | Reference


class Problem(NamedTuple):
    """Why what a script does cannot be known from its inputs."""

    line: int
    what: str
    remedy: str


class Binding(NamedTuple):
    """A psql variable gets a value that may change how psql reads the rest."""

    name: str
    line: int
    prefix: bool = False
    """Whether it applies to every variable whose name starts like this, except psql's own."""


class Interpolation(NamedTuple):
    """A psql variable is interpolated unquoted, and read as part of the script."""

    name: str
    line: int


@dataclass(frozen=True)
class Script:
    """A scanned script. Its segments, in order, cover all of it."""

    segments: tuple[Segment, ...]
    problems: tuple[Problem, ...] = ()
    bindings: tuple[Binding, ...] = ()
    interpolations: tuple[Interpolation, ...] = ()
    """At most one for each variable."""
    format: Format | None = None
    """What it is in place of a script."""


def is_inert(value: str) -> bool:
    """Whether a variable's value is harmless if it is interpolated without quotes.

    Then it neither opens a quote nor ends a statement, is not a backslash command, and cannot turn
    a statement into a COPY.
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
