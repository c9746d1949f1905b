"""The command line options of psql, and what pgstrata does with each."""

from enum import Enum, auto
from typing import NamedTuple


class Use(Enum):
    """How an option is used in a recipe."""

    FILE = auto()
    COMMAND = auto()
    VARIABLE = auto()
    SINGLE_TRANSACTION = auto()
    OUTPUT = auto()
    """Changes how psql prints, and nothing in the database unless a script reads it."""
    IMPLIED = auto()
    """Always set anyway."""
    CONNECTION = auto()
    """Which server, database and user psql connects to; pgstrata decides that."""
    INTERACTIVE = auto()
    """For use at a terminal, or instead of running a script."""
    WRITES_FILE = auto()
    LINEWISE = auto()
    """Ends statements at the end of a line."""
    RESTORE = auto()
    """pg_restore's, for dumps: which part of one is restored, and how."""
    RESTORE_FILE = auto()
    """The same, with a file that pg_restore reads."""
    RESTORE_JOBS = auto()
    """pg_restore's, and makes no difference to what is restored."""


class Option(NamedTuple):
    """One option: its letter (none for a few), its long names, whether a value follows."""

    letter: str | None
    names: tuple[str, ...]
    use: Use
    value: bool = False
    optional_value: bool = False
    sets: tuple[str, str] | None = None
    """The variable it sets, which scripts can read, and its value."""

    @property
    def spelling(self) -> str:
        return f"-{self.letter}" if self.letter else f"--{self.names[0]}"


OPTIONS = (
    Option("f", ("file",), Use.FILE, value=True),
    Option("c", ("command",), Use.COMMAND, value=True),
    Option("v", ("set", "variable"), Use.VARIABLE, value=True),
    Option("1", ("single-transaction",), Use.SINGLE_TRANSACTION),
    Option("X", ("no-psqlrc",), Use.IMPLIED),
    Option("a", ("echo-all",), Use.OUTPUT, sets=("ECHO", "all")),
    Option("A", ("no-align",), Use.OUTPUT),
    Option("b", ("echo-errors",), Use.OUTPUT, sets=("ECHO", "errors")),
    Option("e", ("echo-queries",), Use.OUTPUT, sets=("ECHO", "queries")),
    Option("E", ("echo-hidden",), Use.OUTPUT, sets=("ECHO_HIDDEN", "on")),
    Option("F", ("field-separator",), Use.OUTPUT, value=True),
    Option("H", ("html",), Use.OUTPUT),
    Option("n", ("no-readline",), Use.OUTPUT),
    Option("P", ("pset",), Use.OUTPUT, value=True),
    Option("q", ("quiet",), Use.OUTPUT, sets=("QUIET", "on")),
    Option("R", ("record-separator",), Use.OUTPUT, value=True),
    Option("t", ("tuples-only",), Use.OUTPUT),
    Option("T", ("table-attr",), Use.OUTPUT, value=True),
    Option("w", ("no-password",), Use.OUTPUT),
    Option("x", ("expanded",), Use.OUTPUT),
    Option("z", ("field-separator-zero",), Use.OUTPUT),
    Option("0", ("record-separator-zero",), Use.OUTPUT),
    Option(None, ("csv",), Use.OUTPUT),
    Option("h", ("host",), Use.CONNECTION, value=True),
    Option("p", ("port",), Use.CONNECTION, value=True),
    Option("U", ("username",), Use.CONNECTION, value=True),
    Option("d", ("dbname",), Use.CONNECTION, value=True),
    Option("W", ("password",), Use.INTERACTIVE),
    Option("l", ("list",), Use.INTERACTIVE),
    Option("s", ("single-step",), Use.INTERACTIVE),
    Option("V", ("version",), Use.INTERACTIVE),
    Option("?", ("help",), Use.INTERACTIVE, optional_value=True),
    Option("S", ("single-line",), Use.LINEWISE),
    Option("L", ("log-file",), Use.WRITES_FILE, value=True),
    Option("o", ("output",), Use.WRITES_FILE, value=True),
)

_RESTORING = (
    *("data-only", "schema-only", "clean", "if-exists"),
    *("no-comments", "no-data-for-failed-tables", "no-publications", "no-subscriptions"),
    *("no-security-labels", "no-table-access-method", "no-tablespaces", "disable-triggers"),
    *("enable-row-security", "strict-names", "use-set-session-authorization", "no-data"),
    *("no-policies", "no-schema", "no-statistics", "statistics", "statistics-only"),
)
_RESTORING_VALUE = (
    *("schema", "table", "function", "trigger", "section", "role", "superuser"),
    "transaction-size",
)

RESTORE_OPTIONS = (
    Option("O", ("no-owner",), Use.RESTORE),
    Option("C", ("create",), Use.RESTORE),
    Option(None, ("no-privileges", "no-acl"), Use.RESTORE),
    Option("I", ("index",), Use.RESTORE, value=True),
    Option("N", ("exclude-schema",), Use.RESTORE, value=True),
    Option("j", ("jobs",), Use.RESTORE_JOBS, value=True),
    *(Option(None, (name,), Use.RESTORE) for name in _RESTORING),
    *(Option(None, (name,), Use.RESTORE, value=True) for name in _RESTORING_VALUE),
    *(Option(None, (name,), Use.RESTORE_FILE, value=True) for name in ("use-list", "filter")),
    Option(None, ("exit-on-error",), Use.IMPLIED),
    Option(None, ("verbose",), Use.IMPLIED),
    Option(None, ("format",), Use.IMPLIED, value=True),
)
"""Those of pg_restore that psql does not have: no letter means something else to psql."""

BY_LETTER = {option.letter: option for option in OPTIONS if option.letter}
BY_NAME = {name: option for option in OPTIONS for name in option.names}
RESTORE_BY_LETTER = {option.letter: option for option in RESTORE_OPTIONS if option.letter}
RESTORE_BY_NAME = {name: option for option in RESTORE_OPTIONS for name in option.names}
